"""Search: exact counts and secrets in what an insider of the gateway can read: memory, database, logs.

Counts are canaries, each another number of five digits. Numbers of five digits are everywhere, so what is
found of the canaries is held against decoys: numbers next to them that nobody ever counted. A canary is found
where it is more often in the memory after the messages than before them.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path

from peilmerk_bench.audit.attacks.score import SIGMAS, Score, share_sd

COUNTS = "exact counts found, share"
SECRETS = "secrets found, share"
MARGIN = 0.05
DIGITS = re.compile(rb"(?<![0-9])[1-9][0-9]{4}(?![0-9])")
# A whole number of Python's: how many digits, in base 2^30, then the digits.
PYTHON_INT = re.compile(
    (rb"\x01\0{7}" if sys.version_info < (3, 12) else rb"\x08\0{7}") + rb"(?=(..)\0\0)", re.DOTALL
)


def numbers_in(data: bytes) -> Counter[int]:
    """Count numbers of five digits in some bytes, written out, and those below 2^16 as Python keeps them."""
    found: Counter[int] = Counter()
    for text, times in Counter(DIGITS.findall(data)).items():
        found[int(text)] += times
    for low, times in Counter(PYTHON_INT.findall(data)).items():
        found[int.from_bytes(low, "little")] += times
    return found


def numbers_of_columns(rows: Iterable[Iterable[object]]) -> Counter[int]:
    """Count the numbers in rows of a database; in what is no number, those that `numbers_in` finds."""
    found: Counter[int] = Counter()
    for row in rows:
        for value in row:
            if isinstance(value, bool) or value is None:
                continue
            if isinstance(value, int | float):
                found[int(value)] += 1
            else:
                found.update(numbers_in(value if isinstance(value, bytes) else str(value).encode()))
    return found


def score_counts(
    side: str,
    attack: str,
    before: Counter[int],
    after: Counter[int],
    canaries: Collection[int],
    decoys: Collection[int],
    known: Collection[int],
) -> Score:
    """Mark how many canaries are more often there than before, against as many decoys. `known`: numbers that
    have to be there, which shows that the search finds.
    """

    def share(numbers: Collection[int]) -> float:
        return sum(after[n] > before[n] for n in numbers) / len(numbers) if numbers else 0.0

    chance = share(decoys)
    # The decoys' share is an estimate itself: a difference of two.
    sd = (2**0.5) * share_sd(max(chance, 1 / max(1, len(decoys))), len(canaries))
    return Score(
        attack,
        side,
        COUNTS,
        share(canaries),
        chance,
        chance + max(MARGIN, SIGMAS * sd),
        sd,
        len(canaries),
        f"{len(canaries)} canaries, {len(decoys)} decoys; of what was sent {share(known):.0%} is there",
    )


def score_secrets(side: str, attack: str, places: dict[str, bytes], secrets: dict[str, bytes]) -> Score:
    """Look for secrets, as they are and in hexadecimal, in some places."""
    found = {
        name: where
        for name, secret in secrets.items()
        if (
            where := [
                place
                for place, data in places.items()
                if secret in data or secret.hex().encode() in data.lower()
            ]
        )
    }
    words = "; ".join(f"{name} in {', '.join(where)}" for name, where in list(found.items())[:3])
    return Score(
        attack,
        side,
        SECRETS,
        len(found) / len(secrets),
        0.0,
        0.0,
        0.0,
        len(secrets),
        f"looked in {', '.join(f'{place} ({len(data)} bytes)' for place, data in places.items())}"
        + (f"; {words}" if words else ""),
    )


def read(files: Iterable[Path]) -> bytes:
    """Return what is in some files, those that there are."""
    return b"\n".join(file.read_bytes() for file in files if file.is_file())
