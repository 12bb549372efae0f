"""HLK-LD2450 radar on a UART, 256000 8N1 (Hi-Link, LD2450 instruction manual, chapter 6).

Ten frames of 30 bytes a second: AA FF 03 00, three targets of 8 bytes, 55 CC. A target is x and y in mm,
speed in cm/s and resolution in mm, 16 bits each, little endian; the first three are sign and magnitude with
the top bit set for positive. An empty place is eight zero bytes. There is no checksum.

Orders (communication protocol, chapter 2.2) are FD FC FB FA, length, command, value, 04 03 02 01; the answer
has the command with its second byte 1, then two bytes, 0 when it was carried out. Nothing but FF is carried
out before FF; from then on no frame comes until FE, A3 or the power. What is set survives the loss of power.

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
OPEN, CLOSE = b"\xfd\xfc\xfb\xfa", b"\x04\x03\x02\x01"
RESTART_S = 1.0
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


def order(command: int, value: bytes = b"") -> bytes:
    """A whole order."""
    body = command.to_bytes(2, "little") + value
    return OPEN + len(body).to_bytes(2, "little") + body + CLOSE


def frame(*targets: bytes) -> bytes:
    """A frame with up to three targets."""
    return HEAD + b"".join(targets).ljust(8 * TARGETS, b"\0") + TAIL


@dataclass
class LD2450(UartDevice):
    """The simulator.

    traffic: who passes, at the moment of crossing the line that lies line_m before the radar (or across it);
    jitter_mm: standard deviation of each coordinate; missed: share of targets not seen in a frame; lost:
    share of frames that do not come; cut: share of frames that end in the middle; swapping: whether a target
    may be in another place in each frame. multi, region and bluetooth are what it was told last, radiating
    whether its Bluetooth is on now; restarts: how often it was told to start anew.
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
    multi: bool = True
    region: bytes = bytes(26)
    bluetooth: bool = True
    radiating: bool = True
    restarts: int = 0
    _taking: bool = False
    _heard: bytearray = field(default_factory=bytearray)
    _next: float | None = None
    _chance: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        self._chance.seed(self.seed)

    def power(self, at: float, on: bool) -> None:
        self._line.clear()
        self._heard.clear()
        self._start(at + FRAME_S if on else None)

    def receive(self, at: float, data: bytes) -> None:
        self.advance(at)
        self._heard += data
        while (begin := self._heard.find(OPEN)) >= 0:
            del self._heard[:begin]
            end = 10 + int.from_bytes(self._heard[4:6], "little")
            if len(self._heard) < end:
                return
            body, tail = bytes(self._heard[6 : end - 4]), self._heard[end - 4 : end]
            del self._heard[:end]
            if tail == CLOSE and not self.silent:
                self._obey(at, int.from_bytes(body[:2], "little"), body[2:])

    def _obey(self, at: float, command: int, value: bytes) -> None:
        if command != 0xFF and not self._taking:
            return
        more = b""
        if command == 0xFF:
            self._taking, self._next, more = True, None, b"\x01\x00\x40\x00"
        elif command in (0x80, 0x90):
            self.multi = command == 0x90
        elif command == 0xA4:
            self.bluetooth = value[0] == 1
        elif command == 0xC2:
            self.region = value
        elif command == 0xFE:
            self._start(at + FRAME_S)
        elif command == 0xA3:
            self.restarts += 1
            self._start(at + RESTART_S)
        else:
            return
        self.put(at, order(0x100 | command, b"\x00\x00" + more))

    def _start(self, at: float | None) -> None:
        """Work from a moment on, as it was told."""
        self._taking, self._next, self.radiating = False, at, self.bluetooth

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
        return [
            (round(x * 1000), round(y * 1000), round(speed * 100))
            for x, y, speed in found[: TARGETS if self.multi else 1]
        ]

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
