"""Which deployment records were in force when, as the audit trail tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cbor2
from sqlalchemy import Connection, select

from peilmerk_gateway.store import schema, trail


@dataclass(frozen=True, slots=True)
class RecordsEntry:
    """One entry: from `at` (unix seconds, gateway's time) on, these were the records, {file: facts}."""

    number: int
    at: float
    records: Mapping[str, Mapping[str, Any]]


def told(connection: Connection) -> list[RecordsEntry]:
    """Return every entry that tells of other records, oldest first."""
    columns = schema.audit_entry.c
    rows = connection.execute(
        select(columns.number, columns.at, columns.body)
        .where(columns.kind == trail.RECORDS)
        .order_by(columns.number)
    )
    return [RecordsEntry(row.number, row.at, cbor2.loads(row.body)["records"]) for row in rows]
