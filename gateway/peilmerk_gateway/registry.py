"""The registry of devices: the narrow door between provisioning, which enrols, and the gateway, which admits.

One SQLite file, readable by its owner only (mode 0600), because the root keys in it are secrets that both
ends must have. Provisioning and the gateway are different processes on the same file: write-ahead logging
lets the one write while the other reads. Of a device's MQTT password only hashes are kept, one for each
kind of broker that may have to check it (bcrypt for NATS, PBKDF2 for Mosquitto, which knows no bcrypt); the
password itself is returned once, by `enrol`, and goes onto the board.

`revision()` rises with every change to the set of devices that may connect; whoever holds credentials
elsewhere (the broker's configuration) compares it to know when to read anew. Every enrolment and revocation
is an action of a trail of its own (`registry_trail`), in the same transaction.
"""

from __future__ import annotations

import os
import re
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import bcrypt

from peilmerk_gateway import mosquitto_hash, registry_trail
from peilmerk_gateway.errors import PeilmerkError
from peilmerk_protocol.device_ids import new_device_id

KIND = re.compile(r"[a-z][a-z0-9_-]{0,31}")
LABEL_CHARACTERS = 80

# A password of 256 random bits cannot be guessed however fast the hash is, so the lowest cost that bcrypt
# has is enough, and a thousand boards reconnecting at once do not cost the broker minutes of computing.
BCRYPT_ROUNDS = 4
BUSY_SECONDS = 30.0

SCHEMA_VERSION = 3
_SCHEMA = """
CREATE TABLE device (
    device_id     TEXT PRIMARY KEY,
    kind          TEXT NOT NULL,
    label         TEXT NOT NULL,
    root_key      BLOB NOT NULL CHECK (length(root_key) = 32),
    password_hash TEXT NOT NULL,
    enrolled_at   REAL NOT NULL,
    revoked_at    REAL
) WITHOUT ROWID;
CREATE TABLE credentials (
    only     INTEGER PRIMARY KEY CHECK (only = 1),
    revision INTEGER NOT NULL
);
INSERT INTO credentials VALUES (1, 0);
"""
# Devices that were enrolled before have none: their password is known to them alone.
_MOSQUITTO = "ALTER TABLE device ADD COLUMN mosquitto_hash TEXT"
_COLUMNS = "device_id, kind, label, root_key, password_hash, enrolled_at, revoked_at, mosquitto_hash"


class RegistryError(PeilmerkError):
    """The registry cannot be used, or was asked for something it does not have."""


@dataclass(frozen=True, slots=True)
class Device:
    """One enrolled device. Secrets are left out of its `repr`."""

    device_id: str
    kind: str
    label: str
    root_key: bytes = field(repr=False)
    password_hash: str = field(repr=False)
    enrolled_at: float
    revoked_at: float | None = None
    mosquitto_hash: str | None = field(default=None, repr=False)
    """None for a device that was enrolled before the registry kept it."""
    mqtt_password: str | None = field(default=None, repr=False)
    """Only on what `enrol` returns; nowhere else in the world but on the board."""

    @property
    def revoked(self) -> bool:
        """Whether the device may no longer connect."""
        return self.revoked_at is not None


