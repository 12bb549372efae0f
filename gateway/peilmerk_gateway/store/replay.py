"""Write what became of quarantined messages that were judged anew, in one transaction; and let platforms be
sent again what they had rejected.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, select, update

from peilmerk_gateway.store import halts, quarantine, schema, trail
from peilmerk_gateway.store.batch import write_batch
from peilmerk_gateway.store.rows import BatchRows, Stored
from peilmerk_gateway.store.tally import raise_tally

_row = schema.quarantine.c
_outbox = schema.publish_outbox.c
_observation = schema.observation.c


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of messages that were judged anew: `taken` leave the quarantine, `reasons` is why others
    stay.
    """

    taken: Sequence[quarantine.Key]
    reasons: Mapping[quarantine.Key, str]


def write(
    connection: Connection, batch: BatchRows, settled: Settled, sinks: Sequence[str], now: float
) -> Stored:
    """Write the entries of messages that are taken now, and take these out of the quarantine.

    Raises StoreError, having written nothing, when a host's word changed since they were judged. Of what
    another process took or dropped meanwhile, nothing is written.
    """
    there = _there(connection, settled.taken)
    entries = [entry for entry in batch.entries if (entry.report.device_id, entry.report.seq) in there]
    stored = write_batch(connection, replace(batch, entries=entries), sinks, now)
    quarantine.remove(connection, there, quarantine.REPLAYED, now)
    for (device_id, seq), reason in settled.reasons.items():
        connection.execute(
            update(schema.quarantine)
            .where(_row.device_id == device_id, _row.seq == seq, _row.reason != reason)
            .values(reason=reason)
        )
    return stored


def _there(connection: Connection, keys: Sequence[quarantine.Key]) -> set[quarantine.Key]:
    by_device: dict[str, list[int]] = defaultdict(list)
    for device_id, seq in keys:
        by_device[device_id].append(seq)
    found: set[quarantine.Key] = set()
    for device_id, numbers in by_device.items():
        statement = select(_row.device_id, _row.seq).where(_row.device_id == device_id, _row.seq.in_(numbers))
        found.update((row[0], row[1]) for row in connection.execute(statement))
    return found


def send_again(connection: Connection, sink: str, observations: Sequence[int], now: float) -> int:
    """Put rows that a platform rejected back into its queue; return how many. None of a halted device."""
    statement = (
        select(_outbox.observation_id)
        .join_from(schema.publish_outbox, schema.observation)
        .where(
            _outbox.sink == sink,
            _outbox.state == schema.REJECTED,
            schema.unfinished,
            _outbox.observation_id.in_(observations),
            _observation.device_id.not_in(halts.now_halted()),
        )
    )
    going = sorted(connection.execute(statement).scalars())
    if going:
        body = {"action": quarantine.AGAIN, "sink": sink, "observations": going}
        trail.append(connection, trail.QUARANTINE, body, now)
        connection.execute(
            update(schema.publish_outbox)
            .where(_outbox.sink == sink, _outbox.observation_id.in_(going), schema.unfinished)
            .values(state=schema.WAITING, attempts=0, next_attempt_at=now)
        )
        raise_tally(connection, {f"quarantine:{quarantine.AGAIN}": len(going)})
    return len(going)
