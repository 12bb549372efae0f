"""Put a store whole that is damaged, from its mirror: page by page what it was at its last commit.

The mirror and the write-ahead log are copied into a new file, SQLite puts the log into it, and it takes the
damaged file's place if no page of it is damaged and the audit trail holds in it. Nothing is lost by that and
nothing comes back that was erased: see `mirror`.

A mirror in doubt, because something wrote into the store's file past it, may lack what that was. It is taken
only if the damaged store itself tells of the same last entry of the trail; and where not even that can be
read, only if one page differs and no more.

    store.db.mended        the new file, while it is being made; then store.db.next: see `salvage`
    store.db.damaged-<s>   the old one
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import NullPool, create_engine
from sqlalchemy.exc import DBAPIError

from peilmerk_gateway.store import engine, mirror, salvage, trail, trail_check, upkeep, wal
from peilmerk_gateway.store.salvage import SalvageError

SPARE_BYTES = 64 << 20
_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class Mended:
    """What was put back: how many pages differed (None: not counted), the last entry, the damaged file."""

    pages: int | None
    entry: int
    kept: Path


def settle(file: Path) -> None:
    """See to a store's mirror before the store is opened: make it, or hold it against the store's file.

    Nobody else may have the store open. Raises StoreDamaged when the store is found damaged by that, and
    StoreError when the store is gone and its mirror is not; MirrorError when no mirror can be made.
    """
    if not file.exists():
        if mirror.state(file) is not None:
            raise engine.StoreError(
                f"{file}: found no store, and a mirror of one in {mirror.folder_of(file)}, wanted both; to "
                "begin a new store put that folder away"
            )
        return
    known = mirror.state(file)
    if known is not None and mirror.stamp(file) == known.main:
        return
    if known is not None:
        if not differing(file):
            mirror.note(file, mirror.State(known.salts, known.frames, mirror.stamp(file)))
            return
        try:
            fault = _fault(file)
        except engine.StoreError as reason:
            raise mirror.MirrorError(str(reason)) from reason
        if fault is not None:
            raise engine.StoreDamaged(f"{file}: differs from its mirror, and is not whole: {fault}")
    mirror.make(file)


def from_mirror(file: Path, now: float) -> Mended:
    """Put a store in place that is what the damaged one was, as of its last commit (`now` in unix seconds).

    Raises SalvageError, and leaves everything as it was, when that cannot be; StoreError or OSError for what
    may pass, such as a disk without room. Nobody else may have the store open.
    """
    known = mirror.state(file)
    if known is None:
        raise SalvageError(f"{mirror.folder_of(file)}: found no mirror of it there: {mirror.told(file)}")
    in_doubt = not file.exists() or mirror.stamp(file) != known.main
    pages = len(differing(file)) if file.exists() else None
    new = salvage.draft(file, "mended")
    salvage.remove(new)
    try:
        _copy(file, new)
        entry = _go_on(file, new, in_doubt, pages, now)
        salvage.check(new)
        kept = salvage.put_in_place(new, file)
    finally:
        salvage.remove(new)
    # Made anew when the gateway starts: the new file is another one.
    mirror.make(file)
    return Mended(pages, entry, kept)


def differing(file: Path) -> set[int]:
    """Return which pages of a store's file are not what the mirror has; those of the log come from there.

    A page that its disk does not give differs. For a process that has the store not open: see `mirror`.
    Raises OSError.
    """
    size = _page_size(mirror.copy_of(file)) or _page_size(file)
    if not size:
        return set()
    log = wal.read(wal.of(file))
    found: set[int] = set()
    most = max(1, _AT_ONCE // size)
    with file.open("rb") as one, mirror.copy_of(file).open("rb") as other:
        page = 1
        while True:
            mine, unreadable = _pages(one.fileno(), page, most, size)
            found |= unreadable
            its = other.read(most * size)
            if not mine and not its:
                break
            if mine != its:
                for at in range(0, max(len(mine), len(its)), size):
                    if mine[at : at + size] != its[at : at + size]:
                        found.add(page + at // size)
            page += most
    later = set(log.numbers)
    return {page for page in found if page not in later and not (log.size and page > log.size)}


def _pages(opened: int, first: int, n: int, size: int) -> tuple[bytes, set[int]]:
    """Read so many pages of a file; return also those of them that the disk does not give, as zeros."""
    try:
        return os.pread(opened, n * size, (first - 1) * size), set()
    except OSError as reason:
        if reason.errno != errno.EIO:
            raise
    if n == 1:
        return bytes(size), {first}
    parts = [_pages(opened, page, 1, size) for page in range(first, first + n)]
    return b"".join(part for part, _ in parts), set().union(*(bad for _, bad in parts))


def differing_in_use(file: Path, reader: mirror.Reader) -> list[int] | None:
    """Return `differing` of a store that is in use; None when something wrote into either file meanwhile.

    Another process reads, see `mirror`; its gateway makes no checkpoint meanwhile. Raises MirrorError and
    OSError.
    """
    before = mirror.state(file), mirror.stamp(file)
    said = reader.run(f"{file}: not compared", "-P", "-m", __name__, "differing", str(file))
    if (mirror.state(file), mirror.stamp(file)) != before:
        return None
    return [int(page) for page in said.split()]


def fault_in_use(file: Path, reader: mirror.Reader, trail: bool) -> str | None:
    """Return what is wrong with the pages of a store that is in use, and with its `trail`; None for nothing.

    Another process reads all of it, which can be ended. Raises MirrorError, OSError.
    """
    what = "trail" if trail else "pages"
    return reader.run(f"{file}: not looked at", "-P", "-m", __name__, what, str(file)).strip() or None


def _page_size(file: Path) -> int:
    with file.open("rb") as opened:
        header = opened.read(18)
    if not header.startswith(b"SQLite format 3\0"):
        return 0
    size = int.from_bytes(header[16:18], "big")
    return 65_536 if size == 1 else size


def _copy(file: Path, new: Path) -> None:
    sources = {new: mirror.copy_of(file), wal.of(new): wal.of(file)}
    there = {target: source for target, source in sources.items() if source.exists()}
    # And the mirror's own next copy.
    wanted = sum(source.stat().st_size for source in there.values()) + SPARE_BYTES
    if (free := shutil.disk_usage(file.parent).free) < wanted:
        raise engine.StoreError(f"{file.parent}: found {free >> 20} MiB free, wanted {wanted >> 20}")
    for target, source in there.items():
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        shutil.copyfile(source, target)


def _go_on(file: Path, new: Path, in_doubt: bool, pages: int | None, now: float) -> int:
    """Say in the new file's trail what happened; return the last entry before. Raises SalvageError."""
    opened = engine.open_engine(new, writer=True)
    try:
        engine.migrate(opened)
        with opened.begin() as connection:
            head = upkeep.head(connection)
            if in_doubt:
                _same(file, head, pages)
            body = {"from": "mirror", "entry": head[0]} | ({} if pages is None else {"pages": pages})
            trail.append(connection, trail.MENDED, body, now)
        with closing(opened.raw_connection()) as lent:
            lent.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except DBAPIError as reason:
        if engine.is_damage(reason.orig):
            raise SalvageError(f"{mirror.copy_of(file)}: {reason.orig}") from reason
        raise engine.StoreError(f"{new}: cannot be written: {reason.orig}") from reason
    except engine.StoreDamaged as reason:
        raise SalvageError(f"{mirror.copy_of(file)}: {reason}") from reason
    finally:
        opened.dispose()
    return head[0]


