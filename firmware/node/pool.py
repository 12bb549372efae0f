"""The noise of the next windows, drawn ahead of need.

A set of noise, one number for each counted quantity in rising order, is drawn when its window begins: what
the sampler takes of time and of bits is over long before the window closes, so that the moment of sending
says nothing about it. Sets live in RAM only, are used once and overwritten.
"""

from node.entropy import BitStream
from node.laplace import discrete_laplace
from node.release import wipe


class Pool:
    """Sets of `number` draws each, with noise of the fraction `epsilon` (numerator, denominator)."""

    def __init__(self, number, epsilon):
        self._number = number
        self._p, self._q = epsilon
        self._sets: list = []

    def fill(self, sets=1):
        """Draw until so many sets are there. Raises entropy.EntropyRefused; ValueError for no epsilon."""
        while self._number and len(self._sets) < sets:
            stream = BitStream()
            try:
                self._sets.append(
                    [discrete_laplace(stream.bits, self._p, self._q) for _ in range(self._number)]
                )
            finally:
                stream.close()

    def ready(self):
        """Whether a set is there, or none is needed."""
        return bool(self._sets) or not self._number

    def take(self):
        """The oldest set, a list that the caller overwrites when it is used; None when there is none."""
        return self._sets.pop(0) if self._sets else None

    def clear(self):
        """Overwrite what was drawn and not used."""
        while self._sets:
            wipe(self._sets.pop())
