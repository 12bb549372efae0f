"""What the files of vectors have in common: a device and its keys, a moment, and how JSON says bytes."""

from __future__ import annotations

import hashlib

import independent as other

ROOT = bytes(range(32))
DEVICE = other.device_id(bytes.fromhex("00443214c74254b635cf"))
OTHER_DEVICE = other.device_id(bytes.fromhex("84653a56d7c675be77df"))
UP = other.derive(ROOT, "up")
DOWN = other.derive(ROOT, "down")
# 23 November 2026, 12:00 UTC, in quarters of an hour; a node that reported for two years has passed 65,535.
NOON = 1795435200 // 900
SEQ = 70123

Rows = list[dict[str, object]]
FIRMWARE = hashlib.sha256(b"firmware").digest()


def named(rows: list[tuple[str, bytes, str]], key: str = "body") -> Rows:
    return [{"name": name, key: data.hex(), "reason": reason} for name, data, reason in rows]


def jsonable(value: object) -> object:
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, dict):
        return {"map": [[jsonable(key), jsonable(item)] for key, item in value.items()]}
    if isinstance(value, list):
        return [jsonable(item) for item in value]
    return value
