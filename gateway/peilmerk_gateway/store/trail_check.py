"""Verify the audit trail against itself and against the rows it tells of, reading only.

Found are: an entry that was removed, changed, added or moved; a row of what was decided (a report, a figure,
whether and where it is to be published, a window withheld, a line of the ledger, a statement, a refusal, a
publication, a command) that was removed, changed, added or moved to another entry; a trail that was cut off
at its end, for then rows and the kept head know of more; and a registry of devices that was. Whoever can
rewrite the whole database, head and all, is found only against a head that was written down elsewhere before
(`expected`). Found is also a figure that is not among what its board is known to have told: by that it would
be erased and aged out.

Of refusals the newest are kept (`batch.REFUSALS_KEPT`); of older ones the entries tell how many there were of
which reason, and no more can be checked. Every table is read once, in the order of its entries.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import cbor2
from sqlalchemy import Connection, Select, select

from peilmerk_gateway.registry_trail import RegistryTrail
from peilmerk_gateway.store import device_streams, restated, schema, trail
from peilmerk_gateway.store.batch import REFUSALS_KEPT

MOST_FAULTS = 100
_AT_ONCE = 1_000


@dataclass
class Verdict:
    """What a check of the trail found; `faults` are (entry, what is wrong), `entry` 0 where it is none's."""

    entries: int = 0
    head: str = ""
    """Of the last entry: its digest, 64 hexadecimal digits; what is to be written down elsewhere."""
    reports: int = 0
    published: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    """How many rows of which name (`trail.ROWS`) are bound by their entry."""
    registry: int = 0
    """How many actions of the registry of devices were checked too."""
    by_kind: dict[str, int] = field(default_factory=dict)
    faults: list[tuple[int, str]] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults

    def wrong(self, entry: int, what: str) -> None:
        """Note a fault; the first hundred are kept."""
        if len(self.faults) < MOST_FAULTS:
            self.faults.append((entry, what))


class _Rows:
    """The rows of one name that carry an entry, handed out entry by entry."""

    def __init__(self, connection: Connection, name: str, ask: Select[Any], verdict: Verdict) -> None:
        self.name = name
        self._verdict = verdict
        rows: Iterable[Any] = connection.execute(ask, execution_options={"yield_per": _AT_ONCE})
        self._groups = groupby(rows, key=lambda row: row[0])
        self._next = next(self._groups, None)

    def of(self, number: int) -> list[Any]:
        """Return the rows that carry this entry, without it; those of entries before are nobody's."""
        while self._next is not None and self._next[0] <= number:
            carried, rows = self._next
            found = list(rows)
            self._next = next(self._groups, None)
            if carried == number:
                return found
            self._nobodys(carried)
        return []

    def end(self) -> None:
        """Find what carries an entry behind the last one."""
        while self._next is not None:
            self._nobodys(self._next[0])
            self._next = next(self._groups, None)

    def _nobodys(self, carried: int) -> None:
        self._verdict.wrong(0, f"{self.name}: found rows that carry entry {carried}, which tells of none")


@dataclass
class _Told:
    """What the entries told so far: rows without entry, totals counted, and totals told since."""

    loose: dict[str, int] = field(default_factory=dict)
    counted: dict[str, int] = field(default_factory=dict)
    since: dict[str, int] = field(default_factory=dict)
    queued: int = 0
    rejected: int = 0
    short: list[tuple[int, int, int]] = field(default_factory=list)
    """(id of the first, entry, how many are left) of refusals of which some are gone; the last hundred."""

    def begin(self, body: Mapping[str, Any]) -> None:
        """Take what there was when the trail began; its first form told of two things only."""
        first = {name: int(body[name]) for name in ("reports", "published") if name in body}
        self.loose = {name: int(n) for name, n in body.get("loose", first).items()}
        self.counted = {name: int(n) for name, n in body["counted"].items()}
        self.since = {}

    def add(self, name: str, n: int) -> None:
        self.since[name] = self.since.get(name, 0) + n

    def wanted(self, name: str) -> int:
        return self.counted[name] + self.since.get(name, 0)


