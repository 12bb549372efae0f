"""The port's `ssl` without encryption: TLS memory lies outside the Python heap and is no figure of ours."""

PROTOCOL_TLS_CLIENT = 0
PROTOCOL_TLS_SERVER = 1
CERT_NONE = 0
CERT_REQUIRED = 2


class SSLContext:
    def __init__(self, protocol):
        self.verify_mode = CERT_NONE

    def load_verify_locations(self, cafile=None, cadata=None):
        pass

    def wrap_socket(self, line, **_):
        return line
