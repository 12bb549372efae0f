"""The board's serial port: the outer pseudo-terminal, as a USB bridge would be.

The path of its slave side is what people and mpremote open. Nothing is lost while somebody reads, however
slowly; when nobody has read for half a second, output goes nowhere, as on a board without a computer at its
cable. Opening the port with pyserial clears what is left of earlier output, as on a real port.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import struct
import termios
import tty
from collections.abc import Callable

BACKLOG = 16_384
PATIENCE_S = 0.5
TIOCPKT_FLUSHREAD = 1


class Port:
    """The outer pseudo-terminal.

    on_input: gets what the other side writes. on_room: is called with False when output must wait and with
    True when it may go on.
    """

    def __init__(self, on_input: Callable[[bytes], None], on_room: Callable[[bool], None]) -> None:
        self._on_input = on_input
        self._on_room = on_room
        self._backlog = bytearray()
        self._writing = False
        self._absent = False
        self._patience: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.path = os.ttyname(self._slave)
        os.set_blocking(self._master, False)
        fcntl.ioctl(self._master, termios.TIOCPKT, struct.pack("i", 1))
        self._loop.add_reader(self._master, self._readable)

    def write(self, data: bytes) -> None:
        """Bytes from the board."""
        self._backlog += data
        self._flush()

    def close(self) -> None:
        self._loop.remove_reader(self._master)
        self._stop_waiting()
        os.close(self._master)
        os.close(self._slave)

    def _readable(self) -> None:
        try:
            packet = os.read(self._master, 4096)
        except BlockingIOError:
            return
        if packet[:1] == b"\0":
            self._on_input(packet[1:])
        elif packet and packet[0] & TIOCPKT_FLUSHREAD:
            self._forget()

    def _flush(self) -> None:
        while self._backlog:
            try:
                sent = os.write(self._master, self._backlog)
            except BlockingIOError:
                break
            del self._backlog[:sent]
            self._absent = False
            self._be_patient()
        if not self._backlog:
            self._stop_waiting()
            self._on_room(True)
        elif self._absent:
            self._backlog.clear()
        elif not self._writing:
            self._writing = True
            self._loop.add_writer(self._master, self._flush)
            self._be_patient()
        if len(self._backlog) > BACKLOG:
            self._on_room(False)

    def _be_patient(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
        self._patience = self._loop.call_later(PATIENCE_S, self._give_up) if self._writing else None

    def _give_up(self) -> None:
        self._absent = True
        self._forget()

    def _forget(self) -> None:
        self._backlog.clear()
        self._stop_waiting()
        self._on_room(True)

    def _stop_waiting(self) -> None:
        if self._writing:
            self._loop.remove_writer(self._master)
            self._writing = False
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
