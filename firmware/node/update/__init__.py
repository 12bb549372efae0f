"""Signed updates over the network and the cable (PROTOCOL, "Update")."""


def offer(_digest, _size, _version):
    """Take an update; False: refused."""
    return False
