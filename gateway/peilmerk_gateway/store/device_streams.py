"""Which board has figures of which datastream, and where a datastream's figures lie.

Figures lie by place and time (see `schema`), so a board's are found by way of its datastreams.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, false, func, or_, select

from peilmerk_gateway.store import schema
from peilmerk_gateway.store.rows import ObservationRow
from peilmerk_gateway.store.sql import insert

# Of how many it is remembered that they are written down; beyond, it is begun anew.
REMEMBERED = 65_536

_stream = schema.device_stream.c
_observation = schema.observation.c


class Streams:
    """Writes down what is new; what is known to be there is not asked again."""

    def __init__(self) -> None:
        self._known: set[tuple[str, str]] = set()
        self._written: set[tuple[str, str]] = set()

    def write(self, connection: Connection, rows: Iterable[ObservationRow]) -> None:
        """Write down whose figures these are, in the transaction at hand."""
        self._written = {(row.device_id, row.datastream) for row in rows} - self._known
        if self._written:
            connection.execute(
                insert(connection, schema.device_stream).on_conflict_do_nothing(),
                [{"device_id": device, "datastream": stream} for device, stream in sorted(self._written)],
            )

    def stand(self) -> None:
        """Remember what was written: its transaction is on the disk."""
        if len(self._known) + len(self._written) > REMEMBERED:
            self._known.clear()
        self._known |= self._written
        self._written = set()


def place_of(datastream: str) -> tuple[str, str]:
    """Return deployment and thing of a datastream: the first two parts of its key."""
    deployment, thing, _ = datastream.split("/", 2)
    return deployment, thing


def is_of(datastream: str) -> ColumnElement[bool]:
    """Return the condition for the figures of a datastream."""
    deployment, thing = place_of(datastream)
    return and_(
        _observation.deployment == deployment,
        _observation.thing == thing,
        _observation.datastream == datastream,
    )


def told_by(connection: Connection, device_id: str) -> ColumnElement[bool]:
    """Return the condition for the figures of a board."""
    streams = connection.execute(select(_stream.datastream).where(_stream.device_id == device_id)).scalars()
    places = sorted({place_of(stream) for stream in streams})
    return or_(
        false(),
        *(
            and_(
                _observation.deployment == deployment,
                _observation.thing == thing,
                _observation.device_id == device_id,
            )
            for deployment, thing in places
        ),
    )


def untold(connection: Connection) -> int:
    """Return how many figures no board would be found by; reads all of them."""
    told = exists().where(
        _stream.device_id == _observation.device_id, _stream.datastream == _observation.datastream
    )
    return int(
        connection.execute(select(func.count()).select_from(schema.observation).where(~told)).scalar_one()
    )


def told_streams(connection: Connection, device_id: str) -> list[str]:
    """Return what a board has figures of by looking at every figure, whatever is written down."""
    found = select(_observation.datastream).where(_observation.device_id == device_id).distinct()
    return sorted(connection.execute(found).scalars())


def complete(connection: Connection, device_id: str, streams: Iterable[str]) -> None:
    """Write down that a board has figures of these."""
    if rows := [{"device_id": device_id, "datastream": stream} for stream in streams]:
        connection.execute(insert(connection, schema.device_stream).on_conflict_do_nothing(), rows)


def forget(connection: Connection, device_id: str) -> None:
    """Forget a board of which no figure is left."""
    any_left = select(_observation.id).where(told_by(connection, device_id)).limit(1)
    if connection.execute(any_left).first() is None:
        connection.execute(delete(schema.device_stream).where(_stream.device_id == device_id))
