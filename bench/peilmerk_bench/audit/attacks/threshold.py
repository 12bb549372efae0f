"""Withheld against published: which side of the threshold a count was on, from whether it was withheld.

In every window k - 1 or k pass, by the toss of a coin. Where the threshold is held against the true count,
"withheld" says k - 1, and every passage at the border is known. Where it is held against the noisy one, the
best that anybody can do is e^epsilon / (1 + e^epsilon), that is what epsilon-differential privacy leaves to
whoever guesses between two neighbours (Kairouz, Oh, Viswanath 2015).

The attacker looks at the neighbours too: the window before and the one after, and the other direction. What
follows from which of them are withheld is learnt from half of the windows and marked on the other half: noise
that two of them share would tell more than a window alone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from peilmerk_bench.audit.attacks.figures import Cell, Figure, cell_of
from peilmerk_bench.audit.attacks.score import SIGMAS, Score, share_sd

MEASURE = "windows at the threshold told from their neighbours, share"

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
) -> Score:
    """Mark it. `partners`: the other direction of each stream; `epsilon`: what a window claims to spend."""
    seen = patterns(figures, truth, partners)
    right = 0
    halves = [[cell for n, cell in enumerate(sorted(seen)) if n % 2 == half] for half in (0, 1)]
    for known, asked in (halves, reversed(halves)):
        votes: dict[Pattern, Counter[float]] = {}
        for cell in known:
            votes.setdefault(seen[cell], Counter())[truth[cell]] += 1
        says = {pattern: found.most_common(1)[0][0] for pattern, found in votes.items()}
        right += sum(says.get(seen[cell]) == truth[cell] for cell in asked)
    bound = math.exp(epsilon) / (1 + math.exp(epsilon))
    sd = share_sd(bound, len(seen))
    withheld = sum(pattern[0] for pattern in seen.values())
    return Score(
        "threshold",
        side,
        MEASURE,
        right / len(seen) if seen else 0.0,
        bound,
        bound + SIGMAS * sd,
        sd,
        len(seen),
        f"{withheld} of {len(seen)} windows withheld; chance is what epsilon {epsilon:g} leaves to a guess",
    )
