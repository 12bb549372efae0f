"""Withheld against published: which side of the threshold a count was on, from whether it was withheld.

In every window k - 1 or k pass, by the toss of a coin. Where the threshold is held against the true count,
"withheld" says k - 1, and every passage at the border is known. Where it is held against the noisy one, the
best that anybody can do is e^epsilon / (1 + e^epsilon), that is what epsilon-differential privacy leaves to
whoever guesses between two neighbours (Kairouz, Oh, Viswanath 2015).

The attacker looks at the neighbours too: the window before and the one after, and the other direction. What
follows from which of them are withheld is learnt from half of the windows and marked on the other half: all
of it, and the tenth of which the attacker is surest. Noise that two windows share gives no more right answers
in all, but some that are certain.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from peilmerk_bench.audit.attacks.figures import Cell, Figure, cell_of
from peilmerk_bench.audit.attacks.score import SIGMAS, Score, share_sd

MEASURE = "windows at the threshold told from their neighbours, share"
SUREST = 0.1
LEAST = 30
"""So many windows of a kind there must have been before an attacker is sure of it."""

Pattern = tuple[bool, ...]


def patterns(
    figures: Sequence[Figure], truth: Mapping[Cell, float], partners: Mapping[str, str]
) -> dict[Cell, Pattern]:
    """Return for each window whether it is withheld, and those around it; what is not there is withheld."""
    shown = {cell_of(figure) for figure in figures if figure.value is not None}
    return {
        (stream, start, end): tuple(
            cell not in shown
            for cell in (
                (stream, start, end),
                (stream, 2 * start - end, start),
                (stream, end, 2 * end - start),
                (partners.get(stream, stream), start, end),
            )
        )
        for stream, start, end in truth
    }


def score(
    side: str,
    figures: Sequence[Figure],
    truth: Mapping[Cell, float],
    partners: Mapping[str, str],
    epsilon: float,
) -> list[Score]:
    """Mark all windows, and the surest. `partners`: the other direction of each stream; `epsilon`: what a
    window claims to spend.
    """
    seen = patterns(figures, truth, partners)
    halves = [[cell for n, cell in enumerate(sorted(seen)) if n % 2 == half] for half in (0, 1)]
    everywhere: list[bool] = []
    surest: list[bool] = []
    for known, asked in (halves, reversed(halves)):
        votes: dict[Pattern, Counter[float]] = {}
        for cell in known:
            votes.setdefault(seen[cell], Counter())[truth[cell]] += 1
        says = {pattern: found.most_common(1)[0][0] for pattern, found in votes.items()}
        sure = _surest(votes, len(known))
        for cell in asked:
            right = says.get(seen[cell]) == truth[cell]
            everywhere.append(right)
            if seen[cell] in sure:
                surest.append(right)
    bound = math.exp(epsilon) / (1 + math.exp(epsilon))
    withheld = sum(pattern[0] for pattern in seen.values())
    words = (
        f"{withheld} of {len(seen)} windows withheld; chance is what epsilon {epsilon:g} leaves to a guess"
    )
    scores = []
    for attack, answers in (("threshold", everywhere), ("threshold, the surest", surest)):
        sd = share_sd(bound, len(answers))
        found = sum(answers) / len(answers) if answers else 0.0
        limit = bound + SIGMAS * sd
        scores.append(Score(attack, side, MEASURE, found, bound, limit, sd, len(answers), words))
    return scores


def _surest(votes: Mapping[Pattern, Counter[float]], known: int) -> set[Pattern]:
    """Return the patterns that tell most, a tenth of the windows that are known."""
    sure: set[Pattern] = set()
    covered = 0

    def certainty(pattern: Pattern) -> float:
        return max(votes[pattern].values()) / votes[pattern].total()

    for pattern in sorted((one for one in votes if votes[one].total() >= LEAST), key=certainty, reverse=True):
        if covered >= SUREST * known:
            break
        sure.add(pattern)
        covered += votes[pattern].total()
    return sure
