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
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, delete, select, update

from peilmerk_gateway.store import commands, halts, levels, quarantine, schema, trail
from peilmerk_gateway.store.engine import StoreError
from peilmerk_gateway.store.rows import BatchRows, Entry, ObservationRow, Stored, WithheldRow
from peilmerk_gateway.store.sql import insert
from peilmerk_gateway.store.tally import raise_tally
from peilmerk_protocol import topics

# Details of refusals are for finding a cause; the totals are kept for ever. A flood must not fill the disk.
REFUSALS_KEPT = 100_000

SPENT_BEFORE = "spent-before"
OTHER_BOARD = "other-board"

# As the database returned them: what a leaf of the audit trail is made of.
Rows = Sequence[Any]


def write_batch(
    connection: Connection,
    batch: BatchRows,
    sinks: Sequence[str],
    now: float,
    bounds: quarantine.Bounds = quarantine.BOUNDS,
) -> Stored:
    """Write everything of `batch` that is new, one publish row a sink for what is public; return what was
    new. Raises StoreError, having written nothing, when a host's word changed since the batch was judged.
    """
    if batch.halts is not None and batch.halts != halts.revision(connection):
        raise StoreError("a host paused, resumed or withdrew meanwhile: the batch is to be judged anew")
    if batch.registry is not None:
        named = dict(zip(("number", "digest"), batch.registry, strict=True))
        trail.note_if_new(connection, trail.REGISTRY, named, now)
    number = trail.next_number(connection, now)
    written: dict[str, Rows] = {}
    reports = [{**_columns(entry.report), "admitted_at": now} for entry in batch.entries]
    written["reports"] = _new(connection, "reports", reports, number)
    new = {(row.device_id, row.seq) for row in written["reports"]}
    fresh = [entry for entry in batch.entries if (entry.report.device_id, entry.report.seq) in new]
    ledger = [{**_columns(row), "spent_at": now} for entry in fresh for row in entry.ledger]
    if ledger:
        written["ledger"] = _new(connection, "ledger", ledger, number)
    figures = _write_figures(connection, fresh, written, number, now)
    written["queued"] = _queue(connection, figures, written["observations"], sinks)
    statements = [{**_columns(row), "at": now} for row in batch.attestations]
    written["statements"] = _new(connection, "statements", statements, number)
    answers = commands.answer(connection, batch.answers, now)
    refusals = _write_refusals(connection, batch, number)
    written["refusals"] = [row[1:] for row in refusals]
    _park(connection, batch)
    quarantined = quarantine.keep(connection, batch.quarantined)
    days = sum(row.kind == topics.DAY for row in written["reports"])
    withheld = Counter(row.reason for row in written["withheld"])
    stored = Stored(
        reports=len(new) - days,
        days=days,
        statements=len(written["statements"]),
        observations=len(written["observations"]),
        withheld=withheld.total(),
        refused=len(batch.refusals),
        answers=answers,
        epsilon_micro=sum(row.epsilon_micro for row in written.get("ledger", ())),
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
            "reports": len(new),
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


def _columns(row: Any) -> dict[str, Any]:
    """Return a record as columns. `asdict` copies every value, which is half of the time of a batch."""
    return {name: getattr(row, name) for name in row.__slots__}


def _new(connection: Connection, name: str, rows: Sequence[dict[str, Any]], audit_entry: int) -> Rows:
    """Insert what is not there yet; return it as the audit trail binds it."""
    if not rows:
        return []
    columns = trail.ROWS[name]
    statement = insert(connection, columns[0].table).on_conflict_do_nothing().returning(*columns)
    return connection.execute(statement, [{**row, "audit_entry": audit_entry} for row in rows]).all()


def _write_figures(
    connection: Connection, fresh: Sequence[Entry], written: dict[str, Rows], number: int, now: float
) -> list[ObservationRow]:
    """Write the figures of new reports and what of them is withheld; return the figures that were to be
    kept.
    """
    spent = {
        (row.deployment, row.device_id, row.quantity, row.kind, row.window_start)
        for row in written.get("ledger", ())
    }
    kept: list[ObservationRow] = []
    withheld = [(entry, row) for entry in fresh for row in entry.withheld]
    by_account = len(withheld)
    told: list[Any] = []
    # Windows first: the total of a day may rest on them.
    for is_day in (False, True):
        some: list[tuple[Entry, ObservationRow]] = []
        for entry in fresh:
            if (entry.report.kind == topics.DAY) is not is_day:
                continue
            for row in entry.observations:
                line = (row.deployment, row.device_id, row.quantity, entry.report.kind, row.window_start)
                if line in spent or not any(paid.quantity == row.quantity for paid in entry.ledger):
                    some.append((entry, _weighed(connection, entry, row)))
                else:
                    withheld.append((entry, WithheldRow(row.datastream, row.window_start, SPENT_BEFORE)))
        values = [{**_columns(row), "stored_at": now} for _, row in some]
        for value in values:
            del value["is_public"], value["publish_after"]
        rows = _new(connection, "observations", values, number)
        there = {(row.datastream, row.window_start, row.device_id) for row in rows}
        withheld += [
            (entry, WithheldRow(row.datastream, row.window_start, OTHER_BOARD))
            for entry, row in some
            if (row.datastream, row.window_start, row.device_id) not in there
        ]
        kept += [row for _, row in some]
        told += rows
    written["observations"] = told
    values = [{**_columns(row), "device_id": entry.report.device_id} for entry, row in withheld]
    written["withheld"] = _new(connection, "withheld", values, number)
    if late := [entry for entry, _ in withheld[by_account:]]:
        written["reports"] = _without_digest(connection, late, number)
    return kept


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
    return connection.execute(select(*trail.ROWS["reports"]).where(report.audit_entry == number)).all()


def _queue(connection: Connection, kept: Sequence[ObservationRow], told: Rows, sinks: Sequence[str]) -> Rows:
    """Queue what is public for every sink."""
    public = {
        (row.datastream, row.window_start, row.device_id): row.publish_after for row in kept if row.is_public
    }
    outbox: list[dict[str, Any]] = [
        {
            "sink": sink,
            "observation_id": row.id,
            "state": schema.WAITING,
            "attempts": 0,
            "next_attempt_at": public[row.datastream, row.window_start, row.device_id],
        }
        for row in told
        if (row.datastream, row.window_start, row.device_id) in public
        for sink in sinks
    ]
    if not outbox:
        return []
    statement = insert(connection, schema.publish_outbox).returning(*trail.ROWS["queued"])
    return connection.execute(statement, outbox).all()


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
        rows = [_columns(row) for row in batch.parked]
        connection.execute(insert(connection, schema.parked).on_conflict_do_nothing(), rows)
