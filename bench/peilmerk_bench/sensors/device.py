"""What every simulated sensor has in common: a name, faults that can be set at any time, a log of what it
served.

Contract towards a board: a UART device has `receive(at, data)`, `read(at)` and `next_at(at)`; an I2C device
has `write(at, data)` and `read(at, size)` and raises `Nack` or `BusHang`; a pin device has `pins`,
`levels(at)` and `edges(after, until)`. Moments are seconds of world time since 1970.
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
