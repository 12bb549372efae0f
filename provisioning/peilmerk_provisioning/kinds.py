"""The kinds of node: which sensors on which pins, and which profile they start with.

One row a kind. What a row says becomes the board's node.json; drivers find their pins there and nowhere
else. The pins are those of the wiring plan in the technician's guide.
"""

from __future__ import annotations

from typing import Any

from peilmerk_protocol import profile

__all__ = ["KINDS", "node_settings"]

KINDS: dict[str, dict[str, Any]] = {
    "counter": {
        "profile": profile.STANDARD_COUNTER,
        # Beam A first is "towards"; idle is high, a broken beam is low.
        "sensors": [{"driver": "beam_pair", "pins": [4, 5]}],
    },
    "air": {
        "profile": profile.AIR,
        "sensors": [
            {"driver": "sds011", "uart": 1, "tx": 17, "rx": 16},
            {"driver": "sht3x", "i2c": 0, "scl": 22, "sda": 21, "address": 0x44},
        ],
    },
}


def node_settings(
    kind: str, sensors: list[dict[str, Any]] | None = None, agreed: profile.Profile | None = None
) -> dict[str, Any]:
    """Return node.json of a kind, without its link, with other sensors and another profile if given.

    Raises KeyError for a kind that is not in the table.
    """
    row = KINDS[kind]
    agreed = agreed or row["profile"]
    return {
        "kind": kind,
        "profile": {
            "revision": agreed.revision,
            "window_s": agreed.window_s,
            "set": agreed.set,
            "epsilon_leaf": list(agreed.epsilon_leaf),
            "epsilon_day": list(agreed.epsilon_day),
            "k": agreed.k,
            "m": agreed.m,
        },
        "sensors": [dict(sensor) for sensor in sensors or row["sensors"]],
    }
