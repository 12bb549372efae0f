"""The noise of a published count as probabilities: discrete Laplace, in closed form.

P(z) = (1 - q) / (1 + q) * q^|z| with q = exp(-epsilon) at sensitivity 1 (Canonne, Kamath, Steinke 2020).
What a policy does to a street can be worked out with these sums, so nothing here draws anything: two runs
print the same figures. Floats are for display; no figure made here is ever released.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

# What lies further out has less than this probability on each side, and is left out of sums over outputs.
NEGLIGIBLE = 1e-12


@dataclass(frozen=True)
class Noise:
    """The noise of one release with `epsilon`, more than 0; None is no noise at all, for comparison."""

    epsilon: Fraction | None

    def __post_init__(self) -> None:
        if self.epsilon is not None and self.epsilon <= 0:
            raise ValueError(f"found epsilon {self.epsilon}, wanted more than 0")

    @property
    def q(self) -> float:
        """Ratio of the probabilities of neighbouring values; 0 without noise."""
        return 0.0 if self.epsilon is None else math.exp(-self.epsilon)

    @property
    def sd(self) -> float:
        """Standard deviation: the root of 2 q / (1 - q)^2."""
        return math.sqrt(2 * self.q) / (1 - self.q)

    @property
    def error(self) -> float:
        """Mean of |z|."""
        return 2 * self.error_at_least(1)

    @property
    def reach(self) -> int:
        """The largest noise that is not negligible."""
        return 0 if not self.q else math.ceil(math.log(NEGLIGIBLE) / math.log(self.q))

    def probability(self, z: int) -> float:
        """Of the noise z."""
        if not self.q:
            return float(z == 0)
        return (1 - self.q) / (1 + self.q) * self.q ** abs(z)

    def at_least(self, z: int) -> float:
        """Of noise z or more."""
        if z > 0:
            return self.q**z / (1 + self.q)
        return 1 - self.q ** (1 - z) / (1 + self.q)

    def error_at_least(self, z: int) -> float:
        """The sum of |y| P(y) over noise y >= z: what noise z or more adds to the mean absolute error."""
        q = self.q
        if not q:
            return 0.0
        if z > 0:
            # sum over y >= z of y q^y, times (1 - q) / (1 + q).
            return q**z * (z + q / (1 - q)) / (1 + q)
        return self.error - self.error_at_least(1 - z)
