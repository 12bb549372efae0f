"""The owners' store: one SQLite file that only its owner can read, every host sealed in it.

A host is one row: a random id, the key's id, and everything else as JSON under AES-256-GCM (`cryptography`),
with a random nonce of 96 bits and the row's id bound in, so that no row can stand in for another. Whoever has
the file without the key learns how many hosts there are. What is deleted is overwritten, and the file is
written anew.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import ValidationError

from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.hosts import keys
from peilmerk_gateway.hosts.host import Host

FILE = "owners.sqlite"
KEY_FILE = "owners.key"
NONCE_BYTES = 12
_SCHEMA = """
CREATE TABLE IF NOT EXISTS host (
    host_id TEXT PRIMARY KEY,
    key_id  TEXT NOT NULL,
    nonce   BLOB NOT NULL,
    sealed  BLOB NOT NULL
) WITHOUT ROWID
"""


class VaultError(PeilmerkError):
    """The owners' store cannot be used; the text never has anything of a host."""


class Vault:
    """The hosts of one gateway. Used by one command at a time; another waits."""

    def __init__(self, file: Path, key_file: Path, *, make: bool = False) -> None:
        """Open the store with its key; with `make`, make both where neither is there.

        Raises VaultError or KeyFileError: also when one is there without the other, or others may read one.
        """
        self.file, self._key_file = file, key_file
        if make and not file.exists():
            if not key_file.exists():
                keys.write(key_file, [keys.new_key()], new=True)
            os.close(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600))
        if not file.is_file():
            raise VaultError(f"{file}: found no store of owners, wanted one: 'peilmerk host add' makes it")
        if (mode := file.stat().st_mode & 0o777) & 0o077:
            raise VaultError(
                f"{file}: found mode {mode:04o}, wanted 0600: others could read the store of owners"
            )
        self._keys = keys.read(key_file)
        try:
            self._db = sqlite3.connect(file, timeout=30.0, isolation_level=None)
            for pragma in ("secure_delete = ON", "synchronous = FULL", "journal_mode = DELETE"):
                self._db.execute(f"PRAGMA {pragma}")
            self._db.execute(_SCHEMA)
        except sqlite3.Error as reason:
            raise VaultError(f"{file}: found no store of owners: {reason}") from None

    def __enter__(self) -> Vault:
        return self

    def __exit__(self, *exception: object) -> None:
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            # Another command may have rotated the key since.
            self._keys = keys.read(self._key_file)
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def put(self, host: Host) -> None:
        """Write a host down, in place of the one of the same id."""
        with self._transaction():
            self._put(host)

    def _put(self, host: Host) -> None:
        key, nonce = self._keys[0], secrets.token_bytes(NONCE_BYTES)
        sealed = AESGCM(key.value).encrypt(nonce, host.model_dump_json().encode(), _bound(host.host_id))
        self._db.execute(
            "INSERT OR REPLACE INTO host VALUES (?, ?, ?, ?)", (host.host_id, key.id, nonce, sealed)
        )

    def all(self) -> list[Host]:
        """Return every host, in the order in which they joined. Raises VaultError for what is not ours."""
        rows = self._db.execute("SELECT host_id, key_id, nonce, sealed FROM host").fetchall()
        return sorted((self._open(*row) for row in rows), key=lambda host: (host.joined_at, host.host_id))

    def _open(self, host_id: str, key_id: str, nonce: bytes, sealed: bytes) -> Host:
        for key in self._keys:
            if key.id == key_id:
                try:
                    host = Host.model_validate_json(AESGCM(key.value).decrypt(nonce, sealed, _bound(host_id)))
                except (InvalidTag, ValueError, ValidationError):
                    break
                if host.host_id == host_id:
                    return host
                break
        raise VaultError(
            f"{self.file}: found host {host_id} sealed by another key, or changed, wanted our own"
        )

    def find(self, text: str) -> Host | None:
        """Return the host of this id, or of this device, or None."""
        return next((host for host in self.all() if text in (host.host_id, host.device_id)), None)

    def remove(self, host_id: str) -> None:
        """Delete a host for good: no byte of the row is left in the file."""
        with self._transaction():
            self._db.execute("DELETE FROM host WHERE host_id = ?", (host_id,))
        self._db.execute("VACUUM")

    def rotate(self) -> int:
        """Seal every host under a new key, and forget the old one; return how many.

        Cut off at any moment, the store opens with the key file as it is then, and may be rotated again.
        """
        with self._transaction():
            hosts = self.all()
            self._keys.insert(0, keys.new_key())
            keys.write(self._key_file, self._keys)
            for host in hosts:
                self._put(host)
        with self._transaction():
            used = {key_id for (key_id,) in self._db.execute("SELECT DISTINCT key_id FROM host")}
            keys.write(self._key_file, [key for n, key in enumerate(self._keys) if n == 0 or key.id in used])
        self._db.execute("VACUUM")
        return len(hosts)


def _bound(host_id: str) -> bytes:
    return b"peilmerk host " + host_id.encode()
