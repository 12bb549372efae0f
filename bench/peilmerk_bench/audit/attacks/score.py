"""What an attack got: its score, what chance would have got, and from where on it has won."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

OURS, WEAK, FILE = "ours", "weak", "file"
SIGMAS = 5.0
"""How many standard deviations above what chance gives a limit lies at least: one run in three million."""


@dataclass(frozen=True)
class Score:
    """The outcome of one attack on one side.

    score: see `measure`; chance: what it comes to where nothing is given away; limit: above it the attack has
    won; sd: standard deviation of a score that is due to chance, 0.0 where no draw is in it; size: how many
    cases it was made of; detail: what was found, in words.
    """

    attack: str
    side: str
    measure: str
    score: float
    chance: float
    limit: float
    sd: float
    size: int
    detail: str = ""

    @property
    def won(self) -> bool:
        """Whether the attack got more than chance can explain."""
        return self.score > self.limit

    @property
    def margin_sd(self) -> float | None:
        """How many standard deviations lie between chance and limit; None where chance has none."""
        return (self.limit - self.chance) / self.sd if self.sd else None

    def as_dict(self) -> dict[str, Any]:
        """Return it for --json."""
        margin = None if self.margin_sd is None else round(self.margin_sd, 1)
        rounded = {name: round(getattr(self, name), 4) for name in ("score", "chance", "limit", "sd")}
        return asdict(self) | rounded | {"margin_sd": margin, "won": self.won}


@dataclass(frozen=True)
class NotAttacked:
    """What was not attacked, and why; it is not counted as passed."""

    attack: str
    side: str
    why: str


def share_sd(chance: float, size: int) -> float:
    """Return the standard deviation of a share of `size` cases, each right with probability `chance`."""
    return math.sqrt(chance * (1 - chance) / size) if size else 0.0


def auc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Return the area under the ROC curve: how often a positive case has the higher figure, ties half.

    (Mann and Whitney 1947, U / n m.)
    """
    ranks = ranks_of([*positive, *negative])
    n, m = len(positive), len(negative)
    return (sum(ranks[:n]) - n * (n + 1) / 2) / (n * m)


def auc_sd(n: int, m: int) -> float:
    """Return the standard deviation of an area under the curve where nothing is told apart."""
    return math.sqrt((n + m + 1) / (12 * n * m))


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Return Spearman's correlation: Pearson's of the ranks, ties at their mean; 0.0 where one is constant.

    Where the two have nothing to do with each other its standard deviation is 1 / sqrt(n - 1).
    """
    x, y = ranks_of(one), ranks_of(other)
    mean = (len(x) + 1) / 2
    above = sum((a - mean) * (b - mean) for a, b in zip(x, y, strict=True))
    below = math.sqrt(sum((a - mean) ** 2 for a in x) * sum((b - mean) ** 2 for b in y))
    return above / below if below else 0.0


def ranks_of(values: Sequence[float]) -> list[float]:
    """Return the rank of each value, from 1; equal values share the mean of theirs."""
    order = sorted(range(len(values)), key=lambda n: values[n])
    ranks = [0.0] * len(values)
    begin = 0
    while begin < len(order):
        end = begin
        while end < len(order) and values[order[end]] == values[order[begin]]:
            end += 1
        for place in order[begin:end]:
            ranks[place] = (begin + 1 + end) / 2
        begin = end
    return ranks
