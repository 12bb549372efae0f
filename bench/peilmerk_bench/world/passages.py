"""Who passes: a recorded day of passages, replayed every day of world time.

The trace knows the second; within it a passage gets a place that never touches the second's borders (0.1 to
0.9 s) and never overlaps another passage, so that every window's true count is unambiguous.
"""

from __future__ import annotations

import bisect
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

from peilmerk_bench.world.traces import Crossing, counting_day

DAY_S = 86_400
BEAM_DISTANCE_M = 0.3
BICYCLE_LENGTH_M = 1.7
USUAL_SPEED_KMH = 15.0


@dataclass(frozen=True, order=True)
class Passage:
    """One passage of two beams.

    at: when the first beam breaks (world time); direction: "in" or "out"; gap_s: from the first to the second
    beam; dark_s: for how long each is broken (longer than the gap).
    """

    at: float
    direction: str
    gap_s: float = 0.06
    dark_s: float = 0.3

    LONGEST_S: ClassVar[float] = 2.0
    """No passage takes longer than this from its first edge to its last."""

    @property
    def until(self) -> float:
        """When the second beam is seen again."""
        return self.at + self.gap_s + self.dark_s


class PassageReplay:
    """A recorded day, replayed every day.

    crossings: the day; shift_s: another board's street, the same day moved by so many seconds. Calling it
    with (since, until) gives the passages that begin in [since, until), in order.
    """

    def __init__(self, crossings: tuple[Crossing, ...] | None = None, shift_s: int = 0) -> None:
        crossings = counting_day() if crossings is None else crossings
        moved = sorted(((c.second + shift_s) % DAY_S, i, c) for i, c in enumerate(crossings))
        together = Counter(second for second, _, _ in moved)
        nth: Counter[int] = Counter()
        self._day: list[Passage] = []
        for second, _, crossing in moved:
            share = 0.8 / together[second]
            metres_s = (crossing.speed_kmh or USUAL_SPEED_KMH) / 3.6
            gap = min(BEAM_DISTANCE_M / metres_s, 0.25 * share)
            dark = min(BICYCLE_LENGTH_M / metres_s, 0.55 * share)
            at = second + 0.1 + share * nth[second]
            nth[second] += 1
            self._day.append(Passage(round(at, 6), crossing.direction, round(gap, 6), round(dark, 6)))
        self._starts = [passage.at for passage in self._day]

    def __call__(self, since: float, until: float) -> list[Passage]:
        found = []
        for day in range(int(since // DAY_S), int(until // DAY_S) + 1):
            start = day * DAY_S
            first = bisect.bisect_left(self._starts, since - start)
            last = bisect.bisect_left(self._starts, until - start)
            found += [Passage(start + p.at, p.direction, p.gap_s, p.dark_s) for p in self._day[first:last]]
        return found

    def counts(self, since: float, until: float) -> dict[str, int]:
        """True counts of the passages that begin in [since, until): {"in": …, "out": …}."""
        counts = Counter(p.direction for p in self(since, until))
        return {"in": counts["in"], "out": counts["out"]}
