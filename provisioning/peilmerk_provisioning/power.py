"""A board's power as node.json says it, and which boards may not sleep between samples."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from peilmerk_protocol import profile, quantities
from peilmerk_provisioning.errors import PowerError
from peilmerk_provisioning.kinds import KINDS
from peilmerk_provisioning.sensing import quantities_of

__all__ = ["DAY_S", "EVERY_S", "MAINS", "battery", "check"]

MAINS: dict[str, Any] = {"mode": "mains"}
EVERY_S = range(30, 3601)
"""What `every_s` may be, the seconds between two samples."""
DAY_S = profile.DAY_S


def battery(kind: str, every_s: int = 300, send_s: int | None = None) -> dict[str, Any]:
    """Return node.json's "power" of a board of this kind that sleeps between samples.

    `every_s` seconds from sample to sample, `send_s` from one sending to the next (default: after each
    window). Raises PowerError for what the board would refuse.
    """
    window_s = int(KINDS[kind]["profile"].window_s)
    if every_s not in EVERY_S:
        raise PowerError(
            f"found a sample every {every_s} s, wanted every {EVERY_S.start} to {EVERY_S.stop - 1} s"
        )
    if send_s is None:
        send_s = window_s
    if not window_s <= send_s <= DAY_S:
        raise PowerError(
            f"found a sending every {send_s} s, wanted every {window_s} s (a window) to {DAY_S} s (a day)"
        )
    return {"mode": "battery", "every_s": every_s, "send_s": send_s}


def check(kind: str, sensors: Iterable[dict[str, Any]] | None, where: str = "a board on batteries") -> None:
    """Refuse, by PowerError, what must not sleep: passers-by and sound have no second chance.

    `sensors` are entries of node.json, None for those of the kind; `where` is for the error.
    """
    entries = sensors or KINDS[kind]["sensors"]
    restless = [entry["driver"] for entry in entries if any(map(_has_no_second_chance, quantities_of(entry)))]
    if restless:
        raise PowerError(
            f"found {' and '.join(restless)} on {where}, wanted only sensors that may sleep between samples: "
            "whoever passes, and what is to be heard, meanwhile is missed"
        )


def _has_no_second_chance(quantity: int) -> bool:
    # As the firmware's `may_sleep` has it.
    return quantities.is_count(quantity) or quantities.kind(quantity) == quantities.KIND_LEVEL
