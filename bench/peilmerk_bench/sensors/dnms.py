"""DNMS noise sensor on I2C at 0x55 (hbitter/DNMS, firmware 3 for Teensy 4).

It measures A-weighted levels of 125 ms without pause. 0003 closes the interval since the last 0003 and begins
the next; 0004 tells whether its result is ready, 0005 reads LAeq, LAmin and LAmax in dB as floats, words with
CRC as Sensirion's, and clears the flag. 0001 does nothing that a host could see, 0002 gives the version. An
interval shorter than 125 ms gives the LAeq of the one before, and 0 for the others.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass

from peilmerk_bench.sensors.device import Nack, Served
from peilmerk_bench.sensors.sensirion import SensirionI2c, float_words

BLOCK_S = 0.125
LONGEST_S = 3600.0
READY_S = 0.004
VERSION = b"DNMS Version 3.4.4\0\0"

Sound = Callable[[float], float]
"""A-weighted level in dB of the 125 ms that begin at a moment."""


@dataclass
class DNMS(SensirionI2c):
    """The simulator. sound: what it would hear."""

    sound: Sound = lambda at: 50.0
    address: int = 0x55
    _since: float = 0.0
    _ready_at: float | None = None
    _result: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def power(self, at: float, on: bool) -> None:
        self._since = at
        self._ready_at = None
        self._result = (0.0, 0.0, 0.0)

    def obey(self, at: float, command: int, arguments: list[int]) -> None:
        if command == 0x0003:
            self._result = self.sees(self._interval, at)
            self._since = at
            self._ready_at = at + READY_S
        elif command == 0x0004:
            self.leave(int(self._ready_at is not None and at >= self._ready_at))
        elif command == 0x0005:
            self.leave_later(self._read)
        elif command == 0x0002:
            self.leave(*struct.unpack(">10H", VERSION))
        elif command != 0x0001:
            raise Nack

    def _interval(self, at: float) -> tuple[float, float, float]:
        since = max(self._since, at - LONGEST_S)
        blocks = int((at - since) / BLOCK_S)
        if not blocks:
            return self._result[0], 0.0, 0.0
        levels = [self.sound(since + i * BLOCK_S) for i in range(blocks)]
        energy = math.fsum(10 ** (level / 10) for level in levels) / blocks
        return 10 * math.log10(energy), min(levels), max(levels)

    def _read(self, at: float) -> bytes:
        self._ready_at = None
        mean, low, high = self._result
        values = {"laeq": mean, "lamin": low, "lamax": high}
        self.served.append(Served(at, self.name, values, not self.bad_checksums))
        return float_words(mean, low, high)
