"""One child process that does not outlive its parent, and the removal of one that an earlier parent left
behind.

On Linux the kernel ends the child when the parent dies, however it dies (`PR_SET_PDEATHSIG`). Elsewhere,
and for the moment between the two deaths, a file with the child's process id lets the next parent find
and end it. A file lock beside it makes sure that there is one parent at a time.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from peilmerk_gateway.errors import PeilmerkError

TERM_S = 5.0
KILL_S = 5.0

# Runs between fork and exec, as a program of its own: a function given to the fork would run Python code
# in a copy of a process whose other threads are gone. PR_SET_PDEATHSIG (prctl(2)) is 1; it survives the
# exec. A parent that died before the call is noticed by its number.
_TIE = """
import ctypes, os, signal, sys
parent, program = int(sys.argv[1]), sys.argv[2:]
if sys.platform == "linux":
    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGTERM, 0, 0, 0)
if os.getppid() != parent:
    sys.exit(1)
os.execv(program[0], program)
"""


def tied(program: Sequence[str]) -> list[str]:
    """Return the command that runs `program` as a child which ends when this process does."""
    return [sys.executable, "-I", "-S", "-c", _TIE, str(os.getpid()), *program]


class ChildError(PeilmerkError):
    """The child process cannot be had; the text says what is in the way."""


def is_held(folder: Path) -> bool:
    """Whether a process has the lease of a folder now; makes nothing. Raises OSError."""
    try:
        handle = os.open(folder / "lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


class Lease:
    """The right to run children in a folder, held by one process at a time until it ends or lets go."""

    def __init__(self, folder: Path) -> None:
        """Take the right. Raises ChildError when another process has it."""
        self.pid_file = folder / "child.pid"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._handle)
            raise ChildError(
                f"{folder}: in use by another gateway, wanted one gateway a data_dir: stop the other first"
            ) from None

    def release(self) -> None:
        """Let go; harmless when done twice."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    async def start(self, program: Sequence[str]) -> asyncio.subprocess.Process:
        """Start a program, its standard error piped, out of reach of the terminal's Ctrl-C.

        Raises ChildError when it cannot be started.
        """
        if not os.access(program[0], os.X_OK):
            raise ChildError(f"{program[0]}: found no program to run")
        process = await asyncio.create_subprocess_exec(
            *tied(program),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            umask=0o077,
        )
        self.pid_file.write_text(f"{process.pid}\n")
        return process

    async def end_leftover(self, mark: str) -> bool:
        """End the child of an earlier parent, known by `mark` in its command line; tell if there was one."""
        try:
            pid = int(self.pid_file.read_text())
        except (OSError, ValueError):
            return False
        found = mark in await asyncio.to_thread(command_line, pid)
        if found:
            for number, patience in ((signal.SIGTERM, TERM_S), (signal.SIGKILL, KILL_S)):
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    break
                if await asyncio.to_thread(_gone, pid, mark, patience):
                    break
        self.pid_file.unlink(missing_ok=True)
        return found


async def end(process: asyncio.subprocess.Process) -> None:
    """Ask a child to end, make it after a few seconds, and wait until it is gone."""
    if process.returncode is None:
        try:
            process.terminate()
            await asyncio.wait_for(process.wait(), TERM_S)
        except ProcessLookupError:
            pass
        except TimeoutError:
            process.kill()
    await process.wait()


def _gone(pid: int, mark: str, patience: float) -> bool:
    """Wait until no such process is left; False when one still is after so many seconds."""
    deadline = time.monotonic() + patience
    while mark in command_line(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def command_line(pid: int) -> str:
    """Return a running process's command line, empty when there is no such process or it is a zombie."""
    proc = Path(f"/proc/{pid}/cmdline")
    if Path("/proc/self/cmdline").exists():
        try:
            return proc.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    listing = subprocess.run(
        ["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return listing.stdout
