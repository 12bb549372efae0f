"""What hosts said about their sensors: paused for a while, or withdrawn for good.

A halt holds from the moment that its transaction is on the disk, whoever wrote it: publishers take nothing of
a halted device from the outbox (see `outbox.claim`), and a batch that was judged before a halt changed is not
written but judged anew (`revision`). What a device measured while it was paused stays out after it resumes,
however late it is brought. Only the device's id is known here: whose it is, the store never knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Select, exists, func, select, update

from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.store import quarantine, removal, schema, trail
from peilmerk_gateway.store.sql import insert

PAUSED, WITHDRAWN = "paused", "withdrawn"
PAUSE, RESUME, WITHDRAW = "pause", "resume", "withdraw"
# SQLite takes 32,766 parameters in a statement.
AT_ONCE = 5_000

_halt = schema.halt.c


class HaltRefused(PeilmerkError):
    """A halt cannot be begun or ended; the text says why."""


@dataclass(frozen=True, slots=True)
class Halt:
    """From `since` to `until` (unix seconds, None for still) nothing of a device is taken."""

    kind: str
    since: float
    until: float | None

    def bars(self, start: float, end: float) -> bool:
        """Whether it speaks against what was measured from `start` to `end`, or against everything now."""
        return self.until is None or (start < self.until and end > self.since)


@dataclass(frozen=True, slots=True)
class Halts:
    """The halts of some devices, and the `revision` of all halts at that moment."""

    revision: int
    by_device: dict[str, tuple[Halt, ...]]


def look_up(connection: Connection, device_ids: Sequence[str]) -> Halts:
    """Return every halt of these devices, over or not; a device without any is left out."""
    found: dict[str, tuple[Halt, ...]] = {}
    number = revision(connection)
    for first in range(0, len(device_ids) if number else 0, AT_ONCE):
        rows = connection.execute(
            select(_halt.device_id, _halt.kind, _halt.since, _halt.until)
            .where(_halt.device_id.in_(device_ids[first : first + AT_ONCE]))
            .order_by(_halt.device_id, _halt.since)
        )
        for device_id, kind, since, until in rows:
            found[device_id] = (*found.get(device_id, ()), Halt(kind, since, until))
    return Halts(number, found)


def revision(connection: Connection) -> int:
    """Return a number that rises with every halt that begins or ends."""
    return int(connection.execute(select(func.count() + func.count(_halt.until))).scalar_one())


def now_halted() -> Select[tuple[str]]:
    """Return the sub-query of the devices that are halted now."""
    return select(_halt.device_id).where(_halt.until.is_(None))


def left_behind(connection: Connection) -> list[str]:
    """Return the devices that were erased (withdrawn, without a statement) and of which there is a figure
    that no platform has: it was on its way when the rest was erased, and came back.
    """
    row, other = schema.publish_outbox.c, schema.publish_outbox.alias().c
    observation, attestation = schema.observation.c, schema.attestation.c
    away = exists().where(
        other.observation_id == row.observation_id, other.state.in_((schema.DONE, schema.SENDING))
    )
    withdrawn = select(_halt.device_id).where(_halt.kind == WITHDRAWN, _halt.until.is_(None))
    found = connection.execute(
        select(observation.device_id)
        .join_from(schema.publish_outbox, schema.observation)
        .where(
            row.state.in_((schema.WAITING, schema.REJECTED)),
            schema.unfinished,
            observation.device_id.in_(withdrawn),
            ~exists().where(attestation.device_id == observation.device_id),
            ~away,
        )
        .distinct()
    )
    return sorted(found.scalars())


def change(connection: Connection, device_id: str, action: str, now: float) -> bool:
    """Pause, resume or withdraw a device; return whether that changed anything. Raises HaltRefused.

    Withdrawing takes what waits to be published out of every queue, and what was refused and kept out of the
    quarantine; it cannot be undone.
    """
    standing = _open(connection, device_id)
    if standing == WITHDRAWN:
        if action == WITHDRAW:
            return False
        raise HaltRefused(
            f"found device {device_id} withdrawn, wanted one whose host takes part: a withdrawal is for good"
        )
    if (action == PAUSE) is (standing == PAUSED) and action != WITHDRAW:
        return False
    if standing == PAUSED:
        connection.execute(
            update(schema.halt).where(_halt.device_id == device_id, _halt.until.is_(None)).values(until=now)
        )
    if action != RESUME:
        kind = PAUSED if action == PAUSE else WITHDRAWN
        connection.execute(
            insert(connection, schema.halt),
            {"device_id": device_id, "kind": kind, "since": now, "until": None},
        )
    body: dict[str, object] = {"action": action, "device_id": device_id}
    if action == WITHDRAW:
        body["unqueued"] = removal.unqueue(connection, device_id, now)
        body["unquarantined"] = quarantine.forget_device(connection, device_id)
    trail.append(connection, trail.HOST, body, now)
    return True


def _open(connection: Connection, device_id: str) -> str | None:
    statement = select(_halt.kind).where(_halt.device_id == device_id, _halt.until.is_(None))
    return connection.execute(statement).scalar_one_or_none()
