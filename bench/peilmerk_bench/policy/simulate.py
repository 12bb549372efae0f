"""A range of choices for one street: error, suppression, budget and what attackers reach, each worked out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import product

from peilmerk_bench.policy import attackers
from peilmerk_bench.policy.noise import Noise
from peilmerk_bench.policy.street import Street

# Where less than this share of the windows is published, an average of it says nothing.
HARDLY = 0.0005


@dataclass(frozen=True)
class Policy:
    """One choice. The epsilons of a window's count and of the day's total, None for exact counts; a day's of
    0 for no totals; the threshold k on what is published; the window in seconds; m, how often a person is
    assumed to pass a day.
    """

    epsilon_leaf: Fraction | None
    epsilon_day: Fraction | None
    k: int
    window_s: int
    m: int

    @property
    def epsilon(self) -> Fraction | None:
        """What one passage costs: its window's and the day's together."""
        if self.epsilon_leaf is None:
            return None
        return self.epsilon_leaf + (self.epsilon_day or 0)

    @property
    def day(self) -> Noise | None:
        """The noise of a day's total; None where there are no totals."""
        return None if self.epsilon_day == 0 else Noise(self.epsilon_day)

    def with_epsilon(self, epsilon: Fraction | None) -> Policy:
        """The same with another epsilon in all, shared between window and day as it is here."""
        if epsilon is None:
            return Policy(None, None if self.day else Fraction(0), self.k, self.window_s, self.m)
        if self.epsilon is None or self.epsilon_leaf is None:
            raise ValueError("found an exact policy, wanted one whose epsilon has shares")
        leaf = epsilon * self.epsilon_leaf / self.epsilon
        return Policy(leaf, epsilon - leaf, self.k, self.window_s, self.m)


@dataclass(frozen=True)
class Outcome:
    """What a policy does to a street. All shares and probabilities are between 0 and 1.

    passages_mean: how many passages are behind a published figure on average; error: how far such a figure is
    from them on average, and error_share of them, None where next to nothing is published; withheld_windows,
    withheld_passages, withheld_days: what is not published of windows, of passages by the window, and of
    totals; day_mean, day_error, day_sd: size, mean error and standard deviation of a total as the board gives
    it (the gateway weighs it with the windows of a day of which all are kept, which makes it no worse), None
    where there are no totals; epsilon_person: what m passages a day cost, None without noise.

    What the best guesser reaches, see `attackers`: whether a passage of this street was there, on average and
    at most (nothing withheld); whether a person was, whose m passages were in a window each, or all in one,
    all in one direction and nothing withheld; the true count of a window, and the same blindly.
    """

    policy: Policy
    passages_mean: float | None
    error: float | None
    error_share: float | None
    withheld_windows: float
    withheld_passages: float
    withheld_days: float | None
    day_mean: float
    day_error: float | None
    day_sd: float | None
    epsilon_person: Fraction | None
    passage: float
    passage_most: float
    person_apart: float
    person_together: float
    reading: float
    reading_blind: float


def outcome(street: Street, policy: Policy) -> Outcome:
    """Work out one policy."""
    histogram = street.histogram(policy.window_s)
    leaf, day = Noise(policy.epsilon_leaf), policy.day
    shown = passages = error = 0.0
    for count, windows in histogram.items():
        chance = windows * leaf.at_least(policy.k - count)
        shown += chance
        passages += chance * count
        error += windows * leaf.error_at_least(policy.k - count)
    withheld = 1 - shown / histogram.total()
    is_told = withheld <= 1 - HARDLY and passages > 0
    right, blind = attackers.reading(histogram, leaf, policy.k)
    totals = street.totals
    apart, together = _person(leaf, day, policy.m)
    return Outcome(
        policy=policy,
        passages_mean=passages / shown if is_told else None,
        error=error / shown if is_told else None,
        error_share=error / passages if is_told else None,
        withheld_windows=withheld,
        withheld_passages=1 - passages / street.total,
        withheld_days=(
            None if day is None else 1 - sum(day.at_least(policy.k - n) for n in totals) / len(totals)
        ),
        day_mean=street.total / len(totals),
        day_error=None if day is None else day.error,
        day_sd=None if day is None else day.sd,
        epsilon_person=None if policy.epsilon is None else policy.m * policy.epsilon,
        passage=attackers.passage(histogram, leaf, day, policy.k),
        passage_most=attackers.presence(attackers.release(leaf, 1), attackers.release(day, 1)),
        person_apart=apart,
        person_together=together,
        reading=right,
        reading_blind=blind,
    )


@cache
def _person(leaf: Noise, day: Noise | None, m: int) -> tuple[float, float]:
    """What nothing of the street changes, and many policies share."""
    of_day = attackers.release(day, m)
    return (
        attackers.presence(attackers.windows_apart(leaf, m), of_day),
        attackers.presence(attackers.release(leaf, m), of_day),
    )


def choices(
    agreed: Policy, epsilons: Sequence[Fraction], thresholds: Sequence[int], windows: Sequence[int]
) -> Iterator[Policy]:
    """Every combination, the agreed policy's own values among them, and exact counts for comparison."""
    if agreed.epsilon is None:
        raise ValueError("found an agreement without epsilon, wanted one")
    lengths = sorted({*windows, agreed.window_s})
    ks = sorted({*thresholds, agreed.k})
    for window_s, k, epsilon in product(lengths, ks, [*sorted({*epsilons, agreed.epsilon}), None]):
        base = Policy(agreed.epsilon_leaf, agreed.epsilon_day, k, window_s, agreed.m)
        yield base.with_epsilon(epsilon)
