"""What stands around the observations on a SensorThings service: Thing, Location, Sensor, ObservedProperty,
Datastream (OGC 18-088, clause 8), each made exactly once.

Every entity carries a key of ours in `properties.peilmerk`. Before one is made, the service is asked for that
key; before it is asked to make one, the intent is on our disk. After a crash in between, the intent says that
the service has to be given time to finish before it is asked for the key again.

Nothing that was made is changed later: a sensor that moves to another cell is another Thing there, and
figures that are obtained in another way are another Datastream. So what was published stays true of its
place and time, and nobody takes one for the other.

What is said there is public: where a sensor hangs is a cell of the public grid, and nothing tells which board
it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from time import monotonic
from typing import Any

from peilmerk_gateway.publish import Unavailable
from peilmerk_gateway.publish.describe import Description
from peilmerk_gateway.publish.sensorthings_http import (
    Denied,
    Lost,
    Service,
    id_of,
    literal_of,
    quoted,
    values,
)
from peilmerk_gateway.store import Store

KEY = "peilmerk"
_INTENT = "?"
_NONE = ""
# Kind of the notes in which is written down where rows of a datastream go.
_CURRENT = "current"
# Kind of the notes on the service itself.
_LEARNT = "learnt"

_COUNT = "http://www.opengis.net/def/observationType/OGC-OM/2.0/OM_CountObservation"
_MEASUREMENT = "http://www.opengis.net/def/observationType/OGC-OM/2.0/OM_Measurement"

Body = dict[str, Any]


class Entities:
    """The entities of one sink: our keys, the service's ids, and how one becomes the other."""

    def __init__(self, service: Service, store: Store, sink: str, settle_s: float) -> None:
        self._service = service
        self._store = store
        self._sink = sink
        self._settle_s = settle_s
        self._ids: dict[tuple[str, str], str] | None = None
        self._clear_at = 0.0

    async def datastream(self, about: Description) -> str:
        """Return the id of a datastream, making it and what it stands on when it is not there.

        Raises Denied, Unavailable.
        """
        known = await self.known("Datastreams", about.series_key)
        if known is None:
            place = about.place_key
            location = await self._ensure("Locations", place, _location(about))
            thing = await self._ensure("Things", place, _thing(about, location))
            quantity = await self._ensure(
                "ObservedProperties", about.quantity.name, _observed_property(about)
            )
            sensor = await self._ensure("Sensors", about.sensor_key, _sensor(about))
            body = _datastream(about, thing, quantity, sensor)
            known = await self._ensure("Datastreams", about.series_key, body)
        if await self.current(about.datastream) != known:
            await self._remember(_CURRENT, about.datastream, known)
        return known

    async def current(self, datastream: str) -> str | None:
        """Return the id to which rows of a datastream go, or last went; None when none ever did."""
        return await self.known(_CURRENT, datastream)

    async def known(self, kind: str, key: str) -> str | None:
        """Return the id that is written down for a key, or None."""
        known = (await self._book()).get((kind, key), _NONE)
        return None if known in (_NONE, _INTENT) else known

    async def forget(self, about: Description) -> None:
        """Drop what is written down of a datastream and what it stands on: each is looked up anew when
        needed.
        """
        for kind, key in (
            (_CURRENT, about.datastream),
            ("Datastreams", about.series_key),
            ("Sensors", about.sensor_key),
            ("ObservedProperties", about.quantity.name),
            ("Things", about.place_key),
            ("Locations", about.place_key),
        ):
            await self._remember(kind, key, _NONE)

    async def exists(self, kind: str, literal: str) -> bool:
        """Ask the service whether it still has an entity. Raises Unavailable."""
        try:
            await self._service.get(f"{kind}({literal})")
        except Denied as no:
            if no.status in (404, 410):
                return False
            raise Unavailable(no.reason) from no
        return True

    async def note(self, name: str) -> str | None:
        """Return what was learnt about the service under a name."""
        return await self.known(_LEARNT, name)

    async def take_note(self, name: str, value: str) -> None:
        """Write down something learnt about the service."""
        await self._remember(_LEARNT, name, value)

    async def _ensure(self, kind: str, key: str, body: Body) -> str:
        if (known := await self.known(kind, key)) is not None:
            return known
        if (await self._book()).get((kind, key)) == _INTENT and (wait := self._clear_at - monotonic()) > 0:
            raise Unavailable(f"{kind} {key} may be in the making", wait)
        if (found := await self._look_up(kind, key)) is not None:
            await self._remember(kind, key, found)
            return found
        await self._remember(kind, key, _INTENT)
        try:
            location, _ = await self._service.post(kind, body)
        except Lost as lost:
            self._clear_at = monotonic() + self._settle_s
            raise Unavailable(lost.reason, max(lost.retry_after_s, self._settle_s)) from lost
        except (Denied, Unavailable):
            await self._remember(kind, key, _NONE)
            raise
        made = literal_of(location) or await self._look_up(kind, key)
        if made is None:
            raise Unavailable(f"the platform made {kind} {key} but does not say where")
        await self._remember(kind, key, made)
        return made

    async def _look_up(self, kind: str, key: str) -> str | None:
        try:
            answer = await self._service.get(
                kind, {"$filter": f"properties/{KEY} eq {quoted(key)}", "$top": "2"}
            )
        except Denied as no:
            raise Unavailable(f"cannot look up {kind}: {no.reason}") from no
        for entity in values(answer):
            # Believe no filter: a service that ignores it would hand over somebody else's entity.
            if isinstance(entity, dict) and (entity.get("properties") or {}).get(KEY) == key:
                link = literal_of(str(entity.get("@iot.selfLink", "")))
                iot_id = entity["@iot.id"]
                return link or (str(iot_id) if isinstance(iot_id, int) else quoted(str(iot_id)))
        return None

    async def _book(self) -> dict[tuple[str, str], str]:
        if self._ids is None:
            self._ids = await self._store.entities(self._sink)
            self._clear_at = monotonic() + self._settle_s
        return self._ids

    async def _remember(self, kind: str, key: str, remote_id: str) -> None:
        book = await self._book()
        await self._store.remember_entity(self._sink, kind, key, remote_id)
        book[kind, key] = remote_id


