"""What every simulated sensor has in common: a name, faults that can be set at any time, a log of what it
served.

A simulator is one of three by its wires: a `UartDevice`, an `I2cDevice` or a `PinDevice`; the board's wiring
knows no sensor by name. Moments are seconds of world time since 1970.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


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

    silent: answers nothing; bad_checksums: every answer's checksum is wrong.
    on_change is called when a fault is set, so that a board that sleeps until the next byte looks again.
    """

    name: str
    served: list[Served] = field(default_factory=list)
    silent: bool = False
    bad_checksums: bool = False
    on_change: Callable[[], None] | None = None

    def __setattr__(self, attribute: str, value: Any) -> None:
        changed = (
            attribute in ("silent", "bad_checksums", "hanging") and getattr(self, attribute, None) != value
        )
        super().__setattr__(attribute, value)
        if changed and getattr(self, "on_change", None):
            self.on_change()  # type: ignore[misc]

    def power(self, at: float, on: bool) -> None:
        """The supply comes or goes; what a sensor forgets then is its own affair."""


@dataclass
class UartDevice(Device):
    """A sensor on a serial line. baud: 8 data bits, no parity, 1 stop bit at this speed."""

    baud: int = 9600

    def receive(self, at: float, data: bytes) -> None:
        """Take what the host sent."""
        raise NotImplementedError

    def read(self, at: float) -> bytes:
        """Give the bytes that have arrived at the host since the last call, up to `at`."""
        raise NotImplementedError

    def next_at(self, at: float) -> float | None:
        """Tell when the next bytes will have arrived; None when none come by themselves."""
        raise NotImplementedError


@dataclass
class I2cDevice(Device):
    """A sensor on a two-wire bus. hanging: holds the bus down."""

    address: int = 0
    hanging: bool = False

    def write(self, at: float, data: bytes) -> None:
        """Take a write of the host; b"" is a bare address, as a scan sends it. Raises Nack, BusHang."""
        raise NotImplementedError

    def read(self, at: float, size: int) -> bytes:
        """Give `size` bytes. Raises Nack, BusHang."""
        raise NotImplementedError


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
