"""What a record lets one device do: the form of a record that the stages work with.

A mandate is made once when a record is read, so that judging a report is comparing numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

from peilmerk_gateway.deployments import gates, home
from peilmerk_gateway.deployments.record import Datastream, Device, Record
from peilmerk_protocol import profile, quantities, topics
from peilmerk_protocol.quantities_names import Quantity


@dataclass(frozen=True, slots=True)
class Stream:
    """One declared datastream of one device."""

    key: str
    """"<deployment>/<thing>/<quantity name>": public, without the device's id."""
    quantity: Quantity
    is_public: bool

    @property
    def day_key(self) -> str:
        """Key of the datastream of this count's totals by the day: other figures, with noise of their own."""
        return f"{self.key}/day"


@dataclass(frozen=True)
class Mandate:
    """The terms for one device. `streams` by quantity number; epsilon is nothing where nothing is counted.

    `in_force`: when the record lets anything be published (G3); `assessed`: when its assessment holds (G4).
    """

    deployment: str
    thing: str
    device_id: str
    active: bool
    firmware_digests: frozenset[bytes]
    window_s: int
    epsilon_leaf: Fraction
    epsilon_day: Fraction
    k: int
    m_assumed: int
    streams: Mapping[int, Stream]
    in_force: gates.Period
    assessed: gates.Period
    hold_s: int = 0
    """How long after the end of its window nobody is told a figure, seconds: at somebody's home."""
    # Reckoned once, at the first report that asks.
    _digests: dict[int, bytes] = field(default_factory=dict, compare=False, repr=False)
    _prices: dict[int, int] = field(init=False, default_factory=dict, compare=False, repr=False)
    _scales: dict[int, float] = field(init=False, default_factory=dict, compare=False, repr=False)

    @cached_property
    def declared(self) -> int:
        """Set (bit mask) of the quantities that a report may carry."""
        declared = quantities.mask(tuple(self.streams))
        if any(quantities.kind(number) == quantities.KIND_MEAN for number in self.streams):
            # The number of samples is part of what a mean is.
            declared |= 1 << quantities.SAMPLES
        if any(quantities.kind(number) == quantities.KIND_EXTREMES for number in self.streams):
            # How much of the window the extremes could come from.
            declared |= 1 << quantities.COMPLETENESS
        return declared

    def profile(self, revision: int) -> profile.Profile:
        """Return the profile that the device must run, under the revision it says it has.

        The revision numbers the agreements with a device; what was agreed is in the record.
        """
        return profile.Profile(
            revision,
            self.window_s,
            self.declared,
            self.epsilon_leaf.as_integer_ratio(),
            self.epsilon_day.as_integer_ratio(),
            self.k,
            self.m_assumed,
        )

    def profile_digest(self, revision: int) -> bytes:
        """Return the digest that the device must attest for a revision (0 to 255)."""
        if revision not in self._digests:
            self._digests[revision] = profile.digest(self.profile(revision))
        return self._digests[revision]

    @cached_property
    def declared_day(self) -> int:
        """Set (bit mask) of the counts of which a day's total may come: none without an epsilon for it."""
        return self.declared & quantities.COUNTS if self.epsilon_day else 0

    @cached_property
    def observed(self) -> Mapping[int, Stream]:
        """The datastreams that have figures of their own: extremes go along with their mean."""
        return {
            number: stream
            for number, stream in self.streams.items()
            if stream.quantity.kind != quantities.KIND_EXTREMES
        }

    @property
    def extremes(self) -> list[int]:
        """Numbers of the extremes that go along with their means."""
        return [n for n in self.streams if quantities.kind(n) == quantities.KIND_EXTREMES]

    def length_s(self, kind: int) -> int:
        """Return how much time a message is about, seconds: a window's, or a day's for topics.DAY."""
        return profile.DAY_S if kind == topics.DAY else self.window_s

    def epsilon(self, kind: int) -> Fraction:
        """Return what one count costs: of a window, or of a day for topics.DAY."""
        return self.epsilon_day if kind == topics.DAY else self.epsilon_leaf

    def epsilon_micro(self, kind: int = topics.REPORT) -> int:
        """Return what one count costs, in millionths, rounded up."""
        if kind not in self._prices:
            self._prices[kind] = math.ceil(self.epsilon(kind) * 1_000_000)
        return self._prices[kind]

    def noise_scale(self, kind: int = topics.REPORT) -> float:
        """Return the standard deviation of the noise in one count: discrete Laplace. For display only.

        Variance 2 q / (1 - q)^2 with q = exp(-epsilon) (Canonne, Kamath, Steinke 2020).
        """
        if kind not in self._scales:
            q = math.exp(-self.epsilon(kind))
            self._scales[kind] = math.sqrt(2 * q) / (1 - q)
        return self._scales[kind]


def mandates_of(record: Record) -> list[Mandate]:
    """Return the mandate of every device of a record, inactive ones too."""
    return [_mandate(record, device) for device in record.devices]


def _mandate(record: Record, device: Device) -> Mandate:
    declared = [stream for stream in record.datastreams if _measured_by(stream, device)]
    counts = any(stream.measures.is_count for stream in declared)
    privacy = record.privacy
    return Mandate(
        deployment=record.id,
        thing=device.name,
        device_id=device.device_id,
        active=device.active,
        firmware_digests=frozenset(
            digest for digest in (device.firmware_digest, device.next_firmware_digest) if digest is not None
        ),
        window_s=privacy.window_s,
        epsilon_leaf=privacy.epsilon_leaf if counts else Fraction(0),
        epsilon_day=privacy.epsilon_day if counts else Fraction(0),
        k=privacy.k if counts else 0,
        m_assumed=privacy.m_assumed if counts else 0,
        streams={
            stream.measures.number: Stream(
                f"{record.id}/{device.name}/{stream.measures.name}",
                stream.measures,
                # What happens indoors is never public, whatever the record says of its datastreams.
                stream.is_public and not record.location.indoor,
            )
            for stream in declared
        },
        in_force=gates.in_force(record),
        assessed=gates.assessed(record),
        hold_s=home.hold_s(record),
    )


def _measured_by(stream: Datastream, device: Device) -> bool:
    return stream.devices is None or device.name in stream.devices
