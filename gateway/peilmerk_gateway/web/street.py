"""What the page shows, before it has a language: plain values read from the store and the deployment records.

Nothing in here can identify a board or point at a house: no device id, no exact place, no key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from typing import Literal

from peilmerk_gateway.web.chart import Slot
from peilmerk_protocol.quantities_names import Quantity

Kind = Literal["counter", "air", "noise", "other"]


def fragment_name(*key: str) -> str:
    """A name fit for an HTML id that is the same at every start and tells nothing: `s` and ten hex digits."""
    return "s" + sha256("\0".join(key).encode()).hexdigest()[:10]


@dataclass(frozen=True)
class Day:
    """A count's last total by the day; `value` is None when it is withheld (`reason` says why)."""

    start: int
    value: float | None
    noise: float | None
    reason: str | None


@dataclass(frozen=True)
class Series:
    """One datastream: what it measures and its last windows, oldest first, in the shown unit."""

    datastream: str
    quantity: Quantity
    slots: tuple[Slot, ...]
    day: Day | None = None

    @property
    def name(self) -> str:
        """The series' name within the document."""
        return fragment_name(self.datastream)

    @property
    def decimals(self) -> int:
        """With how many decimals the quantity is told apart on the wire."""
        return len(str(self.quantity.scale[1])) - 1

    @property
    def published(self) -> tuple[Slot, ...]:
        """The windows that have a value, oldest first, those that still wait for a platform among them."""
        return tuple(slot for slot in self.slots if slot.value is not None)

    @property
    def withheld(self) -> int:
        """How many of the shown windows were withheld."""
        return sum(slot.state == "withheld" for slot in self.slots)

    @property
    def noise(self) -> float | None:
        """The largest standard deviation of the noise in the shown windows."""
        return max((slot.noise for slot in self.slots if slot.noise), default=None)


@dataclass(frozen=True)
class Budget:
    """Today's privacy budget of one sensor that counts people; `m` passages a person and day are assumed."""

    windows: int
    leaf: Fraction
    day: Fraction
    m: int
    k: int
    since: float
    """Unix time at which the day of the ledger began, s."""

    @property
    def passage(self) -> Fraction:
        """Epsilon of one passage: its window and the day's total."""
        return self.leaf + self.day

    @property
    def person(self) -> Fraction:
        """Epsilon of a person who passes m times on a day."""
        return self.m * self.passage


@dataclass(frozen=True)
class Sensor:
    """One sensor of the street as its record tells the public, with what it published."""

    name: str
    key: str
    """"<deployment>/<name>", under which platforms know it."""
    fragment: str
    kind: Kind
    model: str
    description: str
    cell: str
    cell_m: int
    goals: tuple[str, ...]
    responsible: str
    contact: str
    objection: str
    documents: tuple[str, ...]
    window_s: int
    active: bool
    series: tuple[Series, ...]
    kept: tuple[Quantity, ...]
    """What is measured but not published."""
    budget: Budget | None
    last_window: int | None
    """Start of the newest window heard of, published or withheld, unix s."""
    silent: bool
    """Whether windows are overdue: every window is reported, so silence is a fault."""
    paused: bool = False
    """Whether its host paused it: it reports, but measures nothing."""


@dataclass(frozen=True)
class Platform:
    """Where one sink of the settings stands, in observations."""

    name: str
    kind: str
    waiting: int
    published: int
    rejected: int


@dataclass(frozen=True)
class Refused:
    """How many messages one reason turned away."""

    reason: str
    count: int


@dataclass(frozen=True)
class Street:
    """Everything on one page. `sensors` are those of this part; `total` counts all."""

    sensors: tuple[Sensor, ...]
    total: int
    part: int
    parts: int
    first: int
    broken: int
    platforms: tuple[Platform, ...]
    refused: tuple[Refused, ...]
    figures: Mapping[str, int]
    """published, waiting, withheld, refused: totals since the store began."""
