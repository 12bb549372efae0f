"""Verify the audit trail against itself and against the rows it tells of, reading only.

Found are: an entry that was removed, changed, added or moved; a report or a published observation that was
removed, changed or added; and a trail that was cut off at its end, for then rows and the kept head know of
more. Whoever can rewrite the whole database, head and all, is found only against a head that was written
down elsewhere before (`expected`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import cbor2
from sqlalchemy import Connection, func, select

from peilmerk_gateway.store import schema, trail

MOST_FAULTS = 100


@dataclass
class Verdict:
    """What a check of the trail found; `faults` are (entry, what is wrong), `entry` 0 where it is none's."""

    entries: int = 0
    head: str = ""
    """Of the last entry: its digest, 64 hexadecimal digits; what is to be written down elsewhere."""
    reports: int = 0
    published: int = 0
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


def check(connection: Connection, expected: tuple[int, str] | None = None) -> Verdict:
    """Check the whole trail; `expected` is (number, hexadecimal digest) of an entry written down before."""
    verdict = Verdict()
    before, number = trail.NOTHING, 0
    begun = {"reports": 0, "published": 0, "counted reports": 0, "counted published": 0}
    told = {"reports": 0, "published": 0}
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
        _check_body(connection, verdict, row, begun, told)
    verdict.head = before.hex()
    if expected is not None and expected[0] > number:
        verdict.wrong(0, f"found {number} entries, expected at least {expected[0]}")
    kept = connection.execute(select(schema.audit_head.c.number, schema.audit_head.c.digest)).first()
    if kept is not None and (kept.number, kept.digest) != (number, before):
        verdict.wrong(0, f"found {number} entries, and a head that tells of {kept.number}")
    _check_totals(connection, verdict, begun, told, number)
    return verdict


def _entries(connection: Connection) -> Iterator[Any]:
    last = 0
    while True:
        columns = schema.audit_entry.c
        rows = connection.execute(
            select(columns.number, columns.at, columns.kind, columns.body, columns.digest)
            .where(columns.number > last)
            .order_by(columns.number)
            .limit(1_000)
        ).all()
        if not rows:
            return
        yield from rows
        last = rows[-1].number


def _check_body(
    connection: Connection, verdict: Verdict, row: Any, begun: dict[str, int], told: dict[str, int]
) -> None:
    try:
        body = cbor2.loads(row.body)
        if row.kind == trail.BEGUN:
            if row.number == 1:
                for name in told:
                    begun[name] = int(body[name])
                    begun["counted " + name] = int(body["counted"][name])
            else:
                verdict.wrong(row.number, "found a second beginning")
        elif row.kind == trail.JUDGED:
            told["reports"] += body["reports"]
            verdict.reports += _check_rows(
                connection, verdict, row.number, trail.reports_of(row.number), body["reports"], body["root"]
            )
        elif row.kind == trail.PUBLISHED:
            told["published"] += body["observations"]
            verdict.published += _check_rows(
                connection,
                verdict,
                row.number,
                trail.published_of(row.number),
                body["observations"],
                body["root"],
            )
    except (cbor2.CBORError, KeyError, TypeError, ValueError) as reason:
        verdict.wrong(row.number, f"its content cannot be read: {type(reason).__name__}")


def _check_rows(
    connection: Connection, verdict: Verdict, number: int, ask: Any, wanted: int, root: bytes
) -> int:
    rows = connection.execute(ask).all()
    if len(rows) != wanted:
        verdict.wrong(number, f"found {len(rows)} rows that carry its number, wanted {wanted}")
    elif trail.merkle_root(map(trail.leaf, rows)) != root:
        verdict.wrong(number, f"one of its {wanted} rows is not what was decided")
    return len(rows)


def _check_totals(
    connection: Connection, verdict: Verdict, begun: dict[str, int], told: dict[str, int], last: int
) -> None:
    """Compare with the rows that no entry tells of, and with the running totals."""
    report, outbox = schema.report.c, schema.publish_outbox.c
    asked = {
        "reports": (report.audit_entry, select(func.count()).select_from(schema.report)),
        "published": (
            outbox.audit_entry,
            select(func.count()).select_from(schema.publish_outbox).where(outbox.state == schema.DONE),
        ),
    }
    counted = trail.counted(connection)
    for name, (column, ask) in asked.items():
        loose = connection.execute(ask.where(column.is_(None))).scalar_one()
        if loose != begun[name]:
            verdict.wrong(
                0, f"{name}: found {loose} without entry, wanted {begun[name]} from before the trail"
            )
        beyond = connection.execute(ask.where(column > last)).scalar_one()
        if beyond:
            verdict.wrong(0, f"{name}: found {beyond} of entries that are not there")
        wanted = begun["counted " + name] + told[name]
        if counted[name] != wanted:
            verdict.wrong(0, f"{name}: found {counted[name]} counted, and {wanted} in the trail")
