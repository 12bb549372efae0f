"""What the weak publisher publishes of the worlds in which we are attacked, attack by attack."""

from __future__ import annotations

import json
import random
import statistics
from collections.abc import Callable, Iterator
from typing import Any

from peilmerk_bench.audit.attacks import (
    averaging,
    differencing,
    gaps,
    linkage,
    location,
    occupancy,
    records,
    threshold,
    timing,
    weak_publisher,
    worlds,
)
from peilmerk_bench.audit.attacks.figures import Figure
from peilmerk_bench.audit.attacks.homes import scattered
from peilmerk_bench.audit.attacks.location import Place
from peilmerk_bench.audit.attacks.score import WEAK, Score
from peilmerk_bench.audit.attacks.weak_publisher import THRESHOLD, WeakPublisher

EPSILON = 0.7
HOUR_S = 3_600
STREET_DAYS, NUMBERED_DAYS, QUIET_DAYS, HOME_DAYS = 7, 28, 50, 30
ASKED, MESSAGES, HOMES, PUBLICATIONS = 50, 10_000, 20, 1_000
SERIALS = tuple(f"ESP32-84F3EB{n:06X}" for n in range(10))


def street(days: int = STREET_DAYS) -> WeakPublisher:
    """The recorded street, one way."""
    return WeakPublisher("street", worlds.BEGAN, [way[0] for way in worlds.recorded_days(days)])


def quiet() -> WeakPublisher:
    """The busy street with one quiet quarter a day, one way."""
    counts = worlds.quiet_quarters(QUIET_DAYS, THRESHOLD)
    return WeakPublisher("quiet", worlds.BEGAN, [way[0] for way in counts])


def border() -> tuple[WeakPublisher, WeakPublisher]:
    """The street at the threshold, both ways."""
    counts = worlds.border(STREET_DAYS, THRESHOLD)
    return (
        WeakPublisher("border/towards", worlds.BEGAN, [way[0] for way in counts]),
        WeakPublisher("border/away", worlds.BEGAN, [way[1] for way in counts]),
    )


def hours() -> list[Figure]:
    """Publish quarters and every sliding hour."""
    return street().windows() + street().hours()


def answers(times: int = ASKED) -> tuple[WeakPublisher, list[Figure]]:
    """Answer so many requests for each quarter of a day."""
    publisher = street()
    cells = list(publisher.truth())[: worlds.WINDOWS_A_DAY]
    return publisher, [
        Figure(stream, start, end, float(publisher.answer(n, EPSILON)), stream)
        for n, (stream, start, end) in enumerate(cells)
        for _ in range(times)
    ]


def indoors(home: worlds.Home) -> list[Figure]:
    """Publish a home's air, from indoors, by the hour."""
    return [
        Figure(f"home/{quantity}", start, start + HOUR_S, statistics.fmean(values), "home")
        for start, quantity, values in _hours(home)
    ]


def extremes(home: worlds.Home) -> list[Figure]:
    """Publish of each hour and quantity indoors only the lowest and the highest sample."""
    return [
        Figure(f"home/{quantity} {name}", start, start + HOUR_S, float(value), "home")
        for start, quantity, values in _hours(home)
        for name, value in (("minimum", min(values)), ("maximum", max(values)))
    ]


def _hours(home: worlds.Home) -> Iterator[tuple[float, int, list[int]]]:
    """Give what was sampled indoors: beginning of the hour, quantity, samples."""
    for first in range(0, len(home.indoor), 4):
        samples = [sample for row in home.indoor[first : first + 4] for sample in row]
        for quantity in sorted({quantity for quantity, _ in samples}):
            start = float(worlds.BEGAN + first * worlds.WINDOW_S)
            yield start, quantity, [value for one, value in samples if one == quantity]


def blurred(publications: int = PUBLICATIONS) -> tuple[dict[str, list[Place]], dict[str, Place]]:
    """Publish the places of homes so many times, each time blurred anew."""
    where = scattered(HOMES)
    places = {
        key: [weak_publisher.jittered(*point) for _ in range(publications)] for key, point in where.items()
    }
    return places, where


