"""What a change of a record is, and the changes that are told by their key alone: what was, and what is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any

from pydantic import BaseModel

from peilmerk_gateway.deployments.record import Datastream, Device, Record
from peilmerk_gateway.web.language import Language


class Effect(StrEnum):
    """What a change does to those who are measured."""

    WIDER = "wider"
    NARROWER = "narrower"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Change:
    """One change: the record's key, what it does, and a sentence about it."""

    key: str
    effect: Effect
    text: str


PRIVATE = frozenset(
    {
        "owner.name",
        "owner.email",
        "owner.phone",
        "owner.address",
        "owner.kvk",
        "devices.device_id",
        "devices.bgt_object_id",
    }
)
"""Keys whose values are not repeated."""
TOLD = frozenset(
    {
        "id",
        "version",
        "signed_by",
        "private_host",
        "contains_personal_data",
        "on_device_personal_data",
        "owner.organisation",
        "location.point",
        "location.indoor",
        "location.observed_area",
        "location.regions",
        "privacy.window_s",
        "privacy.epsilon_leaf",
        "privacy.epsilon_day",
        "privacy.k",
        "privacy.m_assumed",
        "privacy.unprotected_quantities",
        "devices.name",
        "devices.device_id",
        "devices.firmware_digest",
        "devices.next_firmware_digest",
        "devices.active",
        "devices.radio_capture",
        "devices.point",
        "datastreams.measures",
        "datastreams.devices",
        "datastreams.is_public",
        "datastreams.is_open_data",
        "datastreams.is_reusable",
        "datastreams.retention_days",
        "purposes.goal",
    }
)
"""Keys with sentences of their own; every other key is told by its name, with what was and what is."""


def words(old: Record, new: Record, language: Language) -> Iterator[Change]:
    """Tell the keys without sentences of their own by what was and what is."""
    was, is_now = dict(_flat(old)), dict(_flat(new))
    items = _items(old) ^ _items(new)
    for key in dict.fromkeys([*was, *is_now]):
        if was.get(key) == is_now.get(key) or key.partition("]")[0] in items:
            continue
        name = _nameless(key)
        if name in PRIVATE:
            yield Change(key, Effect.OTHER, language.text("diff.private", name=key))
            continue
        values = {"name": key, "old": shown(was.get(key), language), "new": shown(is_now.get(key), language)}
        text = "words" if key in was and key in is_now else "words.begins" if key in is_now else "words.ends"
        yield Change(key, Effect.OTHER, language.text(f"diff.{text}", **values))


def _flat(model: BaseModel, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (key, value) of every answer that has no sentence of its own; devices and datastreams by name."""
    for name in type(model).model_fields:
        key = f"{path}.{name}" if path else name
        value = getattr(model, name)
        if value is None or value == () or _nameless(key) in TOLD:
            continue
        if isinstance(value, BaseModel):
            yield from _flat(value, key)
        elif isinstance(value, tuple) and isinstance(value[0], BaseModel):
            for number, item in enumerate(value, 1):
                yield from _flat(item, f"{key}[{_called(item) or number}]")
        else:
            yield key, value


def _called(item: BaseModel) -> str | None:
    if isinstance(item, Device):
        return item.name
    if isinstance(item, Datastream):
        return " of ".join([item.measures.name, *([", ".join(item.devices)] if item.devices else [])])
    return None


def _items(record: Record) -> set[str]:
    """Return how the keys of each board begin: one that comes or goes has a sentence, and needs no words."""
    return {f"devices[{device.name}" for device in record.devices}


def _nameless(key: str) -> str:
    """Return a key without what names an item of a list: devices[lamp-1].type is devices.type."""
    return ".".join(part.partition("[")[0] for part in key.split("."))


def shown(value: Any, language: Language) -> str:
    if value is None or value == ():
        return language.text("diff.nothing")
    if isinstance(value, bool):
        return language.text("ask.yes" if value else "ask.no")
    if isinstance(value, tuple):
        return ", ".join(shown(item, language) for item in value)
    return value.isoformat() if isinstance(value, date) else str(value)
