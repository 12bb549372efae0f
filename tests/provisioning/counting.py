"""How often an installation alone writes to a board's flash: the firmware writes, too, whenever it starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from peilmerk_bench.board import VirtualBoard
from peilmerk_provisioning.board import Board, Reset, Script


class Counting(Board):
    """A board whose installation is counted in `writes`, or loses its power at the write `cut`."""

    def __init__(self, virtual: VirtualBoard, *, cut: int = 0, **options: Any) -> None:
        super().__init__(virtual.port, **options)
        self._virtual = virtual
        self._cut = cut
        self.writes = 0

    def do(self, steps: Sequence[Any], *rest: Any) -> list[dict[str, Any]]:
        if not any(isinstance(step, Script) and step.name == "install" for step in steps):
            return super().do(steps, *rest)
        if self._cut:
            self._virtual.cut_power_after_writes(self._cut)
        before = self._virtual.flash_writes
        done = super().do([step for step in steps if not isinstance(step, Reset)], *rest)
        self.writes = self._virtual.flash_writes - before
        super().do([step for step in steps if isinstance(step, Reset)])
        return done
