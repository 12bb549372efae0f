"""Copies what a write-ahead log has, in a process of its own.

A page is two system calls, and after each Python waits for whoever else computes, up to 5 ms: thousands of
pages beside a busy gateway took a minute, with the store locked. The process is `wal` as a program. It holds
the mirror's lock, too, so that after a gateway's death nobody else begins before it has ended.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from peilmerk_gateway.store import wal

END_S = 10.0


@dataclass(frozen=True, slots=True)
class Copied:
    """How far a log goes that was copied: as in `wal.Frames`; `new` frames of it were not known before."""

    salts: str
    page_size: int
    count: int
    new: int
    size: int


def copied(frames: wal.Frames) -> Copied:
    """Return that of a log that was copied by this very process."""
    return Copied(frames.salts, frames.page_size, frames.count, len(frames.numbers), frames.size)


class Copier:
    """The process, started when it is first asked. Not to be used by two threads at a time."""

    def __init__(self, lock: int) -> None:
        """`lock` is an open file that is locked."""
        self._lock = lock
        self._process: subprocess.Popen[str] | None = None

    def copy(self, log: Path, salts: str, known: int, target: Path) -> Copied:
        """See `wal.copy`. Raises wal.CopyError and OSError, which say what was found."""
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps([str(log), salts, known, str(target)]) + "\n")
            process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            self.close()
            raise wal.CopyError(f"{target}: the process that copies ended")
        told = json.loads(line)
        if isinstance(told, str):
            raise wal.CopyError(told)
        return Copied(*told)

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", wal.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                pass_fds=(self._lock,),
            )
        return self._process

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(OSError):
            process.stdin.close()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
