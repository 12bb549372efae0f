"""World time: ``world = world_start + (host - wall_start) * speed``.

Three numbers, so that every process that knows them agrees on what time it is without asking anybody. Host
time is `time.time()`; both are seconds since 1970.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Self


@dataclass(frozen=True)
class WorldClock:
    """Shows `world_start` when the host's clock shows `wall_start`, and runs `speed` times as fast."""

    world_start: float
    wall_start: float
    speed: float = 1.0

    def __post_init__(self) -> None:
        if not 0.001 <= self.speed <= 10_000:
            raise ValueError(f"speed is {self.speed}, wanted 0.001 to 10000")

    @classmethod
    def real(cls) -> WorldClock:
        """The host's own time."""
        return cls(0.0, 0.0, 1.0)

    @classmethod
    def starting(cls, world_start: float, speed: float = 1.0) -> Self:
        """A clock that shows `world_start` now."""
        return cls(world_start, time.time(), speed)

    def now(self) -> float:
        """World time in seconds since 1970."""
        return self.world_start + (time.time() - self.wall_start) * self.speed

    def host_seconds(self, world_seconds: float) -> float:
        """How long the host waits for so much world time."""
        return world_seconds / self.speed

    def skip(self, world_seconds: float) -> bool:
        """Let the world go on by so much at once, while nobody in it is awake. False: not by this clock."""
        return False

    def microseconds(self) -> tuple[int, int, int, int]:
        """World start and wall start in microseconds, and the speed as numerator and denominator."""
        speed = Fraction(self.speed).limit_denominator(1000)
        return round(self.world_start * 1e6), round(self.wall_start * 1e6), speed.numerator, speed.denominator

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> WorldClock:
        return cls(**json.loads(text))


class SkippingClock(WorldClock):
    """Skips the sleep of a board. For a world with one board in it; only who has this very object knows the
    time.
    """

    def skip(self, world_seconds: float) -> bool:
        object.__setattr__(self, "world_start", self.world_start + world_seconds)
        return True
