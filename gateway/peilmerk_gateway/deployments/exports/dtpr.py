"""The data chain of DTPR (Digital Trust for Places and Routines): the eight categories of a device.

Each category carries the record's own words, and the ids of DTPR's elements (its icons) that follow from
the record; where none does, as for where data is kept, only the words. DTPR publishes its list of elements
and no form for a device's chain: the form is ours, the ids are DTPR's. DTPR has no Dutch: the Dutch names
of the categories are ours too.

Source: github.com/Helpful-Places/dtpr (2026-08), app/content/dtpr.v1, datachain type "device".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from peilmerk_gateway.deployments.deployment import Deployment
from peilmerk_gateway.deployments.exports.measured import Group, group_of, labels, streams_of
from peilmerk_gateway.deployments.exports.needs import Needs, Wish
from peilmerk_gateway.deployments.record import Device, Record
from peilmerk_gateway.web.language import LANGUAGES, languages
from peilmerk_protocol import quantities

TAXONOMY = "https://github.com/Helpful-Places/dtpr/tree/main/app/content/dtpr.v1"

CATEGORIES = {
    "accountable": "device__accountable",
    "purpose": "device__purpose",
    "technology": "device__tech",
    "data_type": "device__data",
    "processing": "device__process",
    "access": "device__access",
    "storage": "device__storage",
    "retention": "device__retention",
}
"""The key of a record's [dtpr] -> DTPR's id."""

PURPOSES = frozenset(
    {
        "accessibility",
        "agency_interaction",
        "arts_culture",
        "commerce",
        "connectivity",
        "dining",
        "ecology",
        "energy_efficiency",
        "enforcement",
        "entry",
        "fire_emergency",
        "health",
        "inform",
        "logistics",
        "mobility",
        "planning_decision_making",
        "research_development",
        "safety_security",
        "social",
        "switch",
        "waste_management",
        "water_efficiency",
        "wayfinding_services",
    }
)
"""DTPR's elements of purpose."""
_TECHNOLOGY = {
    Group.PASSAGES: "motion_detector",
    Group.AIR: "air_quality",
    Group.WEATHER: "weather_station",
    Group.NOISE: "sound_level_meter",
}

RADIO = "identifiable_wifi_sensor"


def make(deployment: Deployment, wish: Wish, needs: Needs) -> dict[str, Any]:
    """Return the chain."""
    record = deployment.record
    elements = _elements(record, needs)
    return {
        "datachain_type": "device",
        "taxonomy": TAXONOMY,
        "id": record.id,
        "version": record.version,
        "title": {code: labels([("", stream) for stream in record.datastreams], code) for code in LANGUAGES},
        "description": record.location.description,
        "active_until": record.active_until.isoformat(),
        "categories": [
            {
                "id": id,
                "name": category_names(key),
                "elements": [{"id": element} for element in elements[key]],
                "text": getattr(record.dtpr, key),
            }
            for key, id in CATEGORIES.items()
        ],
    }


def category_names(key: str) -> dict[str, str]:
    """Return the name of a category, by language."""
    return {code: languages()[code].text(f"dtpr.{key}") for code in LANGUAGES}


def _elements(record: Record, needs: Needs) -> dict[str, list[str]]:
    if not record.purposes:
        needs.lack("purposes", "not found, wanted at least one with its goal")
    counts = any(stream.measures.is_count for stream in record.datastreams)
    public = not record.location.indoor and any(stream.is_public for stream in record.datastreams)
    open_data = public and any(stream.is_public and stream.is_open_data for stream in record.datastreams)
    return {
        "accountable": ["organization"],
        "purpose": _once(
            needs.one_of(f"purposes[{number}].dtpr_purpose", purpose.dtpr_purpose, PURPOSES)
            for number, purpose in enumerate(record.purposes, 1)
        ),
        "technology": _once(
            element for device in record.devices for element in _technologies(record, device)
        ),
        "data_type": ["values_time"],
        # What is true of every board: sums or means of a window, signed firmware, an encrypted way.
        "processing": [
            "aggregated",
            *(["differential_privacy"] if counts else []),
            "code_signing",
            "transport_layer_security",
        ],
        "access": ["available_to_download" if open_data else "available_to_the_accountable_organization"],
        "storage": [],
        "retention": ["data_retained"],
    }


def _technologies(record: Record, device: Device) -> Iterator[str]:
    """Yield the elements of one board. DTPR has none for a radio that forgets: the stricter one is named."""
    streams = [stream.measures for _, stream in streams_of(record, device)]
    if device.radio_capture:
        yield RADIO
        # What it counts without class is radios.
        streams = [quantity for quantity in streams if quantity.number != quantities.UNCLASSIFIED]
    yield from (_TECHNOLOGY[group] for quantity in streams if (group := group_of(quantity)) is not None)


def _once(items: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(items))