class _Check:
    """One walk along the trail."""

    def __init__(self, connection: Connection, verdict: Verdict, registry: RegistryTrail | None) -> None:
        self._connection = connection
        self._verdict = verdict
        self._registry = registry
        self._told = _Told()
        self._rows = {name: _Rows(connection, name, trail.rows_of(name), verdict) for name in trail.ROWS}
        self._published = _Rows(connection, "published", trail.published_of(), verdict)
        self._newest_refusal = 0
        self._kinds = {
            trail.JUDGED: self._judged,
            trail.PUBLISHED: self._publication,
            trail.REJECTED: self._rejection,
            trail.COMMAND: self._command,
            trail.REGISTRY: self._anchor,
            trail.REMOVED: self._removal,
            trail.QUARANTINE: self._quarantine,
        }
        # What a platform had rejected and was to be sent again: from then on its queue tells of it.
        self._again = _sent_again(connection)
        # What was stated of entries when rows of theirs were deleted, which is told after them.
        self._left = restated.Left().read(connection)

    def entry(self, row: Any) -> None:
        """Check what an entry tells."""
        try:
            body = cbor2.loads(row.body)
            if row.kind == trail.BEGUN:
                if row.number == 1:
                    self._told.begin(body)
                else:
                    self._verdict.wrong(row.number, "found a second beginning")
            elif row.kind == trail.WIDENED:
                self._widened(row.number, body)
            elif row.kind in self._kinds:
                self._kinds[row.kind](row.number, body)
        except (cbor2.CBORError, KeyError, TypeError, ValueError, AttributeError) as reason:
            self._verdict.wrong(row.number, f"its content cannot be read: {type(reason).__name__}")

    def _widened(self, number: int, body: Mapping[str, Any]) -> None:
        if "queued" in self._told.loose:
            # Rows that were slipped in would be taken for older ones.
            self._verdict.wrong(number, "found a widening of a trail that has the present form")
        before = {name: self._told.wanted(name) for name in self._told.counted}
        loose = dict(self._told.loose)
        self._told.begin(body)
        for name, wanted in before.items():
            there = self._told.counted.get(name, 0)
            if there != wanted:
                self._verdict.wrong(number, f"{name}: tells of {there}, wanted {wanted}")
        for name, wanted in loose.items():
            there = self._told.loose.get(name, 0)
            if there != wanted:
                self._verdict.wrong(number, f"{name}: tells of {there}, wanted {wanted}")

    def _judged(self, number: int, body: Mapping[str, Any]) -> None:
        told = self._told
        for name in ("reports", "observations", "statements"):
            told.add(name, int(body[name]))
        for name in ("withheld", "refused"):
            told.add(name, sum(body[name].values()))
        if "rows" not in body and self._left.of("reports", number) is not None:
            self._hold(number, "reports", [row[1:] for row in self._rows["reports"].of(number)], 0, b"")
            return
        if "rows" not in body:
            rows = [
                [getattr(row, name) for name in trail.REPORT_LEAF] for row in self._rows["reports"].of(number)
            ]
            rows.sort(key=lambda row: (row[0], row[1]))
            self._verdict.reports += len(rows)
            self._hold(number, "rows", rows, body["reports"], body["root"], in_order=True)
            return
        for name, source in self._rows.items():
            wanted, root, a_leaf = restated.told_of(name, body)
            rows = [row[1:] for row in source.of(number)]
            if name == "refusals":
                self._refusals(number, rows, wanted, root, body["refusals_from"])
                continue
            self._verdict.rows[name] = self._verdict.rows.get(name, 0) + len(rows)
            if name == "reports":
                self._verdict.reports += len(rows)
            self._hold(number, name, rows, wanted, root, a_leaf=a_leaf)

    def _refusals(self, number: int, rows: list[Any], wanted: int, root: bytes, first: int) -> None:
        """Hold the refusals of a batch against its root, when none of them is old enough to be gone."""
        self._newest_refusal = max(self._newest_refusal, first + wanted - 1)
        self._verdict.rows["refusals"] = self._verdict.rows.get("refusals", 0) + len(rows)
        if len(rows) == wanted:
            self._hold(number, "refusals", rows, wanted, root)
        elif len(rows) > wanted:
            self._verdict.wrong(number, f"refusals: found {len(rows)} rows of its own, wanted {wanted}")
        else:
            # Only the end of the trail tells which are old enough.
            self._told.short = [*self._told.short, (first, number, len(rows))][-MOST_FAULTS:]

    def _hold(
        self,
        number: int,
        name: str,
        rows: list[Any],
        wanted: int,
        root: bytes,
        *,
        a_leaf: int = 1,
        in_order: bool = False,
    ) -> None:
        stated = self._left.of(name, number)
        if stated is not None:
            wanted, root = stated
            a_leaf = 1
        if stated is not None and root == restated.NO_ROOT:
            self._verdict.wrong(number, f"{name}: were not what was decided when some of them were deleted")
        elif len(rows) != wanted:
            self._verdict.wrong(number, f"{name}: found {len(rows)} that carry its number, wanted {wanted}")
        elif rows:
            if in_order:
                found = trail.merkle_root(map(trail.leaf, rows))
            else:
                found = trail.root_over(name, rows, a_leaf)
            if found != root:
                self._verdict.wrong(number, f"{name}: one of its {wanted} is not what was decided")

    def _publication(self, number: int, body: Mapping[str, Any]) -> None:
        self._told.add("published", int(body["observations"]))
        rows = self._published.of(number)
        self._verdict.published += len(rows)
        if body.get("form") == trail.FORM or self._left.of("published", number) is not None:
            self._hold(number, "published", [row[1:] for row in rows], body["observations"], body["root"])
            return
        leaves = [[getattr(row, name) for name in trail.PUBLISHED_LEAF] for row in rows]
        leaves.sort(key=lambda row: row[1])
        self._hold(number, "published", leaves, body["observations"], body["root"], in_order=True)

    def _rejection(self, number: int, body: Mapping[str, Any]) -> None:
        outbox = schema.publish_outbox.c
        self._told.rejected += len(body["observations"])
        for observation_id in body["observations"]:
            state = self._connection.execute(
                select(outbox.state).where(
                    outbox.sink == body["sink"], outbox.observation_id == observation_id
                )
            ).scalar_one_or_none()
            row = body["sink"], observation_id
            if row in self._again or row in self._left.rejected:
                # It is gone, or its number is another figure's now, which an entry of its own binds.
                continue
            if state != schema.REJECTED:
                self._verdict.wrong(
                    number, f"found observation {observation_id} {state or 'gone'}, wanted it rejected"
                )

    def _command(self, number: int, body: Mapping[str, Any]) -> None:
        if "argument" not in body:
            return
        self._told.queued += body["action"] == "queued"
        command = schema.command.c
        row = self._connection.execute(
            select(command.verb, command.expiry, command.argument).where(
                command.device_id == body["device_id"], command.counter == body["counter"]
            )
        ).first()
        if row is None or tuple(row) != (body["verb"], body["expiry"], body["argument"]):
            self._verdict.wrong(number, "its command is gone or is not what was given")

    def _anchor(self, number: int, body: Mapping[str, Any]) -> None:
        if self._registry is None:
            return
        if self._registry.digests.get(body["number"]) != body["digest"]:
            self._verdict.wrong(number, f"action {body['number']} of the registry is gone or was changed")

    def _removal(self, _number: int, body: Mapping[str, Any]) -> None:
        """Look no more for rows that were deleted; how many are left of which entry: see `restated.Left`."""
        for name, n in body["loose"].items():
            self._told.loose[name] = self._told.loose.get(name, 0) - int(n)
        self._told.rejected -= sum(map(len, body["rejected"].values()))

    def _quarantine(self, _number: int, body: Mapping[str, Any]) -> None:
        self._told.rejected -= len(body.get("observations", ()))

    def totals(self) -> None:
        """Compare with the rows that no entry tells of, and with the running totals."""
        for source in (*self._rows.values(), self._published):
            source.end()
        kept_from = self._newest_refusal - REFUSALS_KEPT + 1
        for first, number, some in self._told.short:
            if first >= kept_from:
                self._verdict.wrong(number, f"refusals: found {some} that carry its number, wanted more")
        found = trail.loose(self._connection)
        for name, wanted in self._told.loose.items():
            if name == "commands":
                wanted += self._told.queued
            elif name == "rejected":
                wanted += self._told.rejected
            # Of the refusals of before, too, the newest are kept.
            there = found.get(name, 0)
            if there > wanted or (there < wanted and name != "refusals"):
                self._verdict.wrong(
                    0, f"{name}: found {there} without entry, wanted {wanted} from before the trail"
                )
        if untold := device_streams.untold(self._connection):
            self._verdict.wrong(0, f"figures: found {untold} that are not among what their boards have told")
        counted = trail.counted(self._connection)
        for name in self._told.counted:
            there, wanted = counted.get(name, 0), self._told.wanted(name)
            if there != wanted:
                self._verdict.wrong(0, f"{name}: found {there} counted, and {wanted} in the trail")


