"""The audit trail: every decision an entry, each entry bound to the one before it by its digest.

`peilmerk_gateway.chain` says how. `number` counts from 1 without gaps, `at` is unix seconds in the gateway's
time, `body` is a CBOR map in canonical form (RFC 8949, section 4.2.1). What is decided by thousands is one
entry a transaction with the roots of Merkle trees over the rows it wrote, a tree a table; the rows carry the
entry's number. An entry is written in the transaction that did what it tells, so none can be missing after a
crash. However many messages are refused, a batch of them is one entry.

    begun      the trail begins; how many rows of before have no entry, and how many were counted
               {loose: {rows: n}, counted: {total: n}}
    judged     a batch: {reports, observations, withheld: {reason: n}, statements, answers,
               refused: {reason: n}, epsilon_micro, rows: {rows: [n, root, rows a leaf?]},
               refusals_from: first id, quarantined?: n}
    published  a platform has observations {sink, observations, root, form: 2}
    rejected   a platform refuses observations for good {sink, observations: [id]}
    command    an operator queued or withdrew a command {action, device_id, counter, verb, expiry, argument}
    records    other deployment records are in force {records: {file: {sha256, id?, version?, usable}}}
    registry   boards were enrolled or revoked: the last action of the registry {number, digest}
    rules      another version of the gateway judges {gateway}
    widened    an older trail binds from here on what `rows` names {loose: {rows: n}, counted: {total: n}}

    host       a host's word {action, device_id, unqueued?, unquarantined?}: pause, resume, withdraw
    restored   the store was put back from a backup {backed_up_at, entry, counters_raised_by, devices};
               see `peilmerk_gateway.store.upkeep`
    mended     the store's file was damaged, and put back whole from its mirror {from, entry, pages?}: the
               last entry before, and how many pages differed; see `peilmerk_gateway.store.mend`
    removed    figures and reports were deleted; see `peilmerk_gateway.store.removal`
    quarantine refused reports that were kept went {action, messages, reasons: {reason: n}}: replayed (what
               came of them is the batch judged before it), dropped, expired, or full for newer ones; or
               again: a platform is to be sent what it had rejected {action, sink, observations: [id]}

`rows` are those of ROWS below, one a leaf where it does not say how many. A trail of the first form bound
reports and publications only: its entries `judged` have one root over REPORT_LEAF, its `published` one over
PUBLISHED_LEAF.

`peilmerk_gateway.store.trail_check` verifies it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import cbor2
from sqlalchemy import Connection, Float, Select, Table, func, select

from peilmerk_gateway.chain import NOTHING, digest, leaf, merkle_root, packed_root_of, root_of
from peilmerk_gateway.store import schema
from peilmerk_gateway.store.sql import insert

__all__ = ["NOTHING", "digest", "leaf", "merkle_root", "root_of", "root_over"]

BEGUN, JUDGED, PUBLISHED, REJECTED = "begun", "judged", "published", "rejected"
COMMAND, RECORDS, REGISTRY, RULES, WIDENED = "command", "records", "registry", "rules", "widened"
HOST, REMOVED, QUARANTINE, MENDED = "host", "removed", "quarantine", "mended"
FORM = 2
"""Of the trail as it is written now."""

_entry = schema.audit_entry.c
_head = schema.audit_head.c
_report = schema.report.c
_outbox = schema.publish_outbox.c
_observation = schema.observation.c


def _all_but_entry(table: Table) -> tuple[Any, ...]:
    return tuple(column for column in table.c if column.name != "audit_entry")


# What the rows of a judged batch are, and what a leaf of each is made of: every column, in this order.
ROWS: Mapping[str, tuple[Any, ...]] = {
    "reports": _all_but_entry(schema.report),
    "observations": _all_but_entry(schema.observation),
    "withheld": _all_but_entry(schema.withheld),
    "ledger": _all_but_entry(schema.ledger),
    "statements": _all_but_entry(schema.attestation),
    # Which observations are to go to which platform; their entry is the observation's.
    "queued": (_outbox.sink, _outbox.observation_id),
    "refusals": (
        schema.refusal.c.at,
        schema.refusal.c.device_id,
        schema.refusal.c.reason,
        schema.refusal.c.size,
    ),
}
_FLOATS = {
    name: tuple(place for place, column in enumerate(of) if isinstance(column.type, Float))
    for name, of in ROWS.items()
}
# Of those whose rows have a key among their columns: what it is. Of them, so many are a leaf, which is short
# of the 2,047 bytes from which on hashing lets go of the interpreter.
_KEYS: Mapping[str, Callable[[Sequence[Any]], Any]] = {
    name: itemgetter(*places)
    for name, of in ROWS.items()
    if name != "refusals" and (places := [place for place, column in enumerate(of) if column.primary_key])
}
A_LEAF = 8
FIGURE = (
    _outbox.sink,
    _outbox.state,
    _outbox.remote_id,
    _outbox.published_at,
    *(column for column in _all_but_entry(schema.observation) if column.name != "stored_at"),
)
"""A leaf of what was published: every column of the observation, and where it is now."""

# Leaves of the first form.
REPORT_LEAF = ("device_id", "seq", "kind", "window_start", "window_s", "revision", "health", "digest")
PUBLISHED_LEAF = (
    "sink",
    "id",
    "datastream",
    "window_start",
    "window_s",
    "result",
    "spread",
    "samples",
)


def rows_of(name: str) -> Select[Any]:
    """Ask for (entry, leaf's columns...) of all rows of a name that have an entry, by entry."""
    leaf_of = ROWS[name]
    if name == "queued":
        column = _observation.audit_entry
        found = select(column, *leaf_of).join_from(schema.publish_outbox, schema.observation)
    else:
        column = leaf_of[0].table.c.audit_entry
        found = select(column, *leaf_of)
    return found.where(column.is_not(None)).order_by(column)


def published_of(number: int | None = None) -> Select[Any]:
    """Ask for (entry, leaf's columns...) of what an entry published, or of all that any did, by entry."""
    column = _outbox.audit_entry
    found = select(column, *FIGURE).join_from(schema.publish_outbox, schema.observation)
    return found.where(column.is_not(None) if number is None else column == number).order_by(column)


def next_number(connection: Connection, now: float) -> int:
    """Return the number that the next entry will have; nobody else can take it in this transaction's life.

    Ask before the first change: what is there when a trail begins is taken to be older.
    """
    return _last(connection, now)[0] + 1


def last_at(connection: Connection) -> float | None:
    """Return when the last entry was written, unix seconds; None before the first."""
    statement = select(_entry.at).order_by(_entry.number.desc()).limit(1)
    return connection.execute(statement).scalar_one_or_none()


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
    """Return the running totals that the trail must agree with; days are among the reports."""
    rows = {row[0]: int(row[1]) for row in connection.execute(select(schema.tally.c.name, schema.tally.c.n))}
    return {
        "reports": rows.get("reports", 0) + rows.get("days", 0),
        "published": sum(n for name, n in rows.items() if name.startswith("published:")),
        "refused": sum(n for name, n in rows.items() if name.startswith("refused:")),
        **{name: rows.get(name, 0) for name in ("observations", "withheld", "statements")},
    }


def loose(connection: Connection) -> dict[str, int]:
    """Return how many rows have no entry that tells of them: older than the trail, or added behind it.

    Rows of commands and of what a platform refused carry no entry; of these it is all there are.
    """
    return {name: connection.execute(ask).scalar_one() for name, ask in _loose().items()}


def _loose() -> dict[str, Select[Any]]:
    asks = {
        name: select(func.count()).select_from(of[0].table).where(of[0].table.c.audit_entry.is_(None))
        for name, of in ROWS.items()
        if name != "queued"
    }
    asks["queued"] = (
        select(func.count())
        .select_from(schema.publish_outbox.join(schema.observation))
        .where(_observation.audit_entry.is_(None))
    )
    outbox = select(func.count()).select_from(schema.publish_outbox)
    asks["published"] = outbox.where(_outbox.state == schema.DONE, _outbox.audit_entry.is_(None))
    asks["rejected"] = outbox.where(_outbox.state == schema.REJECTED, schema.unfinished)
    asks["commands"] = select(func.count()).select_from(schema.command)
    return asks


def _last(connection: Connection, now: float) -> tuple[int, bytes]:
    """Return number and digest of the last entry, and keep others from adding one; begin the trail if
    there is none, and go on in the present form if it is of an older one.
    """
    row = connection.execute(
        select(_head.number, _head.digest, _head.form).where(_head.id == 1).with_for_update()
    ).first()
    if row is not None and row[2] == FORM:
        return row[0], row[1]
    body = {"loose": loose(connection), "counted": counted(connection)}
    if row is None:
        _write(connection, 1, NOTHING, BEGUN, body, now)
    else:
        _write(connection, row[0] + 1, row[1], WIDENED, body, now)
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
    changed = {name: statement.excluded[name] for name in ("number", "digest", "form")}
    connection.execute(
        statement.on_conflict_do_update(index_elements=["id"], set_=changed),
        {"id": 1, "number": number, "digest": mine, "form": FORM},
    )
    return number


def bind(rows: Mapping[str, Sequence[Sequence[Any]]]) -> dict[str, list[Any]]:
    """Return {rows: [n, root, rows a leaf?]} of the rows that a batch wrote, names without any left out."""
    told: dict[str, list[Any]] = {}
    for name, found in rows.items():
        if found and name in _KEYS:
            told[name] = [len(found), root_over(name, found, A_LEAF), A_LEAF]
        elif found:
            told[name] = [len(found), root_over(name, found)]
    return told


def root_over(name: str, rows: Iterable[Sequence[Any]], a_leaf: int = 1) -> bytes:
    """Return the root over rows of a name, so many of them a leaf; ValueError where they cannot be."""
    if a_leaf == 1:
        return root_of(rows, _FLOATS.get(name))
    if a_leaf < 1 or name not in _KEYS:
        raise ValueError(f"found {a_leaf} {name} a leaf, wanted one" + ", or more" * (name in _KEYS))
    return packed_root_of(rows, _KEYS[name], a_leaf, _FLOATS[name])
