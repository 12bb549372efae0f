"""The network between a board and the world, and everything that can go wrong in it.

    board.network.blackhole()            # no byte passes any more, in either direction; nobody is told
    board.network.blackhole(False)       # what waited passes, as it does on a line that comes back
    board.network.cut()                  # every connection is reset
    board.network.dns("broker.city", "127.0.0.1")     # a name and its address; None: there is no such name
    board.network.dns_silent()           # the name server answers nothing
    board.network.captive()              # a portal answers in place of whoever is called
    board.network.dhcp_renew("127.0.0.2")             # another address: what stood on the old one is reset
    board.network.tls_memory(3)          # the next three TLS sessions find no memory
    board.network.slow(0.5)              # every piece takes half a second, each way
    board.network.dates()                # certificates are held against the board's own clock

Sockets and packets are real. A board's TCP connections go through a relay on this machine's loopback, one for
each address and port; its name server is a real one, on UDP, that knows the names it was given and asks the
host about others. What UDP carries otherwise (time) goes its own way, into nothing while there is a black
hole. The wireless part of a network is the radio's: see `VirtualBoard.wifi_up`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import struct
from collections.abc import Callable
from typing import Any

LOOPBACK = "127.0.0.1"
DNS_PORT = 53
TCP, UDP = 1, 2
PIECE = 4096
PORTAL = (
    b"HTTP/1.1 302 Found\r\nLocation: http://portal.example/welcome\r\n"
    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
)
NO_SUCH_NAME = 3


class Network:
    """One board's network. Call its methods in the loop that runs the board."""

    def __init__(self) -> None:
        self.address = LOOPBACK
        """The board's address, as its WLAN tells it."""
        self.connections = 0
        """How many TCP connections the board has made so far."""
        self.questions: list[str] = []
        """The names that the board asked its name server for."""
        self._names: dict[str, str | None] = {}
        self._dns_silent = False
        self._delay_s = 0.0
        self._captive: bool | ssl.SSLContext = False
        self._starved = 0
        self._dates = False
        self._passing = asyncio.Event()
        self._passing.set()
        self._relays: dict[tuple[str, int], int] = {}
        self._listening: list[socket.socket] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._dns_port: int | None = None
        self._hole: int | None = None

    # -- faults ----------------------------------------------------------------------------------------------

    def blackhole(self, on: bool = True) -> None:
        """Let nothing pass, and tell nobody: connections stay, as they seem to over a dead line."""
        if on:
            self._passing.clear()
        else:
            self._passing.set()

    def cut(self) -> None:
        """Reset every connection that stands."""
        for writer in list(self._writers):
            _reset(writer)

    def dns(self, name: str, address: str | None) -> None:
        """From now on a name has this address; None: there is no such name."""
        self._names[name] = address

    def dns_silent(self, on: bool = True) -> None:
        """The name server answers nothing."""
        self._dns_silent = on

    def captive(self, on: bool | ssl.SSLContext = True) -> None:
        """A portal answers every new connection: by HTTP, or by TLS with the certificate of a context."""
        self._captive = on

    def dhcp_renew(self, address: str) -> None:
        """The board gets another address; connections of the old one are reset, as lwIP does."""
        self.address = address
        self.cut()

    def slow(self, seconds: float) -> None:
        """Every piece of a connection takes so many seconds of the host's time, each way."""
        self._delay_s = seconds

    def tls_memory(self, sessions: int) -> None:
        """The next so many TLS sessions find no memory: the last and every second one before it none of the
        chip's (MBEDTLS_ERR_SSL_ALLOC_FAILED, an OSError 12), the others none of Python's (MemoryError).
        """
        self._starved = sessions

    def dates(self, on: bool = True) -> None:
        """Hold the server's certificate against the board's own clock too, as an ESP32 does.

        The interpreter's TLS asks the clock of the host, which is not the world's; so this is for worlds that
        run on today's date.
        """
        self._dates = on

    # -- what the board's shims ask ------------------------------------------------------------------------

    def answers(self, verb: str) -> Callable[..., Any] | None:
        """The method that answers a verb, if it is the network's."""
        verbs: dict[str, Callable[..., Any]] = {
            "route": self.route,
            "address": lambda: self.address,
            "tls": self.tls,
        }
        return verbs.get(verb)

    def route(self, kind: int, host: str, port: int) -> tuple[str, int] | None:
        """Where on this machine a board finds an address (or, without waiting, a name); None: nowhere.

        kind: TCP, UDP, or 0 when the board did not say; then faults of connections do not reach it.
        """
        try:
            ipaddress.ip_address(host)
        except ValueError:
            found = None if self._dns_silent or not self._passing.is_set() else self._look_up(host)
            if found is None:
                return None
            host = found
        if kind == TCP:
            return LOOPBACK, self._relay(host, port)
        if kind == UDP and port == DNS_PORT:
            return LOOPBACK, self._name_server()
        return (host, port) if self._passing.is_set() else (LOOPBACK, self._nowhere())

    def tls(self) -> tuple[int, bool]:
        """How many sessions from this one on find no memory, and whether dates count."""
        starved = self._starved
        self._starved -= starved > 0
        return starved, self._dates

    def close(self) -> None:
        """The board is gone: nothing listens any more."""
        self.cut()
        for task in self._tasks:
            task.cancel()
        loop = asyncio.get_running_loop()
        for listening in self._listening:
            loop.remove_reader(listening)
            listening.close()
        self._listening.clear()
        self._relays.clear()
        self._dns_port = self._hole = None

    # -- relays ----------------------------------------------------------------------------------------------

    def _relay(self, host: str, port: int) -> int:
        """The loopback port that leads to an address."""
        if (host, port) not in self._relays:
            line = socket.create_server((LOOPBACK, 0), backlog=64)
            line.setblocking(False)
            self._listening.append(line)
            loop = asyncio.get_running_loop()
            loop.add_reader(line, self._accept, line, host, port)
            self._relays[host, port] = int(line.getsockname()[1])
        return self._relays[host, port]

    def _accept(self, line: socket.socket, host: str, port: int) -> None:
        with contextlib.suppress(OSError):
            board, _ = line.accept()
            self.connections += 1
            self._spawn(self._carry(board, host, port))

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, board: socket.socket, host: str, port: int) -> None:
        try:
            reader, writer = await asyncio.open_connection(sock=board)
        except OSError:
            board.close()
            return
        self._writers.add(writer)
        try:
            await self._passing.wait()
            if self._captive:
                await self._portal(board, reader, writer)
                return
            there, back = await asyncio.open_connection(host, port)
            self._writers.add(back)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._one_way(reader, back))
                    group.create_task(self._one_way(there, writer))
            finally:
                self._writers.discard(back)
                _reset(back)
        except* OSError:
            pass  # one of the two is gone, and the other is told
        finally:
            self._writers.discard(writer)
            _reset(writer)

    async def _one_way(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(PIECE):
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            await self._passing.wait()
            writer.write(data)
            await writer.drain()
        await self._passing.wait()
        # The end of one way; the other may still have something to say.
        if writer.can_write_eof():
            writer.write_eof()

    async def _portal(
        self, board: socket.socket, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if isinstance(self._captive, ssl.SSLContext):
            loop = asyncio.get_running_loop()
            await loop.start_tls(
                writer.transport, asyncio.StreamReaderProtocol(reader), self._captive, server_side=True
            )
        await reader.read(PIECE)
        writer.write(PORTAL)
        await writer.drain()
        writer.write_eof()
        await reader.read()

    # -- names and nowhere ---------------------------------------------------------------------------------

    def _udp(self) -> tuple[socket.socket, int]:
        line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        line.bind((LOOPBACK, 0))
        line.setblocking(False)
        self._listening.append(line)
        return line, int(line.getsockname()[1])

    def _nowhere(self) -> int:
        """A port on which nobody reads."""
        if self._hole is None:
            _, self._hole = self._udp()
        return self._hole

    def _name_server(self) -> int:
        if self._dns_port is None:
            line, self._dns_port = self._udp()
            asyncio.get_running_loop().add_reader(line, self._asked, line)
        return self._dns_port

    def _asked(self, line: socket.socket) -> None:
        with contextlib.suppress(OSError, IndexError, UnicodeDecodeError):
            question, asker = line.recvfrom(512)
            name, end = _name(question, 12)
            self.questions.append(name)
            if self._dns_silent or not self._passing.is_set():
                return
            address = self._look_up(name)
            head = question[:2] + struct.pack(
                ">HHHHH", 0x8180 | (0 if address else NO_SUCH_NAME), 1, bool(address), 0, 0
            )
            answer = head + question[12 : end + 4]
            if address:
                answer += b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + socket.inet_aton(address)
            line.sendto(answer, asker)

    def _look_up(self, name: str) -> str | None:
        if name in self._names:
            return self._names[name]
        try:
            return socket.gethostbyname(name)
        except OSError:
            return None


def _name(packet: bytes, at: int) -> tuple[str, int]:
    labels = []
    while packet[at]:
        labels.append(packet[at + 1 : at + 1 + packet[at]].decode())
        at += packet[at] + 1
    return ".".join(labels), at + 1


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection by RST, so that the other side knows at once."""
    line = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
