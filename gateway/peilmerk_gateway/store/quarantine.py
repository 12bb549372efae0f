"""The quarantine: reports that were refused for what a person can mend, kept for a while as they were sealed.

Only what a device's own seal proved, and only where the record, the device's statement or a fault of ours
spoke against it: `KEPT`. What anybody can make (forged, malformed) is counted and no more; what a host does
not want told, what was told before, and what lies outside any sensor's range is not kept either.

A row holds figures that may leave the device, noise and all, and costs nothing yet: the ledger is spent when
it is replayed, through the same judgement as any report (`store.replay`). It goes when it is replayed, when
an operator drops it, when its time is over, when its host withdraws or is erased, and, oldest first, when
there are more than `Bounds` allows. Each of these is an entry of the audit trail; how many were kept is in
the entry of their batch. The rows themselves are bound by nothing but the devices' seals.

Beside them stand the rows of the publish outbox that a platform rejected for good; both are listed, tried
again, dropped and expired in the same way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, delete, func, or_, select

from peilmerk_gateway.refusal import Reason
from peilmerk_gateway.store import schema, trail
from peilmerk_gateway.store.rows import QuarantinedRow
from peilmerk_gateway.store.sql import insert
from peilmerk_gateway.store.tally import raise_tally

KEPT = frozenset(
    {
        Reason.NOT_ATTESTED,
        Reason.NO_DEPLOYMENT,
        Reason.DEVICE_INACTIVE,
        Reason.RECORD_BROKEN,
        Reason.WINDOW_AHEAD,
        Reason.WINDOW_BEHIND,
        Reason.G1,
        Reason.G2,
        Reason.G3,
        Reason.G4,
        Reason.G5,
        Reason.G6,
        Reason.G7,
        Reason.G8,
        Reason.INTERNAL,
    }
)
"""A window that is said to lie ahead, or too far back, is kept too: the gateway's clock may be wrong."""

FULL, EXPIRED, DROPPED, REPLAYED, WITHDRAWN, ERASED = (
    "full",
    "expired",
    "dropped",
    "replayed",
    "withdrawn",
    "erased",
)
AGAIN = "again"
"""A platform is to be sent what it had rejected."""

_row = schema.quarantine.c
Key = tuple[str, int]
AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is kept: messages in all and of one device, and bytes as sealed.

    One device: all of the windows that it could still bring, a quarter of a year of quarters of an hour, so
    that one that goes mad pushes out nobody else's.
    """

    messages: int = 500_000
    of_device: int = 10_000
    size: int = 128 << 20


BOUNDS = Bounds()


def keep(connection: Connection, rows: Sequence[QuarantinedRow]) -> int:
    """Keep rows that are new; return how many. `push_out` follows, once the batch's entry is written."""
    if not rows:
        return 0
    statement = insert(connection, schema.quarantine).on_conflict_do_nothing().returning(_row.device_id)
    values = [{name: getattr(row, name) for name in row.__slots__} for row in rows]
    return len(connection.execute(statement, values).all())


