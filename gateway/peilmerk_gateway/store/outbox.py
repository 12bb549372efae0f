"""The publish outbox: which observation is how far on its way to which sink.

    waiting --claim--> sending --done--> done
       ^                  |---rejected--> rejected
       '-----again--------'

A row is `sending` from before the first byte goes out until the platform's answer is written down. Rows found
`sending` at a start are in doubt: the platform may or may not have them, and has to be asked. Observations
are handed out in the order in which they were stored, so that each datastream stays in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Select, bindparam, func, select, update

from peilmerk_gateway.store import halts, schema, trail
from peilmerk_gateway.store.rows import OutboxRow
from peilmerk_gateway.store.sql import insert
from peilmerk_gateway.store.tally import raise_tally

_outbox = schema.publish_outbox.c
_observation = schema.observation.c
_SELECT: Select[Any] = select(
    _outbox.sink,
    _outbox.observation_id,
    _outbox.state,
    _outbox.attempts,
    _outbox.next_attempt_at,
    _outbox.error,
    _outbox.remote_id,
    _outbox.published_at,
    _observation.datastream,
    _observation.deployment,
    _observation.thing,
    _observation.quantity,
    _observation.window_start,
    _observation.window_s,
    _observation.result,
    _observation.spread,
    _observation.samples,
    _observation.noise_scale,
    _observation.minimum,
    _observation.maximum,
    _observation.completeness,
    _observation.stored_at,
).join_from(schema.publish_outbox, schema.observation)

ERROR_CHARACTERS = 500


def _rows(connection: Connection, statement: Select[Any]) -> list[OutboxRow]:
    return [OutboxRow(*row) for row in connection.execute(statement)]


def in_state(connection: Connection, sink: str, state: str, limit: int) -> list[OutboxRow]:
    """Return up to `limit` rows of a sink in a state other than done, oldest observation first."""
    statement = (
        _SELECT.where(_outbox.sink == sink, _outbox.state == state, schema.unfinished)
        .order_by(_outbox.observation_id)
        .limit(limit)
    )
    return _rows(connection, statement)


def rejected_rows(
    connection: Connection,
    sink: str | None = None,
    device_id: str | None = None,
    since: float | None = None,
    until: float | None = None,
    limit: int = 1_000,
) -> list[tuple[str, OutboxRow]]:
    """Return (device, row) of what platforms rejected for good, oldest rejection first.

    Of such a row `next_attempt_at` is when it was rejected; `since` and `until` go by that.
    """
    statement = _SELECT.add_columns(_observation.device_id).where(
        _outbox.state == schema.REJECTED, schema.unfinished
    )
    if sink is not None:
        statement = statement.where(_outbox.sink == sink)
    if device_id is not None:
        statement = statement.where(_observation.device_id == device_id)
    if since is not None:
        statement = statement.where(_outbox.next_attempt_at >= since)
    if until is not None:
        statement = statement.where(_outbox.next_attempt_at < until)
    statement = statement.order_by(_outbox.next_attempt_at, _outbox.observation_id).limit(limit)
    return [(row[-1], OutboxRow(*row[:-1])) for row in connection.execute(statement)]


def claim(connection: Connection, sink: str, limit: int, now: float) -> list[OutboxRow]:
    """Mark up to `limit` waiting rows that are due as sending, and return them; none of a halted device."""
    statement = (
        _SELECT.where(
            _outbox.sink == sink,
            _outbox.state == schema.WAITING,
            schema.unfinished,
            _outbox.next_attempt_at <= now,
            _observation.device_id.not_in(halts.now_halted()),
        )
        .order_by(_outbox.observation_id)
        .limit(limit)
    )
    if connection.dialect.name == "postgresql":
        statement = statement.with_for_update(skip_locked=True, of=schema.publish_outbox)
    rows = _rows(connection, statement)
    if rows:
        _set_state(
            connection,
            sink,
            [
                {"b_id": row.observation_id, "state": schema.SENDING, "attempts": row.attempts + 1}
                for row in rows
            ],
        )
    return rows


def done(connection: Connection, sink: str, published: Sequence[tuple[int, str | None]], now: float) -> None:
    """Write down that the sink has these observations, under these ids of its own."""
    number = trail.next_number(connection, now)
    count = _set_state(
        connection,
        sink,
        [
            {
                "b_id": observation_id,
                "state": schema.DONE,
                "remote_id": remote_id,
                "published_at": now,
                "error": None,
                "audit_entry": number,
            }
            for observation_id, remote_id in published
        ],
    )
    if count:
        root = trail.root_of(row[1:] for row in connection.execute(trail.published_of(number)))
        body = {"sink": sink, "observations": count, "root": root, "form": trail.FORM}
        trail.append(connection, trail.PUBLISHED, body, now)
    raise_tally(connection, {f"published:{sink}": count})


def again(connection: Connection, sink: str, ids: Sequence[int], error: str, next_attempt_at: float) -> None:
    """Put rows back to be tried again, not before `next_attempt_at`."""
    _set_state(
        connection,
        sink,
        [
            {
                "b_id": observation_id,
                "state": schema.WAITING,
                "error": error[:ERROR_CHARACTERS],
                "next_attempt_at": next_attempt_at,
            }
            for observation_id in ids
        ],
    )


def rejected(connection: Connection, sink: str, refused: Sequence[tuple[int, str]], now: float) -> None:
    """Write down that the sink will never take these observations, and what it said."""
    trail.next_number(connection, now)
    count = _set_state(
        connection,
        sink,
        [
            # Of what is sent no more, the next attempt tells since when.
            {
                "b_id": observation_id,
                "state": schema.REJECTED,
                "error": error[:ERROR_CHARACTERS],
                "next_attempt_at": now,
            }
            for observation_id, error in refused
        ],
    )
    if count:
        body = {"sink": sink, "observations": sorted(observation_id for observation_id, _ in refused)}
        trail.append(connection, trail.REJECTED, body, now)


def _set_state(connection: Connection, sink: str, changes: Sequence[dict[str, object]]) -> int:
    """Change rows that are not done; what is done stays done. Return how many were asked for and not done."""
    if not changes:
        return 0
    ids = [change["b_id"] for change in changes]
    open_rows = select(func.count()).where(
        _outbox.sink == sink, _outbox.observation_id.in_(ids), schema.unfinished
    )
    count = connection.execute(open_rows).scalar_one()
    columns = [name for name in changes[0] if name != "b_id"]
    connection.execute(
        update(schema.publish_outbox)
        .where(
            _outbox.sink == sink,
            _outbox.observation_id == bindparam("b_id"),
            schema.unfinished,
        )
        .values({name: bindparam(f"b_{name}") for name in columns}),
        [{"b_id": change["b_id"], **{f"b_{name}": change[name] for name in columns}} for change in changes],
    )
    return count


def entities(connection: Connection, sink: str) -> dict[tuple[str, str], str]:
    """Return what exists on the sink: (kind, key of ours) -> the sink's id."""
    columns = schema.sink_entity.c
    statement = select(columns.kind, columns.key, columns.remote_id).where(columns.sink == sink)
    return {(kind, key): remote_id for kind, key, remote_id in connection.execute(statement)}


def remember_entity(connection: Connection, sink: str, kind: str, key: str, remote_id: str) -> None:
    """Write down under which id the sink knows something of ours; the latest id holds."""
    statement = insert(connection, schema.sink_entity).values(
        sink=sink, kind=kind, key=key, remote_id=remote_id
    )
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["sink", "kind", "key"], set_={"remote_id": statement.excluded.remote_id}
        )
    )
