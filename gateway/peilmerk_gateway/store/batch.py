"""Write one judged batch: report, observations, ledger, attestations, answers, refusals, publish outbox.

One transaction, and the same batch twice writes the same rows once: the report's (device, number) and
(device, window) decide, and nothing of a report is written unless the report row itself is new. So whatever
happens between commit and acknowledgement, what the broker delivers again changes nothing, and the ledger is
spent once. A figure is kept only with a line of the ledger that is new with it; what was paid for before, or
told by another board of the same datastream, is withheld. Every row that is written is bound by the batch's
entry of the audit trail.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Table, bindparam, delete, select, update

from peilmerk_gateway.store import commands, halts, levels, meanwhile, quarantine, schema, trail
from peilmerk_gateway.store.device_streams import Streams
from peilmerk_gateway.store.engine import StoreError
from peilmerk_gateway.store.rows import (
    AttestationRow,
    BatchRows,
    Entry,
    LedgerRow,
    ObservationRow,
    ReportRow,
    Stored,
    WithheldRow,
)
from peilmerk_gateway.store.sql import Row, columns_of, insert, insert_all, insert_new, next_ids
from peilmerk_gateway.store.tally import raise_tally
from peilmerk_protocol import topics

# Details of refusals are for finding a cause; the totals are kept for ever. A flood must not fill the disk.
REFUSALS_KEPT = 100_000

SPENT_BEFORE = "spent-before"
OTHER_BOARD = "other-board"

# As the database has them: what a leaf of the audit trail is made of, see `trail.ROWS`.
Rows = Sequence[Any]


def _columns(record: type[Any], table: Table, *beside: str) -> Callable[[Any], Row]:
    """Return what takes the columns of a table, in their order, from a record; `beside` are not in it."""
    fields = record._fields
    return itemgetter(*(fields.index(name) for name in columns_of(table) if name not in beside))


_REPORT = _columns(ReportRow, schema.report, "admitted_at")
_LEDGER = _columns(LedgerRow, schema.ledger, "spent_at")
_FIGURE = _columns(ObservationRow, schema.observation, "id", "stored_at")
_STATEMENT = _columns(AttestationRow, schema.attestation, "at")
_QUEUED = ("sink", "observation_id", "state", "attempts", "next_attempt_at")
# Places in rows.
_KIND = columns_of(schema.report).index("kind")
_REASON = columns_of(schema.withheld).index("reason")
_MICRO = columns_of(schema.ledger).index("epsilon_micro")
_WINDOW = columns_of(schema.observation).index("window_start")
_BOARD = columns_of(schema.observation).index("device_id")


def write_batch(
    connection: Connection,
    batch: BatchRows,
    sinks: Sequence[str],
    now: float,
    bounds: quarantine.Bounds = quarantine.BOUNDS,
    streams: Streams | None = None,
    own: Collection[int] = (),
) -> Stored:
    """Write everything of `batch` that is new, one publish row a sink for what is public; return what was
    new. Raises StoreError, having written nothing, when a host's word changed since the batch was judged, or
    (Overtaken) when others stored what bears on it; `own` are the entries of the trail that we wrote.
    """
    meanwhile.check(connection, batch, own)
    if batch.halts is not None and batch.halts != halts.revision(connection):
        raise StoreError("a host paused, resumed or withdrew meanwhile: the batch is to be judged anew")
    if batch.registry is not None:
        named = dict(zip(("number", "digest"), batch.registry, strict=True))
        trail.note_if_new(connection, trail.REGISTRY, named, now)
    number = trail.next_number(connection, now)
    written: dict[str, Rows] = {}
    reports = [(*_REPORT(entry.report), now) for entry in batch.entries]
    written["reports"] = insert_new(connection, schema.report, reports, number)
    new = len(written["reports"])
    fresh = batch.entries
    if new != len(fresh):
        keys = {(row[0], row[1]) for row in written["reports"]}
        fresh = [entry for entry in fresh if (entry.report.device_id, entry.report.seq) in keys]
    ledger = [(*_LEDGER(row), now) for entry in fresh for row in entry.ledger]
    if ledger:
        written["ledger"] = insert_new(connection, schema.ledger, ledger, number)
    # (deployment, device, quantity, kind, window), as a line of the ledger begins.
    paid = {row[:_MICRO] for row in written.get("ledger", ())}
    figures = _write_figures(connection, fresh, written, paid, number, now)
    (streams or Streams()).write(connection, (row for _, row in figures))
    written["queued"] = _queue(connection, figures, sinks)
    statements = [(*_STATEMENT(row), now) for row in batch.attestations]
    written["statements"] = insert_new(connection, schema.attestation, statements, number)
    answers = commands.answer(connection, batch.answers, now)
    refusals = _write_refusals(connection, batch, number)
    written["refusals"] = [row[1:] for row in refusals]
    _park(connection, batch)
    quarantined = quarantine.keep(connection, batch.quarantined)
    days = sum(row[_KIND] == topics.DAY for row in written["reports"])
    withheld = Counter(row[_REASON] for row in written["withheld"])
    stored = Stored(
        reports=new - days,
        days=days,
        statements=len(written["statements"]),
        observations=len(written["observations"]),
        withheld=withheld.total(),
        refused=len(batch.refusals),
        answers=answers,
        epsilon_micro=sum(row[_MICRO] for row in written.get("ledger", ())),
    )
    refused = Counter(str(row.reason) for row in batch.refusals)
    raise_tally(
        connection,
        {
            "received": batch.received,
            "redelivered": batch.redelivered,
            "reports": stored.reports,
            "days": stored.days,
            "statements": stored.statements,
            "observations": stored.observations,
            "withheld": stored.withheld,
            "answers": stored.answers,
            "quarantine:kept": quarantined,
            **{f"refused:{reason}": n for reason, n in refused.items()},
        },
    )
    if new or stored.statements or answers or refusals:
        body = {
            "reports": new,
            "observations": stored.observations,
            "withheld": withheld,
            "statements": stored.statements,
            "answers": answers,
            "refused": refused,
            "epsilon_micro": stored.epsilon_micro,
            "rows": trail.bind(written),
            "refusals_from": min((row.id for row in refusals), default=0),
            **({"quarantined": quarantined} if quarantined else {}),
        }
        trail.append(connection, trail.JUDGED, body, now)
    if quarantined:
        quarantine.push_out(connection, {row.device_id for row in batch.quarantined}, bounds, now)
    return stored


def _write_figures(
    connection: Connection,
    fresh: Sequence[Entry],
    written: dict[str, Rows],
    paid: Collection[Row],
    number: int,
    now: float,
) -> list[tuple[Row, ObservationRow]]:
    """Write the figures of new reports and what of them is withheld; return the figures that are new, as
    they are stored and as they came. `paid` are the lines of the ledger that are new.
    """
    kept: list[tuple[Row, ObservationRow]] = []
    withheld = [(entry, row) for entry in fresh for row in entry.withheld]
    by_account = len(withheld)
    told: list[Row] = []
    # Windows first: the total of a day may rest on them.
    for is_day in (False, True):
        some: list[tuple[Entry, ObservationRow]] = []
        for entry in fresh:
            report = entry.report
            if (report.kind == topics.DAY) is not is_day:
                continue
            for row in entry.observations:
                if _is_unpaid(entry, row, paid):
                    withheld.append((entry, WithheldRow(row.datastream, row.window_start, SPENT_BEFORE)))
                else:
                    some.append((entry, _weighed(connection, entry, row) if entry.levels else row))
        ids = next_ids(connection, schema.observation.c.id, len(some)) if some else ()
        values = [(id, *_FIGURE(row), now) for id, (_, row) in zip(ids, some, strict=True)]
        rows = insert_new(connection, schema.observation, values, number)
        told += rows
        if len(rows) == len(some):
            kept += zip(rows, (row for _, row in some), strict=True)
            continue
        there = {(row[1], row[_WINDOW], row[_BOARD]): row for row in rows}
        for entry, row in some:
            stored = there.get((row.datastream, row.window_start, row.device_id))
            if stored is None:
                withheld.append((entry, WithheldRow(row.datastream, row.window_start, OTHER_BOARD)))
            else:
                kept.append((stored, row))
    written["observations"] = told
    rows = [(row.datastream, row.window_start, entry.report.device_id, row.reason) for entry, row in withheld]
    written["withheld"] = insert_new(connection, schema.withheld, rows, number)
    if late := [entry for entry, _ in withheld[by_account:]]:
        written["reports"] = _without_digest(connection, late, number)
    return kept


def _is_unpaid(entry: Entry, row: ObservationRow, paid: Collection[Row]) -> bool:
    line = (row.deployment, row.device_id, row.quantity, entry.report.kind, row.window_start)
    return line not in paid and any(one.quantity == row.quantity for one in entry.ledger)


def _weighed(connection: Connection, entry: Entry, row: ObservationRow) -> ObservationRow:
    for terms in entry.levels:
        if terms.datastream == row.datastream:
            return levels.weighed(connection, row, terms)
    return row


def _without_digest(connection: Connection, late: Sequence[Entry], number: int) -> Rows:
    """Take the digest from reports of which a figure is withheld only now; return the batch's reports."""
    report = schema.report.c
    connection.execute(
        update(schema.report)
        .where(report.device_id == bindparam("b_device"), report.seq == bindparam("b_seq"))
        .values(digest=None),
        [{"b_device": entry.report.device_id, "b_seq": entry.report.seq} for entry in late],
    )
    found = connection.execute(select(*trail.ROWS["reports"]).where(report.audit_entry == number))
    return [tuple(row) for row in found]


