"""One board on a serial port, spoken to through mpremote.

mpremote runs as a program of its own with an argument list, never through a shell. What a board is asked to
do is a chain of steps over one connection: scripts from `on_board/`, each with parameters, and a reset at
the end if wanted. A script travels in a file that only this user can read, in a folder that is removed
afterwards, so that no secret is ever an argument of a program (arguments can be read by every user of the
machine) and none is printed.

mpremote interrupts what the board is running and resets it softly before the first step; main.py does not
run again before a `Reset`. Every failure is a `BoardError` that names the port and what to do.
"""

from __future__ import annotations

import importlib.resources
import json
import os
import queue
import re
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peilmerk_provisioning.errors import (
    BoardError,
    BoardGone,
    NoMicroPython,
    PortBusy,
    PortDenied,
    PortMissing,
    ScriptFailed,
)

__all__ = ["Board", "Inspection", "OnResult", "Port", "Reset", "Script", "Step", "ports"]

MPREMOTE = (sys.executable, "-m", "mpremote")
# The longest that a board takes from being interrupted to the end of the first script.
FIRST_WORD_S = 12.0
NO_PROMPT = "could not enter raw repl"
NOT_INSTALLED = "No module named mpremote"
# The longest that a step may leave us without a word. Hashing a full flash on an ESP32 takes about ten
# seconds.
SILENCE_S = 30.0
# As on_board/common.py prints it; the firmware's own lines on the console begin otherwise.
MARK = b"peilmerk-says:"
_LOCAL_IMPORT = re.compile(r"^from \.common import (?:\([^)]*\)|[^\n]*)\n", re.MULTILINE)
_TAIL_LINES = 40
# As main.py counts failed boots (node/update/slots.py).
SAFE_MODE = 9

OnResult = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Script:
    """A step: run `on_board/<name>.py` with parameters. The parameters may be secret; they are not shown."""

    name: str
    params: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Reset:
    """A step: reset the board as its button does, after which it boots and runs its firmware."""


Step = Script | Reset


@dataclass(frozen=True, slots=True)
class Port:
    """A serial port of this machine: its path, the USB serial number and what the USB device calls itself."""

    path: str
    serial: str
    usb_id: str
    description: str


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is on a board, as the board itself says. `files` maps each firmware file to its SHA-256 in
    hexadecimal, `rival` those in the slot beside it.
    """

    micropython_version: tuple[int, ...]
    machine: str
    mpy: int
    device_id: str | None
    kind: str | None
    linked: bool
    files: dict[str, str]
    digest: str | None
    flash_free: int
    flash_size: int
    slot: str = ""
    """The slot that is good: "a" or "b"; "" on a board without slots."""
    trial: int = 0
    """What is left of the trial of the other slot; 0 when there is none."""
    failed: int = 0
    """Boots in a row that were not proven good; 9 is safe mode."""
    firmware: tuple[int, ...] = ()
    rival: dict[str, str] = field(default_factory=dict)
    stray: bool = False
    """Whether firmware of a deployment before there were slots is left over."""
    romfs: int = 0
    """Bytes that a slot has in the partition for a ROM file system; 0 without one."""
    in_place: bool = False
    """Whether its firmware lies there."""
    battery: bool = False
    """Whether its settings say that it is on batteries."""

    @property
    def safe_mode(self) -> bool:
        """Whether so many boots failed that the board only listens."""
        return self.failed >= SAFE_MODE and not self.trial

    @property
    def version(self) -> str:
        """The firmware's version in words, "0.1.0"; empty when there is none."""
        return ".".join(str(part) for part in self.firmware)

    @property
    def micropython(self) -> str:
        """The MicroPython version in words, "1.28.0"."""
        return ".".join(str(part) for part in self.micropython_version)


