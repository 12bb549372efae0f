"""The deployment records of the demo's street: one for its counters, one for its air nodes.

The street is invented; its points lie in the city of Utrecht, because a public place is a cell of the
Dutch grid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import partial
from pathlib import Path

from peilmerk_bench.street.plan import House
from peilmerk_gateway.deployments.deployment import RecordError, parse, read
from peilmerk_gateway.deployments.template import NewDevice, new_record
from peilmerk_protocol import profile

LONGITUDE, LATITUDE = 5.1214, 52.0907
# About 150 m further along the street for each board.
STEP_LONGITUDE = 0.0022

_DEPLOYMENTS = {
    "counter": (
        "fietspad-voorbeeldstraat",
        "Voorbeeldstraat, cycle path",
        "bicycle counter",
        "Peilmerk counter, beam pair",
        profile.STANDARD_COUNTER,
    ),
    "air": (
        "lucht-voorbeeldstraat",
        "Voorbeeldstraat, air",
        "air quality sensor",
        "Peilmerk air, SDS011 and SHT3x",
        profile.AIR,
    ),
}


def write_records(folder: Path, boards: Sequence[House], digests: Mapping[str, str]) -> None:
    """Write one record for each kind of board in the street, naming the firmware that the boards must run.

    `digests` are the firmware digests by kind. A record that changes goes up by a version: the gateway would
    refuse it otherwise.
    """
    for kind, (name, description, device_type, model, kind_profile) in _DEPLOYMENTS.items():
        devices = [
            NewDevice(
                name=house.name,
                device_id=house.device_id,
                firmware_digest=bytes.fromhex(digests[kind]),
                type=device_type,
                model=model,
                point=(round(LONGITUDE + number * STEP_LONGITUDE, 6), LATITUDE),
            )
            for number, house in enumerate(boards)
            if house.kind == kind
        ]
        if not devices:
            continue
        write = partial(
            new_record,
            id=name,
            description=description,
            longitude=LONGITUDE,
            latitude=LATITUDE,
            devices=devices,
            profile=kind_profile,
            notified_at=date(2023, 6, 1),
            active_from=date(2024, 1, 1),
            active_until=date(2034, 1, 1),
            organisation="Peilmerk demo",
            contact="demo@peilmerk.invalid",
        )
        file = folder / f"{name}.toml"
        draft = file.with_suffix(".new")
        draft.write_text(_next(file, write), "utf-8")
        draft.replace(file)


def _next(file: Path, write: Callable[..., str]) -> str:
    """Return the record under the version of the one that is there, or under the next where it differs."""
    try:
        there = read(file).record
    except RecordError:
        return write(version="1")
    same = write(version=there.version)
    if parse(same.encode(), file).record == there:
        return same
    return write(version=str(int(there.version) + 1))