class Registry:
    """The devices in one file. Safe to share between threads; several processes may hold the same file."""

    def __init__(self, path: Path) -> None:
        """Open the registry, making file and folder when they are missing.

        Raises RegistryError when the file cannot be opened, is not a registry, or is of a newer version.
        """
        self.path = Path(path)
        self._lock = threading.Lock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # SQLite gives its journal files the mode of the database, so the mode has to be right from
            # the start.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
            self.path.chmod(0o600)
            self._db = sqlite3.connect(
                self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as reason:
            raise RegistryError(f"{self.path}: cannot open the registry of devices: {reason}") from reason
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._migrate()
        except sqlite3.OperationalError as reason:
            self._db.close()
            raise RegistryError(f"{self.path}: cannot open the registry of devices: {reason}") from reason
        except sqlite3.Error as reason:
            self._db.close()
            raise RegistryError(f"{self.path}: found no registry of devices: {reason}") from reason
        except RegistryError:
            self._db.close()
            raise

    def _migrate(self) -> None:
        with self._transaction() as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version > SCHEMA_VERSION:
                raise RegistryError(
                    f"{self.path}: found a registry of version {version}, wanted at most {SCHEMA_VERSION}: "
                    "it was written by a newer peilmerk"
                )
            if version < 1:
                for statement in _SCHEMA.strip().rstrip(";").split(";\n"):
                    db.execute(statement)
            if version < 2:
                db.execute(_MOSQUITTO)
            if version < 3:
                registry_trail.begin(db, time.time())
                db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def enrol(self, kind: str, label: str) -> Device:
        """Make a device with fresh random id, root key and password, and return it with the password.

        `kind` is what the board is ("counter", "air"); `label` is the technician's own name for it, one
        line of at most 80 characters, never published.
        """
        if not KIND.fullmatch(kind):
            raise RegistryError(f"found kind {kind!r}, wanted a lower-case word such as 'counter' or 'air'")
        if not label or len(label) > LABEL_CHARACTERS or not label.isprintable():
            raise RegistryError(
                f"found label {label!r}, wanted one line of 1 to {LABEL_CHARACTERS} printable characters"
            )
        password = secrets.token_urlsafe(32)
        device = Device(
            device_id=new_device_id(secrets.token_bytes(10)),
            kind=kind,
            label=label,
            root_key=secrets.token_bytes(32),
            password_hash=bcrypt.hashpw(password.encode(), bcrypt.gensalt(BCRYPT_ROUNDS)).decode(),
            enrolled_at=time.time(),
            mosquitto_hash=mosquitto_hash.hash_password(password),
            mqtt_password=password,
        )
        with self._transaction() as db:
            db.execute(
                f"INSERT INTO device ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, NULL, ?)",
                (
                    device.device_id,
                    device.kind,
                    device.label,
                    device.root_key,
                    device.password_hash,
                    device.enrolled_at,
                    device.mosquitto_hash,
                ),
            )
            db.execute("UPDATE credentials SET revision = revision + 1")
            registry_trail.enrolled(db, device.device_id, device.enrolled_at)
        return device

    def get(self, device_id: str) -> Device | None:
        """Return the device, revoked or not, or None when there is no such device."""
        with self._lock:
            row = self._db.execute(
                f"SELECT {_COLUMNS} FROM device WHERE device_id = ?", (device_id,)
            ).fetchone()
        return None if row is None else Device(*row)

    def all(self) -> list[Device]:
        """Return every device, revoked ones too, in the order of enrolment."""
        with self._lock:
            rows = self._db.execute(
                f"SELECT {_COLUMNS} FROM device ORDER BY enrolled_at, device_id"
            ).fetchall()
        return [Device(*row) for row in rows]

    def revoke(self, device_id: str) -> Device:
        """Take a device's right to connect away for ever; doing it twice changes nothing.

        Raises RegistryError when there is no such device.
        """
        now = time.time()
        with self._transaction() as db:
            changed = db.execute(
                "UPDATE device SET revoked_at = ? WHERE device_id = ? AND revoked_at IS NULL",
                (now, device_id),
            ).rowcount
            if changed:
                db.execute("UPDATE credentials SET revision = revision + 1")
                registry_trail.revoked(db, device_id, now)
        device = self.get(device_id)
        if device is None:
            raise RegistryError(f"found no device {device_id!r} in {self.path}, wanted one that is enrolled")
        return device

    def forget_label(self, device_id: str) -> None:
        """Put a plain word in place of a device's label, which may name somebody; no byte of it is left.

        Raises RegistryError when others hold the file meanwhile: then it is to be done again.
        """
        with self._transaction() as db:
            db.execute("UPDATE device SET label = 'erased' WHERE device_id = ?", (device_id,))
        with self._lock:
            self._db.execute("VACUUM")
            busy, *_ = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise RegistryError(f"{self.path}: found others at work in it, wanted it for a moment: try again")

    def revision(self) -> int:
        """Return a number that rises whenever the set of devices that may connect changes."""
        with self._lock:
            row = self._db.execute("SELECT revision FROM credentials").fetchone()
        return int(row[0])

    def trail_head(self) -> tuple[int, bytes]:
        """Return number and digest of the last enrolment or revocation, or of the trail's beginning."""
        with self._lock:
            return registry_trail.head(self._db)

    def close(self) -> None:
        """Let go of the file; further calls raise sqlite3.ProgrammingError."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
