"""HLK-LD2450 radar on a UART, 256000 8N1 (Hi-Link, LD2450 instruction manual, chapter 6).

Ten frames of 30 bytes a second: AA FF 03 00, three targets of 8 bytes, 55 CC. A target is x and y in mm,
speed in cm/s and resolution in mm, 16 bits each, little endian; the first three are sign and magnitude with
the top bit set for positive. An empty place is eight zero bytes. There is no checksum.

The radar sits at the side of a path and looks along it (`across` False: who comes "in" comes towards it) or
across it ("in" goes to the right). It sees 6 metres, 60 degrees to each side.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from peilmerk_bench.sensors.device import UartDevice
from peilmerk_bench.world.movers import Mover

FRAME_S = 0.1
HEAD, TAIL = b"\xaa\xff\x03\x00", b"\x55\xcc"
TARGETS = 3
REACH_M = 6.0
NEAREST_M = 0.3
SIDEWAYS = math.tan(math.radians(60))
RESOLUTION_MM = 360
LATE_S = 10.0
"""What nobody has read for so long is not sent any more."""

Traffic = Callable[[float, float], list[Mover]]


def signed(value: int) -> bytes:
    """Sign and magnitude, the top bit set for positive."""
    return (min(abs(value), 0x7FFF) | (0x8000 if value >= 0 else 0)).to_bytes(2, "little")


def target(x_mm: int, y_mm: int, speed_cm_s: int, resolution_mm: int = RESOLUTION_MM) -> bytes:
    """The eight bytes of a target."""
    return signed(x_mm) + signed(y_mm) + signed(speed_cm_s) + resolution_mm.to_bytes(2, "little")


def frame(*targets: bytes) -> bytes:
    """A frame with up to three targets."""
    return HEAD + b"".join(targets).ljust(8 * TARGETS, b"\0") + TAIL


@dataclass
class LD2450(UartDevice):
    """The simulator.

    traffic: who passes, at the moment of crossing the line that lies line_m before the radar (or across it);
    jitter_mm: standard deviation of each coordinate; missed: share of targets not seen in a frame; lost:
    share of frames that do not come; cut: share of frames that end in the middle; swapping: whether a target
    may be in another place in each frame.
    """

    baud: int = 256000
    traffic: Traffic = lambda since, until: []
    across: bool = False
    line_m: float = 2.5
    jitter_mm: float = 0.0
    missed: float = 0.0
    lost: float = 0.0
    cut: float = 0.0
    swapping: bool = False
    seed: int = 1
    frames: int = 0
    _next: float | None = None
    _chance: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        self._chance.seed(self.seed)

    def power(self, at: float, on: bool) -> None:
        self._line.clear()
        self._next = at + FRAME_S if on else None

    def receive(self, at: float, data: bytes) -> None:
        """Commands are not simulated: the driver sends none."""

    def where(self, mover: Mover, at: float) -> tuple[float, float]:
        """Metres right of the radar and before it."""
        gone = mover.speed_ms * (at - mover.at)
        if self.across:
            return (gone if mover.direction == "in" else -gone), self.line_m + mover.aside_m
        return mover.aside_m, self.line_m - (gone if mover.direction == "in" else -gone)

    def seen(self, at: float) -> list[tuple[int, int, int]]:
        """x and y in mm and speed in cm/s of everybody within reach, the nearest first."""
        found = []
        for mover in self.traffic(at - 30, at + 30):
            x, y = self.where(mover, at)
            if y >= NEAREST_M and math.hypot(x, y) <= REACH_M and abs(x) <= y * SIDEWAYS:
                before = self.where(mover, at - FRAME_S)
                speed = (math.hypot(x, y) - math.hypot(*before)) / FRAME_S
                found.append((x, y, speed))
        found.sort(key=lambda one: math.hypot(one[0], one[1]))
        return [(round(x * 1000), round(y * 1000), round(speed * 100)) for x, y, speed in found[:TARGETS]]

    def next_frame(self, at: float) -> bytes:
        """What it sends at a moment, jitter and misses included."""
        targets = [
            target(x + self._jitter(), max(0, y + self._jitter()), speed)
            for x, y, speed in self.sees(self.seen, at)
            if self._chance.random() >= self.missed
        ]
        targets += [bytes(8)] * (TARGETS - len(targets))
        if self.swapping:
            self._chance.shuffle(targets)
        return frame(*targets)

    def advance(self, at: float) -> None:
        while self._next is not None and self._next <= at:
            moment, self._next = self._next, round(self._next + FRAME_S, 6)
            if self.silent or at - moment > LATE_S:
                continue
            data = self.next_frame(moment)
            if self._chance.random() < self.lost:
                continue
            if self._chance.random() < self.cut:
                data = data[: self._chance.randrange(1, len(data))]
            self.frames += 1
            self.put(moment, data)

    def next_at(self, at: float) -> float | None:
        self.advance(at)
        if self._line:
            return self._line[-1][0]
        return None if self._next is None or self.silent else self._next + 30 * self.byte_s

    def _jitter(self) -> int:
        return 0 if self.stuck else round(self._chance.gauss(0, self.jitter_mm))
