"""Fetches one file over HTTPS (RFC 9112) into a receiver, and goes on where the line broke (RFC 9110, 14).

The server must show a certificate for its name that descends from the board's authority; nothing else is
asked of it and nothing is believed, as what is fetched proves itself.
"""

import asyncio
import socket

from micropython import const

from node.console import say
from node.update import UpdateError
from node.uplink.mqtt import LinkError, dial, tls_context
from node.uplink.resolve import resolve

_TRUNCATED = const(10)
_NO_SERVER = const(14)
_UNREACHABLE = const(16)

_CHUNK = const(1024)
_LONGEST_LINE = const(256)
_MOST_LINES = const(40)
# So many attempts in a row may bring nothing.
_ATTEMPTS = const(5)


async def fetch(config, digest, size, receiver, vigil):
    """Bring `size` bytes of /firmware/<digest in hexadecimal>. Raises UpdateError, OSError from flash."""
    server = config.update
    if server is None:
        raise UpdateError(_NO_SERVER, "no server", "link.update in node.json")
    context = tls_context(config.authority)
    barren = 0
    while receiver.taken < size:
        before = receiver.taken
        try:
            await _attempt(config, context, digest, size, receiver, vigil)
        except (LinkError, EOFError, asyncio.TimeoutError, MemoryError) as fault:
            say("update: %s", str(fault) or "the line broke")
        barren = barren + 1 if receiver.taken == before else 0
        if barren >= _ATTEMPTS:
            receiver.abandon()
            raise UpdateError(_UNREACHABLE, "no answer", "the file")
        if receiver.taken < size:
            vigil.done("commands")
            await asyncio.sleep(1 << barren)


async def _attempt(config, context, digest, size, receiver, vigil):
    line = None
    raw = None
    try:
        try:
            host, port, server_name = config.update
            address = await resolve(host, port, socket.SOCK_STREAM, config.timeout_s)
            raw = socket.socket(address[0], socket.SOCK_STREAM)
            wait = dial(raw, address[-1], context, server_name)
            line = await asyncio.wait_for(wait, config.timeout_s)
            stream = asyncio.StreamWriter(line, {})
            begin = receiver.taken
            stream.write(
                b"GET /firmware/%s HTTP/1.1\r\nHost: %s\r\nRange: bytes=%d-\r\nConnection: close\r\n\r\n"
                % (digest.hex().encode(), server_name.encode(), begin)
            )
            await asyncio.wait_for(stream.drain(), config.timeout_s)
            reader = asyncio.StreamReader(line)
            skip = await _answer(reader, config.timeout_s, begin, size)
        except (OSError, ValueError) as fault:
            raise LinkError("connect: %s" % " ".join(str(fault).split()))
        while receiver.taken < size:
            vigil.done("commands")
            try:
                data: bytes = await asyncio.wait_for(
                    reader.read(min(_CHUNK, skip or size - receiver.taken)), config.timeout_s
                )
            except (OSError, ValueError) as fault:
                raise LinkError("receive: %s" % fault)
            if not data:
                raise EOFError
            if skip:
                skip -= len(data)
            else:
                receiver.write(data)
    finally:
        if line is not None:
            line.close()
        elif raw is not None:
            raw.close()


async def _answer(reader, timeout_s, begin, size):
    """Read the head of an answer; returns how many bytes come first that are there already."""
    status = (await _line(reader, timeout_s)).split(None, 2)
    if len(status) < 2 or not status[0].startswith(b"HTTP/1."):
        raise LinkError("found no HTTP")
    if status[1] not in (b"200", b"206"):
        raise LinkError("the server answers %s" % bytes(status[1][:3]).decode())
    partial = status[1] == b"206"
    wanted = b"bytes %d-%d/%d" % (begin, size - 1, size) if partial else b"%d" % size
    key = b"content-range" if partial else b"content-length"
    found = None
    for _ in range(_MOST_LINES):
        text = (await _line(reader, timeout_s)).strip()
        if not text:
            break
        name, _, value = text.partition(b":")
        if name.lower() == key:
            found = value.strip()
    if found != wanted:
        raise UpdateError(_TRUNCATED, found, wanted)
    return 0 if partial else begin


async def _line(reader, timeout_s):
    line = await asyncio.wait_for(reader.readline(), timeout_s)
    if not line or len(line) > _LONGEST_LINE:
        raise LinkError("found no line of HTTP")
    return line
