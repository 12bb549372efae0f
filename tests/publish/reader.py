"""Reads a SensorThings service with somebody else's client (frost-sta-client), to count what is there."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

import frost_sta_client


def _service(url: str) -> frost_sta_client.SensorThingsService:
    return frost_sta_client.SensorThingsService(url)


def observations(url: str) -> tuple[dict[tuple[str, int], float], Counter[tuple[str, int]]]:
    """Return the figures and how often each is there, by (our key of the datastream, window start)."""
    service = _service(url)
    figures: dict[tuple[str, int], float] = {}
    often: Counter[tuple[str, int]] = Counter()
    for datastream in service.datastreams().query().list():
        query = service.observations().query().filter(f"Datastream/id eq {datastream.id}")
        for entity in query.orderby("resultTime").top(100).list():
            start = datetime.fromisoformat(entity.phenomenon_time.partition("/")[0])
            place = (datastream.properties["datastream"], round(start.timestamp()))
            figures[place] = entity.result
            often[place] += 1
    return figures, often


def names(url: str, kind: str) -> list[str]:
    """Return the names of all entities of a kind ("things", "locations", "sensors", ...), sorted."""
    return sorted(entity.name for entity in getattr(_service(url), kind)().query().list())
