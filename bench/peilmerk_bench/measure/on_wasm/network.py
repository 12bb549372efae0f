"""The port's `network`: a station that is always joined."""

STA_IF = 0
AP_IF = 1
STAT_IDLE = 1000
STAT_CONNECTING = 1001
STAT_GOT_IP = 1010
STAT_NO_AP_FOUND = 201
STAT_WRONG_PASSWORD = 202


class WLAN:
    IF_STA = 0
    IF_AP = 1
    PM_NONE = 0

    def __init__(self, interface=0):
        self._on = False

    def active(self, on=None):
        if on is None:
            return self._on
        self._on = on

    def isconnected(self):
        return True

    def connect(self, *_):
        pass

    def disconnect(self):
        pass

    def status(self, *_):
        return STAT_GOT_IP

    def config(self, *_, **__):
        return ""

    def ifconfig(self, *_):
        return ("192.0.2.2", "255.255.255.0", "192.0.2.1", "0.0.0.0")

    def ipconfig(self, *_, **__):
        return ("192.0.2.2", "255.255.255.0")

    def scan(self):
        return []
