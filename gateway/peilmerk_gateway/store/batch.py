"""Write one judged batch: report, observations, ledger, attestations, answers, refusals, publish outbox.

One transaction, and the same batch twice writes the same rows once: the report's (device, number) and
(device, window) decide, and nothing of a report is written unless the report row itself is new. So whatever
happens between commit and acknowledgement, what the broker delivers again changes nothing, and the ledger is
spent once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, select

from peilmerk_gateway.store import commands, schema, trail
from peilmerk_gateway.store.rows import BatchRows, Entry, Stored
from peilmerk_gateway.store.sql import insert
from peilmerk_protocol import topics

# Details of refusals are for finding a cause; the totals are kept for ever. A flood must not fill the disk.
REFUSALS_KEPT = 100_000


def write_batch(connection: Connection, batch: BatchRows, sinks: Sequence[str], now: float) -> Stored:
    """Write everything of `batch` that is new, one publish row a sink for what is public; return what was
    new.
    """
    number = trail.next_number(connection, now)
    reports = _write_reports(connection, batch.entries, number, now)
    fresh = [entry for entry in batch.entries if (entry.report.device_id, entry.report.seq) in reports]
    observations = _write_observations(connection, fresh, sinks, now)
    withheld = [asdict(row) for entry in fresh for row in entry.withheld]
    if withheld:
        connection.execute(insert(connection, schema.withheld).on_conflict_do_nothing(), withheld)
    ledger = [{**asdict(row), "spent_at": now} for entry in fresh for row in entry.ledger]
    if ledger:
        connection.execute(insert(connection, schema.ledger).on_conflict_do_nothing(), ledger)
    statements = _write_attestations(connection, batch, now)
    answers = commands.answer(connection, batch.answers, now)
    _write_refusals(connection, batch)
    _park(connection, batch)
    days = sum(entry.report.kind == topics.DAY for entry in fresh)
    stored = Stored(
        reports=len(reports) - days,
        days=days,
        statements=statements,
        observations=observations,
        withheld=len(withheld),
        refused=len(batch.refusals),
        answers=answers,
        epsilon_micro=sum(row["epsilon_micro"] for row in ledger),
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
            **{f"refused:{reason}": n for reason, n in refused.items()},
        },
    )
    if reports or statements or answers or batch.refusals:
        body = {
            "reports": len(reports),
            "root": trail.merkle_root(map(trail.leaf, connection.execute(trail.reports_of(number)))),
            "observations": observations,
            "withheld": Counter(row["reason"] for row in withheld),
            "statements": statements,
            "answers": answers,
            "refused": refused,
            "epsilon_micro": stored.epsilon_micro,
        }
        trail.append(connection, trail.JUDGED, body, now)
    return stored


def _write_reports(
    connection: Connection, entries: Sequence[Entry], audit_entry: int, now: float
) -> set[tuple[str, int]]:
    """Return (device, number) of the reports that were not there before."""
    if not entries:
        return set()
    statement = (
        insert(connection, schema.report)
        .on_conflict_do_nothing()
        .returning(schema.report.c.device_id, schema.report.c.seq)
    )
    rows = [{**asdict(entry.report), "admitted_at": now, "audit_entry": audit_entry} for entry in entries]
    return {(device_id, seq) for device_id, seq in connection.execute(statement, rows)}


def _write_observations(
    connection: Connection, entries: Sequence[Entry], sinks: Sequence[str], now: float
) -> int:
    rows = []
    public = set()
    for entry in entries:
        for observation in entry.observations:
            row = asdict(observation)
            if row.pop("is_public"):
                public.add((observation.datastream, observation.window_start))
            rows.append({**row, "stored_at": now})
    if not rows:
        return 0
    columns = schema.observation.c
    statement = (
        insert(connection, schema.observation)
        .on_conflict_do_nothing()
        .returning(columns.id, columns.datastream, columns.window_start)
    )
    written = connection.execute(statement, rows).all()
    outbox: list[dict[str, Any]] = [
        {
            "sink": sink,
            "observation_id": observation_id,
            "state": schema.WAITING,
            "attempts": 0,
            "next_attempt_at": 0.0,
        }
        for observation_id, datastream, window_start in written
        if (datastream, window_start) in public
        for sink in sinks
    ]
    if outbox:
        connection.execute(insert(connection, schema.publish_outbox).on_conflict_do_nothing(), outbox)
    return len(written)


def _write_attestations(connection: Connection, batch: BatchRows, now: float) -> int:
    if not batch.attestations:
        return 0
    statement = (
        insert(connection, schema.attestation).on_conflict_do_nothing().returning(schema.attestation.c.seq)
    )
    return len(
        connection.execute(statement, [{**asdict(row), "at": now} for row in batch.attestations]).all()
    )


def _write_refusals(connection: Connection, batch: BatchRows) -> None:
    if not batch.refusals:
        return
    rows = [
        {"at": row.at, "device_id": row.device_id, "reason": str(row.reason), "size": row.size}
        for row in batch.refusals
    ]
    connection.execute(insert(connection, schema.refusal), rows)
    newest = select(func.max(schema.refusal.c.id)).scalar_subquery()
    connection.execute(delete(schema.refusal).where(schema.refusal.c.id <= newest - REFUSALS_KEPT))


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
        rows = [asdict(row) for row in batch.parked]
        connection.execute(insert(connection, schema.parked).on_conflict_do_nothing(), rows)


def raise_tally(connection: Connection, by: Mapping[str, int]) -> None:
    """Raise running totals within the transaction at hand; names that are new begin at nought."""
    # Always in the same order, so that two workers' transactions cannot wait for each other.
    rows = [{"name": name, "n": n} for name, n in sorted(by.items()) if n]
    if not rows:
        return
    statement = insert(connection, schema.tally)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[schema.tally.c.name], set_={"n": schema.tally.c.n + statement.excluded.n}
        ),
        rows,
    )
