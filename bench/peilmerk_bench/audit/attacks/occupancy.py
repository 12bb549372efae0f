"""Occupancy: whether somebody is at home, from the home's published air figures.

The attacker knows of half of the days whether somebody was in (a neighbour, a caretaker), has a linear
discriminant trained on them (Fisher 1936), and marks the other half; then the other way round. No moment is
ever marked by what was trained on its own day.

A figure is taken as how far it lies above what is usual at that time of the day (the median over the days
that are known), in its window, the one before and the one after: figures are looked at afterwards. Extremes,
spreads and completeness are streams of their own. The area under the ROC curve is taken among windows of the
same hour of the day and averaged over hours, so that knowing that people sleep at night earns nothing.

What chance gives is measured, not assumed: the same marks against the days' truth in another order.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Mapping, Sequence

from peilmerk_bench.audit.attacks.figures import Figure
from peilmerk_bench.audit.attacks.score import SIGMAS, Score, auc

MEASURE = "area under the ROC curve, somebody at home against nobody"
CHANCE = 0.5
LIMIT = 0.55
LONG_DAYS = 240
"""A world of ours that is so long has one outcome, seeded as it is; a shorter one leaves chance more room."""
DAY_S, HOUR_S = 86_400, 3_600
MOST = 5.0
RIDGE = 0.05
ORDERS = 60
"""In how many other orders the days' truth is marked."""

Row = list[float]


