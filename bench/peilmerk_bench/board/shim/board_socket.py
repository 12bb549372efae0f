# ruff: noqa: I001
"""The board's `socket`: the host's own, but what the board serves on all its addresses is on the host's
loopback.

A server finds the address it binds with getaddrinfo("0.0.0.0", port), as asyncio does. The supervisor chooses
a free port for each of the board's, the same one at every boot, so that boards share a machine and need no
rights. Nobody outside this machine can reach what a virtual board serves.
"""

import bus
import socket as _host
import worldtime

_ANY = ("0.0.0.0", "")
# How long a board waits for a name server in vain, and what it raises then (lwIP's EAI_FAIL, as ESP32 does).
_DNS_US = 5_000_000
_EAI_FAIL = -202
_extra = None


def __getattr__(name):
    return getattr(_host, name)


def getaddrinfo(name, port, *rest):
    if name in _ANY:
        name, port = "127.0.0.1", bus.call("serve", port)
        _visitors_have_addresses()
        return _host.getaddrinfo(name, port, *rest)
    # Who does not say what kind of socket it is for gets an address that is good for both.
    found = bus.call("route", rest[1] if len(rest) > 1 else 0, name, port)
    if found is None:
        worldtime.sleep_until(worldtime.now() + _DNS_US)
        raise OSError(_EAI_FAIL)
    return _host.getaddrinfo(found[0], found[1], *rest)


def _visitors_have_addresses():
    """From now on asyncio tells a visitor's (address, port) as on a board; the interpreter here has bytes."""
    global _extra
    if _extra:
        return
    import asyncio

    _extra = asyncio.StreamReader.get_extra_info
    asyncio.StreamReader.get_extra_info = _get_extra_info


def _get_extra_info(stream, name):
    found = _extra(stream, name)
    if name == "peername" and isinstance(found, (bytes, bytearray)):
        _, address, port = _host.sockaddr(found)
        return ".".join([str(part) for part in address]), port
    return found
