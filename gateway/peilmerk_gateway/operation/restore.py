"""Puts a backup back as a gateway that can run, where its settings say that everything lies.

Nothing that is there is overwritten, and the settings come last: what was interrupted cannot be run. What an
older state means for numbers, commands and platforms is put right in the store (`store.upkeep`) before
anything is started; what cannot be put right is returned, because somebody has to see to it.
"""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from peilmerk_gateway import settings as gateway_settings
from peilmerk_gateway.operation.backup import Backup, BackupError, load_command, places, read_list
from peilmerk_gateway.registry import Registry
from peilmerk_gateway.registry_trail import check as check_registry
from peilmerk_gateway.settings import FILE_NAME, Settings
from peilmerk_gateway.store import Store, StoreError
from peilmerk_gateway.store.trail_check import Verdict
from peilmerk_gateway.store_place import Database


@dataclass(frozen=True, slots=True)
class Restored:
    """What was put back, and what was done to it."""

    settings: Settings
    backup: Backup
    devices: int
    commands_withdrawn: int
    verdict: Verdict


async def restore(source: Path, folder: Path, expected: tuple[int, str] | None = None) -> Restored:
    """Put the backup in `source` back, its settings into `folder`.

    Raises BackupError naming what is in the way. `expected` is (number, digest) of the audit trail's head
    that was written down when it was made.
    """
    backup = read_list(source)
    if expected is not None and (expected[0], expected[1].lower()) != backup.head:
        found = f"{backup.head[0]}:{backup.head[1]}"
        raise BackupError(f"{source}: found a trail that ends with {found}, expected another")
    try:
        settings = _put_files(source, folder, backup)
        restored = await _resume(settings, backup)
        # The settings last: without them nobody can run what was interrupted.
        _put(source / FILE_NAME, settings.file)
    except (OSError, sqlite3.Error) as reason:
        raise BackupError(f"{folder}: the backup cannot be put back: {reason}") from reason
    return restored


def _put_files(source: Path, folder: Path, backup: Backup) -> Settings:
    """Put every file but the settings where it belongs; return the settings."""
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{FILE_NAME}.{os.getpid()}"
    _put(source / FILE_NAME, draft)
    try:
        settings = gateway_settings.load(draft)
    finally:
        draft.unlink(missing_ok=True)
    settings = settings.model_copy(update={"file": (folder / FILE_NAME).resolve()})
    targets = _targets(settings, backup)
    for target in targets.values():
        if target.exists():
            raise BackupError(f"{target}: found something there, wanted nothing: it is not overwritten")
    for path, target in targets.items():
        if path != FILE_NAME:
            _put(source / path, target)
    return settings


def _targets(settings: Settings, backup: Backup) -> dict[str, Path]:
    """Return where each file of a backup goes; single files before folders of the same beginning."""
    where = places(settings)
    found = {}
    for one in backup.files:
        place, _, rest = one.path.partition("/")
        if one.path in where:
            found[one.path] = where[one.path]
        elif place in where and rest and "/" not in rest:
            found[one.path] = where[place] / rest
        else:
            raise BackupError(f"{one.path}: found it in the backup, wanted a file that its settings name")
    return found


async def _resume(settings: Settings, backup: Backup) -> Restored:
    now = settings.make_clock().now()
    if now < backup.made_at:
        raise BackupError(
            f"found a backup of {backup.made_at:.0f}, wanted one of before {now:.0f}: "
            "this machine's clock is wrong"
        )
    with Registry(settings.gateway.registry) as registry:
        devices = [device.device_id for device in registry.all()]
    sinks = [sink.name for sink in settings.sinks]
    place = settings.store_place
    if isinstance(place, Database):
        await _see_that_it_is_the_dump(place, backup)
    async with await Store.open(place, sinks) as store:
        resumed = await store.resume(devices, backup.made_at, now)
        # A copy of PostgreSQL is older than the rest: of it the trail need not go as far.
        whole = backup.head[0] and backup.store == "sqlite"
        verdict = await store.check_trail(
            backup.head if whole else None, check_registry(settings.gateway.registry)
        )
    return Restored(settings, backup, resumed.devices, resumed.withdrawn, verdict)


async def _see_that_it_is_the_dump(database: Database, backup: Backup) -> None:
    """Raise BackupError when the database is not the copy of the store that belongs to a backup."""
    load = f"put the copy of the store back first: {load_command(database)}"
    try:
        async with await Store.look(database) as store:
            head = await store.trail_head()
    except StoreError as reason:
        raise BackupError(f"{reason}; {load}") from reason
    if head[0] > backup.head[0]:
        raise BackupError(
            f"{database}: found a trail of {head[0]} entries, wanted at most {backup.head[0]}, as when the "
            f"backup was made: it is in use. {load}"
        )


def _put(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Boards are given the authority's certificate, and whoever reads records may: all the rest is secret.
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        with source.open("rb") as opened:
            while chunk := opened.read(1 << 20):
                file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
