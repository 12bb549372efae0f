"""The randomness a board is given: the system's, or a reproducible stream of which every hand-out is kept."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Handout:
    """Bytes handed out by one os.urandom call, and when (world time)."""

    at: float
    data: bytes


class SeededEntropy:
    """SHA-256 in counter mode over seed and board's name; it goes on through resets and power cuts."""

    def __init__(self, seed: int | bytes, name: str) -> None:
        key = seed if isinstance(seed, bytes) else str(seed).encode()
        self._key = hashlib.sha256(name.encode() + b"\0" + key).digest()
        self._count = 0
        self._left = b""
        self.log: list[Handout] = []

    def take(self, at: float, size: int) -> bytes:
        """The next `size` bytes of the stream."""
        while len(self._left) < size:
            self._left += hashlib.sha256(self._key + self._count.to_bytes(8, "big")).digest()
            self._count += 1
        data, self._left = self._left[:size], self._left[size:]
        self.log.append(Handout(at, data))
        return data
