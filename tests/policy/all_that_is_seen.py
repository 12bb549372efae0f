"""What can be seen of counts, from the paper and summed up whole: what the simulator must equal."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from itertools import product

REACH = 150
"""Noise further out than this has less than 1e-16 of probability at the epsilons that are tried here."""

TRACE = """\
timestamp;direction;speed
2024-02-26T08:01:00;in;18
2024-02-26T08:02:00;in;
2024-02-26T08:16:00;out;20
2024-02-27T23:59:59;in;15
"""


def drawn(epsilon: Fraction | None, z: int) -> float:
    """The probability of noise z, written down from the paper and not from the code."""
    if epsilon is None:
        return float(z == 0)
    q = math.exp(-epsilon)
    return (1 - q) / (1 + q) * q ** abs(z)


def seen(epsilon: Fraction | None, count: int, k: int | None) -> Counter[int | None]:
    """What can be published of a count, with its probabilities; None is withheld."""
    found: Counter[int | None] = Counter()
    for z in range(-REACH, REACH + 1):
        shown = count + z
        found[None if k is not None and shown < k else shown] += drawn(epsilon, z)  # type: ignore[assignment]
    return found


def best_guess(here: Iterable[Counter[int | None]], there: Iterable[Counter[int | None]]) -> float:
    """How often the best guess between two worlds is right, summed over everything that can be seen."""
    here, there = list(here), list(there)
    right = 0.0
    for shown in product(*({*one, *other} for one, other in zip(here, there, strict=True))):
        right += max(
            math.prod(world[s] for world, s in zip(worlds, shown, strict=True)) for worlds in (here, there)
        )
    return right / 2
