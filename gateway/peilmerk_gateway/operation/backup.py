"""A backup of a gateway's folder, taken while it runs: a folder of files, each named by its digest in a list.

What is in it: settings, deployment records in force and the texts of earlier ones, the store and the registry
as SQLite's online backup takes them, the authority and the certificates, firmware that is offered, and the
files with secrets that the settings name. Everything is readable by its owner only, and belongs where keys
belong.

What is not in it, and why:

- the broker's stream: it holds what boards were told is safe and the store does not have yet, which is less
  than a second's worth while the gateway runs. It changes with every message, so no copy of it is ever right;
  boards keep what they have not sent for ten days and more;
- who has a sensor at home, and the key to that: whoever holds a backup of the gateway learns of no person.

A store in PostgreSQL is not in it either: `pg_dump` makes a copy of that, of one moment, and is run first,
for the reason below. By the head that is in it a backup then tells whether both belong together.

The store is copied first. The registry and the texts of records come after it, so that they have everything
of which the store's audit trail tells.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from peilmerk_gateway import disk
from peilmerk_gateway.deployments.history import FOLDER as HISTORY
from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.settings import FILE_NAME, Settings
from peilmerk_gateway.store import STORE_FILE, Store
from peilmerk_gateway.store_place import Database

LIST_FILE = "backup.json"
FORMAT = 1


class BackupError(PeilmerkError):
    """A backup cannot be made or used; the text says what was found and what was wanted."""


@dataclass(frozen=True, slots=True)
class Copied:
    """One file of a backup: `path` in it, and what it is of (see `places`)."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup says of itself. `made_at` is unix seconds in the gateway's time."""

    format: int
    peilmerk: str
    made_at: float
    head: tuple[int, str]
    """Number and digest of the last entry of its audit trail."""
    files: tuple[Copied, ...]
    store: str = "sqlite"
    """What kind of store it is of; of another one the store is not among the files."""


def dump_command(database: Database) -> str:
    """Return the operator's command that copies a PostgreSQL store; it has no password in it."""
    return f"pg_dump --format=custom --file=store.dump '{database.url}'"


def load_command(database: Database) -> str:
    """Return the operator's command that puts such a copy back into an empty database."""
    return f"pg_restore --no-owner --exit-on-error --single-transaction --dbname='{database.url}' store.dump"


def places(settings: Settings) -> dict[str, Path]:
    """Return where what is under each name of a backup lies in a gateway: folders and single files."""
    data, broker, web = settings.gateway.data_dir, settings.broker, settings.web
    store = settings.store
    found: dict[str, Path | None] = {
        FILE_NAME: settings.file,
        STORE_FILE: None if store else data / STORE_FILE,
        "named/store.password_file": store.password_file if store else None,
        "named/store.ca_file": store.ca_file if store else None,
        "registry.db": settings.gateway.registry,
        "records": data / HISTORY,
        "deployments": settings.deployments.directory,
        "trust": settings.trust_dir,
        "firmware": settings.update.folder if settings.update else None,
        "named/broker.certificate": broker.certificate,
        "named/broker.key": broker.key,
        "named/broker.authority": broker.authority,
        "named/broker.mqtt.password_file": broker.mqtt.password_file if broker.mqtt else None,
        "named/broker.mqtt.ca_file": broker.mqtt.ca_file if broker.mqtt else None,
        "cluster": data / "cluster" if broker.cluster else None,
        "named/broker.cluster.password_file": broker.cluster.password_file if broker.cluster else None,
        "named/broker.cluster.ca_file": broker.cluster.ca_file if broker.cluster else None,
        "named/web.certificate": web.certificate,
        "named/web.key": web.key,
        "named/web.metrics_token_file": web.metrics_token_file,
    }
    for sink in settings.sinks:
        found[f"named/sinks.{sink.name}.token_file"] = sink.token_file
    return {name: path for name, path in found.items() if path is not None}


def back_up(settings: Settings, folder: Path, now: float) -> Backup:
    """Write a backup into a new folder, whole or not at all, also while the gateway runs.

    Raises BackupError.
    """
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    if folder.exists():
        raise BackupError(f"{folder}: found something there, wanted a new folder")
    place = settings.store_place
    if isinstance(place, Path) and not place.is_file():
        raise BackupError(f"{place}: found no store, wanted one: 'peilmerk gateway run' makes it")
    head = asyncio.run(_head_of(place)) if isinstance(place, Database) else None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft.mkdir(mode=0o700)
        try:
            made = _write(settings, draft, now, head)
            draft.rename(folder)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
    except (OSError, sqlite3.Error) as reason:
        raise BackupError(f"{folder}: the backup cannot be written: {reason}") from reason
    return made


