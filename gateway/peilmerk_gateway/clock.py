"""What time it is, in unix seconds (UTC).

Everything in the gateway that compares with a report's window asks a `Clock`, so that a street of virtual
boards can live through a recorded day faster than the wall clock, with the gateway beside it in the same
time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> float:
        """Return unix seconds, UTC."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        """Return unix seconds, UTC."""
        return time.time()


@dataclass(frozen=True)
class ScaledClock:
    """A clock that starts at `world_start` when the wall clock shows `wall_start`, and runs `speed` times
    as fast.

    All three are plain numbers (unix seconds, unix seconds, factor), so that several processes on one
    machine that were given the same three tell the same time.
    """

    world_start: float
    wall_start: float
    speed: float = 1.0

    def now(self) -> float:
        """Return the scaled world's unix seconds, UTC."""
        return self.world_start + (time.time() - self.wall_start) * self.speed
