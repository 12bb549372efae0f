"""The registry's own trail: every board that was enrolled or revoked, chained as `chain` says.

The registry is another file than the store and is written by another program, so it has a chain of its own,
in the transactions that change it. The gateway writes down in its audit trail, with the next batch, how far
that chain is: so one that was cut off or written anew is found too.

    begun     the trail begins; boards of before {devices, root}
    enrolled  {device_id, kind, enrolled_at, seal}
    revoked   {device_id, revoked_at}

`seal` is a digest over the board's secrets, among them 256 random bits, so that a key cannot be exchanged
unnoticed and nobody learns it. The label is left out: it is a technician's note, may name somebody, and must
be free to be forgotten.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import cbor2

from peilmerk_gateway.chain import NOTHING, digest, leaf, root_of

TABLE = """
CREATE TABLE action (
    number INTEGER PRIMARY KEY,
    at     REAL NOT NULL,
    kind   TEXT NOT NULL,
    body   BLOB NOT NULL,
    digest BLOB NOT NULL
)"""
BEGUN, ENROLLED, REVOKED = "begun", "enrolled", "revoked"
_DEVICES = (
    "SELECT device_id, kind, enrolled_at, root_key, password_hash, mosquitto_hash, revoked_at FROM device"
)


@dataclass
class RegistryTrail:
    """What a check found: the digest of every action by its number, and what is wrong."""

    digests: dict[int, bytes] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def begin(db: sqlite3.Connection, at: float) -> None:
    """Begin the trail within the transaction at hand."""
    db.execute(TABLE)
    rows = [(*_bound(row), row[6]) for row in db.execute(_DEVICES)]
    _append(db, at, BEGUN, {"devices": len(rows), "root": root_of(rows)})


def enrolled(db: sqlite3.Connection, device_id: str, at: float) -> None:
    """Tell that a board was enrolled, within the transaction that does it."""
    row = db.execute(f"{_DEVICES} WHERE device_id = ?", (device_id,)).fetchone()
    _append(db, at, ENROLLED, _facts(row))


def revoked(db: sqlite3.Connection, device_id: str, at: float) -> None:
    """Tell that a board was revoked, within the transaction that does it."""
    _append(db, at, REVOKED, {"device_id": device_id, "revoked_at": at})


def head(db: sqlite3.Connection) -> tuple[int, bytes]:
    """Return number and digest of the last action."""
    row = db.execute("SELECT number, digest FROM action ORDER BY number DESC LIMIT 1").fetchone()
    return (0, NOTHING) if row is None else (row[0], row[1])


def check(path: Path) -> RegistryTrail:
    """Verify a registry's trail against itself and against its boards, changing nothing.

    A registry that is not there or was written by an older version has no trail, which by itself is no fault.
    """
    found = RegistryTrail()
    if not path.exists():
        return found
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            db.execute("BEGIN")
            if db.execute("PRAGMA user_version").fetchone()[0] >= 3:
                _check(db, found)
    except (sqlite3.Error, OSError) as reason:
        found.faults.append(f"{path}: cannot be read: {reason}")
    return found


def _append(db: sqlite3.Connection, at: float, kind: str, body: Mapping[str, Any]) -> None:
    number, before = head(db)
    written = cbor2.dumps(body, canonical=True)
    mine = digest(before, number + 1, at, kind, written)
    db.execute("INSERT INTO action VALUES (?, ?, ?, ?, ?)", (number + 1, at, kind, written, mine))


def _bound(row: tuple[Any, ...]) -> tuple[Any, ...]:
    device_id, kind, enrolled_at, *secrets = row[:6]
    return device_id, kind, enrolled_at, sha256(leaf([device_id, *secrets])).digest()


def _facts(row: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip(("device_id", "kind", "enrolled_at", "seal"), _bound(row), strict=True))


def _check(db: sqlite3.Connection, found: RegistryTrail) -> None:
    before, last = NOTHING, 0
    told: dict[str, dict[str, Any]] = {}
    gone: dict[str, float] = {}
    first: dict[str, Any] = {"devices": 0, "root": root_of([])}
    for number, at, kind, body, mine in db.execute(
        "SELECT number, at, kind, body, digest FROM action ORDER BY number"
    ):
        if number != last + 1:
            found.faults.append(f"found action {number} after {last}, wanted {last + 1}")
        if digest(before, number, at, kind, body) != mine:
            found.faults.append(f"action {number} does not follow from the one before and its content")
        last, before = number, mine
        found.digests[number] = mine
        try:
            said = cbor2.loads(body)
            if kind == BEGUN:
                first = said
            elif kind == ENROLLED:
                told[said["device_id"]] = said
            elif kind == REVOKED:
                gone[said["device_id"]] = said["revoked_at"]
        except (cbor2.CBORError, KeyError, TypeError) as reason:
            found.faults.append(f"action {number} cannot be read: {type(reason).__name__}")
    _check_devices(db, found, first, told, gone)


def _check_devices(
    db: sqlite3.Connection,
    found: RegistryTrail,
    first: Mapping[str, Any],
    told: dict[str, dict[str, Any]],
    gone: Mapping[str, float],
) -> None:
    before_trail = []
    for row in db.execute(_DEVICES):
        device_id, revoked_at = row[0], row[6]
        said = told.pop(device_id, None)
        if said is None:
            # As it was when the trail began: what was revoked since was not yet.
            before_trail.append((*_bound(row), None if device_id in gone else revoked_at))
        elif said != _facts(row):
            found.faults.append(f"device {device_id} is not what was enrolled")
        if (said is not None or device_id in gone) and revoked_at != gone.get(device_id):
            found.faults.append(f"device {device_id}: no action tells of its revocation as it is")
    if (len(before_trail), root_of(before_trail)) != (first["devices"], first["root"]):
        found.faults.append(
            f"found {len(before_trail)} devices that no action tells of, or changed ones, "
            f"wanted the {first['devices']} from before the trail"
        )
    found.faults += [f"device {device_id} is gone" for device_id in told]
