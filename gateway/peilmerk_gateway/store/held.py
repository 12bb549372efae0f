"""Everything that is stored about one device, for the host who asks what is held of theirs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select

from peilmerk_gateway.store import device_streams, schema

# Left out: what binds rows to the audit trail, and the sealed bytes of what waits, which are a copy.
_LEFT_OUT = {"audit_entry", "sealed", "digest"}
_TABLES = {
    "reports": schema.report,
    "datastreams": schema.device_stream,
    "figures": schema.observation,
    "withheld": schema.withheld,
    "privacy_spent": schema.ledger,
    "statements": schema.attestation,
    "waiting": schema.parked,
    "quarantined": schema.quarantine,
    "commands": schema.command,
    "refused": schema.refusal,
    "pauses": schema.halt,
}


def held(connection: Connection, device_id: str) -> dict[str, list[Mapping[str, Any]]]:
    """Return every row of a device by what it is; units as in `schema`."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    told = device_streams.told_by(connection, device_id)
    for name, table in _TABLES.items():
        columns = [column for column in table.c if column.name not in _LEFT_OUT]
        its = told if table is schema.observation else table.c.device_id == device_id
        rows = connection.execute(select(*columns).where(its).order_by(*table.primary_key))
        found[name] = [dict(row) for row in rows.mappings()]
    outbox, observation = schema.publish_outbox.c, schema.observation.c
    rows = connection.execute(
        select(
            outbox.sink,
            outbox.state,
            outbox.remote_id,
            outbox.published_at,
            observation.datastream,
            observation.window_start,
            observation.window_s,
            observation.result,
            observation.quantity,
        )
        .join_from(schema.publish_outbox, schema.observation)
        .where(told)
        .order_by(outbox.sink, observation.id)
    )
    found["publications"] = [dict(row) for row in rows.mappings()]
    return found
