"""What a host sees and presses at a board, as node.json says it: a light or buzzer, a button, a page."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from peilmerk_provisioning.errors import PanelError
from peilmerk_provisioning.kinds import KINDS

__all__ = ["panel"]

PINS = range(49)
"""The firmware's own limit; not every chip has all of them."""
NONE = "none"
_SPEC = re.compile(r"(\d{1,2})(?::([01]))?")
_PIN_KEYS = ("pin", "tx", "rx", "scl", "sda", "power")


def panel(
    kind: str,
    sensors: Iterable[dict[str, Any]] | None,
    light: str | None = None,
    button: str | None = None,
    page: bool | None = None,
) -> dict[str, Any]:
    """Return the keys of node.json for what was said; what was not said stays on the board as it is.

    light and button: "PIN" or "PIN:LEVEL", the level at which it shines or is pressed (1 and 0 by default),
    or "none". `sensors` are entries of node.json, None for those of the kind. Raises PanelError for what is
    no pin, or is a sensor's.
    """
    made: dict[str, Any] = {}
    taken = dict(_pins(sensors or KINDS[kind]["sensors"]))
    for option, key, text, level in (("--light", "indicator", light, 1), ("--button", "button", button, 0)):
        if text is None:
            continue
        made[key] = None if text == NONE else _pin(option, text, level)
        if made[key] is not None:
            pin = made[key]["pin"]
            if pin in taken:
                raise PanelError(f"found {option} at pin {pin}, which is that of {taken[pin]}")
            taken[pin] = option
    if page is not None:
        made["local_page"] = page
    return made


def _pin(option: str, text: str, level: int) -> dict[str, int]:
    found = _SPEC.fullmatch(text)
    if found is None or int(found[1]) not in PINS:
        raise PanelError(
            f"found {option} {text!r}, wanted a pin of 0 to {PINS.stop - 1}, PIN:0, PIN:1 or none"
        )
    return {"pin": int(found[1]), "active": level if found[2] is None else int(found[2])}


def _pins(sensors: Iterable[dict[str, Any]]) -> Iterable[tuple[int, str]]:
    """Yield (pin, driver) of every pin that a sensor has."""
    for entry in sensors:
        for pin in [entry[key] for key in _PIN_KEYS if key in entry] + list(entry.get("pins", ())):
            yield pin, entry["driver"]
