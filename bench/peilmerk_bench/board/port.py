"""The board's serial port: the outer pseudo-terminal, as a USB bridge would be.

The path of its slave side is what people and mpremote open. Nothing is lost while somebody is there, however
slowly they read: the board waits. When nobody is there, output goes nowhere and the board does not wait, as
without a computer at its cable. Opening the port with pyserial clears what is left of earlier output, as on a
real port.

Somebody is there who holds the port's lock (mpremote does) or who wrote or read a moment ago.
"""

from __future__ import annotations

import array
import asyncio
import fcntl
import os
import pty
import struct
import termios
import tty
from collections.abc import Callable
from pathlib import Path

BACKLOG = 16_384
PATIENCE_S = 0.5
TIOCPKT_FLUSHREAD = 1
LOCKS = Path("/proc/locks")


class Port:
    """The outer pseudo-terminal.

    on_input: gets what the other side writes. on_room: is called with False when output must wait and with
    True when it may go on.
    """

    def __init__(self, on_input: Callable[[bytes], None], on_room: Callable[[bool], None]) -> None:
        self._on_input = on_input
        self._on_room = on_room
        self._backlog = bytearray()
        self._waiting: asyncio.TimerHandle | None = None
        self._unread = 0
        self._loop = asyncio.get_running_loop()
        self._seen = self._loop.time() - PATIENCE_S
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.path = os.ttyname(self._slave)
        os.set_blocking(self._master, False)
        fcntl.ioctl(self._master, termios.TIOCPKT, struct.pack("i", 1))
        self._loop.add_reader(self._master, self._readable)

    def write(self, data: bytes) -> None:
        """Bytes from the board."""
        self._backlog += data
        if self._waiting is None:
            self._flush()
        elif len(self._backlog) > BACKLOG:
            self._on_room(False)

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
        self._seen = self._loop.time()
        if packet[:1] == b"\0":
            self._on_input(packet[1:])
        elif packet and packet[0] & TIOCPKT_FLUSHREAD:
            self._forget()

    def _flush(self) -> None:
        waited = self._waiting is not None
        while self._backlog:
            try:
                sent = os.write(self._master, self._backlog)
            except BlockingIOError:
                break
            del self._backlog[:sent]
            if waited:  # there was no room before, so somebody has read
                self._seen = self._loop.time()
        if not self._backlog or not self._somebody():
            self._forget()
        elif not waited:
            self._unread = self._queued()
            self._loop.add_writer(self._master, self._flush)
            self._waiting = self._loop.call_later(PATIENCE_S, self._look)

    def _look(self) -> None:
        """Output waits: is somebody still reading?"""
        unread, self._unread = self._unread, self._queued()
        if self._unread < unread:
            self._seen = self._loop.time()
        if self._somebody():
            self._waiting = self._loop.call_later(PATIENCE_S, self._look)
        else:
            self._forget()

    def _somebody(self) -> bool:
        return self._loop.time() - self._seen < PATIENCE_S or self._locked()

    def _queued(self) -> int:
        """Bytes that wait in the terminal for a reader."""
        count = array.array("i", [0])
        fcntl.ioctl(self._slave, termios.FIONREAD, count)
        return count[0]

    def _locked(self) -> bool:
        """Whether somebody holds the port's lock; where that cannot be seen, nobody does."""
        try:
            inode = os.fstat(self._slave).st_ino
            device = os.fstat(self._slave).st_dev
            wanted = f"{os.major(device):02x}:{os.minor(device):02x}:{inode}"
            return any(wanted in line.split() for line in LOCKS.read_text().splitlines())
        except OSError:
            return False

    def _forget(self) -> None:
        self._backlog.clear()
        self._stop_waiting()
        self._on_room(True)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._loop.remove_writer(self._master)
            self._waiting.cancel()
            self._waiting = None
