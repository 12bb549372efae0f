"""Boards and plain mpremote for the tests of the virtual board."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from patience import DEADLINE_S

from peilmerk_bench.board import BoardSpec, SensorSpec, VirtualBoard
from peilmerk_bench.world.clock import WorldClock

BUSY = 1_772_471_700.0
"""2 March 2026, 17:15 UTC: a moment at which the recorded street is busy."""


@dataclass
class Bench:
    """A started board and the program that everybody uses on boards."""

    board: VirtualBoard

    async def mpremote(self, *words: str, cwd: Path | None = None, fails: int = 0) -> str:
        """Run unmodified mpremote on the port; returns what it printed, lines ending in LF."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "mpremote", "connect", self.board.port, *words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=cwd,
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(), DEADLINE_S)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise AssertionError(
                f"mpremote {words} hangs; the board wrote {self.board.console_tail!r}"
            ) from None
        assert process.returncode == fails, (words, output)
        return output.decode().replace("\r\n", "\n")

    async def run(self, source: str, *, soft_reset: bool = True) -> str:
        """What a piece of board code prints."""
        return await self.mpremote(*([] if soft_reset else ["resume"]), "exec", source)

    async def install(self, name: str, source: str) -> None:
        """Put a file on the board's flash, as plain text, without mpremote."""
        await self.run(f"with open({name!r}, 'w') as f: f.write({source!r})\nprint('written')")
        await self.at_prompt()

    async def at_prompt(self) -> None:
        """Return when the board shows its friendly prompt: mpremote is gone before its last byte is read."""
        async with asyncio.timeout(DEADLINE_S):
            while not self.board.console_tail.endswith(">>> "):
                await asyncio.sleep(0.02)

    async def reboot(self) -> None:
        """Ctrl-D at the prompt: forgets what was on the console, and starts main.py."""
        await self.at_prompt()
        self.board._tail.clear()
        self.board.type(b"\x04")


StartBoard = Callable[..., Awaitable[Bench]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[StartBoard]:
    """start(speed=1.0, sensors=(), name="board", **options of BoardSpec): a board with power."""
    boards: list[VirtualBoard] = []

    async def begin(
        speed: float = 1.0, sensors: tuple[SensorSpec, ...] = (), name: str = "board", **options: object
    ) -> Bench:
        spec = BoardSpec(name, "test", tmp_path / f"{name}.img", sensors=sensors)
        board = VirtualBoard(replace(spec, **options), WorldClock(BUSY, time.time(), speed), tmp_path / "run")
        boards.append(board)
        await board.start()
        return Bench(board)

    yield begin
    for board in boards:
        await board.stop()