def _same(file: Path, head: tuple[int, str], pages: int | None) -> None:
    """Raise SalvageError when a store may have more than its mirror, whose trail ends with `head`."""
    found = _head(file)
    if found is None and pages != 1:
        raise SalvageError(
            f"{file}: something wrote into it past its mirror, and it does not tell any more how far its "
            f"audit trail goes; found the mirror's up to entry {head[0]}, wanted to know that none is missing"
        )
    if found is not None and found != head:
        raise SalvageError(
            f"{mirror.copy_of(file)}: found a trail up to entry {head[0]}, wanted up to {found[0]} as in "
            f"{file.name}: something wrote into it past its mirror"
        )


def _head(file: Path) -> tuple[int, str] | None:
    """Return number and digest of the last entry, of whichever table of a damaged store still tells."""
    for ask in (
        "SELECT number, digest FROM audit_head WHERE id = 1",
        "SELECT number, digest FROM audit_entry ORDER BY number DESC LIMIT 1",
    ):
        try:
            with closing(_read_only(file)) as db:
                if (row := db.execute(ask).fetchone()) is not None:
                    return int(row[0]), bytes(row[1]).hex()
        except (sqlite3.DatabaseError, TypeError, ValueError):
            continue
    return None


def _fault(file: Path, trail: bool = True) -> str | None:
    """Return what is wrong with the pages of a store, and with its `trail`, reading all; None for nothing.

    Raises StoreError when it cannot be read, for what may pass.
    """
    opened = create_engine("sqlite://", creator=lambda: _read_only(file), poolclass=NullPool)
    try:
        with opened.connect() as connection:
            if found := engine.damaged(connection):
                return found[0]
            found_revision, wanted = engine.revisions(opened)
            if found_revision != wanted or not trail:
                return None  # of another version: what its trail tells is for that one to say
            verdict = trail_check.check(connection)
            return None if verdict.ok else f"the audit trail does not hold: {verdict.faults[0]}"
    except DBAPIError as reason:
        if not engine.is_damage(reason.orig):
            raise engine.StoreError(f"{file}: cannot be read: {reason.orig}") from reason
        return str(reason.orig)
    except engine.StoreDamaged as reason:
        return str(reason)
    finally:
        opened.dispose()


def _read_only(file: Path) -> sqlite3.Connection:
    # So opened it does not put the log into the file, nor delete it, when it is closed.
    where = f"{file.absolute().as_uri()}?mode=ro"
    return sqlite3.connect(where, uri=True, isolation_level=None, check_same_thread=False)


def _print(what: str, file: Path) -> None:
    if what == "differing":
        print(*sorted(differing(file)))
    else:
        print(_fault(file, what == "trail") or "")


if __name__ == "__main__":
    _print(sys.argv[1], Path(sys.argv[2]))
