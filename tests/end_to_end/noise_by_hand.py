"""The noise once more, by other code: what a board must have drawn from the random bytes it was given.

Written from the published algorithm (Canonne, Kamath, Steinke 2020), sharing nothing with the firmware but
the documented order in which bits are taken.
"""

from __future__ import annotations

from collections.abc import Iterator


def bit_stream(blocks: bytes) -> Iterator[int]:
    """Bits of the bytes in order, the least significant of each byte first."""
    for byte in blocks:
        for place in range(8):
            yield (byte >> place) & 1


class Blocks:
    """The bits of several blocks, and how many of the blocks were begun."""

    def __init__(self, blocks: list[bytes]) -> None:
        self.begun = 0
        self._bits = self._all(blocks)

    def __iter__(self) -> Iterator[int]:
        return self._bits

    def __next__(self) -> int:
        return next(self._bits)

    def _all(self, blocks: list[bytes]) -> Iterator[int]:
        for block in blocks:
            self.begun += 1
            yield from bit_stream(block)


def uniform(bits: Iterator[int], limit: int) -> int:
    width = (limit - 1).bit_length()
    while True:
        value = sum(next(bits) << place for place in range(width))
        if value < limit:
            return value


def coin(bits: Iterator[int], p: int, q: int) -> bool:
    """True with probability exp(-p/q), p <= q: the length of a run of successes is odd."""
    tries = 1
    while uniform(bits, q * tries) < p:
        tries += 1
    return tries % 2 == 1


def laplace(bits: Iterator[int], p: int, q: int) -> int:
    """One draw of discrete Laplace noise of scale q/p."""
    while True:
        remainder = uniform(bits, q)
        if not coin(bits, remainder, q):
            continue
        whole = 0
        while coin(bits, 1, 1):
            whole += 1
        size = (remainder + q * whole) // p
        negative = next(bits)
        if not (negative and size == 0):
            return -size if negative else size
