"""What other gateways wrote into a shared store between the judging of a batch and its writing.

A batch is judged by what the store knew at entry `asked_at` of the audit trail, outside of any transaction,
so that many workers can judge at a time. Writers take turns (`store.engine`), so within its transaction a
batch can see what others wrote since. Where that bears on the judgement, nothing of the batch is written and
it is judged anew: the outcome is that of judging one batch after the other. It bears on it when others

- stored a message of the same number, or a report whose window overlaps one of ours;
- stored a statement of a device of which we judged a report;
- parked a report that a statement of ours was to release, or judged one that we took out;
- took other deployment records into force.

What a worker wrote itself is not among it: it judges in the light of that (`peilmerk_gateway.memory`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable

import cbor2
from sqlalchemy import Connection, select

from peilmerk_gateway.store import schema, trail
from peilmerk_gateway.store.engine import StoreError
from peilmerk_gateway.store.rows import BatchRows

AT_ONCE = 5_000

_entry = schema.audit_entry.c
_report = schema.report.c
_attestation = schema.attestation.c
_parked = schema.parked.c


class Overtaken(StoreError):
    """Others stored what bears on a batch since it was judged: it is to be judged anew, at once."""


def check(connection: Connection, batch: BatchRows, own: Collection[int]) -> None:
    """Raise Overtaken when others wrote what bears on the judgement of a batch; `own` are our own entries."""
    if batch.asked_at is None:
        return
    _check_parked(connection, batch)
    statement = select(_entry.number, _entry.kind, _entry.body).where(_entry.number > batch.asked_at)
    others = [row for row in connection.execute(statement) if row.number not in own]
    judged = [cbor2.loads(row.body) for row in others if row.kind == trail.JUDGED]
    if any(told["reports"] for told in judged):
        _check_reports(connection, batch, batch.asked_at, own)
    if any(told["statements"] for told in judged):
        _check_statements(connection, batch, batch.asked_at, own)


def records_number(connection: Connection) -> int | None:
    """Return the number of the entry that tells of the records now in force; None before the first."""
    statement = select(_entry.number).where(_entry.kind == trail.RECORDS).order_by(_entry.number.desc())
    return connection.execute(statement.limit(1)).scalar_one_or_none()


def _check_reports(connection: Connection, batch: BatchRows, since: int, own: Collection[int]) -> None:
    numbers = {(entry.report.device_id, entry.report.seq) for entry in batch.entries}
    numbers.update((row.device_id, row.seq) for rows in (batch.attestations, batch.parked) for row in rows)
    numbers.update((row.device_id, row.seq) for row in batch.quarantined)
    windows: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
    for entry in batch.entries:
        report = entry.report
        span = report.window_start, report.window_start + report.window_s
        windows[report.device_id, report.kind].append(span)
    statement = select(
        _report.audit_entry,
        _report.device_id,
        _report.seq,
        _report.kind,
        _report.window_start,
        _report.window_s,
    ).where(_report.audit_entry > since)
    for number, device_id, seq, kind, start, length in connection.execute(statement):
        if number in own:
            continue
        if (device_id, seq) in numbers:
            raise Overtaken("another worker stored a message of this batch meanwhile")
        if any(start < end and begin < start + length for begin, end in windows.get((device_id, kind), ())):
            raise Overtaken("another worker stored a window of this batch meanwhile")


def _check_statements(connection: Connection, batch: BatchRows, since: int, own: Collection[int]) -> None:
    devices = {entry.report.device_id for entry in batch.entries}
    devices.update(row.device_id for rows in (batch.attestations, batch.parked) for row in rows)
    devices.update(row.device_id for row in batch.refusals if row.device_id is not None)
    for some in _portions(devices):
        statement = select(_attestation.audit_entry).where(
            _attestation.device_id.in_(some), _attestation.audit_entry > since
        )
        if set(connection.execute(statement).scalars()) - set(own):
            raise Overtaken("another worker stored a statement of a board of this batch meanwhile")


def _check_parked(connection: Connection, batch: BatchRows) -> None:
    """See that what waits of devices that make a statement is what was seen, and that what is taken out is
    there.
    """
    devices = {row.device_id for row in batch.attestations}
    devices.update(device_id for device_id, _ in batch.unparked)
    there: set[tuple[str, int]] = set()
    for some in _portions(devices):
        statement = select(_parked.device_id, _parked.seq).where(_parked.device_id.in_(some))
        there.update((row[0], row[1]) for row in connection.execute(statement))
    stating = {row.device_id for row in batch.attestations}
    if {key for key in there if key[0] in stating} - set(batch.waiting) or set(batch.unparked) - there:
        raise Overtaken("another worker parked or judged what waits for a statement of this batch")


def _portions(devices: Iterable[str]) -> Iterable[list[str]]:
    every = sorted(devices)
    for first in range(0, len(every), AT_ONCE):
        yield every[first : first + AT_ONCE]
