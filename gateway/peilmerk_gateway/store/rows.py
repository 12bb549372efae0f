"""What goes into the store and what comes out of it, as plain immutable records.

Units as in `schema`: unix seconds UTC, wire integers, epsilon in millionths.

What a report brings, a dozen records each, are tuples: made, handed to the database and to another process
(`store.batch_process`) without Python.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

from peilmerk_gateway.refusal import Refusal
from peilmerk_protocol import topics


class ReportRow(NamedTuple):
    """One admitted report, or a day's total (`kind`); `digest` is None when a figure of it is withheld."""

    device_id: str
    seq: int
    window_start: int
    window_s: int
    revision: int
    health: int
    digest: bytes | None
    kind: int = topics.REPORT


class ObservationRow(NamedTuple):
    """One figure that may be published (`is_public`) or is only kept."""

    datastream: str
    deployment: str
    thing: str
    device_id: str
    quantity: int
    window_start: int
    window_s: int
    result: int
    spread: int | None = None
    samples: int | None = None
    noise_scale: float | None = None
    minimum: int | None = None
    maximum: int | None = None
    completeness: int | None = None
    is_public: bool = True
    publish_after: float = 0.0
    """Unix seconds; no platform is sent it before."""


class WithheldRow(NamedTuple):
    """A window of a datastream of which the figure of the reporting board is not kept, and why."""

    datastream: str
    window_start: int
    reason: str


class LedgerRow(NamedTuple):
    """What one window of one quantity cost, or (`kind`) the total of a day."""

    deployment: str
    device_id: str
    quantity: int
    window_start: int
    epsilon_micro: int
    kind: int = topics.REPORT


@dataclass(frozen=True, slots=True)
class Levels:
    """By what terms the total of a day, `datastream`, may be weighed with its windows, `windows_of`."""

    datastream: str
    windows_of: str
    window_s: int
    window_micro: int
    """What the ledger says of each of the windows."""
    epsilon_leaf: Fraction
    epsilon_day: Fraction


class Entry(NamedTuple):
    """Everything that one admitted report writes; written whole or not at all."""

    report: ReportRow
    observations: tuple[ObservationRow, ...] = ()
    withheld: tuple[WithheldRow, ...] = ()
    ledger: tuple[LedgerRow, ...] = ()
    levels: tuple[Levels, ...] = ()


class AttestationRow(NamedTuple):
    """What a device stated about itself, under its own key, at sequence number `seq`."""

    device_id: str
    seq: int
    revision: int
    firmware_digest: bytes
    profile_digest: bytes
    reset_cause: int
    boot_count: int
    uptime: int | None = None
    """Seconds; none of a device that stated it before it could."""


@dataclass(frozen=True, slots=True)
class ParkedRow:
    """An authentic report that waits for its device's statement, since `at` (wall clock, unix seconds)."""

    device_id: str
    seq: int
    sealed: bytes = field(repr=False)
    digest: bytes = field(repr=False)
    at: float
    kind: int = topics.REPORT


@dataclass(frozen=True, slots=True)
class QuarantinedRow:
    """An authentic report that was refused at `at` for something that a person can mend.

    `window` is its index, as the report has it; `sealed` what the device sent, `size` bytes.
    """

    device_id: str
    seq: int
    kind: int
    window: int
    sealed: bytes = field(repr=False)
    size: int
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class CommandRow:
    """One command to one device, and what became of it; `argument` is CBOR, outcome None until answered.

    Times are unix seconds in the gateway's time; `sent_at` is that of the last of `attempts`.
    """

    device_id: str
    counter: int
    expiry: int
    verb: int
    argument: bytes
    state: str
    outcome: int | None
    detail: int | None
    attempts: int
    created_at: float
    sent_at: float | None
    answered_at: float | None


@dataclass(frozen=True, slots=True)
class KnownCommand:
    """What the store knows that bears on an acknowledgement; `outcome` is None until the device answered.

    Of a time beacon only is known that it was sent.
    """

    is_beacon: bool
    outcome: int | None = None
    detail: int | None = None


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """What a device answered to a command, or to a time beacon, which has no row."""

    device_id: str
    counter: int
    outcome: int
    detail: int
    is_beacon: bool


@dataclass(frozen=True, slots=True)
class BatchRows:
    """One batch of deliveries, judged: all of it goes into one transaction.

    `parked` begin to wait; `unparked` (device, number) end waiting, because they are among the rest.
    `quarantined` are among the refusals, and kept.
    `received` counts deliveries, `redelivered` those among them that the broker brought again although they
    were stored.
    """

    entries: Sequence[Entry] = ()
    attestations: Sequence[AttestationRow] = ()
    refusals: Sequence[Refusal] = ()
    received: int = 0
    redelivered: int = 0
    parked: Sequence[ParkedRow] = ()
    unparked: Sequence[tuple[str, int]] = ()
    answers: Sequence[AnswerRow] = ()
    registry: tuple[int, bytes] | None = None
    """Number and digest of the last action of the registry, by which the batch was judged."""
    halts: int | None = None
    """The revision of the halts by which it was judged; None for judged by none."""
    quarantined: Sequence[QuarantinedRow] = ()
    asked_at: int | None = None
    """The last entry of the audit trail before the store was asked; None where nobody else writes."""
    waiting: Collection[tuple[str, int]] = ()
    """What was seen waiting of the devices that make a statement here."""

    @property
    def heard(self) -> set[str]:
        """Devices of which something authentic is in the batch."""
        found = {entry.report.device_id for entry in self.entries}
        for rows in (self.attestations, self.parked, self.answers):
            found.update(row.device_id for row in rows)
        return found | {refusal.device_id for refusal in self.refusals if refusal.device_id is not None}


