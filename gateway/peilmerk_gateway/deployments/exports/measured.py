"""What a board measures, in the groups that registers have words for."""

from __future__ import annotations

from enum import StrEnum

from peilmerk_gateway.deployments.record import Datastream, Device, Record
from peilmerk_protocol import quantities
from peilmerk_protocol.quantities_names import Quantity, by_number


class Group(StrEnum):
    """Kinds of measuring that registers tell apart."""

    PASSAGES = "passages"
    AIR = "air"
    WEATHER = "weather"
    NOISE = "noise"


_GROUPS = {
    "pm1": Group.AIR,
    "pm2_5": Group.AIR,
    "pm10": Group.AIR,
    "co2": Group.AIR,
    "no2": Group.AIR,
    "temperature": Group.WEATHER,
    "humidity": Group.WEATHER,
    "pressure": Group.WEATHER,
    "laeq": Group.NOISE,
    "lamax": Group.NOISE,
    "la90": Group.NOISE,
}


def group_of(quantity: Quantity) -> Group | None:
    """Return the group of a quantity; None for what tells of other quantities (samples, completeness)."""
    if quantity.is_count:
        return Group.PASSAGES
    if quantities.kind(quantity.number) == quantities.KIND_EXTREMES:
        quantity = by_number(quantities.mean_of(quantity.number))
    return _GROUPS.get(quantity.name)


def streams_of(record: Record, device: Device) -> list[tuple[str, Datastream]]:
    """Return what a board measures, each with its field in the record ("datastreams[1]")."""
    return [
        (f"datastreams[{number}]", stream)
        for number, stream in enumerate(record.datastreams, 1)
        if stream.devices is None or device.name in stream.devices
    ]


def groups_of(record: Record, device: Device) -> dict[Group, list[tuple[str, Datastream]]]:
    """Return what a board measures by group, in the order of the groups."""
    found: dict[Group, list[tuple[str, Datastream]]] = {}
    for group in Group:
        streams = [item for item in streams_of(record, device) if group_of(item[1].measures) is group]
        if streams:
            found[group] = streams
    return found


def labels(streams: list[tuple[str, Datastream]], language: str) -> str:
    """Return the names of what is measured, in a language, each once."""
    names = (stream.measures.label_nl if language == "nl" else stream.measures.label for _, stream in streams)
    return "; ".join(dict.fromkeys(names))
