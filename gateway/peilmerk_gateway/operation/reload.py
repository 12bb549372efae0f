"""What a changed settings file means for a gateway that runs: what holds at once, what needs a restart.

Taken at once are platforms (`sinks`) and the limit of the disk; `[hosts]` is read by commands only. Whatever
else changed is named and stays as it was until the next start. A file that cannot be used changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from peilmerk_gateway.settings import Settings

AT_ONCE = ("sinks", "gateway.least_free_mib", "hosts")


def changes(before: Settings, after: Settings) -> tuple[list[str], list[str]]:
    """Return the keys that changed: those that hold at once, and those that need a restart."""
    found = sorted(_differing(_flat(before), _flat(after)))
    now = [key for key in found if any(key == held or key.startswith(held + ".") for held in AT_ONCE)]
    return now, [key for key in found if key not in now]


def _flat(settings: Settings) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in settings:
        if name == "sinks":
            for sink in settings.sinks:
                values |= _leaves(f"sinks.{sink.name}", sink)
        else:
            values |= _leaves(name, value)
    return values


def _leaves(key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, BaseModel):
        return {key: value}
    found: dict[str, Any] = {}
    for name, inner in value:
        found |= _leaves(f"{key}.{name}", inner)
    return found


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> set[str]:
    missing = object()
    return {key for key in {*before, *after} if before.get(key, missing) != after.get(key, missing)}