def catalogues() -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    """Describe the sensors in two data sets; also which is which."""
    here, there, same = {}, {}, {}
    for n, serial in enumerate(SERIALS):
        one, other = f"zomer-{n}", f"winter-{(n + 3) % len(SERIALS)}"
        here[one] = weak_publisher.catalogue_entry(serial, one, records.OWNER, f"square {n}")
        there[other] = weak_publisher.catalogue_entry(serial, other, records.OWNER, f"square {n + 3}")
        same[one] = other
    return here, there, same


def _differencing() -> list[Score]:
    return [differencing.score(WEAK, "differencing", hours(), street().truth(), THRESHOLD)]


def _days() -> list[Score]:
    publisher = quiet()
    figures = publisher.windows() + publisher.days()
    return [differencing.score(WEAK, "day less its windows", figures, publisher.truth(), THRESHOLD)]


def _averaging() -> list[Score]:
    publisher, figures = answers()
    return [averaging.score(WEAK, figures, publisher.truth(), EPSILON)]


def _threshold() -> list[Score]:
    one, other = border()
    partners = {one.stream: other.stream, other.stream: one.stream}
    figures = one.windows() + other.windows()
    return threshold.score(WEAK, figures, one.truth() | other.truth(), partners, EPSILON)


def _occupancy() -> list[Score]:
    home = worlds.home(HOME_DAYS)
    return [occupancy.score(WEAK, "occupancy", indoors(home), home.at(HOUR_S))]


def _extremes() -> list[Score]:
    home = worlds.home(HOME_DAYS)
    return [occupancy.score(WEAK, "extremes of a home", extremes(home), home.at(HOUR_S))]


def _location() -> list[Score]:
    places, where = blurred()
    return [location.score(WEAK, places, where), location.score_constant(WEAK, places)]


def _linkage() -> list[Score]:
    here, there, same = catalogues()
    public = {"catalogue": json.dumps([here, there], ensure_ascii=False)}
    secret = {f"owner {key}": value for key, value in records.OWNER.items()}
    secret |= {f"serial {n}": serial for n, serial in enumerate(SERIALS)}
    known = {"a name": "zomer-0"}
    return [
        linkage.score_canaries(WEAK, public, secret, known),
        linkage.score_matches(WEAK, here, there, same),
    ]


def messages(number: int = MESSAGES) -> list[tuple[int, float, int]]:
    """Send figures of a quiet place, of which nothing is published: the noise of each, how long the message
    waited for it (s), and its length (bytes).
    """
    usual = random.Random(8)
    found = []
    for _ in range(number):
        noise, waited = weak_publisher.late_laplace(EPSILON)
        count = usual.randrange(3)
        found.append((noise, waited, len(weak_publisher.short_message(count, count + noise))))
    return found


def _timing() -> list[Score]:
    sent = messages()
    return [timing.score(WEAK, "timing", [waited for _, waited, _ in sent], [noise for noise, _, _ in sent])]


def _size() -> list[Score]:
    sent = messages()
    return [timing.score(WEAK, "size", [size for _, _, size in sent], [noise for noise, _, _ in sent])]


def _gaps() -> list[Score]:
    publisher = street(NUMBERED_DAYS)
    truth = {cell[2]: count for cell, count in publisher.truth().items()}
    silent = gaps.missing(sorted(truth), publisher.sent())
    shown = publisher.numbers()
    hidden = [cell for cell in publisher.truth() if cell not in shown]
    return [
        gaps.score(WEAK, "silence", silent, truth, 1),
        gaps.score(WEAK, "gaps in numbers", gaps.unseen(hidden, shown), publisher.truth()),
    ]


OF: dict[str, Callable[[], list[Score]]] = {
    "differencing": _differencing,
    "day-and-windows": _days,
    "averaging": _averaging,
    "threshold": _threshold,
    "occupancy": _occupancy,
    "extremes": _extremes,
    "location": _location,
    "linkage": _linkage,
    "timing": _timing,
    "size": _size,
    "gaps": _gaps,
}
"""By the name of the attack; those that need parts of ours made weak are in `insider` and `downgrade`."""