def _queue(
    connection: Connection, figures: Sequence[tuple[Row, ObservationRow]], sinks: Sequence[str]
) -> Rows:
    """Queue what is public for every sink."""
    waiting = [
        (sink, stored[0], schema.WAITING, 0, row.publish_after)
        for stored, row in figures
        if row.is_public
        for sink in sinks
    ]
    insert_all(connection, schema.publish_outbox, _QUEUED, waiting)
    return [row[:2] for row in waiting]


def _write_refusals(connection: Connection, batch: BatchRows, audit_entry: int) -> Rows:
    """Return (id, leaf's columns...) of the refusals."""
    if not batch.refusals:
        return []
    rows = [
        {
            "at": row.at,
            "device_id": row.device_id,
            "reason": str(row.reason),
            "size": row.size,
            "audit_entry": audit_entry,
        }
        for row in batch.refusals
    ]
    statement = insert(connection, schema.refusal).returning(schema.refusal.c.id, *trail.ROWS["refusals"])
    written = connection.execute(statement, rows).all()
    newest = max(row.id for row in written)
    connection.execute(delete(schema.refusal).where(schema.refusal.c.id <= newest - REFUSALS_KEPT))
    return written


def _park(connection: Connection, batch: BatchRows) -> None:
    parked = schema.parked.c
    if batch.unparked:
        connection.execute(
            delete(schema.parked).where(
                parked.device_id == bindparam("b_device"), parked.seq == bindparam("b_seq")
            ),
            [{"b_device": device_id, "b_seq": seq} for device_id, seq in batch.unparked],
        )
    if batch.parked:
        rows = [{name: getattr(row, name) for name in row.__slots__} for row in batch.parked]
        connection.execute(insert(connection, schema.parked).on_conflict_do_nothing(), rows)