def suspicions(figures: Sequence[Figure], occupied: Mapping[float, int]) -> dict[float, float]:
    """Return for each moment of `occupied` how much speaks for somebody at home, by the other days."""
    days = sorted({moment_day(moment) for moment in occupied})
    found: dict[float, float] = {}
    for parity in (0, 1):
        # Two days in a row together, so that a habit of every other day is in either half.
        known = {day for place, day in enumerate(days) if place // 2 % 2 == parity}
        rows = features(figures, sorted(occupied), known)
        if not known:
            continue
        train = [moment for moment in occupied if moment_day(moment) in known]
        weights = discriminant(
            [rows[moment] for moment in train if occupied[moment]],
            [rows[moment] for moment in train if not occupied[moment]],
        )
        for moment in occupied:
            if moment_day(moment) not in known:
                found[moment] = sum(w * x for w, x in zip(weights, rows[moment], strict=True))
    return found


def moment_day(moment: float) -> int:
    """Return the day of a window that ended at a moment."""
    return int((moment - 1) // DAY_S)


def features(figures: Sequence[Figure], moments: Sequence[float], known: set[int]) -> dict[float, Row]:
    """Return for each moment at which a window ended how unusual the figures around it are."""
    rows: dict[float, Row] = {moment: [] for moment in moments}
    streams: dict[str, list[Figure]] = {}
    for figure in figures:
        if figure.value is not None:
            streams.setdefault(figure.stream, []).append(figure)
    for stream in sorted(streams):
        usual: dict[float, list[float]] = {}
        for figure in streams[stream]:
            if moment_day(figure.end) in known:
                usual.setdefault(figure.end % DAY_S, []).append(figure.value or 0.0)
        middle = {time: statistics.median(values) for time, values in usual.items()}
        off = {
            figure.end: (figure.value or 0.0) - middle[figure.end % DAY_S]
            for figure in streams[stream]
            if figure.end % DAY_S in middle
        }
        spread = statistics.median(map(abs, off.values())) if off else 0.0
        length = min(figure.end - figure.start for figure in streams[stream])
        for moment, row in rows.items():
            for step in (-1, 0, 1):
                # One candle must not outweigh a month.
                value = off.get(moment + step * length, 0.0) / (spread or 1.0)
                row.append(max(-MOST, min(MOST, value)))
    return rows


def discriminant(ones: Sequence[Row], others: Sequence[Row]) -> Row:
    """Return the weights that tell two kinds of rows apart: S^-1 (m1 - m0), S being what both vary by, with a
    little on its diagonal. Noughts where there is only one kind.
    """
    if not ones or not others or not ones[0]:
        return [0.0] * len((*ones, *others, [])[0])
    size = len(ones[0])
    means = [[statistics.fmean(column) for column in zip(*rows, strict=True)] for rows in (ones, others)]
    scatter = [[0.0] * size for _ in range(size)]
    for rows, mean in zip((ones, others), means, strict=True):
        for row in rows:
            off = [x - m for x, m in zip(row, mean, strict=True)]
            for line, one in zip(scatter, off, strict=True):
                if one:
                    for n in range(size):
                        line[n] += one * off[n]
    number = len(ones) + len(others)
    ridge = RIDGE * (statistics.fmean(scatter[n][n] for n in range(size)) / number) + 1e-9
    for n, line in enumerate(scatter):
        line[:] = [value / number for value in line]
        line[n] += ridge
    return _solved(scatter, [a - b for a, b in zip(*means, strict=True)])


def _solved(matrix: list[Row], right: Row) -> Row:
    """Solve a system of equations by elimination, the largest pivot first."""
    rows = [[*line, value] for line, value in zip(matrix, right, strict=True)]
    size = len(rows)
    for place in range(size):
        best = max(range(place, size), key=lambda n: abs(rows[n][place]))
        rows[place], rows[best] = rows[best], rows[place]
        for line in rows[place + 1 :]:
            factor = line[place] / rows[place][place]
            if factor:
                for n in range(place, size + 1):
                    line[n] -= factor * rows[place][n]
    found = [0.0] * size
    for place in reversed(range(size)):
        known = sum(rows[place][n] * found[n] for n in range(place + 1, size))
        found[place] = (rows[place][size] - known) / rows[place][place]
    return found


def area(suspected: Mapping[float, float], occupied: Mapping[float, int]) -> float:
    """Return the area under the curve, hour of the day by hour of the day; 0.5 where nothing is compared."""
    hours: dict[int, tuple[list[float], list[float]]] = {}
    for moment, somebody in occupied.items():
        inside, outside = hours.setdefault(int((moment - 1) % DAY_S // HOUR_S), ([], []))
        (inside if somebody else outside).append(suspected.get(moment, 0.0))
    compared = [(auc(*sides), min(map(len, sides))) for sides in hours.values() if all(sides)]
    total = sum(weight for _, weight in compared)
    return sum(found * weight for found, weight in compared) / total if total else CHANCE


def by_chance(suspected: Mapping[float, float], occupied: Mapping[float, int]) -> float:
    """Return the standard deviation of the area against the truth of the days in other orders."""
    days = sorted({moment_day(moment) for moment in occupied})
    generator = random.Random(1)
    squares = []
    for _ in range(ORDERS):
        order = dict(zip(days, generator.sample(days, len(days)), strict=True))
        other = {
            moment: occupied[there]
            for moment in occupied
            if (there := moment + (order[moment_day(moment)] - moment_day(moment)) * DAY_S) in occupied
        }
        squares.append((area(suspected, other) - CHANCE) ** 2)
    return math.sqrt(statistics.fmean(squares))


def score(side: str, attack: str, figures: Sequence[Figure], occupied: Mapping[float, int]) -> Score:
    """Mark the attack against `occupied`, by the moment at which a window ended. Moments of which nothing was
    published are told apart by nothing.
    """
    suspected = suspicions(figures, occupied)
    streams = len({figure.stream for figure in figures})
    sd = by_chance(suspected, occupied) if figures else 0.0
    days = len({moment_day(moment) for moment in occupied})
    return Score(
        attack,
        side,
        MEASURE,
        area(suspected, occupied),
        CHANCE,
        LIMIT if days >= LONG_DAYS else max(LIMIT, CHANCE + SIGMAS * sd),
        sd,
        len(occupied),
        f"{len(figures)} figures of {streams} streams published; {len(occupied)} windows of "
        f"{days} days, each marked by what other days taught",
    )
