"""Attacks on a city's own export file, whoever published it; the weak publisher's file beside it.

With a file of the truth each attack is marked by it. Without one an attack says what it claims to know: what
differences of exact sums give, what several answers to one question average to, which places are blurred
anew. What needs a column that is not there, or the truth, is told as not attacked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from peilmerk_bench.audit.attacks import (
    averaging,
    differencing,
    linkage,
    location,
    occupancy,
    timing,
    weak_worlds,
    worlds,
)
from peilmerk_bench.audit.attacks.figures import Cell, Figure, cell_of, gaps_withheld
from peilmerk_bench.audit.attacks.location import Place
from peilmerk_bench.audit.attacks.score import FILE, WEAK, NotAttacked, Score

LEAST_MESSAGES, LEAST_DAYS = 100, 14


@dataclass(frozen=True)
class Seen:
    """What an attacker has: a file; perhaps the truth of its cells, another file about the same sensors, and
    the epsilon that is claimed for one figure (None: figures are said to be exact).
    """

    figures: Sequence[Figure]
    truth: Mapping[Cell, float] | None = None
    other: Sequence[Figure] | None = None
    epsilon: float | None = None

    @property
    def withheld(self) -> list[Figure]:
        """The figures, and what is not there as withheld."""
        return gaps_withheld(self.figures)


class _Lacks(Exception):
    """An attack cannot be made on a file; the text says what is not in it."""


def _differencing(side: str, seen: Seen) -> Score:
    figures = seen.withheld
    if all(figure.value is not None for figure in figures):
        raise _Lacks("nothing is withheld")
    if seen.truth is None:
        return differencing.score_without_truth(side, figures)
    hidden = [
        truth for figure in figures if figure.value is None for truth in [seen.truth.get(cell_of(figure))]
    ]
    known = [value for value in hidden if value is not None]
    if not known:
        raise _Lacks("the file of the truth has none of what is withheld")
    return differencing.score(side, "differencing", figures, seen.truth, max(known) + 1)


def _averaging(side: str, seen: Seen) -> Score:
    if not any(len(found) > 1 for found in averaging.answers_of(seen.figures).values()):
        raise _Lacks("no figure is there more than once")
    if seen.truth is None or seen.epsilon is None:
        return averaging.score_without_truth(side, seen.figures)
    return averaging.score(side, seen.figures, seen.truth, seen.epsilon)


def _location(side: str, seen: Seen) -> Score:
    places: dict[str, list[Place]] = {}
    for figure in seen.figures:
        if figure.longitude is not None and figure.latitude is not None:
            places.setdefault(figure.thing, []).append((figure.longitude, figure.latitude))
    if not places:
        raise _Lacks("no columns longitude and latitude")
    return location.score_without_truth(side, places)


def _occupancy(side: str, seen: Seen) -> Score:
    occupied = {figure.end: figure.occupied for figure in seen.figures if figure.occupied is not None}
    days = {occupancy.moment_day(moment) for moment in occupied}
    if len(days) < LEAST_DAYS:
        raise _Lacks(f"column occupied has {len(days)} days, wanted at least {LEAST_DAYS}")
    return occupancy.score(side, "occupancy", seen.figures, occupied)


def _noise(seen: Seen, column: str) -> tuple[list[float], list[float]]:
    """Return what is seen of each message in a column, and its noise."""
    if seen.truth is None:
        raise _Lacks("the noise is not known without a file of the truth")
    rows = [
        (value, figure.value - seen.truth[cell_of(figure)])
        for figure in seen.figures
        if (value := getattr(figure, column)) is not None
        and figure.value is not None
        and cell_of(figure) in seen.truth
    ]
    if len(rows) < LEAST_MESSAGES:
        raise _Lacks(f"{len(rows)} figures have {column} and a truth, wanted at least {LEAST_MESSAGES}")
    return [float(value) for value, _ in rows], [noise for _, noise in rows]


def _timing(side: str, seen: Seen) -> Score:
    _noise(seen, "sent_at")
    with_moment = [figure for figure in seen.figures if figure.sent_at is not None]
    late = [
        Figure(f.stream, f.start, f.end, f.value, sent_at=(f.sent_at or 0.0) - f.end) for f in with_moment
    ]
    return timing.score(side, "timing", *_noise(Seen(late, seen.truth), "sent_at"))


def _size(side: str, seen: Seen) -> Score:
    sizes, noise = _noise(seen, "bytes")
    return timing.score(side, "size", sizes, noise)


def _linkage(side: str, seen: Seen) -> Score:
    if seen.other is None:
        raise _Lacks("no other file was given")
    here, there = ([figure.thing for figure in rows] for rows in (seen.figures, seen.other))
    return linkage.score_ids(side, here, there)


ON_FILE: dict[str, Callable[[str, Seen], Score]] = {
    "differencing": _differencing,
    "averaging": _averaging,
    "location": _location,
    "occupancy": _occupancy,
    "timing": _timing,
    "size": _size,
    "linkage": _linkage,
}
NOT_IN_A_FILE = "it is no attack on a file: it wants the messages, the gateway or the board itself"


def weak_file(name: str, truth: bool) -> Seen:
    """Return the weak publisher's own file for an attack, with the truth or without."""
    found = _weak_file(name)
    return found if truth else Seen(found.figures, None, found.other, found.epsilon)


def _weak_file(name: str) -> Seen:
    if name == "differencing":
        return Seen(weak_worlds.hours(), weak_worlds.street().truth())
    if name == "averaging":
        publisher, figures = weak_worlds.answers()
        return Seen(figures, publisher.truth(), epsilon=weak_worlds.EPSILON)
    if name == "location":
        places, _ = weak_worlds.blurred()
        return Seen([Figure(key, 0, 1, 1.0, key, *place) for key, rows in places.items() for place in rows])
    if name == "occupancy":
        home = worlds.home(weak_worlds.HOME_DAYS)
        occupied = home.at(weak_worlds.HOUR_S)
        return Seen(
            [
                Figure(f.stream, f.start, f.end, f.value, f.thing, occupied=occupied[f.end])
                for f in weak_worlds.indoors(home)
            ]
        )
    if name in ("timing", "size"):
        return _weak_messages()
    here, there, _ = weak_worlds.catalogues()
    one, other = (
        [Figure(about["id"], 0, 1, 1.0, about["id"]) for about in found.values()] for found in (here, there)
    )
    return Seen(one, None, other)


def _weak_messages() -> Seen:
    figures, truth = [], {}
    for n, (noise, waited, size) in enumerate(weak_worlds.messages()):
        cell = "street", float(900 * n), float(900 * (n + 1))
        truth[cell] = 0.0
        figures.append(Figure(*cell, float(noise), sent_at=cell[2] + waited, bytes=size))
    return Seen(figures, truth)


def run(
    seen: Seen, names: Sequence[str], step: Callable[[str], None]
) -> tuple[list[Score], list[NotAttacked]]:
    """Attack a file with the attacks that are named, and the weak publisher's file with the same."""
    scores: list[Score] = []
    left: list[NotAttacked] = []
    for name in names:
        step(name)
        if name not in ON_FILE:
            left.append(NotAttacked(name, FILE, NOT_IN_A_FILE))
            continue
        try:
            score = ON_FILE[name](FILE, seen)
        except _Lacks as reason:
            left.append(NotAttacked(name, FILE, str(reason)))
            continue
        scores += [score, ON_FILE[name](WEAK, weak_file(name, seen.truth is not None))]
    return scores, left
