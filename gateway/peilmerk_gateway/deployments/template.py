"""Write a complete, valid record for a street, to begin from.

Everything that the gate asks is in it, in plain words that an officer can change. What is written is read
back first, so that no invalid record leaves this module.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

from peilmerk_gateway.deployments.deployment import parse
from peilmerk_protocol import quantities
from peilmerk_protocol.profile import Profile
from peilmerk_protocol.quantities_names import Quantity, by_number


@dataclass(frozen=True)
class NewDevice:
    """One board of a new record; `point` (longitude, latitude) where it is not at the record's own place."""

    name: str
    device_id: str
    firmware_digest: bytes
    type: str
    model: str
    point: tuple[float, float] | None = None


_COUNTS = {
    "purpose": "Knowing how busy this street is, quarter by quarter, to make it safer and better to use.",
    "technology": "Beams of light across the path; who interrupts them is counted and not recognised.",
    "data_type": "Numbers of passages by direction and time slot, with random noise added on the sensor.",
    "processing": (
        "The sensor counts, adds noise, and forgets the exact number; small numbers are not kept."
    ),
}
_AIR = {
    "purpose": "Knowing the quality of the air in this street.",
    "technology": "A laser particle sensor with a temperature and humidity sensor.",
    "data_type": "Mean and spread of particulate matter, temperature and humidity by time slot.",
    "processing": "The sensor averages its samples and forgets them.",
}


def new_record(
    *,
    id: str,
    description: str,
    longitude: float,
    latitude: float,
    devices: Sequence[NewDevice],
    profile: Profile,
    notified_at: date | None,
    active_from: date,
    active_until: date,
    organisation: str,
    contact: str,
    themes: Sequence[str] | None = None,
    project: str | None = None,
    objection_url: str | None = None,
    is_public: bool = True,
) -> str:
    """Return the TOML text of a record for devices that all run `profile`.

    `notified_at` is the day on which the municipality was notified; None for a private host.

    The point (degrees WGS84) must lie within the Dutch grid. Raises RecordError naming what is wrong.
    """
    measured = [
        by_number(number)
        for number in quantities.members(profile.set)
        if quantities.kind(number) != quantities.KIND_SAMPLES
    ]
    counts = any(quantity.is_count for quantity in measured)
    words = _COUNTS if counts else _AIR
    themes = themes or (["mobility"] if counts else ["air quality"])
    document: dict[str, Any] = {
        "id": id,
        "project": project,
        "status": "active",
        "version": "1",
        "public_contact": contact,
        "contains_personal_data": False,
        "on_device_personal_data": False,
        "private_host": True if notified_at is None else None,
        "notified_at": notified_at,
        "active_from": active_from,
        "active_until": active_until,
        "objection_url": objection_url,
        "owner": {"organisation": organisation},
        "roles": {"controller": organisation},
        "location": {
            "point": {"longitude": longitude, "latitude": latitude},
            "description": description,
            "indoor": False,
        },
        "privacy": {
            "unit": "one passage in one window",
            "window_s": profile.window_s,
            "epsilon_leaf": str(Fraction(*profile.epsilon_leaf)),
            "epsilon_day": str(Fraction(*profile.epsilon_day)),
            "m_assumed": profile.m,
            "k": profile.k,
            "unprotected_quantities": [quantity.name for quantity in measured if not quantity.is_count],
        },
        "dtpr": {
            "accountable": organisation,
            **words,
            "access": "Everybody: what is published is open data. Nobody has more than what is published.",
            "storage": "With the organisation named above, in the European Union.",
            "retention": "What is published is kept; nothing else is.",
        },
        "purposes": [{"goal": words["purpose"]}],
        "devices": [_device(device) for device in devices],
        "datastreams": [_datastream(quantity, themes, profile, is_public) for quantity in measured],
    }
    text = _HEADER + "\n".join(_table(document)) + "\n"
    parse(text.encode(), Path(f"{id}.toml"))
    return text


_HEADER = """\
# Deployment record: what is measured here, on what ground, and what may be published.
# Check it with: peilmerk deployment check FILE     What it leads to: peilmerk deployment explain FILE

"""


def _device(device: NewDevice) -> dict[str, Any]:
    return {
        "name": device.name,
        "device_id": device.device_id,
        "type": device.type,
        "model": device.model,
        "firmware_digest": device.firmware_digest.hex(),
        "active": True,
        "point": None
        if device.point is None
        else {"longitude": device.point[0], "latitude": device.point[1]},
    }


def _datastream(
    quantity: Quantity, themes: Sequence[str], profile: Profile, is_public: bool
) -> dict[str, Any]:
    return {
        "measures": quantity.name,
        "observed_property": quantity.observed_property,
        "unit": quantity.unit,
        "frequency": f"PT{profile.window_s // 60}M",
        "themes": list(themes),
        "is_public": is_public,
        "is_open_data": is_public,
        "is_reusable": is_public,
    }


def _table(values: dict[str, Any], path: str = "") -> list[str]:
    """Write a table: its own values, then the tables in it, then the lists of tables."""
    lines, deeper = [], []
    for key, value in values.items():
        name = f"{path}.{key}" if path else key
        if value is None:
            continue
        if isinstance(value, dict) and key != "point":
            deeper += ["", f"[{name}]", *_table(value, name)]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for item in value:
                deeper += ["", f"[[{name}]]", *_table(item, name)]
        else:
            lines.append(f"{key} = {_value(value)}")
    return lines + deeper


def _value(value: Any) -> str:
    """Write a value; JSON's strings, whole numbers, truth values and lists are TOML's too."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, date):
        return value.isoformat()
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