class Board:
    """A board behind a serial port. Holds no connection: each `do` makes one and lets it go."""

    def __init__(self, port: str, *, silence_s: float = SILENCE_S) -> None:
        """`port` as mpremote takes it: /dev/ttyUSB0, the pseudo-terminal of a virtual board, COM3, id:SERIAL.

        `silence_s` is the longest wait for the next word from the board, seconds.
        """
        self.port = port
        self.silence_s = silence_s

    def do(self, steps: Sequence[Step], on_result: OnResult | None = None) -> list[dict[str, Any]]:
        """Do the steps in order over one connection and return what each script said.

        `on_result` is called as each script finishes. Raises BoardError; what was done before it stays done.
        """
        self._check_port()
        wanted = sum(isinstance(step, Script) for step in steps)
        with tempfile.TemporaryDirectory(prefix="peilmerk-") as folder:
            arguments = _arguments(steps, Path(folder))
            try:
                results, code, tail = self._mpremote(arguments, on_result, min(FIRST_WORD_S, self.silence_s))
            except NoMicroPython:
                results, code, tail = [], 1, NO_PROMPT
            if not results and NO_PROMPT in tail:
                # A board that is just starting, or deep in a blocking call, can miss being interrupted; it
                # does not miss it twice.
                results, code, tail = self._mpremote(arguments, on_result, self.silence_s)
        if code == 0 and len(results) == wanted:
            return results
        raise self._explain(tail, started=bool(results))

    def inspect(self, *, then: Sequence[Step] = ()) -> Inspection:
        """Ask the board what is on it; `then` are further steps over the same connection."""
        found = self.do([Script("inspect_board"), *then])[0]
        return Inspection(
            micropython_version=tuple(int(part) for part in found["version"]),
            machine=str(found["machine"]),
            mpy=int(found["mpy"]),
            device_id=found["device_id"],
            kind=found["kind"],
            linked=bool(found["linked"]),
            files=dict(found["files"]),
            digest=found["digest"],
            flash_free=int(found["flash_free"]),
            flash_size=int(found["flash_size"]),
            slot=str(found["slot"]),
            trial=int(found["trial"]),
            failed=int(found["failed"]),
            firmware=tuple(int(part) for part in found["firmware"] or ()),
            rival=dict(found["rival"]),
            stray=bool(found["stray"]),
            romfs=int(found["romfs"]),
            in_place=bool(found["in_place"]),
            battery=bool(found["battery"]),
        )

    def _check_port(self) -> None:
        """Find the faults that can be named without opening the port."""
        if os.name != "posix" or self.port.startswith(("id:", "port:")) or "://" in self.port:
            return
        try:
            mode = os.stat(self.port).st_mode
        except FileNotFoundError:
            known = ", ".join(port.path for port in ports()) or "none on this machine"
            raise PortMissing(
                f"found no port {self.port}; serial ports that are here: {known}. "
                "Is the board plugged in, with a cable that carries data?"
            ) from None
        except OSError as reason:
            raise PortMissing(f"cannot look at port {self.port}: {reason.strerror}") from reason
        if not stat.S_ISCHR(mode):
            raise PortMissing(f"{self.port} is no serial port, wanted one such as /dev/ttyUSB0")
        if not os.access(self.port, os.R_OK | os.W_OK):
            raise PortDenied(
                f"no permission to use {self.port}: add yourself to the group that owns it "
                "('sudo usermod -aG dialout $USER' on Debian and Ubuntu), then log in again"
            )

    def _mpremote(
        self, arguments: Sequence[str], on_result: OnResult | None, first_word_s: float
    ) -> tuple[list[dict[str, Any]], int, str]:
        """Run mpremote once; return the scripts' results, the exit code and the end of what else it
        printed.
        """
        try:
            process = subprocess.Popen(
                [*MPREMOTE, "connect", self.port, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        except OSError as reason:
            raise BoardError(f"cannot start mpremote: {reason.strerror}") from reason
        lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        reader = threading.Thread(target=_read_lines, args=(process, lines), daemon=True)
        reader.start()
        results: list[dict[str, Any]] = []
        tail: list[str] = []
        try:
            while (line := lines.get(timeout=self.silence_s if results else first_word_s)) is not None:
                at = line.find(MARK)
                if at < 0:
                    tail = [*tail, line.decode(errors="replace").rstrip()][-_TAIL_LINES:]
                    continue
                try:
                    result = json.loads(line[at + len(MARK) :])
                except ValueError:
                    continue
                if not isinstance(result, dict):
                    continue
                results.append(result)
                if on_result is not None:
                    on_result(result)
            code = process.wait(timeout=self.silence_s)
        except (queue.Empty, subprocess.TimeoutExpired):
            raise self._explain_silence(started=bool(results)) from None
        finally:
            process.kill()
            process.wait()
            reader.join()
        return results, code, "\n".join(tail)

    def _explain_silence(self, *, started: bool) -> BoardError:
        if started:
            return BoardGone(
                f"the board on {self.port} said nothing for {self.silence_s:.0f} s; run this again"
            )
        return NoMicroPython(
            f"nothing on {self.port} answered as MicroPython for {self.silence_s:.0f} s: is it the right "
            "port, and was MicroPython flashed onto the board?"
        )

    def _explain(self, tail: str, *, started: bool) -> BoardError:
        """Turn the last words of mpremote or of the board into an error for a person."""
        if NOT_INSTALLED in tail:
            return BoardError("mpremote is not installed: pip install 'peilmerk[device]'")
        if "failed to access" in tail:
            return PortBusy(
                f"another program holds {self.port}: close the terminal or peilmerk that has it open"
            )
        if NO_PROMPT in tail:
            return NoMicroPython(
                f"what is on {self.port} does not answer as MicroPython: flash MicroPython first, or, if it "
                "is there, press the board's reset button and run this again"
            )
        if "Traceback" in tail and "mpremote" not in tail:
            last = [line for line in tail.splitlines() if line.strip()][-1]
            return ScriptFailed(f"the board on {self.port} says: {last[:200]}")
        if started or "device" in tail.lower():
            return BoardGone(f"the board on {self.port} went away in the middle of the work; run this again")
        last = tail.splitlines()[-1][:200] if tail else "nothing"
        return BoardError(f"mpremote gave up on {self.port}, saying: {last}")


def ports() -> list[Port]:
    """Return the serial ports of this machine that are USB devices or fixed ports; virtual boards are not
    listed.

    Raises BoardError when mpremote cannot be run.
    """
    listed = subprocess.run(
        [*MPREMOTE, "connect", "list"], capture_output=True, text=True, timeout=SILENCE_S, check=False
    )
    if listed.returncode:
        if NOT_INSTALLED in listed.stderr:
            raise BoardError("mpremote is not installed: pip install 'peilmerk[device]'")
        raise BoardError(f"mpremote cannot list the ports: {listed.stderr.strip()[-200:]}")
    found = []
    for line in listed.stdout.splitlines():
        path, serial, usb_id, description = [*line.split(" ", 3), "", "", "", ""][:4]
        if path:
            found.append(Port(path, *(_known(word) for word in (serial, usb_id, description))))
    return found


def _known(word: str) -> str:
    return " ".join(part for part in word.split() if part not in ("None", "0000:0000", "n/a"))


def _read_lines(process: subprocess.Popen[bytes], lines: queue.SimpleQueue[bytes | None]) -> None:
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            lines.put(line)
    lines.put(None)


def _arguments(steps: Sequence[Step], folder: Path) -> list[str]:
    """Write each script into the private folder and return mpremote's arguments for the chain."""
    arguments: list[str] = []
    before = ""
    for number, step in enumerate(steps):
        if number:
            arguments.append("+")
        if isinstance(step, Reset):
            arguments.append("reset")
            continue
        # What was sent in this connection is still defined on the board; it is not sent twice.
        text = "" if before else _source("common")
        if step.name != before:
            text += _source(step.name)
        before = step.name
        path = folder / f"{number:03d}-{step.name}.py"
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(f"{text}\nmain('/', {step.params!r})\n")
        arguments += ["run", str(path)]
    return arguments


def _source(name: str) -> str:
    """Return a script's text without the import of what was sent before it."""
    text = (
        importlib.resources.files("peilmerk_provisioning.on_board").joinpath(f"{name}.py").read_text("utf-8")
    )
    return _LOCAL_IMPORT.sub("", text)
