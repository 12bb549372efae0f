"""Make an SQLite store whole again when nothing but indexes of it is damaged.

Indexes hold nothing that the tables do not, nor does `device_stream`. So every row is read from the other
tables, without any index, into a new file, and that takes the old one's place if the audit trail holds in it:
not a row is missing or changed.
Where a page of a table itself is damaged, its rows are not in the file any more. The mirror has them, and is
asked first (`mend`); where there is none nothing is put in place, and a person decides (a backup).

    store.db               the store
    store.db.damaged       says that it is to be salvaged at the next start, or that it cannot be
    store.db.salvaged      the new file, while it is being made
    store.db.next          the same once it was checked, until it is in place
    store.db.damaged-<s>   the old file after it was replaced, s seconds of unix time; kept for a day, because
                           its figures are as old as they are anywhere
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import structlog
from sqlalchemy.exc import DBAPIError

from peilmerk_gateway import disk
from peilmerk_gateway.store import engine, trail_check
from peilmerk_gateway.store.schema import device_stream, metadata

KEPT_S = 86_400
KINDS = ("mended", "salvaged")
_TO_DO, _IN_VAIN = "to do", "in vain"
_JOURNALS = ("", "-wal", "-shm")

_log = structlog.get_logger(__name__)


class SalvageError(engine.StoreError):
    """The store cannot be made whole; the text says what is in the way."""


@dataclass(frozen=True, slots=True)
class Salvaged:
    """How many rows were read into the new file, and where the old one is."""

    rows: int
    kept: Path


def mark(file: Path) -> bool:
    """Note that a store is to be salvaged at the next start; False when that was tried in vain."""
    if _marked(file) == _IN_VAIN:
        return False
    _write_mark(file, _TO_DO)
    return True


def is_marked(file: Path) -> bool:
    """Whether a store is to be salvaged."""
    return _marked(file) == _TO_DO


def is_in_vain(file: Path) -> bool:
    """Whether it was tried to make this very file whole, and could not be."""
    return _marked(file) == _IN_VAIN


def salvage(file: Path, now: float | None = None) -> Salvaged:
    """Put a store in place that has every row of the damaged one. Nobody else may have it open.

    Raises SalvageError, and leaves everything as it was, when a row is missing; StoreError or OSError for
    what may pass, such as a disk without room for a second file.
    """
    new = draft(file, "salvaged")
    remove(new)
    try:
        rows = _copy(file, new)
        check(new)
        kept = put_in_place(new, file, now)
    except SalvageError:
        _write_mark(file, _IN_VAIN)
        raise
    finally:
        remove(new)
    return Salvaged(rows, kept)


def put_in_place(new: Path, file: Path, now: float | None = None) -> Path:
    """Put a file that was checked in the place of the damaged one; return where that is kept.

    Killed in the middle of it, `finish` goes on: a store is several files, and no moment may leave some of
    the one beside some of the other, or none at all.
    """
    new.replace(_next_to(file))
    disk.sync(file.parent)
    return finish(file, now) or file


def finish(file: Path, now: float | None = None) -> Path | None:
    """Go on with what `put_in_place` had begun; return where the damaged store is kept, None for nothing.

    Nobody may have the store open. Raises OSError.
    """
    ready = _next_to(file)
    if not ready.exists():
        return None
    moment = int(time.time() if now is None else now)
    kept = file.with_name(f"{file.name}.damaged-{moment}")
    for journal in _JOURNALS:
        if (old := Path(f"{file}{journal}")).exists():
            old.replace(f"{kept}{journal}")
    # Before the next name is, or the old journal would be the new file's.
    disk.sync(file.parent)
    ready.replace(file)
    disk.sync(file.parent)
    _mark_of(file).unlink(missing_ok=True)
    return kept


def forget(file: Path, until: float) -> int:
    """Delete what was replaced until then (unix seconds), with its journals; return how many files."""
    gone = 0
    for old in file.parent.glob(f"{file.name}.damaged-*"):
        moment = old.name.removeprefix(f"{file.name}.damaged-").partition("-")[0]
        if moment.isdecimal() and int(moment) <= until:
            old.unlink(missing_ok=True)
            gone += 1
    return gone


def _copy(file: Path, new: Path) -> int:
    os.close(os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    opened = engine.open_engine(new, writer=True)
    try:
        engine.migrate(opened)
        _, wanted = engine.revisions(opened)
    finally:
        opened.dispose()
    rows = 0
    with closing(sqlite3.connect(new, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = FULL")
        db.execute("ATTACH ? AS old", (str(file),))
        table = "alembic_version"
        try:
            found = [row[0] for row in db.execute("SELECT version_num FROM old.alembic_version")]
            if found != [wanted]:
                raise SalvageError(f"{file}: found a store of revision {found}, wanted {wanted}")
            db.execute("BEGIN")
            for one in metadata.sorted_tables:
                if one is device_stream:
                    continue
                table = one.name
                # Column by column: of two alike tables SQLite would otherwise copy the pages, indexes too.
                names = ", ".join(column[1] for column in db.execute(f"PRAGMA main.table_info({table})"))
                order = ""
                if not one.dialect_options["sqlite"]["with_rowid"]:
                    # Else SQLite reads an index that has every column, whatever is said of indexes.
                    order = f" ORDER BY {', '.join(column.name for column in one.primary_key)}"
                db.execute(f"DELETE FROM main.{table}")
                done = db.execute(
                    f"INSERT INTO main.{table} ({names}) SELECT {names} FROM old.{table} NOT INDEXED{order}"
                )
                rows += done.rowcount
                _log.info("salvaging the store", table=table, rows=done.rowcount)
            db.execute("DELETE FROM main.device_stream")
            told = (
                "INSERT INTO main.device_stream SELECT DISTINCT device_id, datastream FROM main.observation"
            )
            rows += db.execute(told).rowcount
            db.execute("COMMIT")
        except sqlite3.DatabaseError as reason:
            if engine.is_damage(reason) or isinstance(reason, sqlite3.IntegrityError):
                raise SalvageError(f"{file}: rows of {table} cannot be read: {reason}") from reason
            raise engine.StoreError(f"{new}: cannot be written: {reason}") from reason
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return rows


def check(new: Path) -> None:
    """Raise SalvageError unless a file is whole and its audit trail holds; then it is on the disk."""
    opened = engine.open_engine(new, writer=False)
    try:
        with opened.begin() as connection:
            if found := engine.damaged(connection):
                raise SalvageError(f"{new}: {found[0]}")
            verdict = trail_check.check(connection)
    except DBAPIError as reason:
        if engine.is_damage(reason.orig):
            raise SalvageError(f"{new}: {reason.orig}") from reason
        raise engine.StoreError(f"{new}: cannot be read: {reason.orig}") from reason
    finally:
        opened.dispose()
    if not verdict.ok:
        raise SalvageError(f"{new}: the audit trail does not hold: {verdict.faults[0]}")
    with new.open("rb") as file:
        os.fsync(file.fileno())


def _next_to(file: Path) -> Path:
    return file.with_name(f"{file.name}.next")


def _mark_of(file: Path) -> Path:
    return file.with_name(f"{file.name}.damaged")


def _marked(file: Path) -> str:
    """Return what was noted of this very file, and not of one that has taken its place since."""
    try:
        inode, _, word = _mark_of(file).read_text().strip().partition(" ")
        return word if inode == str(file.stat().st_ino) else ""
    except FileNotFoundError:
        return ""


def _write_mark(file: Path, word: str) -> None:
    _mark_of(file).write_text(f"{file.stat().st_ino} {word}\n")


def draft(file: Path, kind: str) -> Path:
    """Return where a new file is made that is to take a damaged store's place."""
    return file.with_name(f"{file.name}.{kind}")


def remove_drafts(file: Path) -> None:
    """Delete what was being made when somebody was killed. Raises OSError."""
    for kind in KINDS:
        remove(draft(file, kind))


def remove(new: Path) -> None:
    """Delete a file that is being made, with its journals."""
    for journal in _JOURNALS:
        Path(f"{new}{journal}").unlink(missing_ok=True)