@dataclass(frozen=True, slots=True)
class Stored:
    """What a transaction newly wrote (rows that were there before are not counted)."""

    reports: int = 0
    days: int = 0
    statements: int = 0
    observations: int = 0
    withheld: int = 0
    refused: int = 0
    answers: int = 0
    epsilon_micro: int = 0

    def plus(self, other: Stored) -> Stored:
        """Return both together."""
        return Stored(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))


class Probe(NamedTuple):
    """The question what is known about one message: its number, and for a report where its window ends.

    A tuple, which is hashed and compared without Python: three times a message.
    """

    device_id: str
    seq: int
    window_end: int = 0
    kind: int = topics.REPORT


class Known(NamedTuple):
    """What the store knows that bears on one message.

    `report_digest` is None when no report of that number is stored, empty when it is stored without a digest.
    `parked_digest` is not None when a report of that number waits. `follows` tells whether the number before
    it is known, so that no statement can be missing in between. `window_end_before` is where the latest
    stored window (for a day's total: day) that starts before the asked one's end, ends. `attested` is the
    last statement before that number.
    """

    report_digest: bytes | None = None
    is_statement: bool = False
    parked_digest: bytes | None = None
    follows: bool = False
    window_end_before: int | None = None
    attested: AttestationRow | None = None

    @property
    def is_stored(self) -> bool:
        """Whether a report or statement of this number is stored."""
        return self.report_digest is not None or self.is_statement


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """An observation on its way to one sink."""

    sink: str
    observation_id: int
    state: str
    attempts: int
    next_attempt_at: float
    error: str | None
    remote_id: str | None
    published_at: float | None
    datastream: str
    deployment: str
    thing: str
    quantity: int
    window_start: int
    window_s: int
    result: int
    spread: int | None
    samples: int | None
    noise_scale: float | None
    minimum: int | None
    maximum: int | None
    completeness: int | None
    stored_at: float


@dataclass(frozen=True, slots=True)
class Window:
    """One window of a datastream for display; `result` is None when it was withheld (`reason` says why).

    `published` says whether at least one sink has it.
    """

    window_start: int
    window_s: int | None
    result: int | None
    spread: int | None = None
    samples: int | None = None
    noise_scale: float | None = None
    published: bool = False
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class BudgetLine:
    """What one quantity of one device spent on a day.

    A passage falls into one window only and windows are disjoint, so a single passage costs
    `epsilon_window_micro` (the dearest window); `epsilon_sum_micro` is the sum over the windows. To either
    comes `epsilon_day_micro`, once the device has released the total of the day.
    """

    deployment: str
    device_id: str
    quantity: int
    windows: int
    epsilon_sum_micro: int
    epsilon_window_micro: int
    epsilon_day_micro: int = 0


@dataclass(frozen=True, slots=True)
class SpentLine:
    """What one class at one board cost on one day (days since 1970-01-01, UTC), in millionths of epsilon:
    all its windows, the dearest of them, and the total of the day.
    """

    deployment: str
    device_id: str
    quantity: int
    day: int
    windows: int
    windows_micro: int
    dearest_micro: int
    day_micro: int


@dataclass(frozen=True, slots=True)
class Seen:
    """The last that was admitted of a device."""

    device_id: str
    window_start: int
    window_s: int
    health: int
    admitted_at: float


@dataclass(frozen=True, slots=True)
class SinkFigures:
    """How far one sink is; `dropped` were taken out of its queue by its quota, never to be sent.

    `oldest_waiting` is when the oldest that waits was stored, unix seconds.
    """

    published: int = 0
    waiting: int = 0
    sending: int = 0
    rejected: int = 0
    dropped: int = 0
    oldest_waiting: float | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """Totals since the store was made."""

    received: int = 0
    redelivered: int = 0
    reports: int = 0
    days: int = 0
    statements: int = 0
    observations: int = 0
    withheld: int = 0
    parked: int = 0
    """How many reports wait now for their device's statement."""
    answers: int = 0
    """How many commands and time beacons devices acknowledged."""
    commands: Mapping[str, int] = field(default_factory=dict)
    """How many commands are in which state now."""
    refused: Mapping[str, int] = field(default_factory=dict)
    quarantined: Mapping[str, int] = field(default_factory=dict)
    """How many refused reports are kept now, by reason."""
    quarantine: Mapping[str, int] = field(default_factory=dict)
    """How many were ever kept, replayed, dropped, expired, and pushed out by newer ones (full)."""
    barred: Mapping[str, int] = field(default_factory=dict)
    """How often a device was kept out for a while, because it sent far more than any board can."""
    sinks: Mapping[str, SinkFigures] = field(default_factory=dict)