def _link(literal: str) -> Mapping[str, str | int]:
    return {"@iot.id": id_of(literal)}


def _location(about: Description) -> Body:
    return {
        "name": f"Grid cell {about.cell}",
        "description": "A cell of the national grid. The sensor hangs somewhere within it.",
        "encodingType": "application/geo+json",
        "location": {"type": "Polygon", "coordinates": [[list(corner) for corner in about.outline]]},
        "properties": {KEY: about.place_key, "cell": about.cell},
    }


def _thing(about: Description, location: str) -> Body:
    return {
        "name": about.thing,
        "description": about.deployment_text,
        "properties": {KEY: about.place_key, "deployment": about.deployment, "cell": about.cell},
        "Locations": [_link(location)],
    }


def _observed_property(about: Description) -> Body:
    quantity = about.quantity
    return {
        "name": quantity.label,
        "description": f"{quantity.label} ({quantity.label_nl})",
        "definition": quantity.observed_property,
        "properties": {KEY: quantity.name},
    }


def _sensor(about: Description) -> Body:
    return {
        "name": about.sensor_model,
        "description": f"{about.sensor_type}: {about.sensor_model}",
        # The one encoding among those that every service takes that is fit for a sentence.
        "encodingType": "text/html",
        "metadata": f"<p>{escape(about.sensor_type)}: {escape(about.sensor_model)}</p>",
        "properties": {KEY: about.sensor_key},
    }


def _datastream(about: Description, thing: str, quantity: str, sensor: str) -> Body:
    return {
        "name": f"{about.thing}: {about.label}",
        "description": about.datastream_text,
        "observationType": _COUNT if about.quantity.is_count else _MEASUREMENT,
        "unitOfMeasurement": {
            "name": about.quantity.unit_label or "one",
            "symbol": about.quantity.unit_label or "1",
            "definition": f"http://unitsofmeasure.org/ucum.html#{about.quantity.unit}",
        },
        "properties": {**about.facts, KEY: about.series_key, "datastream": about.datastream},
        "Thing": _link(thing),
        "ObservedProperty": _link(quantity),
        "Sensor": _link(sensor),
    }
