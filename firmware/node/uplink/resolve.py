"""Names to addresses without stopping the board (RFC 1035).

`socket.getaddrinfo` of ESP32 stops everything, the counting of passages too, for seconds for each name
server that is silent. So the question goes out by UDP and is waited for like everything else: only
addresses of IPv4, only the name server that the access point told. Names in `.local` and boards without a
radio keep to getaddrinfo; so does every eighth question in a row that finds silence, since the system may
know a second name server.
"""

import asyncio
import os
import socket
import struct

from micropython import const

_ASKS = const(2)
_EVERY = const(8)
_silent = 0


async def resolve(host, port, kind, timeout_s):
    """What socket.getaddrinfo gives first for `host`; where it can be asked for, in `timeout_s`. OSError."""
    global _silent
    server = _server()
    if server and not (host.replace(".", "").isdigit() or host.endswith(".local")):
        _silent += 1
        if _silent % _EVERY:
            host = await _ask(server, host, max(1, timeout_s // _ASKS))
        _silent = 0
    return socket.getaddrinfo(host, port, 0, kind)[0]


def _server():
    try:
        import network

        server = network.WLAN(network.STA_IF).ifconfig()[3]
        return server if server != "0.0.0.0" else None
    except (ImportError, OSError):
        return None


async def _ask(server, host, timeout_s):
    number = os.urandom(2)
    question = number + b"\x01\0\0\x01\0\0\0\0\0\0"
    for label in host.split("."):
        question += bytes((len(label),)) + label.encode()
    question += b"\0\0\x01\0\x01"
    line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        line.setblocking(False)
        line.connect(socket.getaddrinfo(server, 53, 0, socket.SOCK_DGRAM)[0][-1])
        stream = asyncio.StreamReader(line)
        for _ in range(_ASKS):
            line.send(question)
            try:
                return await asyncio.wait_for(_answer(stream, number, len(question)), timeout_s)
            except asyncio.TimeoutError:
                pass
        raise OSError("found no answer")
    except Exception as fault:
        raise OSError("dns: %s: %s" % (host, fault))
    finally:
        line.close()


async def _answer(stream, number, at):
    answer = b""
    while answer[:2] != number:
        answer = await stream.read(512)
    for _ in range(answer[7]):
        # Its name, most often a reference to the question's.
        while 0 < answer[at] < 192:
            at += answer[at] + 1
        at += 2 if answer[at] else 1
        kind, _, _, length = struct.unpack_from(">HHIH", answer, at)
        at += 10
        if kind == 1:
            return "%d.%d.%d.%d" % tuple(answer[at : at + 4])
        at += length
    raise OSError("found no address, code %d" % (answer[3] & 15))
