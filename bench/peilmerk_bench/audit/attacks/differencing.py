"""Differencing: sums that were published give away the terms that were withheld.

Each published figure of a window [s, e) says how far the running total P rises from s to e: P(e) - P(s) = v.
So moments are the nodes of a graph and figures its edges; what is known of a withheld window is exact as soon
as its two ends hang together over published figures, whichever way, and it is the difference of their
heights. That finds every difference of sums there is: 12:00-13:00 less 12:15-13:00 as well as a day's total
less all windows but one.

Where figures close a ring, exact ones add up to nought around it. Those that do not are noisy: what is
derived from them is then a guess, and marked as one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from peilmerk_bench.audit.attacks.figures import Cell, Figure, cell_of
from peilmerk_bench.audit.attacks.score import SIGMAS, Score, share_sd

MEASURE = "withheld figures given back exactly, share"
MARGIN = 0.15
"""What an attacker must get right beyond guessing the commonest figure."""
DAY_S = 86_400


class Heights:
    """The running total at each moment, as far as figures tie moments together (a union-find with offsets).

    rings: how many figures closed a ring; agreed: how many of them fitted what was known.
    """

    def __init__(self) -> None:
        self._up: dict[float, float] = {}
        self._by: dict[float, float] = {}
        self.rings = 0
        self.agreed = 0

    def tie(self, start: float, end: float, value: float) -> None:
        """Take in that the total rises by `value` from `start` to `end`."""
        (one, low), (other, high) = self._root(start), self._root(end)
        if one == other:
            self.rings += 1
            self.agreed += abs(high - low - value) < 1e-6
        else:
            self._up[other], self._by[other] = one, low + value - high

    def rise(self, start: float, end: float) -> float | None:
        """Return how far the total rises between two moments, None where nothing ties them together."""
        (one, low), (other, high) = self._root(start), self._root(end)
        return high - low if one == other else None

    def _root(self, moment: float) -> tuple[float, float]:
        """Return the moment that stands for a set of them, and the height above it."""
        path, height = [], 0.0
        while (up := self._up.get(moment, moment)) != moment:
            path.append((moment, height))
            height += self._by[moment]
            moment = up
        for passed, before in path:
            self._up[passed], self._by[passed] = moment, height - before
        return moment, height


@dataclass(frozen=True)
class Derived:
    """What differencing gives: a figure for every withheld cell that hangs together, and the rings."""

    cells: Mapping[Cell, float]
    withheld: int
    rings: int
    agreed: int


def derive(figures: Sequence[Figure]) -> Derived:
    """Derive what can be derived of withheld figures, stream by stream."""
    streams: dict[str, list[Figure]] = {}
    for figure in figures:
        streams.setdefault(figure.stream, []).append(figure)
    cells: dict[Cell, float] = {}
    withheld = rings = agreed = 0
    for rows in streams.values():
        heights = Heights()
        # The longest last: a day's total is then checked against its windows, not the other way round.
        for row in sorted(rows, key=lambda row: row.end - row.start):
            if row.value is not None:
                heights.tie(row.start, row.end, row.value)
        rings, agreed = rings + heights.rings, agreed + heights.agreed
        for row in rows:
            if row.value is None:
                withheld += 1
                found = heights.rise(row.start, row.end)
                if found is not None:
                    cells[cell_of(row)] = found
    return Derived(cells, withheld, rings, agreed)


def score(
    side: str, attack: str, figures: Sequence[Figure], truth: Mapping[Cell, float], below: float
) -> Score:
    """Mark what an attacker knows of the withheld cells: what differencing gives, where it is a figure that
    would have been withheld (0 to `below`), else the commonest of what is left.
    """
    derived = derive(figures)
    wanted = [cell for cell in map(cell_of, (f for f in figures if f.value is None)) if cell in truth]
    given = {
        cell: round(derived.cells[cell])
        for cell in wanted
        if cell in derived.cells and 0 <= round(derived.cells[cell]) < below
    }
    right = sum(value == truth[cell] for cell, value in given.items())
    guessed = _commonest([truth[cell] for cell in wanted if cell not in given])
    chance = _commonest([truth[cell] for cell in wanted]) / len(wanted) if wanted else 0.0
    sd = share_sd(chance, len(wanted))
    return Score(
        attack,
        side,
        MEASURE,
        (right + guessed) / len(wanted) if wanted else 0.0,
        chance,
        min(1.0, chance + max(MARGIN, SIGMAS * sd)),
        sd,
        len(wanted),
        f"{len(given)} of {len(wanted)} withheld figures derived, {right} of them right; "
        f"{derived.agreed} of {derived.rings} rings of sums agree",
    )


def score_without_truth(side: str, figures: Sequence[Figure]) -> Score:
    """Say how many withheld cells a file gives back, where nobody knows the truth: none of what is derived
    counts when rings show that its figures are noisy, nor where it is no whole number of nought or more.
    """
    derived = derive(figures)
    noisy = derived.rings > 0 and derived.agreed < derived.rings / 2
    sane = [v for v in derived.cells.values() if v >= 0 and abs(v - round(v)) < 1e-6]
    given = 0 if noisy else len(sane)
    return Score(
        "differencing",
        side,
        MEASURE,
        given / derived.withheld if derived.withheld else 0.0,
        0.0,
        MARGIN,
        0.0,
        derived.withheld,
        f"{len(derived.cells)} of {derived.withheld} withheld figures derived; "
        f"{derived.agreed} of {derived.rings} rings of sums agree"
        + ("" if derived.rings else ": nothing shows whether what was derived is exact"),
    )


def _commonest(values: Sequence[float]) -> int:
    """Return how often the commonest value comes: what guessing gives who knows that much."""
    counts: dict[float, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return max(counts.values(), default=0)
