"""A length of wire between publisher and platform that can be cut: forwards HTTP as it is, and does to chosen
requests what networks do.

`Wiretap.on_request` decides by method and path what happens to a request: PASS it; NO_REQUEST: cut the line
before it reaches the platform; NO_ANSWER: the platform gets it and answers, the answer is lost; HOLD: the
line hangs until `release`; LATE: the line is cut, and only then does the platform get the request, and is
done with it when the publishers of these tests expect it to be, also on a machine too busy for that; BROKEN:
the platform does as it is told, the publisher is told of an error 500; BUSY: it is told to come back in a
second, the platform hears nothing. `before_answer` is called when the platform has answered and the publisher
does not know it yet. Every byte that passed is in `sent`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from urllib.parse import urlsplit

from publisher_process import SETTLE_S

# How late a late request is, s; less than what the tests' publishers allow a platform to finish in.
LATE_S = 0.25


class Line(Enum):
    """What happens to a request."""

    PASS = 1
    NO_REQUEST = 2
    NO_ANSWER = 3
    HOLD = 4
    LATE = 5
    BROKEN = 6
    BUSY = 7


class Wiretap:
    """Listens on a free port of this machine and forwards to `platform` (a base address)."""

    def __init__(self, platform: str) -> None:
        self._platform = urlsplit(platform)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._released = asyncio.Event()
        self._late: dict[asyncio.Event, float] = {}
        self.on_request: Callable[[str, str], Line] = lambda method, path: Line.PASS
        self.before_answer: Callable[[str, str], None] = lambda method, path: None
        self.sent = bytearray()
        self.requests: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        """The address to give to the publisher."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}{self._platform.path}"

    async def __aenter__(self) -> Wiretap:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def release(self) -> None:
        """Let the requests go that hang."""
        self._released.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await self._one(reader, writer):
                pass
        writer.close()
        self._tasks.discard(task)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request, head = await _message(reader)
        method, path = head[0].split(" ")[:2]
        self.requests.append((method, path))
        fate = self.on_request(method, path)
        if fate is Line.HOLD:
            await self._released.wait()
        for done, promised in list(self._late.items()):
            # Who asks before the time that is promised gets the answer of too early.
            if asyncio.get_running_loop().time() >= promised:
                await done.wait()
        if fate is Line.NO_REQUEST:
            return False
        if fate is Line.BUSY:
            writer.write(b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            return True
        if fate is Line.LATE:
            await self._carry_out_late(request, writer)
            return False
        try:
            answer = await self._carry_out(request)
        except OSError:
            return False
        self.before_answer(method, path)
        if fate is Line.NO_ANSWER:
            return False
        if fate is Line.BROKEN:
            answer = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
        writer.write(answer)
        await writer.drain()
        return True

    async def _carry_out_late(self, request: bytes, writer: asyncio.StreamWriter) -> None:
        done = asyncio.Event()
        self._late[done] = asyncio.get_running_loop().time() + SETTLE_S
        try:
            writer.close()
            await asyncio.sleep(LATE_S)
            await self._carry_out(request)
        finally:
            done.set()
            del self._late[done]

    async def _carry_out(self, request: bytes) -> bytes:
        """Let the platform have it; return the answer. Raises OSError where there is no platform."""
        self.sent += request
        near, far = await asyncio.open_connection(self._platform.hostname, self._platform.port)
        try:
            far.write(request)
            await far.drain()
            return (await _message(near))[0]
        finally:
            far.close()


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, list[str]]:
    """Read one HTTP message whole; return its bytes and the lines of its head."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if "chunked" in fields.get("transfer-encoding", ""):
        body = b""
        while True:
            size = await reader.readuntil(b"\r\n")
            chunk = await reader.readexactly(int(size, 16) + 2)
            body += size + chunk
            if int(size, 16) == 0:
                return head + body, lines
    return head + await reader.readexactly(int(fields.get("content-length", "0"))), lines
