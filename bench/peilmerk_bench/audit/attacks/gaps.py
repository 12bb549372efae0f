"""Gaps: whether anybody passed, from messages that were not sent and numbers that nobody sees.

A sensor that is silent when nothing happens says so; and where figures are numbered along with what is not
published, the numbers between two published ones tell how much was kept back. The attacker counts for each
window: the message is missing, or so many numbers of which nothing is public lie where it should be.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import TypeVar

from peilmerk_bench.audit.attacks.figures import Cell
from peilmerk_bench.audit.attacks.score import SIGMAS, Score, auc, auc_sd

MEASURE = "area under the ROC curve, few passages against more"
CHANCE = 0.5

Key = TypeVar("Key", float, Cell)


def missing(windows: Sequence[float], sent: Mapping[float, int]) -> dict[float, float]:
    """Return for each window (its end) how suspicious it is, `sent` being the number of each message by the
    window's end: 1 where no message came at all, and what its number jumped by where one came.
    """
    numbers = sorted(sent.values())
    found = {}
    for window in windows:
        if window not in sent:
            found[window] = 1.0
            continue
        place = bisect_left(numbers, sent[window])
        before = numbers[place - 1] if place else sent[window] - 1
        found[window] = -float(sent[window] - before - 1)
    return found


def unseen(hidden: Sequence[Cell], numbers: Mapping[Cell, int]) -> dict[Cell, float]:
    """Return for each cell that is not published how many numbers nobody sees lie between the published ones
    of its stream around it, a window. `numbers`: of everything that is public.
    """
    all_numbers = sorted(numbers.values())
    streams: dict[tuple[str, float], list[tuple[float, int]]] = {}
    for (stream, start, end), number in numbers.items():
        streams.setdefault((stream, end - start), []).append((start, number))
    for rows in streams.values():
        rows.sort()
    found = {}
    for stream, start, end in hidden:
        rows = streams.get((stream, end - start), [])
        place = bisect_left(rows, (start, 0))
        if not 0 < place < len(rows):
            continue
        (before, low), (after, high) = rows[place - 1], rows[place]
        seen = bisect_left(all_numbers, high) - bisect_right(all_numbers, low)
        windows = round((after - before) / (end - start)) - 1
        found[stream, start, end] = (high - low - 1 - seen) / max(1, windows)
    return found


def score(
    side: str,
    attack: str,
    suspicious: Mapping[Key, float],
    truth: Mapping[Key, float],
    least: float | None = None,
) -> Score:
    """Mark whether what is more suspicious has fewer passages (the message) or more of them (the numbers):
    either way round, the better counts. "More" begins at `least`, at the median for None.
    """
    known = [(value, truth[key]) for key, value in suspicious.items() if key in truth]
    middle = sorted(count for _, count in known)[len(known) // 2] if known else 0
    border = max(1, middle) if least is None else least
    few = [value for value, count in known if count < border]
    many = [value for value, count in known if count >= border]
    found = auc(few, many) if few and many else CHANCE
    sd = auc_sd(len(few), len(many)) if few and many else 0.0
    return Score(
        attack,
        side,
        MEASURE,
        max(found, 1 - found),
        CHANCE,
        CHANCE + max(0.05, SIGMAS * sd),
        sd,
        len(known),
        f"{len(few)} windows with few passages, {len(many)} with more; "
        f"{sum(value != 0 for value, _ in known)} of them show a gap",
    )