def check(
    connection: Connection,
    expected: tuple[int, str] | None = None,
    registry: RegistryTrail | None = None,
) -> Verdict:
    """Check the whole trail, and the registry's where it is given.

    `expected` is (number, hexadecimal digest) of an entry written down before.
    """
    verdict = Verdict()
    if registry is not None:
        verdict.registry = len(registry.digests)
        for fault in registry.faults:
            verdict.wrong(0, f"registry: {fault}")
    walk = _Check(connection, verdict, registry)
    before, number = trail.NOTHING, 0
    for row in _entries(connection):
        if row.number != number + 1:
            verdict.wrong(row.number, f"found entry {row.number} after {number}, wanted {number + 1}")
        number = row.number
        if trail.digest(before, row.number, row.at, row.kind, row.body) != row.digest:
            verdict.wrong(number, "its digest does not follow from the entry before and its content")
        before = row.digest
        verdict.entries += 1
        verdict.by_kind[row.kind] = verdict.by_kind.get(row.kind, 0) + 1
        if expected is not None and expected[0] == number and expected[1].lower() != before.hex():
            verdict.wrong(number, f"found digest {before.hex()}, expected {expected[1].lower()}")
        walk.entry(row)
    verdict.head = before.hex()
    if expected is not None and expected[0] > number:
        verdict.wrong(0, f"found {number} entries, expected at least {expected[0]}")
    kept = connection.execute(select(schema.audit_head.c.number, schema.audit_head.c.digest)).first()
    if kept is not None and (kept.number, kept.digest) != (number, before):
        verdict.wrong(0, f"found {number} entries, and a head that tells of {kept.number}")
    walk.totals()
    return verdict


def _sent_again(connection: Connection) -> set[tuple[str, int]]:
    """Return (sink, observation) of what the trail says was to be sent again; broken entries tell nothing."""
    found: set[tuple[str, int]] = set()
    columns = schema.audit_entry.c
    for (body,) in connection.execute(select(columns.body).where(columns.kind == trail.QUARANTINE)):
        try:
            told = cbor2.loads(body)
            found.update((told["sink"], number) for number in told.get("observations", ()))
        except (cbor2.CBORError, KeyError, TypeError, ValueError, AttributeError):
            continue
    return found


def _entries(connection: Connection) -> Iterator[Any]:
    last = 0
    while True:
        columns = schema.audit_entry.c
        rows = connection.execute(
            select(columns.number, columns.at, columns.kind, columns.body, columns.digest)
            .where(columns.number > last)
            .order_by(columns.number)
            .limit(_AT_ONCE)
        ).all()
        if not rows:
            return
        yield from rows
        last = rows[-1].number
