"""Two levels: the total of a day, weighed with the sum of its windows by the inverse of their variances.

A board releases a count twice: by the window, and as the total of the day, each with noise of its own. Both
tell the day's count without bias, so the gateway may weigh them into one figure that is nearer to it than
either. Whatever is made of noisy figures costs no epsilon (post-processing; Dwork and Roth 2014, proposition
2.1); by inverse variance is the weighing of least variance (for trees of any depth: Hay et al. 2010).

The noise is discrete Laplace with variance 2 q / (1 - q)^2, q = exp(-epsilon) (Canonne, Kamath, Steinke
2020), which is 1 / (cosh epsilon - 1). So the weights, which are one over the variances, are

    day: cosh epsilon_day - 1        sum of n windows: (cosh epsilon_leaf - 1) / n

and are taken from the series of cosh as fractions: no binary fraction comes near a figure. Weights that are
off in the twentieth digit cost nothing but the twentieth digit of the variance.

The result is rounded to a whole number, and has to be: the fraction of a weighed mean tells both figures that
went into it. What rounding adds to the variance, a twelfth, is in the stated one; where it is more than the
weighing takes away, the total stays as it is.

Which days are weighed is decided in `peilmerk_gateway.store.levels`: those of which every window was kept.
A window below the threshold leaves no trace in the gateway (the audit of the release path proves it), so its
noisy figure cannot be added up; and were the sum of all windows kept, with one withheld window in a day it
would be that window's figure, by subtracting the others. That costs little: of the standard deviation of a
day's total, 3 of 100 for windows of 15 minutes, 10 of 100 for those of an hour. But it costs it on nearly
every day: where a street is quieter than the threshold for a part of the night, no day is weighed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

_ROUNDING = Fraction(1, 12)
# For epsilon up to 4 what is left out is below 1e-27 of the sum.
_TERMS = 20


@dataclass(frozen=True, slots=True)
class Weighed:
    """A total of a day and the variance of the noise in it, in units of the figure."""

    result: int
    variance: Fraction

    @property
    def deviation(self) -> float:
        """Standard deviation of the noise; for display."""
        return math.sqrt(self.variance)


@cache
def precision(epsilon: Fraction) -> Fraction:
    """Return one over the variance of discrete Laplace noise: cosh(epsilon) - 1. Raises ValueError for 0."""
    if epsilon <= 0:
        raise ValueError(f"found epsilon {epsilon}, wanted more than 0")
    term, total = Fraction(1), Fraction(0)
    for step in range(1, _TERMS + 1):
        term *= epsilon * epsilon / ((2 * step - 1) * (2 * step))
        total += term
    return total


def weigh(day: int, windows_sum: int, windows: int, epsilon_leaf: Fraction, epsilon_day: Fraction) -> Weighed:
    """Weigh a day's total with the sum of its `windows` windows, all of them."""
    of_day = precision(epsilon_day)
    of_sum = precision(epsilon_leaf) / windows
    variance = 1 / (of_day + of_sum) + _ROUNDING
    if variance >= 1 / of_day:
        return Weighed(day, 1 / of_day)
    exact = (of_day * day + of_sum * windows_sum) / (of_day + of_sum)
    return Weighed(math.floor(exact + Fraction(1, 2)), variance)
