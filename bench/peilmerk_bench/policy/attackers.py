"""What somebody could learn from published counts: the best there is, not one that happens to be tried.

Each figure is the probability that the best possible guess is right, given what is published and the named
knowledge; by Neyman and Pearson nobody with that knowledge can do better. Guessing blindly is the figure
beside it.

A release is looked at as its outcomes: what can be seen of it, each with its probability when a person was
there and when not. Outcomes of the same ratio are one, because no guess tells them apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise, product

from peilmerk_bench.policy.noise import Noise

BLIND_PRESENCE = 0.5
Outcomes = list[tuple[float, float]]


def presence(*releases: Outcomes) -> float:
    """Was somebody there? The best guess from independent releases, where yes and no are as likely before."""
    advantage = 0.0
    for seen in product(*releases):
        here, there = math.prod(p for p, _ in seen), math.prod(p for _, p in seen)
        advantage += max(0.0, here - there)
    return BLIND_PRESENCE + advantage / 2


def release(noise: Noise | None, shift: int, floor: int | None = None) -> Outcomes:
    """The outcomes of one figure that `shift` passages of a person have raised. None: there is no figure.

    `floor` is the threshold less the count with them in it: noise below it is withheld; None: nothing is.
    """
    if noise is None:
        return [(1.0, 1.0)]

    def at_least(noise_here: int) -> tuple[float, float]:
        return noise.at_least(noise_here), noise.at_least(noise_here + shift)

    # From no noise upwards, and from `shift` downwards, the ratio stays the same.
    edges = range(1 - shift, 1)
    if floor is not None:
        edges = range(max(floor, 1 - shift), 1) if floor <= 0 else range(floor, floor + 1)
    above = [at_least(edge) for edge in edges]
    outcomes = [(a - c, b - d) for (a, b), (c, d) in pairwise(above)]
    outcomes.append(above[-1])
    if floor is None or floor > -shift:
        here, there = above[0]
        return [*outcomes, (1 - here, 1 - there)]
    shown, lowest = at_least(floor), above[0]
    return [*outcomes, (shown[0] - lowest[0], shown[1] - lowest[1]), (1 - shown[0], 1 - shown[1])]


def windows_apart(leaf: Noise, times: int) -> Outcomes:
    """The outcomes of `times` windows with one passage of a person in each, nothing withheld."""
    # Each window says "there" or not, rightly with this probability: how many say so is all that counts.
    right = leaf.at_least(0)
    outcomes = []
    for shown in range(times + 1):
        ways = math.comb(times, shown)
        here = ways * right**shown * (1 - right) ** (times - shown)
        there = ways * right ** (times - shown) * (1 - right) ** shown
        outcomes.append((here, there))
    return outcomes


def passage(histogram: Mapping[int, int], leaf: Noise, day: Noise | None, k: int) -> float:
    """Was one passage of this street there? On average over its passages.

    The attacker knows all the others, sees the window's figure or that it is withheld, and the day's total.
    """
    passages = sum(count * windows for count, windows in histogram.items())
    of_day = release(day, 1)
    right = sum(
        count * windows * presence(release(leaf, 1, k - count), of_day)
        for count, windows in histogram.items()
        if count
    )
    return right / passages


def reading(histogram: Mapping[int, int], noise: Noise, k: int) -> tuple[float, float]:
    """What is the true count of a window? (probability to guess it exactly, the same without publication).

    The attacker knows how often each count comes in this street, and sees the window's figure, or that it is
    withheld.
    """
    windows = sum(histogram.values())
    share = {count: number / windows for count, number in histogram.items() if number}
    right = max(part * (1 - noise.at_least(k - count)) for count, part in share.items())
    for shown in range(k, max(share) + noise.reach + 1):
        right += max(part * noise.probability(shown - count) for count, part in share.items())
    return right, max(share.values())
