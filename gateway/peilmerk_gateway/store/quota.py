"""What one platform's queue may hold: the oldest that wait go when there are too many, or when they are old.

A row that goes is never sent to that platform; its figure stays in the store, and other platforms' queues are
not touched. A few hundred rows a transaction, each an entry of the audit trail (`removal`), counted for the
platform in the tally. What is on its way (sending) and what was rejected is left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from peilmerk_gateway.store import removal, schema
from peilmerk_gateway.store.restated import Left
from peilmerk_gateway.store.tally import raise_tally

_outbox = schema.publish_outbox.c
_observation = schema.observation.c


@dataclass(frozen=True, slots=True)
class Quota:
    """At most so many rows wait for a platform, and none that was stored longer ago than so many days."""

    rows: int
    days: int


def beyond(connection: Connection, sink: str, quota: Quota, limit: int, now: float) -> list[int]:
    """Return up to `limit` observations, the oldest first, that wait beyond a quota."""
    waiting = connection.execute(
        select(func.count()).where(_outbox.sink == sink, _outbox.state == schema.WAITING, schema.unfinished)
    ).scalar_one()
    going = _first(connection, sink, min(limit, max(0, waiting - quota.rows)))
    if len(going) < limit:
        first = _first(connection, sink, limit)
        old = select(_observation.id).where(
            _observation.id.in_(first), _observation.stored_at < now - quota.days * 86_400
        )
        going = sorted({*going, *connection.execute(old).scalars()})
    return going


def drop(connection: Connection, left: Left, sink: str, going: Sequence[int], now: float) -> int:
    """Take these out of a platform's queue for good; return how many still waited."""
    dropped = removal.unqueue_rows(connection, left, [(sink, number) for number in going], removal.QUOTA, now)
    raise_tally(connection, {f"dropped:{sink}": dropped})
    return dropped


def _first(connection: Connection, sink: str, n: int) -> list[int]:
    """Return the observations that have waited longest; they are numbered in the order of storing."""
    if n <= 0:
        return []
    statement = (
        select(_outbox.observation_id)
        .where(_outbox.sink == sink, _outbox.state == schema.WAITING, schema.unfinished)
        .order_by(_outbox.observation_id)
        .limit(n)
    )
    return list(connection.execute(statement).scalars())


def sinks(connection: Connection) -> list[str]:
    """Return the platforms for which something waits."""
    statement = select(_outbox.sink).where(schema.unfinished, _outbox.state == schema.WAITING).distinct()
    return sorted(connection.execute(statement).scalars())


def oldest(connection: Connection, sink: str) -> float | None:
    """Return when the row that has waited longest for a platform was stored, unix seconds."""
    first = _first(connection, sink, 1)
    if not first:
        return None
    at = connection.execute(select(_observation.stored_at).where(_observation.id == first[0])).scalar_one()
    return float(at)
