"""ST VL53L1X time-of-flight sensor on I2C at 0x29: a register file behind 16-bit addresses, big endian.

What is simulated is what ST's ultra lite driver (STSW-IMG009, UM2510) uses: 00E5 says it has booted, 010F is
EACC, a measurement begins when 0087 gets 40 and its result stands at 0089 when bit 0 of 0031 says so (the
opposite when bit 4 of 0030 is set) until 0086 gets 1; while 0087 stays 40, the next one follows. 005E and
0061 say how long one takes. A result is 17 bytes: status (9 is a valid distance, 4 too little light came
back, 7 the phase was wrong) in the low five bits of [0], [13..14] the distance in mm. The region of interest
is set by its centre (007F) and size (0080). Without the maker's configuration no measurement is valid.
0000 holds it in reset while it is 0; with 1 it boots, its registers as after power-on.

It hangs above the middle of a doorway and looks down; zone 167 is the half that who comes "in" meets first.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from peilmerk_bench.sensors.device import I2cDevice, Nack
from peilmerk_bench.world.movers import Mover

BOOT_S = 0.0012
CENTRE_A, CENTRE_B = 167, 231
ZONE_M = (0.02, 0.30)
"""From the middle to the near and far end of a zone, at the height of a chest."""

BUDGETS_S = {(0x0060, 0x006E): 0.033, (0x01DB, 0x01F1): 0.1, (0x0051, 0x006E): 0.02, (0x00AD, 0x00C6): 0.05}
VALID, WEAK, PHASE = 9, 4, 7
FIRST, LAST = 0x2D, 0x87
FIXED = {0x32: 0x00, 0x33: 0x02, 0x3E: 0xFF, 0x4C: 0x21, 0x54: 0xC8, 0x57: 0x38, 0x68: 0x08, 0x81: 0x9B}
"""Some of the bytes that ST calls not user-modifiable."""

Traffic = Callable[[float, float], list[Mover]]


def result_block(status: int, distance_mm: int, stream: int = 0) -> bytes:
    """The 17 bytes at 0089."""
    block = bytearray(17)
    block[0] = status
    block[2] = stream & 0xFF
    block[3:5] = (0x10 << 8).to_bytes(2, "big")
    block[5:7] = (0x0400).to_bytes(2, "big")
    block[7:9] = (0x0020).to_bytes(2, "big")
    block[13:15] = distance_mm.to_bytes(2, "big")
    return bytes(block)


@dataclass
class VL53L1X(I2cDevice):
    """The simulator.

    traffic: who goes through, at the moment when the front is below the sensor. floor_mm: how far the floor
    is; over_mm: how far whoever is below; noise_mm: standard deviation of a distance; invalid: share of
    measurements without a valid one; resets: how often it was reset by its register.
    """

    address: int = 0x29
    traffic: Traffic = lambda since, until: []
    floor_mm: int = 2200
    over_mm: int = 700
    noise_mm: float = 0.0
    invalid: float = 0.0
    seed: int = 1
    model: bytes = b"\xea\xcc"
    resets: int = 0
    registers: bytearray = field(default_factory=lambda: bytearray(0x200))
    _index: int = 0
    _booted_at: float = 0.0
    _began: float | None = None
    _stream: int = 0
    _chance: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        self._chance.seed(self.seed)

    def power(self, at: float, on: bool) -> None:
        self.registers = bytearray(0x200)
        self.registers[0] = 1
        self.registers[0x10F:0x111] = self.model
        self._booted_at = at + BOOT_S
        self._began = None

    def budget_s(self) -> float:
        """How long a measurement takes as the timing registers stand."""
        a, b = (int.from_bytes(self.registers[r : r + 2], "big") for r in (0x5E, 0x61))
        return BUDGETS_S.get((a, b), 0.14)

    def configured(self) -> bool:
        """Whether the maker's configuration was written."""
        return all(self.registers[register] == value for register, value in FIXED.items())

    def write(self, at: float, data: bytes) -> None:
        self.reachable()
        if at < self._booted_at:
            raise Nack
        if len(data) < 2:
            return
        self._index = int.from_bytes(data[:2], "big")
        for value in data[2:]:
            self._set(at, self._index, value)
            self._index += 1

    def read(self, at: float, size: int) -> bytes:
        self.reachable()
        if at < self._booted_at:
            raise Nack
        self._measure(at)
        self.registers[0xE5] = 3
        start, self._index = self._index, self._index + size
        return bytes(self.registers[start : start + size]).ljust(size, b"\0")

    def distance_mm(self, at: float, centre: int) -> int:
        """What lies below the zone with this centre at a moment."""
        near, far = ZONE_M if centre == CENTRE_B else (-ZONE_M[1], -ZONE_M[0])
        for mover in self.traffic(at - 20, at + 20):
            front = mover.speed_ms * (at - mover.at)
            back = front - mover.length_m
            if mover.direction == "out":
                front, back = -back, -front
            if min(front, far) - max(back, near) > 0.05:
                return self.over_mm
        return self.floor_mm

    def _set(self, at: float, register: int, value: int) -> None:
        if register < len(self.registers):
            self.registers[register] = value
        if register == 0:
            self._began = None
            if value & 1:
                self.resets += 1
                self.power(at, True)
        elif register == 0x86 and value & 1:
            self._say_ready(False)
        elif register == 0x87:
            self._began = at if value == 0x40 and self.registers[0] else None

    def _say_ready(self, ready: bool) -> None:
        active_low = self.registers[0x30] >> 4 & 1
        self.registers[0x31] = 2 | (ready ^ active_low)

    def _measure(self, at: float) -> None:
        """Let a measurement that has ended by now stand in the registers."""
        if self._began is None or at < self._began + self.budget_s():
            return
        middle = self._began + self.budget_s() / 2
        centre = self.registers[0x7F]
        distance = self.sees(lambda moment: self.distance_mm(moment, centre), middle, str(centre))
        status = VALID if self._chance.random() >= self.invalid else self._chance.choice((WEAK, PHASE))
        if not self.configured():
            status = PHASE
        distance = max(0, round(distance + self._chance.gauss(0, self.noise_mm)))
        if status != VALID:
            distance = self._chance.randrange(4000)  # there is always a figure, and it means nothing
        self._stream += 1
        self.registers[0x89 : 0x89 + 17] = result_block(status, distance, self._stream)
        self._say_ready(True)
        self._began = at
