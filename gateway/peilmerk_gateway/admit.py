"""Admit: tells whether an authentic message may be taken, against its deployment record. Fails closed.

A report, and likewise a day's total, is admitted when its number is new, a usable record names its device,
the device has stated what it runs, it reports nothing undeclared (G7), what it runs is what the record says
(G6), and its window has passed, is not too old, lies where the record is in force (G3) and its assessment
holds (G4), and was not reported before (a day has one total, beside its windows). Above all of that stands
the host's word: nothing is admitted of a device that is paused or withdrawn, nor what it measured meanwhile.
The first rule that does not hold gives the reason.

Pure: all that is known comes in as arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from peilmerk_gateway.deployments.mandate import Mandate
from peilmerk_gateway.immutable import immutable
from peilmerk_gateway.open import Opened
from peilmerk_gateway.refusal import Reason, Refusal
from peilmerk_gateway.store.halts import WITHDRAWN, Halt
from peilmerk_gateway.store.rows import AnswerRow, AttestationRow, Known, KnownCommand
from peilmerk_protocol import topics
from peilmerk_protocol.command import Ack
from peilmerk_protocol.report import Report
from peilmerk_protocol.statement import Statement

# How far a board's clock may be ahead of ours, seconds; a window must have passed by either clock.
AHEAD_S = 120
# A board keeps ten days and more; a quarter of a year is a board that came back from a drawer.
BEHIND_S = 92 * 86_400


@immutable
class Admitted:
    """A report that may be taken, and the terms."""

    device_id: str
    report: Report = field(repr=False)
    mandate: Mandate
    digest: bytes = field(repr=False)
    kind: int = topics.REPORT
    window_s: int = field(init=False)
    """How much time it is about, seconds."""
    window_start: int = field(init=False)
    """Unix seconds."""

    def __post_init__(self) -> None:
        length = self.mandate.length_s(self.kind)
        # Not by assignment, which is for nobody else.
        object.__setattr__(self, "window_s", length)
        object.__setattr__(self, "window_start", self.report.window * length)


@dataclass(frozen=True, slots=True)
class Redelivered:
    """What the broker brought again although it is stored: no message too many was sent, so no refusal."""

    device_id: str


def admit_statement(
    opened: Opened, message: Statement, known: Known, now: float, halts: Sequence[Halt] = ()
) -> AttestationRow | Redelivered | Refusal:
    """Take a statement whose number is new. No record is asked: what a device runs is worth knowing.

    A paused device may make one, because it tells nothing that was measured; a withdrawn one may not.
    """
    if known.is_stored:
        return _came_again(opened, known, now, is_report=False)
    if any(halt.kind == WITHDRAWN for halt in halts):
        return _refused(Reason.HOST_WITHDRAWN, opened, now)
    return AttestationRow(
        device_id=opened.device_id,
        seq=message.seq,
        revision=message.revision,
        firmware_digest=message.firmware_digest,
        profile_digest=message.profile_digest,
        reset_cause=message.reset_cause,
        boot_count=message.boot_count,
        uptime=message.uptime,
    )


def admit_ack(
    opened: Opened, message: Ack, known: KnownCommand | None, now: float
) -> AnswerRow | Redelivered | Refusal:
    """Take an acknowledgement of a command that was sent and is not answered yet.

    A device that is sent a command again answers it again, so a second answer is an everyday refusal.
    """
    if known is None:
        return _refused(Reason.ACK_UNKNOWN, opened, now)
    if known.outcome is not None:
        if opened.redelivered and (known.outcome, known.detail) == (message.outcome, message.detail):
            return Redelivered(opened.device_id)
        return _refused(Reason.ACK_REPEATED, opened, now)
    return AnswerRow(opened.device_id, message.counter, message.outcome, message.detail, known.is_beacon)


def admit_report(
    opened: Opened,
    message: Report,
    known: Known,
    terms: Mandate | Reason,
    now: float,
    halts: Sequence[Halt] = (),
) -> Admitted | Redelivered | Refusal:
    """Judge a report by its host's word, then by the terms of its device, or the reason why it has none.

    `known` is what the store knows that bears on it.
    """
    if known.is_stored or known.parked_digest is not None:
        return _came_again(opened, known, now, is_report=True)
    halted = _halted(opened, message, terms, halts)
    if halted is not None:
        return _refused(halted, opened, now)
    if isinstance(terms, Reason):
        return _refused(terms, opened, now)
    reason = _against(terms, message, opened.kind, known, now)
    if reason is not None:
        return _refused(reason, opened, now)
    return Admitted(opened.device_id, message, terms, opened.digest, opened.kind)


def may_wait(refusal: Refusal, known: Known) -> bool:
    """Tell whether a refusal may rest on a statement that has yet to come, so that the report is to wait.

    A broker brings what a crash left unacknowledged again later than what followed it. With the number before
    the report at hand, nothing can be missing in between, and the statement that is known is the one.
    """
    if refusal.reason is Reason.NOT_ATTESTED:
        return True
    return refusal.reason is Reason.G6 and not known.follows


def _halted(opened: Opened, message: Report, terms: Mandate | Reason, halts: Sequence[Halt]) -> Reason | None:
    """Return why the host's word speaks against a report; without terms only what holds now does."""
    if not halts:
        return None
    length = 0 if isinstance(terms, Reason) else terms.length_s(opened.kind)
    start = message.window * length
    barring = {halt.kind for halt in halts if halt.bars(start, start + length)}
    if WITHDRAWN in barring:
        return Reason.HOST_WITHDRAWN
    return Reason.HOST_PAUSED if barring else None


def _against(mandate: Mandate, message: Report, kind: int, known: Known, now: float) -> Reason | None:
    """Return the first rule that speaks against a report."""
    if not mandate.active:
        return Reason.DEVICE_INACTIVE
    attested = known.attested
    if attested is None or attested.revision != message.revision:
        return Reason.NOT_ATTESTED
    if message.set & ~(mandate.declared_day if kind == topics.DAY else mandate.declared):
        return Reason.G7
    if attested.firmware_digest not in mandate.firmware_digests:
        return Reason.G6
    if attested.profile_digest != mandate.profile_digest(message.revision):
        return Reason.G6
    start = message.window * mandate.length_s(kind)
    end = start + mandate.length_s(kind)
    if end > now + AHEAD_S:
        return Reason.WINDOW_AHEAD
    if end < now - BEHIND_S:
        return Reason.WINDOW_BEHIND
    if not mandate.in_force.holds(start, end):
        return Reason.G3
    if not mandate.assessed.holds(start, end):
        return Reason.G4
    if known.window_end_before is not None and known.window_end_before > start:
        return Reason.WINDOW_REPEATED
    return None


def _came_again(opened: Opened, known: Known, now: float, *, is_report: bool) -> Redelivered | Refusal:
    """Tell the broker's repetition from a replay, and a replay from a number that was used twice."""
    if is_report:
        # A report of which a figure was withheld is stored without digest: any content may be the same.
        same = opened.digest in (known.report_digest, known.parked_digest) or known.report_digest == b""
    else:
        same = known.is_statement
    if not same:
        return _refused(Reason.SEQUENCE_REUSED, opened, now)
    return Redelivered(opened.device_id) if opened.redelivered else _refused(Reason.REPLAYED, opened, now)


def _refused(reason: Reason, opened: Opened, now: float) -> Refusal:
    return Refusal(reason, opened.device_id, opened.size, now)
