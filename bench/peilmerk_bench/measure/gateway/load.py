"""Boards that publish: MQTT 3.1.1 over TLS at QoS 1, as many messages in flight as the broker takes.

Only what measuring needs; the firmware's own client sends one message at a time.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from peilmerk_bench.measure.gateway.town import Board, backlog
from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.mqtt_knock import connect_packet
from peilmerk_protocol import topics

AT_ONCE = 8
PATIENCE_S = 120.0
TICK_S = 0.01
_QOS1 = 0x32
_PUBACK_BYTES = 4


class LoadError(PeilmerkError):
    """The broker did not take what boards published."""


class Line:
    """One board's connection."""

    def __init__(self, board: Board, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.board = board
        self._reader = reader
        self._writer = writer
        self._packet = 0
        self._unread = 0

    @classmethod
    async def open(cls, board: Board, port: int, context: ssl.SSLContext) -> Line:
        """Connect and log in. Raises LoadError, OSError."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname="localhost"
        )
        writer.write(connect_packet(board.device_id, board.device_id, board.password, keep_alive_s=0))
        answer = await reader.readexactly(4)
        if answer != b"\x20\x02\x00\x00":
            writer.close()
            raise LoadError(f"found answer {answer.hex()} to a board's login, wanted 20020000")
        return cls(board, reader, writer)

    def publish(self, kind: int, payload: bytes) -> None:
        """Send one message; `settle` tells when all of them are acknowledged."""
        self._packet = self._packet % 0xFFFF + 1
        name = topics.topic(self.board.device_id, kind).encode()
        body = len(name).to_bytes(2, "big") + name + self._packet.to_bytes(2, "big") + payload
        self._writer.write(bytes((_QOS1,)) + _length(len(body)) + body)
        self._unread += _PUBACK_BYTES

    async def settle(self) -> None:
        """Wait until everything is acknowledged. Raises LoadError."""
        await self._writer.drain()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._reader.readexactly(self._unread)
        except (TimeoutError, asyncio.IncompleteReadError) as reason:
            raise LoadError(f"a broker did not acknowledge a board's messages: {reason!r}") from reason
        self._unread = 0

    async def close(self) -> None:
        """Leave in good order."""
        self._writer.write(b"\xe0\x00")
        self._writer.close()
        await self._writer.wait_closed()


def trusting(authority: Path) -> ssl.SSLContext:
    """Return what a board verifies the broker with."""
    return ssl.create_default_context(cafile=str(authority))


async def admitted(board: Board, port: int, context: ssl.SSLContext) -> None:
    """Return once a broker that was told of its users lets this one in. Raises LoadError."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            line = await Line.open(board, port, context)
        except (LoadError, OSError):
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(TICK_S * 10)
        else:
            await line.close()
            return


async def fill(
    boards: Sequence[Board],
    reports: int,
    port: int,
    context: ssl.SSLContext,
    told: Callable[[int], None] = lambda _: None,
) -> list[tuple[Board, list[bytes]]]:
    """Have every board send its statement and its share of so many reports; return the sealed reports.

    `told` is called with how many reports the broker has.
    """
    sent: list[tuple[Board, list[bytes]]] = []
    waiting = iter([(board, board.statement()) for board in boards])
    shares = backlog(boards, reports)
    done = 0

    async def work() -> None:
        nonlocal done
        for board, stated in waiting:
            _, sealed = next(shares, (board, []))
            line = await Line.open(board, port, context)
            line.publish(topics.STATEMENT, stated)
            for payload in sealed:
                line.publish(topics.REPORT, payload)
            await line.settle()
            await line.close()
            sent.append((board, sealed))
            done += len(sealed)
            told(done)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())
    return sent


async def steadily(
    boards: Sequence[Board], rate: int, seconds: float, port: int, context: ssl.SSLContext
) -> dict[tuple[str, int], float]:
    """Publish `rate` reports a second by turns; return when each (device, number) was handed to its socket.

    Moments are of `time.perf_counter`.
    """
    lines = [await Line.open(board, port, context) for board in boards]
    draw = random.Random(2)
    sent: dict[tuple[str, int], float] = {}
    begun = time.perf_counter()
    wanted = round(rate * seconds)
    while len(sent) < wanted:
        due = min(wanted, int((time.perf_counter() - begun) * rate))
        while len(sent) < due:
            line = lines[len(sent) % len(lines)]
            number, payload = line.board.seq, line.board.report(draw)
            sent[line.board.device_id, number] = time.perf_counter()
            line.publish(topics.REPORT, payload)
        await asyncio.sleep(TICK_S)
    for line in lines:
        await line.settle()
        await line.close()
    return sent


def _length(number: int) -> bytes:
    """Encode a remaining length (MQTT 3.1.1, section 2.2.3)."""
    out = bytearray()
    while True:
        number, low = number >> 7, number & 0x7F
        out.append(low | (0x80 if number else 0))
        if not number:
            return bytes(out)
