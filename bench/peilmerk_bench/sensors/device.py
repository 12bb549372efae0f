"""What every simulated sensor has in common: a name, faults that can be set at any time, a log of what it
served.

A simulator is one of three by its wires: a `UartDevice`, an `I2cDevice` or a `PinDevice`; the board's wiring
knows no sensor by name. Moments are seconds of world time since 1970.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

Seen = TypeVar("Seen")

GARBAGE_AT_ONCE = 4096
"""A line that nobody reads keeps at most so many bytes in the simulation."""

BABBLE_S = 0.02
"""A board that waits for bytes of a babbling sensor looks again so soon."""

FAULTS = ("silent", "bad_checksums", "babbling", "hanging", "stuck", "wedged")


class Nack(Exception):
    """Nobody acknowledged the address or a byte."""


class BusHang(Exception):
    """The bus is held down; a host sees a time-out."""


@dataclass(frozen=True)
class Served:
    """One answer that left a sensor: when, by which, the physical values, and whether it may be believed.

    good: False for an answer spoiled by a fault or given before the sensor has settled.
    """

    at: float
    sensor: str
    values: dict[str, float]
    good: bool = True


Edge = tuple[float, int, int]
"""Moment, pin, level."""


@dataclass
class Device:
    """A sensor with its faults.

    silent: answers nothing; bad_checksums: every answer's checksum is wrong, if it has one; babbling: sends
    garbage without end, or answers every read with it; stuck: measures for ever what it measured last;
    wedged: silent until its supply is cut. planned: (moment, fault, on) still to come, in order of time; they
    happen when the board looks next.
    on_change is called when a fault is set, so that a board that sleeps until the next byte looks again.
    """

    name: str
    served: list[Served] = field(default_factory=list)
    silent: bool = False
    bad_checksums: bool = False
    babbling: bool = False
    stuck: bool = False
    wedged: bool = False
    planned: list[tuple[float, str, bool]] = field(default_factory=list)
    on_change: Callable[[], None] | None = None
    _last_seen: dict[str, Any] = field(default_factory=dict)
    _noise: random.Random = field(default_factory=lambda: random.Random(20261123))

    def __setattr__(self, attribute: str, value: Any) -> None:
        changed = attribute in FAULTS and getattr(self, attribute, None) != value
        super().__setattr__(attribute, value)
        if changed and attribute == "wedged":
            self.silent = value
        if changed and getattr(self, "on_change", None):
            self.on_change()  # type: ignore[misc]

    def power(self, at: float, on: bool) -> None:
        """The supply comes or goes; what a sensor forgets then is its own affair."""

    def happen(self, at: float) -> None:
        """Let the planned faults of up to a moment come and go."""
        while self.planned and self.planned[0][0] <= at:
            _, fault, on = self.planned.pop(0)
            setattr(self, fault, on)

    def switch(self, at: float, on: bool) -> None:
        """What the board's wire calls for `power`: without its supply, no sensor stays wedged."""
        if not on:
            self.wedged = False
        self.power(at, on)

    def sees(self, world: Callable[[float], Seen], at: float, what: str = "") -> Seen:
        """What the world shows it at a moment: the last it saw, when it is stuck."""
        if not self.stuck or what not in self._last_seen:
            self._last_seen[what] = world(at)
        seen: Seen = self._last_seen[what]
        return seen

    def garbage(self, size: int) -> bytes:
        """The next bytes of a babbling sensor: always the same ones in the same order."""
        return self._noise.randbytes(size)


@dataclass
class UartDevice(Device):
    """A sensor on a serial line. baud: 8 data bits, no parity, 1 stop bit at this speed.

    The board's wire calls `arrived` and `following`; a sensor overrides `receive`, and `advance` if it sends
    without being asked.
    """

    baud: int = 9600
    _line: deque[tuple[float, int]] = field(default_factory=deque)
    _babbled: float | None = None

    @property
    def byte_s(self) -> float:
        """How long one byte is on the line."""
        return 10 / self.baud

    def receive(self, at: float, data: bytes) -> None:
        """Take what the host sent."""
        raise NotImplementedError

    def advance(self, at: float) -> None:
        """Let what it does by itself happen, up to a moment."""

    def put(self, at: float, frame: bytes) -> None:
        """Send a frame from `at` on, after what is still on the line."""
        begin = max(at, self._line[-1][0] if self._line else at)
        self._line.extend((begin + (i + 1) * self.byte_s, byte) for i, byte in enumerate(frame))

    def read(self, at: float) -> bytes:
        """Give the bytes that have arrived at the host since the last call, up to `at`."""
        self.advance(at)
        found = bytearray()
        while self._line and self._line[0][0] <= at:
            found.append(self._line.popleft()[1])
        return bytes(found)

    def next_at(self, at: float) -> float | None:
        """Tell when the next bytes will have arrived; None when none come by themselves."""
        self.advance(at)
        return self._line[-1][0] if self._line else None

    def arrived(self, at: float) -> bytes:
        """What the wire has brought since the last call: what the sensor sent, or its babble instead."""
        self.happen(at)
        said = self.read(at)
        if not self.babbling:
            self._babbled = None
            return said
        since = at if self._babbled is None else self._babbled
        number = min(int((at - since) / self.byte_s), GARBAGE_AT_ONCE)
        self._babbled = (
            at if self._babbled is None or number == GARBAGE_AT_ONCE else since + number * self.byte_s
        )
        return self.garbage(number)

    def following(self, at: float) -> float | None:
        """When the wire will bring more; None: not by itself."""
        return at + BABBLE_S if self.babbling else self.next_at(at)


@dataclass
class I2cDevice(Device):
    """A sensor on a two-wire bus. hanging: holds the bus down. The board's wire calls `transfer`."""

    address: int = 0
    hanging: bool = False

    def write(self, at: float, data: bytes) -> None:
        """Take a write of the host; b"" is a bare address, as a scan sends it. Raises Nack, BusHang."""
        raise NotImplementedError

    def read(self, at: float, size: int) -> bytes:
        """Give `size` bytes. Raises Nack, BusHang."""
        raise NotImplementedError

    def reachable(self) -> None:
        """Raise what the host sees of a sensor that does not take part: Nack or BusHang."""
        if self.hanging:
            raise BusHang
        if self.silent:
            raise Nack

    def transfer(self, at: float, data: bytes | None, size: int) -> bytes:
        """One transfer of the host: a write unless `data` is None, then a read of `size` bytes."""
        self.happen(at)
        if self.babbling:
            self.reachable()
            return self.garbage(size)
        if data is not None:
            self.write(at, data)
        return self.read(at, size) if size else b""


@dataclass
class PinDevice(Device):
    """A sensor that is seen as levels of pins."""

    pins: tuple[int, ...] = ()

    def levels(self, at: float) -> dict[int, int]:
        """Give the level of each pin at a moment."""
        raise NotImplementedError

    def edges(self, after: float, until: float) -> list[Edge]:
        """Give all changes in (after, until], in order of time."""
        raise NotImplementedError
