"""The true counts of a recorded trace, window by window: what no board ever tells, and a simulation needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from peilmerk_bench.world.traces import COUNTS, DIRECTIONS, counting_days
from peilmerk_protocol.profile import DAY_S


@dataclass(frozen=True)
class Street:
    """Whole days of passages: seconds of the day by (day, direction); directions are counted apart."""

    passages: Mapping[tuple[date, str], Sequence[int]]

    @classmethod
    def of(cls, trace: Path = COUNTS) -> Street:
        """Read a trace. Raises TraceError."""
        return cls(
            {
                (day, direction): [c.second for c in crossings if c.direction == direction]
                for day, crossings in counting_days(trace).items()
                for direction in DIRECTIONS
            }
        )

    @property
    def days(self) -> int:
        """How many days the trace has."""
        return len({day for day, _ in self.passages})

    @property
    def totals(self) -> list[int]:
        """How many passages each day has in each direction."""
        return [len(seconds) for seconds in self.passages.values()]

    @property
    def total(self) -> int:
        """How many passages the trace has."""
        return sum(self.totals)

    def histogram(self, window_s: int) -> Counter[int]:
        """How many windows (of each day and direction) have each true count, empty ones too."""
        found: Counter[int] = Counter()
        for seconds in self.passages.values():
            windows = Counter(second // window_s for second in seconds)
            found.update(windows.values())
            found[0] += DAY_S // window_s - len(windows)
        return found
