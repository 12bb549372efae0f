"""What keeping a store running asks of it: can it be written, what waits too long, where was it restored.

A restored store is an older state of the gateway, and what came after it is not known any more. So that no
number is used twice and nothing happens that was called off meanwhile:

- every device's command counter goes up by RESTORED, more than was used since;
- commands that wait are withdrawn: they may have been carried out, or withdrawn, since;
- an entry `restored` of the audit trail tells that the state is an older one, and until when what was
  published is to be looked up on the platforms before it is sent (`restored_at`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cbor2
from sqlalchemy import Connection, func, select

from peilmerk_gateway.store import commands, halts, schema, trail
from peilmerk_gateway.store.tally import raise_tally

RESTORED_ENTRY = "restored"
# A multiple of commands.GAP. A board that made a statement, and so took a number, every half minute would
# need a year for it; and 4,000 restorations are possible.
RESTORED = 1 << 20

_outbox = schema.publish_outbox.c
_observation = schema.observation.c
_counter = schema.command_counter.c


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a sink could be sent now: how many rows, and when the oldest of them was stored (unix s)."""

    rows: int
    oldest: float | None


@dataclass(frozen=True, slots=True)
class Resumed:
    """What was done to a restored store."""

    devices: int
    withdrawn: int
    entry: int


def probe(connection: Connection) -> None:
    """Write something, to see that it can be done: how often that was."""
    raise_tally(connection, {"probes": 1})


def backlog(connection: Connection, sinks: Iterable[str], now: float) -> dict[str, Backlog]:
    """Return what is due for each of these sinks, or on its way; rows of halted devices wait lawfully."""
    found = {}
    for sink in sinks:
        row = connection.execute(
            select(func.count(), func.min(_observation.stored_at))
            .select_from(schema.publish_outbox.join(schema.observation))
            .where(
                _outbox.sink == sink,
                _outbox.state.in_((schema.WAITING, schema.SENDING)),
                schema.unfinished,
                _outbox.next_attempt_at <= now,
                _observation.device_id.not_in(halts.now_halted()),
            )
        ).one()
        found[sink] = Backlog(int(row[0]), row[1])
    return found


def resume(connection: Connection, device_ids: Sequence[str], backed_up_at: float, now: float) -> Resumed:
    """Make a restored store fit to go on; see above. `device_ids` are those of the registry."""
    number = trail.next_number(connection, now) - 1
    waiting = commands.waiting(connection)
    for row in waiting:
        commands.withdraw(connection, row.device_id, row.counter, now)
    known = {
        row[0]: max(row[1], row[2])
        for row in connection.execute(select(_counter.device_id, _counter.command, _counter.beacon))
    }
    every: dict[str, tuple[int, int]] = {}
    for device_id in sorted({*device_ids, *known}):
        last = (known.get(device_id, 0) // commands.GAP + 1) * commands.GAP + RESTORED
        last = min(last, commands.MOST_COUNTER // commands.GAP * commands.GAP)
        every[device_id] = last, last
    commands.note_counters(connection, every)
    body: dict[str, Any] = {
        "backed_up_at": int(backed_up_at),
        "entry": number,
        "counters_raised_by": RESTORED,
        "devices": len(every),
    }
    entry = trail.append(connection, RESTORED_ENTRY, body, now)
    return Resumed(len(every), len(waiting), entry)


def restored_at(connection: Connection) -> float | None:
    """Return when this store was restored the last time (unix seconds), None for never."""
    entry = schema.audit_entry.c
    at = connection.execute(
        select(entry.at).where(entry.kind == RESTORED_ENTRY).order_by(entry.number.desc()).limit(1)
    ).scalar_one_or_none()
    return None if at is None else float(at)


def head(connection: Connection) -> tuple[int, str]:
    """Return number and digest of the trail's last entry; (0, "") before the first."""
    columns = schema.audit_head.c
    row = connection.execute(select(columns.number, columns.digest).where(columns.id == 1)).first()
    return (0, "") if row is None else (int(row[0]), bytes(row[1]).hex())


def registry_told(connection: Connection) -> int:
    """Return the number of the registry's last action that the trail knows of; nought before the first."""
    columns = schema.audit_entry.c
    statement = select(columns.body).where(columns.kind == trail.REGISTRY).order_by(columns.number.desc())
    body = connection.execute(statement.limit(1)).scalar_one_or_none()
    return 0 if body is None else int(cbor2.loads(body)["number"])
