"""The gates that look at a record as a whole: G2, G3, G4 and G8 of the governance rules, and when it holds.

Days are those of the record, and fail closed against the Dutch clock, one or two hours ahead of UTC: a day
begins at 00:00 UTC, after it has begun in the Netherlands, and the last day ends at 22:00 UTC, not after it
has ended there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from datetime import date as Day

from peilmerk_gateway.deployments import crowd, home
from peilmerk_gateway.deployments.complaints import Complaint
from peilmerk_gateway.deployments.record import Record
from peilmerk_gateway.refusal import Reason
from peilmerk_protocol import quantities

NOTICE_DAYS = 5
_ALWAYS = 1 << 62
_DAY_S = 86_400
_NETHERLANDS_AHEAD_S = 7_200


@dataclass(frozen=True, slots=True)
class Period:
    """From when to when something holds, unix seconds."""

    begin: int = 0
    end: int = _ALWAYS

    def holds(self, start: int, end: int) -> bool:
        """Whether it holds for the whole of a window."""
        return self.begin <= start and end <= self.end


def notice_is_over(record: Record) -> Day | None:
    """Return the first day on which a notified sensor may be at work; None where nobody is to be notified."""
    if record.notified_at is None or record.private_host:
        return None
    return record.notified_at + timedelta(days=NOTICE_DAYS)


def in_force(record: Record) -> Period:
    """When the record lets anything be published: from notice and beginning to the last day (G3)."""
    days = [day for day in (record.active_from, notice_is_over(record)) if day is not None]
    return Period(max(map(_begin, days), default=0), _end(record.active_until))


def assessed(record: Record) -> Period:
    """When the assessment of personal data on the device is there and not overdue (G4)."""
    if not record.on_device_personal_data:
        return Period()
    dpia = record.dpia
    if dpia is None or dpia.date is None or dpia.review_due is None:
        return Period(end=0)
    return Period(_begin(dpia.date), _end(dpia.review_due))


def complaints(record: Record) -> list[Complaint]:
    """Return what a record that is well formed lacks all the same."""
    return [
        *_g2(record),
        *_g3(record),
        *_g4(record),
        *_g8(record),
        *home.complaints(record),
        *crowd.complaints(record),
    ]


def _g2(record: Record) -> Iterator[Complaint]:
    if not (record.contains_personal_data or record.on_device_personal_data):
        return
    because = "because personal data is handled"
    if not record.purposes:
        yield Complaint(Reason.G2, "purposes", f"found none, wanted one with its legal ground, {because}")
    for number, purpose in enumerate(record.purposes, 1):
        if purpose.legal_ground is None:
            yield _lacks(Reason.G2, f"purposes[{number}].legal_ground", f"the legal ground, {because}")
        if purpose.privacy_declaration_url is None:
            yield _lacks(
                Reason.G2,
                f"purposes[{number}].privacy_declaration_url",
                f"the address of the privacy declaration, {because}",
            )


def _g3(record: Record) -> Iterator[Complaint]:
    if record.notified_at is None and not record.private_host:
        yield _lacks(
            Reason.G3,
            "notified_at",
            "the day on which the municipality was notified, or private_host = true for a sensor that "
            "somebody hangs at home",
        )


def _g4(record: Record) -> Iterator[Complaint]:
    if not record.on_device_personal_data:
        return
    because = "because personal data is handled on the device"
    if record.dpia is None:
        yield _lacks(Reason.G4, "dpia", f"the data-protection impact assessment, {because}")
        return
    if record.dpia.date is None:
        yield _lacks(Reason.G4, "dpia.date", f"the day of the assessment, {because}")
    if record.dpia.review_due is None:
        yield _lacks(Reason.G4, "dpia.review_due", f"the day by which it is to be reviewed, {because}")


def _g8(record: Record) -> Iterator[Complaint]:
    for number, device in enumerate(record.devices, 1):
        key = f"devices[{number}].radio_capture"
        if device.radio_capture is None:
            if any(
                stream.measures.number == quantities.UNCLASSIFIED
                and (stream.devices is None or device.name in stream.devices)
                for stream in record.datastreams
            ):
                yield _lacks(
                    Reason.G8,
                    key,
                    "true or false: what it counts without class could be radios of passers-by",
                )
        elif device.radio_capture:
            if record.active_from is None:
                yield _lacks(Reason.G8, "active_from", f"the first day of the period, because of {key}")
            if record.location.observed_area is None:
                yield _lacks(
                    Reason.G8, "location.observed_area", f"the area in precise words, because of {key}"
                )
            if not record.on_device_personal_data:
                yield Complaint(
                    Reason.G8,
                    "on_device_personal_data",
                    f"found false, wanted true: addresses of radios are personal data, {key}",
                )


def _lacks(reason: Reason, key: str, wanted: str) -> Complaint:
    return Complaint(reason, key, f"not found, wanted {wanted}")


def _begin(day: Day) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def _end(day: Day) -> int:
    return _begin(day) + _DAY_S - _NETHERLANDS_AHEAD_S
