"""Commands in the store: queued, sent again until answered, never under a counter that was used before.

    queued --sent--> sent --answer--> acknowledged
       |               |------> expired, withdrawn (an answer that comes late still counts)
       '------> expired, withdrawn

A device carries out a command whose counter is higher than any it saw before, and nothing else. So commands
go out one at a time and in order, and take the multiples of GAP for their counters. A time beacon takes a
number in between: below the command that waits to be acknowledged, so that a device without a clock, which
may carry out nothing but a beacon, gets its time first; above the last command otherwise. A beacon has no
row: only the last number that was taken is kept, and it is on the disk before the beacon leaves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select, func, select, tuple_, update

from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.store import schema, trail
from peilmerk_gateway.store.rows import AnswerRow, CommandRow, KnownCommand
from peilmerk_gateway.store.sql import insert

GAP = 64
# More than this for one device is a mistake, or a device that will never answer.
MOST_OPEN = 16
MOST_COUNTER = 0xFFFFFFFF

_command = schema.command.c
_counter = schema.command_counter.c
_OPEN = (schema.QUEUED, schema.SENT)
_SELECT: Select[Any] = select(
    _command.device_id,
    _command.counter,
    _command.expiry,
    _command.verb,
    _command.argument,
    _command.state,
    _command.outcome,
    _command.detail,
    _command.attempts,
    _command.created_at,
    _command.sent_at,
    _command.answered_at,
)


class CommandRefused(PeilmerkError):
    """A command cannot be queued or withdrawn; the text says why."""


def queue(
    connection: Connection, device_id: str, verb: int, argument: bytes, expiry: int, now: float
) -> CommandRow:
    """Put a command in the queue of its device, under the next counter. Raises CommandRefused."""
    trail.next_number(connection, now)
    waiting = connection.execute(
        select(func.count()).where(_command.device_id == device_id, _command.state.in_(_OPEN))
    ).scalar_one()
    if waiting >= MOST_OPEN:
        raise CommandRefused(
            f"found {waiting} commands that wait for this device, wanted fewer than {MOST_OPEN}: "
            "withdraw what is no longer meant"
        )
    last, beacon = _counters(connection, device_id)
    counter = (max(last, beacon) // GAP + 1) * GAP
    if counter > MOST_COUNTER:
        raise CommandRefused("found no counter left for this device, wanted one: enrol it anew")
    row = CommandRow(
        device_id, counter, expiry, verb, argument, schema.QUEUED, None, None, 0, now, None, None
    )
    values = {name: getattr(row, name) for name in CommandRow.__slots__}
    connection.execute(insert(connection, schema.command), values)
    note_counters(connection, {device_id: (counter, beacon)})
    _tell(connection, "queued", row, now)
    return row


def beacons(connection: Connection, device_ids: Sequence[str]) -> dict[str, int]:
    """Take a counter for a time beacon to each of these devices; one that has none free is left out."""
    taken = {
        row[0]: (row[1], row[2])
        for row in connection.execute(
            select(_counter.device_id, _counter.command, _counter.beacon)
            .where(_counter.device_id.in_(device_ids))
            .order_by(_counter.device_id)
            .with_for_update()
        )
    }
    open_since = {
        row[0]: row[1]
        for row in connection.execute(
            select(_command.device_id, func.min(_command.counter))
            .where(_command.device_id.in_(device_ids), _command.state.in_(_OPEN))
            .group_by(_command.device_id)
        )
    }
    found = {}
    for device_id in device_ids:
        last, before = taken.get(device_id, (0, 0))
        oldest = open_since.get(device_id)
        counter = 1 + (max(last, before) if oldest is None else max(oldest - GAP, before))
        if not counter % GAP:
            counter += 1
        if counter <= MOST_COUNTER and (oldest is None or counter <= oldest):
            found[device_id] = counter
    note_counters(
        connection, {device_id: (taken.get(device_id, (0, 0))[0], n) for device_id, n in found.items()}
    )
    return found


def _counters(connection: Connection, device_id: str) -> tuple[int, int]:
    row = connection.execute(
        select(_counter.command, _counter.beacon).where(_counter.device_id == device_id).with_for_update()
    ).first()
    return (0, 0) if row is None else (row[0], row[1])


def note_counters(connection: Connection, counters: Mapping[str, tuple[int, int]]) -> None:
    """Write down the last counters that devices' commands and their beacons took."""
    if not counters:
        return
    statement = insert(connection, schema.command_counter)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["device_id"],
            set_={"command": statement.excluded.command, "beacon": statement.excluded.beacon},
        ),
        [
            {"device_id": device_id, "command": command, "beacon": beacon}
            for device_id, (command, beacon) in counters.items()
        ],
    )


