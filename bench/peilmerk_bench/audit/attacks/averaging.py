"""Averaging: who may ask for the same figure again and again and gets another draw each time has the truth.

The mean of n draws of noise with standard deviation s is off by s / sqrt(n): after fifty questions at
epsilon 0.7 by 0.28, so that the nearest whole number is the truth 93 times in a hundred. One answer alone is
the truth as often as no noise was drawn: (1 - a) / (1 + a) with a = e^-epsilon, one time in three.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from peilmerk_bench.audit.attacks.figures import Cell, Figure, cell_of
from peilmerk_bench.audit.attacks.score import SIGMAS, Score, share_sd
from peilmerk_bench.audit.divergence import laplace

MEASURE = "figures of which the mean of all answers is the exact count, share"
MARGIN = 0.25
NEAR = 0.5
"""A mean with a smaller standard error than this tells a whole number."""


def answers_of(figures: Sequence[Figure]) -> dict[Cell, list[float]]:
    """Return all answers about each figure."""
    answers: dict[Cell, list[float]] = {}
    for figure in figures:
        if figure.value is not None:
            answers.setdefault(cell_of(figure), []).append(figure.value)
    return answers


def score(side: str, figures: Sequence[Figure], truth: Mapping[Cell, float], epsilon: float) -> Score:
    """Mark the means of repeated answers. `epsilon` of one draw, for what chance would give."""
    answers = {cell: found for cell, found in answers_of(figures).items() if cell in truth}
    right = sum(math.floor(sum(a) / len(a) + 0.5) == truth[cell] for cell, a in answers.items())
    chance = laplace(epsilon, 0)
    sd = share_sd(chance, len(answers))
    asked = min(map(len, answers.values()), default=0)
    different = sum(len(set(found)) > 1 for found in answers.values())
    return Score(
        "averaging",
        side,
        MEASURE,
        right / len(answers) if answers else 0.0,
        chance,
        chance + max(MARGIN, SIGMAS * sd),
        sd,
        len(answers),
        f"{len(answers)} figures, each asked for {asked} times or more; {different} had more than one answer",
    )


def score_without_truth(side: str, figures: Sequence[Figure]) -> Score:
    """Say of how many figures several different answers tell the truth to less than half a count."""
    answers = {cell: found for cell, found in answers_of(figures).items() if len(found) > 1}
    told = 0
    for found in answers.values():
        mean = sum(found) / len(found)
        variance = sum((one - mean) ** 2 for one in found) / (len(found) - 1)
        told += 0 < variance / len(found) < NEAR**2
    return Score(
        "averaging",
        side,
        "figures that different answers tell to less than half a count, share",
        told / len(answers) if answers else 0.0,
        0.0,
        0.0,
        0.0,
        len(answers),
        f"{len(answers)} figures were asked for more than once",
    )
