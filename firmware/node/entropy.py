"""Random bits for the noise, from the system's true source only.

Order of consumption, so that a test with a logged source can repeat every draw: a `BitStream` asks its
source for blocks of exactly 32 bytes, the first when the first bit is needed and one more each time a block
is used up. Bits are taken from the first byte to the last, within a byte from the least significant bit
upwards; the first bit taken is the least significant bit of the returned integer. `release` opens one
stream a window, draws the counts in rising quantity number, and closes the stream: what is left of its last
block is thrown away. Nothing else on the board asks the source for 32 bytes at once.

On ESP32 the generator is truly random only while the radio (or the SAR ADC's noise source) is on (ESP-IDF
programming guide, "Random Number Generation"); `check_source` refuses otherwise.
"""

import os
import sys

from micropython import const

_BLOCK = const(32)


class EntropyRefused(Exception):
    """The entropy source is not known to be true now; nothing may be drawn from it."""


def check_source():
    """Raise EntropyRefused unless `os.urandom` is truly random at this moment."""
    if sys.platform in ("linux", "darwin"):
        return  # the kernel's generator
    try:
        import network

        active = network.WLAN(network.STA_IF).active()
    except (ImportError, AttributeError, OSError):
        active = False
    if not active:
        raise EntropyRefused("found the radio off, wanted it on: the random generator is not true without it")


class BitStream:
    """Bits from `source(n) -> n bytes`; see the module for the exact order. Close it when done."""

    def __init__(self, source=os.urandom, check=check_source):
        check()
        self._source = source
        self._block = bytearray(_BLOCK)
        self._used = _BLOCK * 8

    def bits(self, count):
        """The next `count` bits as an integer in 0 .. 2^count - 1."""
        value = 0
        for place in range(count):
            if self._used == _BLOCK * 8:
                self._block[:] = self._source(_BLOCK)
                self._used = 0
            if self._block[self._used >> 3] >> (self._used & 7) & 1:
                value |= 1 << place
            self._used += 1
        return value

    def close(self):
        """Overwrite the unused bits; a further `bits` takes a new block."""
        for place in range(_BLOCK):
            self._block[place] = 0
        self._used = _BLOCK * 8
