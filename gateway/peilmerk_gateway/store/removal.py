"""Delete figures and reports for good, so that the audit trail still verifies.

Every row that can be deleted is bound by an entry of the trail. So each deletion is an entry of its own, and
states anew, for every entry that loses rows, how many of them are left and what their root is:

    removed  {why, removed: {rows: n}, emptied: {rows: [entry]}, left: {rows: [[entry, n, root]]},
              loose: {rows: n}, rejected: {sink: [observation]}}

`rows` are the names of `trail.ROWS`, and "published"; `loose` are those from before the trail. The rows are
held against the root that stands before any of them goes: an entry whose rows were tampered with is stated
anew with an empty root, which no rows have, so that deleting hides nothing. `trail_check` goes by what was
stated last.

With a figure goes what would give it away: the digest of the sealed message it came in, from which whoever
has the device's key could find it by trial. The privacy ledger stays; it holds no figure.

Nothing that is on its way to a platform (sending) is deleted before its answer is written down.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    delete,
    exists,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.sql.elements import Grouping

from peilmerk_gateway.store import device_streams, restated, schema, trail
from peilmerk_gateway.store.restated import PUBLISHED, Left

AGE, ERASED, WITHDRAWN = "age", "erased", "withdrawn"
QUOTA, DROPPED, EXPIRED = "quota", "dropped", "expired"

_report = schema.report.c
_outbox = schema.publish_outbox.c
_observation = schema.observation.c
_withheld = schema.withheld.c
_attestation = schema.attestation.c

Condition = ColumnElement[bool]
# SQLite takes no more than a thousand conditions one behind the other, and a city has more boards than that
# whose rows go in one step: beyond so many they are put into brackets.
_BESIDE, _BINDS = 250, 100


@dataclass(frozen=True, slots=True)
class Term:
    """From when on (unix seconds) figures of a datastream, or reports of a device, are kept."""

    key: str
    since: int


@dataclass(slots=True)
class Removed:
    """How many rows a deletion took, or would take."""

    observations: int = 0
    withheld: int = 0
    reports: int = 0

    @property
    def rows(self) -> int:
        """All of them."""
        return self.observations + self.withheld + self.reports

    def add(self, other: Removed) -> None:
        """Add what another deletion took."""
        self.observations += other.observations
        self.withheld += other.withheld
        self.reports += other.reports


def kept(connection: Connection) -> tuple[list[str], list[str]]:
    """Return every datastream of which something is stored, and every device with a report."""
    told = {
        *_each(connection, schema.device_stream.c.datastream),
        *_each(connection, _withheld.datastream),
    }
    return sorted(told), _each(connection, _report.device_id)


def _each(connection: Connection, column: ColumnElement[str]) -> list[str]:
    """Return every value of the first column of an index, by a step in the index each."""
    found: list[str] = []
    last = connection.execute(select(func.min(column))).scalar_one()
    while last is not None:
        found.append(last)
        last = connection.execute(select(func.min(column)).where(column > last)).scalar_one()
    return found


def count(connection: Connection, streams: Sequence[Term], devices: Sequence[Term]) -> Removed:
    """Return what `age_out` would delete in the end."""
    found = Removed()
    for term in streams:
        found.observations += _count(connection, _old_figures(term))
        found.withheld += _count(connection, _old_withheld(term))
    for term in devices:
        found.reports += _count(connection, _old_reports(term))
    return found


def due(connection: Connection, streams: Sequence[Term], devices: Sequence[Term], limit: int) -> list[Due]:
    """Return up to about `limit` rows that are older than their terms, by the entries that bind them: the
    oldest of every datastream and device, so that rows of one entry are deleted together. Each entry that
    loses rows is held against its root and stated anew, which reads all that it binds.
    """
    each = max(1, limit // max(1, len(streams) + len(devices)))
    found: list[Due] = []
    for term in streams:
        for statement, what in ((_old_figures(term), _FIGURE), (_old_withheld(term), _WITHHELD_WINDOW)):
            found += [
                (row[0] or 0, what, tuple(row[1:])) for row in connection.execute(statement.limit(each))
            ]
    for term in devices:
        old = _old_reports(term).limit(each)
        found += [(row[0] or 0, _REPORT, tuple(row[1:])) for row in connection.execute(old)]
    return sorted(found)


def age_out(connection: Connection, left: Left, rows: Sequence[Due], now: float) -> Removed:
    """Delete rows that `due` found, but for those that are on their way to a platform by now, or gone."""
    gone = _Gone()
    for what, into in ((_WITHHELD_WINDOW, gone.withheld), (_REPORT, gone.reports)):
        into += [key for _, is_of, key in rows if is_of == what]
    if figures := [(entry, key[0]) for entry, what, key in rows if what == _FIGURE]:
        # By the entry too: the number of a figure that is gone may be another one's.
        still = select(_observation.audit_entry, _observation.id).where(
            _observation.id.in_([id for _, id in figures]), ~_on_its_way()
        )
        there = {(row[0] or 0, row[1]) for row in connection.execute(still)}
        gone.figures += [id for entry, id in figures if (entry, id) in there]
    return _remove(connection, left, AGE, gone, now)


def together(rows: Sequence[Due], most: int) -> Iterator[Sequence[Due]]:
    """Yield rows that `due` found, some at a time: of as many whole entries as make no more than `most`."""
    some: list[Due] = []
    for _, of_entry in groupby(rows, key=itemgetter(0)):
        more = list(of_entry)
        if some and len(some) + len(more) > most:
            yield some
            some = []
        some += more
        while len(some) > most:
            yield some[:most]
            some = some[most:]
    if some:
        yield some


def withheld_of(connection: Connection, device_id: str) -> list[str]:
    """Return the datastreams of which a device has withheld windows; reads all of them."""
    found = select(_withheld.datastream).where(_withheld.device_id == device_id).distinct()
    return sorted(connection.execute(found).scalars())


def erase(
    connection: Connection, left: Left, device_id: str, withheld: Sequence[str], limit: int, now: float
) -> Removed:
    """Delete up to `limit` rows of a device: all that was never published, every report and statement.
    `withheld` is what `withheld_of` said.

    What a platform has, stays, here as there: it was lawfully published, and leads to no person.
    """
    away = exists().where(
        _outbox.observation_id == _observation.id, _outbox.state.in_((schema.DONE, schema.SENDING))
    )
    its = device_streams.told_by(connection, device_id)
    gone = _Gone()
    gone.figures += connection.execute(select(_observation.id).where(its, ~away).limit(limit)).scalars()
    for datastream in withheld:
        of_it = _WITHHELD.where(_withheld.datastream == datastream, _withheld.device_id == device_id)
        gone.withheld += connection.execute(of_it.limit(limit - gone.rows)).all()
    reports = _REPORTS.where(_report.device_id == device_id).limit(limit - gone.rows)
    gone.reports += connection.execute(reports).all()
    if not gone.rows:
        statements = select(_attestation.device_id, _attestation.seq).where(
            _attestation.device_id == device_id
        )
        gone.statements += connection.execute(statements).all()
        for table in (schema.parked, schema.quarantine):
            connection.execute(delete(table).where(table.c.device_id == device_id))
        device_streams.forget(connection, device_id)
    return _remove(connection, left, ERASED, gone, now)


def unqueue(connection: Connection, device_id: str, now: float) -> int:
    """Take what waits for a platform out of every queue; return how many rows. The figures stay."""
    its = select(_observation.id).where(device_streams.told_by(connection, device_id))
    waiting = connection.execute(
        select(_outbox.sink, _outbox.observation_id).where(
            _outbox.state == schema.WAITING, schema.unfinished, _outbox.observation_id.in_(its)
        )
    ).all()
    _remove(connection, Left(), WITHDRAWN, _Gone(queued=[(row[0], row[1]) for row in waiting]), now)
    return len(waiting)


def unqueue_rows(
    connection: Connection, left: Left, rows: Sequence[tuple[str, int]], why: str, now: float
) -> int:
    """Take (sink, observation) that wait or were rejected out of the queues for good; return how many. The
    figures stay.
    """
    going: list[tuple[str, int]] = []
    by_sink: dict[str, list[int]] = defaultdict(list)
    for sink, observation in rows:
        by_sink[sink].append(observation)
    for sink, observations in by_sink.items():
        statement = select(_outbox.observation_id).where(
            _outbox.sink == sink,
            _outbox.state.in_((schema.WAITING, schema.REJECTED)),
            schema.unfinished,
            _outbox.observation_id.in_(observations),
        )
        going += [(sink, observation) for observation in connection.execute(statement).scalars()]
    _remove(connection, left, why, _Gone(queued=going), now)
    return len(going)


@dataclass(slots=True)
class _Gone:
    """What is to be deleted: observations by id, the rest by key."""

    figures: list[int] = field(default_factory=list)
    withheld: list[Any] = field(default_factory=list)
    reports: list[Any] = field(default_factory=list)
    statements: list[Any] = field(default_factory=list)
    queued: list[tuple[str, int]] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return len(self.figures) + len(self.withheld) + len(self.reports)


_WITHHELD: Select[Any] = select(_withheld.datastream, _withheld.device_id, _withheld.window_start)
_REPORTS: Select[Any] = select(_report.device_id, _report.seq)

Due = tuple[int, int, tuple[Any, ...]]
"""A row whose time is over: (entry that binds it, what it is, its key); entry 0 for a row without one."""
_FIGURE, _WITHHELD_WINDOW, _REPORT = 0, 1, 2


def _on_its_way() -> Condition:
    return exists().where(_outbox.observation_id == _observation.id, _outbox.state == schema.SENDING)


def _old_figures(term: Term) -> Select[Any]:
    return (
        select(_observation.audit_entry, _observation.id)
        .where(
            device_streams.is_of(term.key),
            # For the index; a window has a length.
            _observation.window_start < term.since,
            _observation.window_start + _observation.window_s <= term.since,
            ~_on_its_way(),
        )
        .order_by(_observation.window_start)
    )


def _old_withheld(term: Term) -> Select[Any]:
    # How long its window was is not known here; none is longer than a day.
    return (
        select(_withheld.audit_entry, _withheld.datastream, _withheld.device_id, _withheld.window_start)
        .where(_withheld.datastream == term.key, _withheld.window_start <= term.since - 86_400)
        .order_by(_withheld.window_start)
    )


def _old_reports(term: Term) -> Select[Any]:
    return select(_report.audit_entry, _report.device_id, _report.seq).where(
        _report.device_id == term.key, _report.window_start + _report.window_s <= term.since
    )


def _count(connection: Connection, statement: Select[Any]) -> int:
    return int(connection.execute(select(func.count()).select_from(statement.subquery())).scalar_one())


def _remove(connection: Connection, left: Left, why: str, gone: _Gone, now: float) -> Removed:
    removed = Removed(len(gone.figures), len(gone.withheld), len(gone.reports))
    if not (gone.rows or gone.statements or gone.queued):
        return removed
    trail.next_number(connection, now)  # From here on nobody else adds an entry.
    left.read(connection)
    telling = _telling_reports(connection, gone.figures)
    going = _pairs(_report.device_id, _report.seq, gone.reports)
    unqueued = _pairs(_outbox.sink, _outbox.observation_id, gone.queued)
    of_figures = _outbox.observation_id.in_(gone.figures) if gone.figures else None
    # None for nothing: a condition that holds for no row has databases read every row beside others.
    which: dict[str, Condition | None] = {
        "reports": _any(going, telling),
        "observations": _observation.id.in_(gone.figures) if gone.figures else None,
        "withheld": _triples(gone.withheld),
        "statements": _pairs(_attestation.device_id, _attestation.seq, gone.statements),
        "queued": _any(of_figures, unqueued),
        PUBLISHED: None if of_figures is None else and_(of_figures, _outbox.state == schema.DONE),
    }
    touched = {
        name: _touched(connection, name, condition)
        for name, condition in which.items()
        if condition is not None
    }
    was_right = {
        name: {
            entry: restated.is_as_decided(connection, left, name, entry, rows)
            for entry, rows in restated.rows_of(connection, name, entries).items()
        }
        for name, entries in touched.items()
    }
    loose_before = trail.loose(connection) if any(None in found for found in touched.values()) else {}
    rejected: dict[str, list[int]] = defaultdict(list)
    if (queued := which["queued"]) is not None:
        for sink, observation in connection.execute(
            select(_outbox.sink, _outbox.observation_id).where(queued, _outbox.state == schema.REJECTED)
        ):
            rejected[sink].append(observation)
    if telling is not None:
        connection.execute(update(schema.report).where(telling).values(digest=None))
    for table, condition in (
        (schema.report, going),
        (schema.publish_outbox, queued),
        (schema.observation, which["observations"]),
        (schema.withheld, which["withheld"]),
        (schema.attestation, which["statements"]),
    ):
        if condition is not None:
            connection.execute(delete(table).where(condition))
    loose_after = trail.loose(connection) if loose_before else {}
    body: dict[str, Any] = {
        "why": why,
        "removed": {
            "observations": removed.observations,
            "withheld": removed.withheld,
            "reports": removed.reports,
            "statements": len(gone.statements),
            "queued": len(gone.queued),
        },
        "emptied": {},
        "left": {},
        # What a platform had refused carries no entry, and is told apart.
        "loose": {
            name: n - loose_after[name]
            for name, n in loose_before.items()
            if n != loose_after[name] and name != "rejected"
        },
        "rejected": dict(rejected),
    }
    for name, entries in was_right.items():
        rows = restated.rows_of(connection, name, set(entries))
        for entry, right in sorted(entries.items()):
            if right and not rows[entry]:
                body["emptied"].setdefault(name, []).append(entry)
            else:
                root = trail.root_of(rows[entry]) if right else restated.NO_ROOT
                body["left"].setdefault(name, []).append([entry, len(rows[entry]), root])
    trail.append(connection, trail.REMOVED, body, now)
    return removed


def _touched(connection: Connection, name: str, condition: Condition) -> set[int | None]:
    statement = select(restated.column(name)).where(condition).distinct()
    if name == "queued":
        statement = statement.join_from(schema.publish_outbox, schema.observation)
    return set(connection.execute(statement).scalars())


def _telling_reports(connection: Connection, figures: Sequence[int]) -> Condition | None:
    """Return the condition for reports whose digest would give one of these figures away."""
    rows = connection.execute(
        select(_report.device_id, _report.seq)
        .join(
            schema.observation,
            and_(
                _report.device_id == _observation.device_id,
                _report.window_start == _observation.window_start,
                _report.window_s == _observation.window_s,
            ),
        )
        .where(_observation.id.in_(figures), _report.digest.is_not(None))
        .distinct()
    )
    return _pairs(_report.device_id, _report.seq, [(device_id, seq) for device_id, seq in rows])


def _any(*conditions: Condition | None) -> Condition | None:
    """Return the condition that one of these holds; None for nothing."""
    given = [condition for condition in conditions if condition is not None]
    if len(given) > _BESIDE:
        some = [or_(*given[first : first + _BESIDE]) for first in range(0, len(given), _BESIDE)]
        # As an operator of another name: of its own OR SQLAlchemy takes the brackets away.
        given = [Grouping(reduce(lambda one, other: one.bool_op("OR", precedence=_BINDS)(other), some))]
    return or_(*given) if given else None


def _pairs(first: Any, second: Any, rows: Iterable[Sequence[Any]]) -> Condition | None:
    """Return the condition that (first, second) is one of these: an IN for each first value."""
    by_first: dict[str, list[int]] = defaultdict(list)
    for one, other in rows:
        by_first[one].append(other)
    return _any(*(and_(first == one, second.in_(others)) for one, others in by_first.items()))


def _triples(rows: Iterable[Sequence[Any]]) -> Condition | None:
    """Return the condition for withheld windows of (datastream, device, window's start)."""
    by_board: dict[tuple[str, str], list[int]] = defaultdict(list)
    for datastream, device_id, start in rows:
        by_board[datastream, device_id].append(start)
    return _any(
        *(
            and_(
                _withheld.datastream == datastream,
                _withheld.device_id == device_id,
                _withheld.window_start.in_(starts),
            )
            for (datastream, device_id), starts in by_board.items()
        )
    )
