"""A WEAK PUBLISHER, on purpose: how counts and measurements are published in many places, against which every
attack must win. It is no part of Peilmerk, which cannot import it (`make lint` forbids it); nothing of it may
be used for anybody's data.

What it does is usual: exact figures below a threshold are left out, and sums over any hour are offered
beside them; noise is drawn at each request, while the message waits for it; a home's figures appear at
once, from indoors; a private place is blurred anew with every message; the sensor's serial number is its id
in every data set, and its owner's name stands beside it; messages are kept short by sending differences, and
left out where nobody passed; figures have the number of the last row that went into them; and what was seen
before is forgotten at a restart.
"""

from __future__ import annotations

import math
import random
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from peilmerk_bench.audit.attacks.figures import Cell, Figure
from peilmerk_protocol import cose, report, topics
from peilmerk_protocol.error import ProtocolError

THRESHOLD = 5
WINDOW_S = 900
HOUR_S = 3_600
DAY_S = 86_400
JITTER_M = 100.0
METRES_A_DEGREE = 111_320.0


class WeakPublisher:
    """One who holds the exact counts of a stream, window by window from Unix second `began`."""

    def __init__(self, stream: str, began: int, counts: Sequence[int], window_s: int = WINDOW_S) -> None:
        self.stream = stream
        self.began = began
        self.counts = tuple(counts)
        self.window_s = window_s

    def windows(self) -> list[Figure]:
        """Publish every window exactly; what is below the threshold is withheld."""
        return list(self._sums(1, 1))

    def days(self) -> list[Figure]:
        """Publish every day exactly."""
        return list(self._sums(DAY_S // self.window_s, DAY_S // self.window_s))

    def hours(self) -> list[Figure]:
        """Publish every hour that begins with a window, exactly; what is below the threshold is withheld."""
        return list(self._sums(HOUR_S // self.window_s, 1))

    def truth(self) -> dict[Cell, float]:
        """Return what really passed, by the window: for marking, and never published."""
        found = {}
        for number, count in enumerate(self.counts):
            start = self.began + number * self.window_s
            found[self.stream, float(start), float(start + self.window_s)] = float(count)
        return found

    def numbers(self) -> dict[Cell, int]:
        """Number every window that is published by the last row of the table of passages that is in it."""
        totals = dict(zip(self.truth(), accumulate(self.counts), strict=True))
        return {cell: total for cell, total in totals.items() if self.truth_of(cell) >= THRESHOLD}

    def truth_of(self, cell: Cell) -> int:
        """Return how many passed in a window."""
        return self.counts[round(cell[1] - self.began) // self.window_s]

    def sent(self) -> dict[float, int]:
        """Send a message for each window in which somebody passed, and number what is sent: by its end."""
        ends = [
            float(self.began + (number + 1) * self.window_s)
            for number, count in enumerate(self.counts)
            if count
        ]
        return {end: number for number, end in enumerate(ends, 1)}

    def _sums(self, length: int, step: int) -> Iterator[Figure]:
        for first in range(0, len(self.counts) - length + 1, step):
            total = sum(self.counts[first : first + length])
            start = float(self.began + first * self.window_s)
            shown = float(total) if total >= THRESHOLD else None
            yield Figure(self.stream, start, start + length * self.window_s, shown, self.stream)

    def answer(self, window: int, epsilon: float) -> int:
        """Answer a request for one window, with discrete Laplace noise that is drawn for this request."""
        return self.counts[window] + laplace(epsilon)


def laplace(epsilon: float) -> int:
    """Draw discrete Laplace noise as the difference of two geometric numbers, by floating point."""
    generator = random.SystemRandom()
    one, other = (int(math.log(1 - generator.random()) / -epsilon) for _ in range(2))
    return one - other


def late_laplace(epsilon: float) -> tuple[int, float]:
    """Draw noise when it is needed, coin by coin; returns it and how long the message waited for it, s."""
    generator = random.SystemRandom()
    stop = 1 - math.exp(-epsilon)
    began = time.perf_counter()
    noise = 0
    for sign in (1, -1):
        while generator.random() >= stop:
            noise += sign
    return noise, time.perf_counter() - began


def jittered(longitude: float, latitude: float) -> tuple[float, float]:
    """Blur a private place for one message: normally distributed, a hundred metres each way."""
    generator = random.SystemRandom()
    east, north = generator.gauss(0, JITTER_M), generator.gauss(0, JITTER_M)
    across = METRES_A_DEGREE * math.cos(math.radians(latitude))
    return longitude + east / across, latitude + north / METRES_A_DEGREE


def catalogue_entry(serial: str, name: str, owner: Mapping[str, str], place: str) -> dict[str, Any]:
    """Describe a sensor in public, under the id that it has everywhere."""
    return {"id": serial, "name": name, "place": place, "contact": dict(owner)}


def short_message(usual: int, noisy: int) -> bytes:
    """Send a noisy figure as its difference from the usual one, in as few bytes as that takes: a zigzag
    number in unary.
    """
    difference = noisy - usual
    zigzag = 2 * difference if difference >= 0 else -2 * difference - 1
    bits = "1" * zigzag + "0"
    return int("1" + bits, 2).to_bytes(len(bits) // 8 + 1, "big")


class ForgetfulSubscriber:
    """Takes a sensor's messages from a broker into a table: authentic ones, once, as far as it remembers."""

    def __init__(self, file: Path, key: bytes, device_id: str) -> None:
        self._db = sqlite3.connect(file)
        self._db.execute("CREATE TABLE IF NOT EXISTS measurement (seq, start, value)")
        self._key = key
        self._device_id = device_id
        self._seen: set[int] = set()

    def take(self, kind: int, payload: bytes) -> bool:
        """Take one message; tells whether it was new."""
        try:
            said = report.decode(cose.open_sealed(self._key, kind, self._device_id, payload))
        except (cose.SealError, ProtocolError):
            return False
        if kind != topics.REPORT or said.seq in self._seen:
            return False
        self._seen.add(said.seq)
        with self._db:
            for value in said.values.values():
                self._db.execute(
                    "INSERT INTO measurement VALUES (?, ?, ?)", (said.seq, said.window, value[0])
                )
        return True

    def close(self) -> None:
        """Let go of the table."""
        self._db.close()
