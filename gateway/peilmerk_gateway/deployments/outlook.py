"""What the gates will say of a record: which refuse, until when, and which decide on each message."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum

from peilmerk_gateway.deployments import gates
from peilmerk_gateway.deployments.complaints import Complaint
from peilmerk_gateway.deployments.record import Record
from peilmerk_gateway.refusal import Reason, sentence
from peilmerk_gateway.web.language import Language

GATES = (Reason.G1, Reason.G2, Reason.G3, Reason.G4, Reason.G5, Reason.G6, Reason.G7, Reason.G8)
# What these look at is in what a board states and sends.
_OF_A_BOARD = (Reason.G6, Reason.G7)


class State(StrEnum):
    """What a gate says: `gates.<state>` of the texts says it."""

    PASSES = "passes"
    WAITS = "waits"
    OVER = "over"
    REFUSES = "refuses"
    BOARD = "board"


@dataclass(frozen=True, slots=True)
class Outlook:
    """A gate on a day: `day` until when it refuses (WAITS), or since when (OVER)."""

    gate: Reason
    state: State
    day: date | None = None


def outlook(record: Record, complaints: Sequence[Complaint], today: date) -> list[Outlook]:
    """Return what each gate says. `complaints` are those of `check`.

    `record` may have more answers than was checked, where those that lack concern no gate.
    """
    lacking = {complaint.reason for complaint in (*complaints, *gates.complaints(record))}
    periods = {Reason.G3: gates.in_force(record), Reason.G4: gates.assessed(record)}
    return [_of(gate, gate in lacking, periods.get(gate, gates.Period()), today) for gate in GATES]


def told(found: Sequence[Outlook], record: Record, complete: bool, language: Language) -> Iterator[str]:
    """Say it, a line a gate, and from when to when anything may be published."""
    yield language.text("gates.title")
    for one in found:
        words = language.text(
            f"gates.{one.state}",
            day="" if one.day is None else one.day.isoformat(),
            sentence=sentence(one.gate, language.code),
        )
        yield f"  {one.gate}  {words}"
    if not complete or any(one.state is State.REFUSES for one in found):
        yield language.text("gates.never")
        return
    if any(one.state is State.OVER for one in found):
        yield language.text("gates.over.all")
        return
    periods = (gates.in_force(record), gates.assessed(record))
    begin, end = max(period.begin for period in periods), min(period.end for period in periods)
    days = {"end": _day(end - 1).isoformat()}
    if begin:
        yield language.text("gates.from", begin=_day(begin).isoformat(), **days)
    else:
        yield language.text("gates.until", **days)


def not_now(record: Record, today: date, language: Language) -> Iterator[str]:
    """Say which gates refuse a record on a day that has all that it needs, a line a gate."""
    for one in outlook(record, (), today):
        if one.day is not None:
            words = language.text(
                f"gates.{one.state}",
                day=one.day.isoformat(),
                sentence=sentence(one.gate, language.code),
            )
            yield f"{one.gate} {words}"


def _of(gate: Reason, lacking: bool, period: gates.Period, today: date) -> Outlook:
    if lacking:
        return Outlook(gate, State.REFUSES)
    if gate in _OF_A_BOARD:
        return Outlook(gate, State.BOARD)
    # A Period that has no beginning or no end is held against nothing.
    if period.begin and today < _day(period.begin):
        return Outlook(gate, State.WAITS, _day(period.begin))
    if period != gates.Period() and today > _day(period.end - 1):
        return Outlook(gate, State.OVER, _day(period.end - 1))
    return Outlook(gate, State.PASSES)


def _day(at: int) -> date:
    return datetime.fromtimestamp(at, UTC).date()
