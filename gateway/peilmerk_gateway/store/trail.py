"""The audit trail: every decision an entry, each entry bound to the one before it by its digest.

    digest = SHA-256(digest of the entry before, 32 zero bytes for the first
                     || CBOR [number, at, kind, body])

`number` counts from 1 without gaps, `at` is unix seconds in the gateway's time, `body` is a CBOR map in
canonical form (RFC 8949, section 4.2.1). What is decided by thousands, reports admitted and observations
published, is one entry a transaction with the root of a Merkle tree over its rows (RFC 9162, section 2.1.1);
the rows carry the entry's number. An entry is written in the transaction that did what it tells, so none can
be missing after a crash.

    begun      the trail begins; how many rows of before have no entry, and how many were counted
               {reports, published, counted: {reports, published}}
    judged     a batch: {reports, root, observations, withheld: {reason: n}, statements, answers,
               refused: {reason: n}, epsilon_micro}
    published  a platform has observations {sink, observations, root}
    rejected   a platform refuses observations for good {sink, observations: [id]}
    command    an operator queued or withdrew a command {action, device_id, counter, verb}
    records    other deployment records are in force {records: {file: {sha256, id?, version?, usable}}}
    rules      another version of the gateway judges {gateway}

`peilmerk_gateway.store.trail_check` verifies it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import cbor2
from sqlalchemy import Connection, Select, func, select

from peilmerk_gateway.store import schema
from peilmerk_gateway.store.sql import insert

BEGUN, JUDGED, PUBLISHED, REJECTED = "begun", "judged", "published", "rejected"
COMMAND, RECORDS, RULES = "command", "records", "rules"
NOTHING = bytes(32)
"""The digest before the first entry."""

_entry = schema.audit_entry.c
_head = schema.audit_head.c
_report = schema.report.c
_outbox = schema.publish_outbox.c
_observation = schema.observation.c

# What a Merkle leaf of an admitted report and of a published observation is made of, in this order.
REPORT_LEAF = (
    _report.device_id,
    _report.seq,
    _report.kind,
    _report.window_start,
    _report.window_s,
    _report.revision,
    _report.health,
    _report.digest,
)
PUBLISHED_LEAF = (
    _outbox.sink,
    _outbox.observation_id,
    _observation.datastream,
    _observation.window_start,
    _observation.window_s,
    _observation.result,
    _observation.spread,
    _observation.samples,
)


def digest(before: bytes, number: int, at: float, kind: str, body: bytes) -> bytes:
    """Return the digest of an entry, 32 bytes."""
    return hashlib.sha256(before + cbor2.dumps([number, at, kind, body], canonical=True)).digest()


def leaf(row: Sequence[Any]) -> bytes:
    """Return a row as what a leaf of a Merkle tree is made of: a CBOR array."""
    return cbor2.dumps(list(row), canonical=True)


def merkle_root(leaves: Iterable[bytes]) -> bytes:
    """Return the root of the Merkle tree over leaves in their order, 32 bytes (RFC 9162, section 2.1.1)."""
    # Complete subtrees by falling size, as in a binary number: one row more carries.
    stack: list[tuple[int, bytes]] = []
    for data in leaves:
        size, node = 1, hashlib.sha256(b"\0" + data).digest()
        while stack and stack[-1][0] == size:
            size, node = 2 * size, hashlib.sha256(b"\1" + stack.pop()[1] + node).digest()
        stack.append((size, node))
    if not stack:
        return hashlib.sha256(b"").digest()
    _, root = stack.pop()
    while stack:
        root = hashlib.sha256(b"\1" + stack.pop()[1] + root).digest()
    return root


def reports_of(number: int) -> Select[Any]:
    """Ask for the leaves of the reports that an entry admitted, in the tree's order."""
    return select(*REPORT_LEAF).where(_report.audit_entry == number).order_by(_report.device_id, _report.seq)


def published_of(number: int) -> Select[Any]:
    """Ask for the leaves of the observations that an entry published, in the tree's order."""
    return (
        select(*PUBLISHED_LEAF)
        .join_from(schema.publish_outbox, schema.observation)
        .where(_outbox.audit_entry == number)
        .order_by(_outbox.observation_id)
    )


def next_number(connection: Connection, now: float) -> int:
    """Return the number that the next entry will have; nobody else can take it in this transaction's life."""
    return _last(connection, now)[0] + 1


def append(connection: Connection, kind: str, body: Mapping[str, Any], now: float) -> int:
    """Add an entry within the transaction at hand; return its number."""
    number, before = _last(connection, now)
    return _write(connection, number + 1, before, kind, body, now)


def note_if_new(connection: Connection, kind: str, body: Mapping[str, Any], now: float) -> bool:
    """Add an entry unless the last one of its kind says the same; return whether it was added."""
    last = connection.execute(
        select(_entry.body).where(_entry.kind == kind).order_by(_entry.number.desc()).limit(1)
    ).scalar_one_or_none()
    if last == cbor2.dumps(body, canonical=True):
        return False
    append(connection, kind, body, now)
    return True


def counted(connection: Connection) -> dict[str, int]:
    """Return the running totals that the trail must agree with: admitted reports, days among them, and
    publications.
    """
    rows = {row[0]: int(row[1]) for row in connection.execute(select(schema.tally.c.name, schema.tally.c.n))}
    return {
        "reports": rows.get("reports", 0) + rows.get("days", 0),
        "published": sum(n for name, n in rows.items() if name.startswith("published:")),
    }


def _last(connection: Connection, now: float) -> tuple[int, bytes]:
    """Return number and digest of the last entry, and keep others from adding one; begin the trail if
    there is none.
    """
    row = connection.execute(
        select(_head.number, _head.digest).where(_head.id == 1).with_for_update()
    ).first()
    if row is not None:
        return row[0], row[1]
    published = select(func.count()).select_from(schema.publish_outbox).where(_outbox.state == schema.DONE)
    body = {
        "reports": connection.execute(select(func.count()).select_from(schema.report)).scalar_one(),
        "published": connection.execute(published).scalar_one(),
        "counted": counted(connection),
    }
    _write(connection, 1, NOTHING, BEGUN, body, now)
    return _last(connection, now)


def _write(
    connection: Connection, number: int, before: bytes, kind: str, body: Mapping[str, Any], now: float
) -> int:
    written = cbor2.dumps(body, canonical=True)
    mine = digest(before, number, now, kind, written)
    connection.execute(
        insert(connection, schema.audit_entry),
        {"number": number, "at": now, "kind": kind, "body": written, "digest": mine},
    )
    statement = insert(connection, schema.audit_head)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["id"],
            set_={"number": statement.excluded.number, "digest": statement.excluded.digest},
        ),
        {"id": 1, "number": number, "digest": mine},
    )
    return number