def waiting(connection: Connection) -> list[CommandRow]:
    """Return every command that is queued or sent, in the order in which each device is to get them."""
    statement = _SELECT.where(_command.state.in_(_OPEN)).order_by(_command.device_id, _command.counter)
    return [CommandRow(*row) for row in connection.execute(statement)]


def listed(connection: Connection, device_id: str | None, limit: int) -> list[CommandRow]:
    """Return the newest commands, newest first: of one device, or of all."""
    statement = _SELECT.order_by(_command.created_at.desc(), _command.counter.desc()).limit(limit)
    if device_id is not None:
        statement = statement.where(_command.device_id == device_id)
    return [CommandRow(*row) for row in connection.execute(statement)]


def one(connection: Connection, device_id: str, counter: int) -> CommandRow | None:
    """Return one command, or None when there is none of that counter."""
    row = connection.execute(
        _SELECT.where(_command.device_id == device_id, _command.counter == counter)
    ).first()
    return None if row is None else CommandRow(*row)


def sent(connection: Connection, device_id: str, counter: int, now: float) -> bool:
    """Write down that a command is about to be sent; False when it is no longer meant to be."""
    changed = connection.execute(
        update(schema.command)
        .where(_command.device_id == device_id, _command.counter == counter, _command.state.in_(_OPEN))
        .values(state=schema.SENT, attempts=_command.attempts + 1, sent_at=now)
    )
    return bool(changed.rowcount)


def expire(connection: Connection, now: float) -> None:
    """Give up what a device would no longer carry out."""
    connection.execute(
        update(schema.command)
        .where(_command.state.in_(_OPEN), _command.expiry < now)
        .values(state=schema.EXPIRED)
    )


def withdraw(connection: Connection, device_id: str, counter: int, now: float) -> CommandRow:
    """Take a command back, and return it as it is then; one that was sent may have been carried out.

    Raises CommandRefused when it is answered or over, or was never given.
    """
    changed = connection.execute(
        update(schema.command)
        .where(_command.device_id == device_id, _command.counter == counter, _command.state.in_(_OPEN))
        .values(state=schema.WITHDRAWN)
    )
    row = one(connection, device_id, counter)
    if row is None:
        raise CommandRefused(f"found no command {counter} for this device, wanted one that is listed")
    if not changed.rowcount:
        raise CommandRefused(f"found command {counter} {row.state}, wanted one that still waits")
    _tell(connection, "withdrawn", row, now)
    return row


def _tell(connection: Connection, action: str, row: CommandRow, now: float) -> None:
    body = {
        "action": action,
        "device_id": row.device_id,
        "counter": row.counter,
        "verb": row.verb,
        "expiry": row.expiry,
        "argument": row.argument,
    }
    trail.append(connection, trail.COMMAND, body, now)


def known(connection: Connection, asked: Sequence[tuple[str, int]]) -> dict[tuple[str, int], KnownCommand]:
    """Return what is known of these (device, counter), for judging acknowledgements.

    What was never sent is left out.
    """
    if not asked:
        return {}
    found = {}
    rows = connection.execute(
        select(_command.device_id, _command.counter, _command.outcome, _command.detail).where(
            tuple_(_command.device_id, _command.counter).in_(asked), _command.attempts > 0
        )
    )
    for device_id, counter, outcome, detail in rows:
        found[device_id, counter] = KnownCommand(False, outcome, detail)
    beacons = {key for key in asked if key[1] % GAP}
    highest = connection.execute(
        select(_counter.device_id, _counter.beacon).where(
            _counter.device_id.in_({device_id for device_id, _ in beacons})
        )
    )
    for device_id, last in highest:
        for key in beacons:
            if key[0] == device_id and key[1] <= last:
                found[key] = KnownCommand(True)
    return found


def answer(connection: Connection, rows: Sequence[AnswerRow], now: float) -> int:
    """Write down what devices answered; the first answer stands. Return how many answers are new."""
    new = 0
    for row in rows:
        if row.is_beacon:
            new += 1
            continue
        changed = connection.execute(
            update(schema.command)
            .where(
                _command.device_id == row.device_id,
                _command.counter == row.counter,
                _command.answered_at.is_(None),
            )
            .values(state=schema.ACKNOWLEDGED, outcome=row.outcome, detail=row.detail, answered_at=now)
        )
        new += changed.rowcount
    return new


def by_state(connection: Connection) -> dict[str, int]:
    """Return how many commands are in which state."""
    rows = connection.execute(
        select(_command.state, func.count()).group_by(_command.state).order_by(_command.state)
    )
    return {row[0]: row[1] for row in rows}