def push_out(connection: Connection, devices: Iterable[str], bounds: Bounds, now: float) -> None:
    """Delete the oldest where these devices, or all together, have more than `bounds` allows."""
    going: set[Key] = set()
    for device_id in sorted(devices):
        its = select(func.count()).select_from(schema.quarantine).where(_row.device_id == device_id)
        too_many = connection.execute(its).scalar_one() - bounds.of_device
        if too_many > 0:
            going.update(_oldest(connection, too_many, _row.device_id == device_id))
    remove(connection, going, FULL, now)
    n, size = connection.execute(select(func.count(), func.coalesce(func.sum(_row.size), 0))).one()
    if n > bounds.messages or size > bounds.size:
        # Of what is pushed out for its bytes, the mean tells how many rows that is; the next batch sees to
        # what is left.
        by_size = -(-(size - bounds.size) * n // size) if size > bounds.size else 0
        remove(connection, _oldest(connection, max(n - bounds.messages, by_size)), FULL, now)


def _oldest(connection: Connection, n: int, *conditions: ColumnElement[bool]) -> list[Key]:
    statement = select(_row.device_id, _row.seq).where(*conditions).order_by(_row.at, _row.seq).limit(n)
    return [(row[0], row[1]) for row in connection.execute(statement)]


def listed(
    connection: Connection,
    device_id: str | None = None,
    reason: str | None = None,
    since: float | None = None,
    limit: int = 1_000,
    after: Key | None = None,
) -> list[QuarantinedRow]:
    """Return kept messages by device and number, of these and behind the key `after` only."""
    statement = select(*(getattr(_row, name) for name in QuarantinedRow.__slots__))
    if device_id is not None:
        statement = statement.where(_row.device_id == device_id)
    if reason is not None:
        statement = statement.where(_row.reason == reason)
    if since is not None:
        statement = statement.where(_row.at >= since)
    if after is not None:
        behind = and_(_row.device_id == after[0], _row.seq > after[1])
        statement = statement.where(or_(_row.device_id > after[0], behind))
    statement = statement.order_by(_row.device_id, _row.seq).limit(limit)
    return [QuarantinedRow(*row) for row in connection.execute(statement)]


def by_reason(connection: Connection) -> dict[str, int]:
    """Return how many are kept now, by reason."""
    statement = select(_row.reason, func.count()).group_by(_row.reason).order_by(_row.reason)
    return {row[0]: int(row[1]) for row in connection.execute(statement)}


def devices(connection: Connection) -> list[str]:
    """Return the devices of which something is kept."""
    return list(connection.execute(select(_row.device_id).distinct().order_by(_row.device_id)).scalars())


@dataclass(frozen=True, slots=True)
class Until:
    """What is over: everything refused before `before`, and of some devices windows that ended before
    `since`.

    `windows` are (device, kind, length of a window in seconds, since); all in unix seconds.
    """

    before: float
    windows: Sequence[tuple[str, int, int, int]] = ()


def expire(connection: Connection, until: Until, limit: int, now: float) -> int:
    """Delete up to `limit` messages whose time is over; return how many."""
    over: Select[Any] = select(_row.device_id, _row.seq).where(_row.at < until.before).limit(limit)
    going = [(row[0], row[1]) for row in connection.execute(over)]
    for device_id, kind, length, since in until.windows:
        if len(going) >= limit:
            break
        old = (
            select(_row.device_id, _row.seq)
            .where(_row.device_id == device_id, _row.kind == kind, (_row.window + 1) * length <= since)
            .limit(limit - len(going))
        )
        going += [(row[0], row[1]) for row in connection.execute(old)]
    return remove(connection, going, EXPIRED, now)


def forget_device(connection: Connection, device_id: str) -> int:
    """Delete all of a device's, within somebody else's entry of the trail; return how many."""
    return connection.execute(delete(schema.quarantine).where(_row.device_id == device_id)).rowcount


def remove(connection: Connection, keys: Iterable[Key], why: str, now: float, **told: Any) -> int:
    """Delete messages and say so in the trail; return how many there were."""
    found = Counter(delete_keys(connection, keys))
    if found:
        body = {"action": why, "messages": found.total(), "reasons": dict(found), **told}
        trail.append(connection, trail.QUARANTINE, body, now)
        raise_tally(connection, {f"quarantine:{why}": found.total()})
    return found.total()


def delete_keys(connection: Connection, keys: Iterable[Key]) -> list[str]:
    """Delete messages; return the reason of each that was there."""
    wanted = sorted(set(keys))
    reasons: list[str] = []
    for first in range(0, len(wanted), AT_ONCE):
        by_device: dict[str, list[int]] = {}
        for device_id, seq in wanted[first : first + AT_ONCE]:
            by_device.setdefault(device_id, []).append(seq)
        for device_id, numbers in by_device.items():
            statement = delete(schema.quarantine).where(_row.device_id == device_id, _row.seq.in_(numbers))
            reasons += connection.execute(statement.returning(_row.reason)).scalars()
    return reasons
