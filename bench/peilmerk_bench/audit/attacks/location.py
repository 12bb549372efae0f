"""Location: where a sensor hangs, from all places that were published of it.

Points that were blurred anew each time give the place away by their mean: the error of n of them is the blur
divided by sqrt(n). A cell of a grid stays the same however often it is said; its middle is as good as any
guess within it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from peilmerk_bench.audit.attacks.score import SIGMAS, Score, share_sd

MEASURE = "homes found within 10 m, share"
NEAR_M = 10.0
CELL_M = 100.0
LIMIT = 0.25
METRES_A_DEGREE = 111_320.0

Place = tuple[float, float]
"""Longitude and latitude, degrees WGS84."""


def mean(places: Sequence[Place]) -> Place:
    """Return the mean of places close together."""
    longitudes, latitudes = zip(*places, strict=True)
    return math.fsum(longitudes) / len(places), math.fsum(latitudes) / len(places)


def metres(one: Place, other: Place) -> float:
    """Return the distance of two places close together, in metres (an equirectangular map)."""
    across = METRES_A_DEGREE * math.cos(math.radians(one[1]))
    return math.hypot((one[0] - other[0]) * across, (one[1] - other[1]) * METRES_A_DEGREE)


def score(side: str, published: Mapping[str, Sequence[Place]], truth: Mapping[str, Place]) -> Score:
    """Mark the means of the places that were published of each sensor against where it hangs."""
    errors = [metres(mean(places), truth[thing]) for thing, places in published.items()]
    found = sum(error <= NEAR_M for error in errors)
    chance = math.pi * NEAR_M**2 / CELL_M**2
    sd = share_sd(chance, len(errors))
    different = sum(len(set(places)) > 1 for places in published.values())
    messages = sum(map(len, published.values()))
    return Score(
        "location",
        side,
        MEASURE,
        found / len(errors) if errors else 0.0,
        chance,
        max(LIMIT, chance + SIGMAS * sd),
        sd,
        len(errors),
        f"{messages} publications of {len(errors)} homes, {different} of them in more than one place; "
        f"median error {sorted(errors)[len(errors) // 2]:.1f} m"
        if errors
        else "no places",
    )


def score_constant(side: str, published: Mapping[str, Sequence[Place]]) -> Score:
    """Say of how many sensors more than one place was published; of one that stays, none may be."""
    moved = sum(len(set(places)) > 1 for places in published.values())
    return Score(
        "location, constant",
        side,
        "sensors published in more than one place, share",
        moved / len(published) if published else 0.0,
        0.0,
        0.0,
        0.0,
        len(published),
        f"{sum(map(len, published.values()))} publications",
    )


def score_without_truth(side: str, published: Mapping[str, Sequence[Place]]) -> Score:
    """Say of how many sensors the places differ and their mean is known to 10 m (two standard errors)."""
    told = moved = 0
    for places in published.values():
        if len(set(places)) > 1:
            moved += 1
            middle = mean(places)
            square = math.fsum(metres(place, middle) ** 2 for place in places) / (len(places) - 1)
            told += 2 * math.sqrt(square / len(places)) <= NEAR_M
    return Score(
        "location",
        side,
        "sensors whose blurred places tell theirs to 10 m, share",
        told / len(published) if published else 0.0,
        0.0,
        0.0,
        0.0,
        len(published),
        f"{moved} of {len(published)} sensors are published in more than one place",
    )
