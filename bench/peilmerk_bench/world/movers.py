"""Who moves past a sensor, with speed, axles and class: the recorded day's cyclists, and others beside them.

`Passage` knows what two beams see; a loop, a tube, a radar and a door sensor want to know how fast somebody
goes and what the body or the axles do. The speeds of the recorded day are those of the trace; a speed that
was not measured is the usual one.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from peilmerk_bench.world.passages import DAY_S, USUAL_SPEED_KMH
from peilmerk_bench.world.traces import Crossing, counting_day

WHEELBASE_M = 1.05
"""Between the axles of a bicycle."""

BICYCLE_LENGTH_M = 1.75


@dataclass(frozen=True, order=True)
class Mover:
    """One passage of the line a sensor watches.

    at: when the front crosses the line, in world time; direction: "in" or "out"; speed_ms: metres a second;
    kind: "bicycle", "pedestrian" or "vehicle"; axle_m: from the first axle to the second, 0 for none;
    length_m: how long the body is; aside_m: how far from the middle of the path.
    """

    at: float
    direction: str
    speed_ms: float = 4.2
    kind: str = "bicycle"
    axle_m: float = WHEELBASE_M
    length_m: float = BICYCLE_LENGTH_M
    aside_m: float = 0.0

    @classmethod
    def walker(cls, at: float, direction: str, speed_ms: float = 1.4, aside_m: float = 0.0) -> Mover:
        """Somebody on foot: no axles, half a metre deep."""
        return cls(at, direction, speed_ms, "pedestrian", 0.0, 0.5, aside_m)

    @classmethod
    def car(cls, at: float, direction: str, speed_ms: float = 8.0, axle_m: float = 2.6) -> Mover:
        """A car."""
        return cls(at, direction, speed_ms, "vehicle", axle_m, axle_m + 1.7)

    def takes_s(self, metres: float) -> float:
        """How long it takes for so many metres."""
        return metres / self.speed_ms


class Movers:
    """A list of movers that a simulator can be asked about."""

    def __init__(self, movers: Iterable[Mover]) -> None:
        self.all = sorted(movers)
        self._starts = [mover.at for mover in self.all]

    def __call__(self, since: float, until: float) -> list[Mover]:
        """Those whose front crosses the line in [since, until), in order."""
        first = bisect.bisect_left(self._starts, since)
        return self.all[first : bisect.bisect_left(self._starts, until)]

    def counts(self, since: float, until: float) -> Counter[tuple[str, str]]:
        """How many of each (kind, direction) cross the line in [since, until)."""
        return Counter((mover.kind, mover.direction) for mover in self(since, until))


class MoverReplay:
    """The recorded day, replayed every day: its cyclists at their own speeds, or as many on foot.

    Within their second they get a place of their own. Calling it with (since, until) gives those whose front
    crosses the line in [since, until), in order.
    """

    def __init__(self, crossings: tuple[Crossing, ...] | None = None, on_foot: bool = False) -> None:
        rows = counting_day() if crossings is None else crossings
        together = Counter(row.second for row in rows)
        nth: Counter[int] = Counter()
        self._day: list[Mover] = []
        for row in rows:
            at = round(row.second + 0.1 + 0.8 / together[row.second] * nth[row.second], 6)
            nth[row.second] += 1
            speed = (row.speed_kmh or USUAL_SPEED_KMH) / 3.6
            self._day.append(Mover.walker(at, row.direction) if on_foot else Mover(at, row.direction, speed))
        self._starts = [mover.at for mover in self._day]

    def __call__(self, since: float, until: float) -> list[Mover]:
        found = []
        for day in range(int(since // DAY_S), int(until // DAY_S) + 1):
            start = day * DAY_S
            first = bisect.bisect_left(self._starts, since - start)
            last = bisect.bisect_left(self._starts, until - start)
            found += [replace(mover, at=start + mover.at) for mover in self._day[first:last]]
        return found


def recorded(begin: float, until: float, apart_s: float = 0.0) -> Movers:
    """The recorded cyclists between two moments.

    apart_s: leave out who comes within so many seconds after the one before, for a street on which everybody
    can be told apart.
    """
    movers: list[Mover] = []
    for mover in MoverReplay()(begin, until):
        if not movers or mover.at - movers[-1].at >= apart_s:
            movers.append(mover)
    return Movers(movers)
