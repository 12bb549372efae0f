"""Write a complete, valid record for a street, to begin from.

Everything that the gate asks is in it, in plain words that an officer can change. What is written is read
back first, so that no invalid record leaves this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

from peilmerk_gateway.deployments.as_toml import as_toml
from peilmerk_gateway.deployments.deployment import parse
from peilmerk_gateway.web.language import languages
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


# DTPR's element of purpose that goes with the words for counts and for air.
DTPR_PURPOSES = {"counts": "mobility", "air": "health"}
DTPR_WORDS = ("purpose", "technology", "data_type", "processing")


def kind_of(measured: Iterable[Quantity]) -> str:
    """Return whose words describe what is measured: "counts", or "air" where nothing is counted."""
    return "counts" if any(quantity.is_count for quantity in measured) else "air"


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
    version: str = "1",
) -> str:
    """Return the TOML text of a record for devices that all run `profile`, in English words.

    `notified_at` is the day on which the municipality was notified; None for a private host.

    The point (degrees WGS84) must lie within the Dutch grid. Raises RecordError naming what is wrong.
    """
    measured = [
        by_number(number)
        for number in quantities.members(profile.set)
        if quantities.kind(number) != quantities.KIND_SAMPLES
    ]
    kind = kind_of(measured)
    say = languages()["en"].text
    words = {key: say(f"ask.words.{kind}.{key}") for key in DTPR_WORDS}
    themes = themes or [say(f"ask.words.{kind}.theme")]
    document: dict[str, Any] = {
        "id": id,
        "project": project,
        "status": "active",
        "version": version,
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
            **{key: say(f"ask.words.{key}") for key in ("access", "storage", "retention")},
        },
        "purposes": [{"goal": words["purpose"], "dtpr_purpose": DTPR_PURPOSES[kind]}],
        "devices": [_device(device) for device in devices],
        "datastreams": [
            datastream(quantity, themes, profile.window_s, is_public, is_public) for quantity in measured
        ],
    }
    text = HEADER + as_toml(document)
    parse(text.encode(), Path(f"{id}.toml"))
    return text


HEADER = """\
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


def datastream(
    quantity: Quantity,
    themes: Sequence[str],
    window_s: int,
    is_public: bool,
    is_open_data: bool,
    devices: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Return the table of a datastream of a quantity; `devices` where not all boards measure it."""
    return {
        "measures": quantity.name,
        "observed_property": quantity.observed_property,
        "unit": quantity.unit,
        "frequency": f"PT{window_s // 60}M" if window_s % 60 == 0 else f"PT{window_s}S",
        "themes": list(themes),
        "is_public": is_public,
        "is_open_data": is_open_data,
        "is_reusable": is_open_data,
        "devices": None if devices is None else list(devices),
    }
