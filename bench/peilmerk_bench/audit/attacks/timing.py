"""Timing and size: what the noise was, from when a message was sent and how long it is, though it is sealed.

A sampler that works when the window ends takes the longer the larger its draw (arXiv:2112.05307 measures
that), and a message that is kept short by sending a difference is the longer the more the figure is off. Held
against each other are the size of the noise and the delay or the length, by Spearman's correlation, as
machines have pauses of their own and ranks do not mind them.

A length that follows from the figure that is published anyway tells nothing: lengths are taken as how far
they lie from what is usual for messages with the same published figures.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Sequence

from peilmerk_bench.audit.attacks.score import SIGMAS, Score, rank_correlation

LIMIT = 0.03
"""For 28,000 messages or more; with fewer, chance has to be left more room."""


def score(
    side: str, attack: str, seen: Sequence[float], noise: Sequence[float], known: Sequence[Hashable] = ()
) -> Score:
    """Correlate what was seen of each message with the size of its noise; `known`: what else is known of
    each, if anything.
    """
    beyond = beyond_known(seen, known) if known else list(seen)
    sizes = [abs(z) for z in noise]
    found = rank_correlation(beyond, sizes)
    sd = 1 / math.sqrt(len(seen) - 1) if len(seen) > 1 else 1.0
    raw = f"; without what is published {rank_correlation(seen, sizes):+.4f}" if known else ""
    return Score(
        attack,
        side,
        "abs(correlation) with abs(noise)",
        abs(found),
        0.0,
        max(LIMIT, SIGMAS * sd),
        sd,
        len(seen),
        f"correlation {found:+.4f} over {len(seen)} messages, {len(set(beyond))} values{raw}",
    )


def beyond_known(seen: Sequence[float], known: Sequence[Hashable]) -> list[float]:
    """Return how far each lies from the median of those of which the same is known."""
    groups: dict[Hashable, list[float]] = {}
    for value, key in zip(seen, known, strict=True):
        groups.setdefault(key, []).append(value)
    middles = {key: statistics.median(values) for key, values in groups.items()}
    return [value - middles[key] for value, key in zip(seen, known, strict=True)]