async def _head_of(database: Database) -> tuple[int, str]:
    async with await Store.look(database) as store:
        return await store.trail_head()


def _write(settings: Settings, draft: Path, now: float, head: tuple[int, str] | None) -> Backup:
    """`head` is that of a store that is not to be copied."""
    where = places(settings)
    for name in (STORE_FILE, "registry.db"):
        if name in where and where[name].is_file():
            _copy_database(where.pop(name), draft / name)
    kind = "sqlite" if head is None else "postgresql"
    head = _head(draft / STORE_FILE) if head is None else head
    for name, path in where.items():
        for source, at in _files(name, path):
            _copy(source, draft / at)
    files = tuple(
        Copied(file.relative_to(draft).as_posix(), digest(file), file.stat().st_size)
        for file in sorted(draft.rglob("*"))
        if file.is_file()
    )
    made = Backup(FORMAT, version("peilmerk"), now, head, files, kind)
    _private(draft / LIST_FILE, json.dumps(asdict(made), indent=1).encode())
    for path in (*draft.rglob("*"), draft):
        if path.is_dir():
            disk.sync(path)
    return made


def _files(name: str, path: Path) -> Iterator[tuple[Path, str]]:
    """Yield (file, its path in the backup) of a file, or of everything in a folder."""
    if path.is_file():
        yield path, name
    elif path.is_dir():
        for file in sorted(path.iterdir()):
            # What begins with a dot is a file that somebody is writing just now.
            if file.is_file() and not file.name.startswith(".") and file.suffix != ".part":
                yield file, f"{name}/{file.name}"


def _copy_database(source: Path, target: Path) -> None:
    """Copy an SQLite file as of one moment, whoever writes to it meanwhile."""
    _private(target, b"")
    with (
        closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=30)) as read,
        closing(sqlite3.connect(target)) as write,
    ):
        # In one step: between two, a writer would make it begin anew, for ever on a busy store.
        read.backup(write)
        # One file, without a journal beside it.
        write.execute("PRAGMA journal_mode = DELETE")
        (said,) = write.execute("PRAGMA quick_check(1)").fetchone()
    if said != "ok":
        raise BackupError(f"{source}: found it damaged, wanted it whole: {said}")
    with target.open("rb") as file:
        os.fsync(file.fileno())


def _head(store: Path) -> tuple[int, str]:
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as read:
        try:
            row = read.execute("SELECT number, digest FROM audit_head WHERE id = 1").fetchone()
        except sqlite3.OperationalError:
            row = None  # of a version without a trail
    return (0, "") if row is None else (row[0], row[1].hex())


def _copy(source: Path, target: Path) -> None:
    try:
        content = source.read_bytes()
    except FileNotFoundError:
        return  # a text that was erased a moment ago
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _private(target, content)


def _private(target: Path, content: bytes) -> None:
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def digest(file: Path) -> str:
    """Return a file's SHA-256 in hexadecimal digits."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def read_list(folder: Path) -> Backup:
    """Return what a backup says of itself, every file of it checked.

    Raises BackupError naming the first fault.
    """
    file = folder / LIST_FILE
    try:
        told = json.loads(file.read_bytes())
        found = Backup(
            told["format"],
            told["peilmerk"],
            float(told["made_at"]),
            (int(told["head"][0]), str(told["head"][1])),
            tuple(Copied(str(one["path"]), str(one["sha256"]), int(one["size"])) for one in told["files"]),
            str(told.get("store", "sqlite")),
        )
    except OSError as reason:
        raise BackupError(f"{file}: {reason.strerror}, wanted a backup's list") from None
    except (ValueError, KeyError, TypeError, IndexError):
        raise BackupError(f"{file}: found no list of a backup in it, wanted one") from None
    if found.format != FORMAT:
        raise BackupError(f"{file}: found a backup of form {found.format}, wanted {FORMAT}")
    listed = {one.path for one in found.files}
    wanted = {FILE_NAME, "registry.db"} | ({STORE_FILE} if found.store == "sqlite" else set())
    if wanted - listed:
        raise BackupError(f"{file}: found no settings, store or registry in its list, wanted all of them")
    for one in found.files:
        path = folder / one.path
        if ".." in Path(one.path).parts or Path(one.path).is_absolute() or path.is_symlink():
            raise BackupError(f"{file}: found a path {one.path!r}, wanted one inside of the backup")
        if not path.is_file():
            raise BackupError(f"{path}: not found, wanted the file that the backup's list tells of")
        if digest(path) != one.sha256:
            raise BackupError(f"{path}: found it changed, wanted it as it was backed up")
    return found
