"""What the store knows about the messages of a batch, asked in one statement.

This is what `admit` needs to tell a fresh report from a replayed one: whether the number was used, what
covers the time before, and the last statement that the device made before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import CTE, Connection, Select, and_, func, select

from peilmerk_gateway.store import schema, sql
from peilmerk_gateway.store.rows import AttestationRow, Known, ParkedRow, Probe

# Elsewhere than in SQLite every value is a parameter, of which there are at most 65,535.
AT_ONCE = 5_000


def look_up(connection: Connection, probes: Sequence[Probe]) -> dict[Probe, Known]:
    """Return what is known of each of these; every one asked is in the answer."""
    known: dict[Probe, Known] = {}
    probes = list(dict.fromkeys(probes))
    for first in range(0, len(probes), AT_ONCE):
        known.update(_look_up(connection, probes[first : first + AT_ONCE]))
    return known


def _look_up(connection: Connection, probes: Sequence[Probe]) -> dict[Probe, Known]:
    known = {}
    for row in sql.ask(connection, _about, probes, _ASKED):
        at, report_seq, digest, statement_seq, parked_digest, before_report, before_statement, *rest = row
        end_before, *attestation = rest
        known[probes[at]] = Known(
            None if report_seq is None else digest or b"",
            statement_seq is not None,
            parked_digest,
            before_report is not None or before_statement is not None,
            end_before,
            None if attestation[0] is None else AttestationRow._make(attestation),
        )
    return known


# The fields of a Probe.
_ASKED = {"device_id": str, "seq": int, "window_end": int, "kind": int}


def _about(asked: CTE) -> Select[Any]:
    number_report = schema.report.alias("number_report")
    before = schema.report.alias("before")
    number_statement = schema.attestation.alias("number_statement")
    previous_report = schema.report.alias("previous_report")
    previous_statement = schema.attestation.alias("previous_statement")
    attested = schema.attestation.alias("attested")
    earlier = schema.attestation.alias("earlier")
    # Stored windows of a kind are disjoint, so of those that begin before our end the last one ends last.
    window_end_before = (
        select(before.c.window_start + before.c.window_s)
        .where(
            before.c.device_id == asked.c.device_id,
            before.c.kind == asked.c.kind,
            before.c.window_start < asked.c.window_end,
        )
        .order_by(before.c.window_start.desc())
        .limit(1)
        .scalar_subquery()
    )
    last_statement = (
        select(func.max(earlier.c.seq))
        .where(earlier.c.device_id == asked.c.device_id, earlier.c.seq < asked.c.seq)
        .scalar_subquery()
    )
    return select(
        asked.c.at,
        number_report.c.seq,
        number_report.c.digest,
        number_statement.c.seq,
        schema.parked.c.digest,
        previous_report.c.seq,
        previous_statement.c.seq,
        window_end_before,
        attested.c.device_id,
        attested.c.seq,
        attested.c.revision,
        attested.c.firmware_digest,
        attested.c.profile_digest,
        attested.c.reset_cause,
        attested.c.boot_count,
        attested.c.uptime,
    ).select_from(
        asked.outerjoin(
            number_report,
            and_(number_report.c.device_id == asked.c.device_id, number_report.c.seq == asked.c.seq),
        )
        .outerjoin(
            number_statement,
            and_(number_statement.c.device_id == asked.c.device_id, number_statement.c.seq == asked.c.seq),
        )
        .outerjoin(
            schema.parked,
            and_(schema.parked.c.device_id == asked.c.device_id, schema.parked.c.seq == asked.c.seq),
        )
        .outerjoin(
            previous_report,
            and_(previous_report.c.device_id == asked.c.device_id, previous_report.c.seq == asked.c.seq - 1),
        )
        .outerjoin(
            previous_statement,
            and_(
                previous_statement.c.device_id == asked.c.device_id,
                previous_statement.c.seq == asked.c.seq - 1,
            ),
        )
        .outerjoin(
            attested,
            and_(attested.c.device_id == asked.c.device_id, attested.c.seq == last_statement),
        )
    )


def parked(
    connection: Connection, device_ids: Sequence[str] | None, before: float | None, limit: int
) -> list[ParkedRow]:
    """Return waiting reports, oldest first: of these devices, or that wait since before a moment, or all."""
    columns = schema.parked.c
    statement = select(
        columns.device_id, columns.seq, columns.sealed, columns.digest, columns.at, columns.kind
    )
    if device_ids is not None:
        statement = statement.where(columns.device_id.in_(device_ids))
    if before is not None:
        statement = statement.where(columns.at < before)
    statement = statement.order_by(columns.at, columns.device_id, columns.seq).limit(limit)
    return [ParkedRow(*row) for row in connection.execute(statement)]
