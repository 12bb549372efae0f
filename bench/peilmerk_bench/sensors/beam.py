"""A pair of break-beams across a path: two GPIO inputs, high while the beam is seen, low while it is broken.

Who comes towards the city ("in") breaks A first, who leaves ("out") breaks B first; the beams stand 0.3 m
apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from peilmerk_bench.sensors.device import Edge, PinDevice
from peilmerk_bench.world.passages import Passage

Traffic = Callable[[float, float], list[Passage]]
"""Passages that begin in [from, until), in order."""


@dataclass
class BeamPair(PinDevice):
    """The simulator. traffic: who passes; pins: GPIO numbers of beams A and B.

    silent: nothing is seen; what is passed by hand (`passing`) is added to the traffic.
    """

    traffic: Traffic = lambda since, until: []
    pins: tuple[int, ...] = (4, 5)
    passing: list[Passage] = field(default_factory=list)

    def passages(self, since: float, until: float) -> list[Passage]:
        """Passages that begin in [since, until), in order."""
        by_hand = [p for p in self.passing if since <= p.at < until]
        return sorted(self.traffic(since, until) + by_hand, key=lambda p: p.at)

    def edges_of(self, passage: Passage) -> list[Edge]:
        """The four edges of a passage."""
        first, second = self.pins if passage.direction == "in" else self.pins[::-1]
        at, gap, dark = passage.at, passage.gap_s, passage.dark_s
        return [(at, first, 0), (at + gap, second, 0), (at + dark, first, 1), (at + gap + dark, second, 1)]

    def edges(self, after: float, until: float) -> list[Edge]:
        """Edges in (after, until], in order."""
        if self.silent:
            return []
        found = [e for p in self.passages(after - Passage.LONGEST_S, until) for e in self.edges_of(p)]
        return sorted(e for e in found if after < e[0] <= until)

    def levels(self, at: float) -> dict[int, int]:
        """The level of each pin at a moment."""
        levels = dict.fromkeys(self.pins, 1)
        for _, pin, level in self.edges(at - Passage.LONGEST_S, at):
            levels[pin] = level
        return levels
