"""What entries of the audit trail bind once rows of theirs were deleted, and whether those are as decided.

The entry of a deletion (`removal`) states it anew for every entry that lost rows; what was stated last holds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import cbor2
from sqlalchemy import Connection, Select, func, select

from peilmerk_gateway.store import schema, trail

PUBLISHED = "published"
NO_ROOT = b""
"""Stated of rows that were not what was decided when others of their entry were deleted."""

_entry = schema.audit_entry.c


class Left:
    """What deletions left of entries, as the trail states it; reads only what was added since."""

    def __init__(self) -> None:
        self._number = 0
        self._stated: dict[str, dict[int, tuple[int, bytes]]] = defaultdict(dict)
        self._emptied: dict[str, bytearray] = defaultdict(bytearray)
        self.rejected: set[tuple[str, int]] = set()
        """(sink, observation) that a platform had refused and that are gone."""

    def read(self, connection: Connection) -> Left:
        """Take in the entries that are new. Raises ValueError, KeyError or CBORError for what is none."""
        while rows := connection.execute(
            select(_entry.number, _entry.body)
            .where(_entry.kind == trail.REMOVED, _entry.number > self._number)
            .order_by(_entry.number)
            .limit(100)
        ).all():
            for number, body in rows:
                self._take(cbor2.loads(body))
                self._number = number
        return self

    def _take(self, body: Mapping[str, Any]) -> None:
        for name, entries in body["emptied"].items():
            bits = self._emptied[name]
            for entry in entries:
                self._stated[name].pop(entry, None)
                # One bit an entry: a busy gateway empties millions of them.
                bits.extend(bytes(max(0, entry // 8 + 1 - len(bits))))
                bits[entry // 8] |= 1 << entry % 8
        for name, left in body["left"].items():
            for entry, rows, root in left:
                self._stated[name][entry] = int(rows), bytes(root)
        for sink, gone in body["rejected"].items():
            self.rejected.update((sink, observation) for observation in gone)

    def of(self, name: str, entry: int) -> tuple[int, bytes] | None:
        """Return how many rows an entry has left and their root; None when it has lost none."""
        bits = self._emptied[name]
        if entry // 8 < len(bits) and bits[entry // 8] >> entry % 8 & 1:
            return 0, trail.root_of([])
        return self._stated[name].get(entry)


def column(name: str) -> Any:
    """Return the column of the entry that binds rows of a name."""
    if name == PUBLISHED:
        return schema.publish_outbox.c.audit_entry
    table = schema.observation if name == "queued" else trail.ROWS[name][0].table
    return table.c.audit_entry


def sinks(connection: Connection) -> list[str]:
    """Return every platform that has a row in the queues, by one step each through their key.

    Whoever looks for the rows of a figure names them: the key begins with the platform, and without it every
    row of every queue is looked at, for each figure.
    """
    found = [""]
    sink = schema.publish_outbox.c.sink
    while (
        one := connection.execute(select(func.min(sink)).where(sink > found[-1])).scalar_one()
    ) is not None:
        found.append(one)
    return found[1:]


def rows_of(connection: Connection, name: str, entries: Iterable[int | None]) -> dict[int, list[Any]]:
    """Return the leaves of what these entries bind under a name."""
    found: dict[int, list[Any]] = {entry: [] for entry in entries if entry is not None}
    asked = trail.published_of() if name == PUBLISHED else trail.rows_of(name)
    if name == "queued":
        asked = asked.where(schema.publish_outbox.c.sink.in_(sinks(connection)))
    for row in connection.execute(asked.where(column(name).in_(list(found)))) if found else ():
        found[row[0]].append(row[1:])
    return found


def is_as_decided(connection: Connection, left: Left, name: str, entry: int, rows: Sequence[Any]) -> bool:
    """Whether the rows of an entry are those that it, or the last deletion from it, told of."""
    stated = left.of(name, entry)
    if stated is None:
        told = connection.execute(select(_entry.kind, _entry.body).where(_entry.number == entry)).first()
        if told is None or told.kind != (trail.PUBLISHED if name == PUBLISHED else trail.JUDGED):
            return False
        body = cbor2.loads(told.body)
        stated = _told_by(name, body)
        if stated is None:
            return _was_told_in_the_first_form(connection, name, entry, body)
    return (len(rows), trail.root_of(rows)) == stated


def _told_by(name: str, body: Mapping[str, Any]) -> tuple[int, bytes] | None:
    """Return (n, root) of what an entry told of a name; None for an entry of the first form."""
    if name == PUBLISHED:
        return (body["observations"], body["root"]) if body.get("form") == trail.FORM else None
    if "rows" not in body:
        return None
    n, root = body["rows"].get(name, (0, trail.root_of([])))
    return n, root


def _was_told_in_the_first_form(
    connection: Connection, name: str, entry: int, body: Mapping[str, Any]
) -> bool:
    first: dict[str, tuple[Callable[[], Select[Any]], Sequence[str], slice, str]] = {
        "reports": (lambda: trail.rows_of(name), trail.REPORT_LEAF, slice(0, 2), "reports"),
        PUBLISHED: (trail.published_of, trail.PUBLISHED_LEAF, slice(1, 2), "observations"),
    }
    if name not in first:
        return False
    ask, leaf, order, told = first[name]
    rows = [
        [getattr(row, column) for column in leaf]
        for row in connection.execute(ask().where(column(name) == entry))
    ]
    rows.sort(key=lambda row: row[order])
    return (len(rows), trail.merkle_root(map(trail.leaf, rows))) == (body[told], body["root"])
