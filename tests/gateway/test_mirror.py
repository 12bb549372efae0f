"""The store's mirror: whichever page of it is damaged, the store is what it was at its last commit."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from damaged_store import but_trail, by_page, damage, entries, everything, filled, looked_at
from patience import DEADLINE_S
from sealed_street import WINDOW, Street

from peilmerk_gateway.operation import mirroring
from peilmerk_gateway.operation.mirroring import compare, keep_mirror, see_to
from peilmerk_gateway.store import (
    STORE_FILE,
    Store,
    StoreError,
    engine,
    mend,
    mirror,
    salvage,
    trail,
    wal,
)

NOW = 1.8e9


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    made = Street(tmp_path)
    yield made
    made.registry.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / STORE_FILE


async def mirrored(street: Street, file: Path) -> None:
    """A store with rows in every table that has any here, and its mirror in step."""
    mirror.folder_of(file).mkdir()
    await filled(street, file)
    see_to(file, True, NOW)
    assert mirror.told(file) == mirror.IN_STEP


@asynccontextmanager
async def with_mirror(file: Path) -> AsyncIterator[tuple[Store, mirror.Mirror]]:
    """A store that is open, with the mirror that it already has."""
    async with await Store.open(file) as store:
        assert store.mirror is not None
        store.mirror.take()
        yield store, store.mirror


@asynccontextmanager
async def kept_in_step(store: Store) -> AsyncIterator[None]:
    """The gateway's part that keeps the mirror in step, ended in good order."""
    stop = asyncio.Event()
    task = asyncio.create_task(keep_mirror(store, stop))
    try:
        yield
    finally:
        stop.set()
        await task


def comes_back(file: Path, before: dict[str, list[Any]]) -> None:
    """Mend a damaged store: it has every row, and its trail says so."""
    see_to(file, True, NOW)
    assert but_trail(everything(file)) == but_trail(before)
    assert entries(file)[-1] == trail.MENDED


async def test_what_is_read_by_others_is_not_changed_by_giving_back(street: Street, file: Path) -> None:
    """Deleting goes on while a gateway compares store and mirror, and puts neither in doubt."""
    await mirrored(street, file)
    (board,) = street.counters
    async with await Store.open(file, ("city",)) as store, kept_in_step(store):
        await street.flow(store).store([board.report(400, WINDOW - 400)])
        await store.mirror_now()
        assert mirror.told(file) == mirror.IN_STEP
        assert store.mirror is not None
        store.mirror.is_read = True
        before = mirror.stamp(file)
        await street.flow(store).store([board.report(401, WINDOW - 401)])
        await store.give_back()
        assert (mirror.stamp(file), mirror.told(file)) == (before, mirror.IN_STEP)
        store.mirror.is_read = False
        await store.give_back()
        assert mirror.stamp(file) != before
        assert mirror.told(file) == mirror.IN_STEP


async def test_whoever_connects_writes_nothing_of_a_long_log_into_the_file(
    street: Street, file: Path
) -> None:
    """As a gateway finds it that was killed, and its process that writes, when that is started anew."""
    await mirrored(street, file)
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        db.execute("PRAGMA wal_autocheckpoint = 0")
        before = file.read_bytes()
        db.executescript("BEGIN; CREATE TABLE long (a)" + "; INSERT INTO long VALUES (zeroblob(8000))" * 700)
        db.execute("COMMIT")
        assert wal.read(wal.of(file)).count > 1_000
        for _ in range(2):
            opened = engine.open_engine(file, writer=True)
            with opened.begin() as connection:
                assert connection.exec_driver_sql("SELECT count(*) FROM long").scalar_one() == 700
            opened.dispose()
        assert file.read_bytes() == before


_OPENS = """
import asyncio, sys
from pathlib import Path
from peilmerk_gateway.store import Store, StoreDamaged

async def main():
    try:
        await getattr(Store, sys.argv[2])(Path(sys.argv[1]))
    except StoreDamaged as reason:
        print(type(reason).__name__)

asyncio.run(main())
"""


@pytest.mark.parametrize("what", ["alembic_version", "sqlite_master"])
@pytest.mark.parametrize("way", ["open", "look"])
async def test_who_cannot_open_a_damaged_store_does_not_empty_its_log_past_the_mirror(
    street: Street, file: Path, way: str, what: str
) -> None:
    """Whoever tries is the only one, and with the last connection SQLite writes the log into its file."""
    await mirrored(street, file)
    (board,) = street.counters
    copied = street.folder / "killed"
    async with await Store.open(file, ("city",)) as store:
        await street.flow(store).store([board.report(400, WINDOW - 400)])
        rows = everything(file)
        shutil.copytree(file.parent, copied, ignore=shutil.ignore_patterns("*-shm", "broker"))
    killed = copied / file.name
    with closing(sqlite3.connect(f"{killed.as_uri()}?mode=ro", uri=True)) as db:
        ask = "SELECT rootpage FROM sqlite_master WHERE name = 'alembic_version'"
        page, size = db.execute(ask).fetchone()[0], db.execute("PRAGMA page_size").fetchone()[0]
    if what == "sqlite_master":
        # Its root is the first page, an inner one (https://www.sqlite.org/fileformat2.html#b_tree_pages).
        first = killed.read_bytes()[100:112]
        assert first[0] == 5
        page = int.from_bytes(first[8:], "big")
    with killed.open("r+b") as opened:
        opened.seek((page - 1) * size)
        opened.write(b"\xff" * size)
    log = wal.of(killed).read_bytes()
    assert log
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", _OPENS, str(killed), way], capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "StoreDamaged", done.stderr
    assert wal.of(killed).read_bytes().startswith(log)
    comes_back(killed, rows)


async def test_whichever_page_is_damaged_every_row_is_there_again(street: Street, file: Path) -> None:
    await mirrored(street, file)
    before, told = everything(file), entries(file)
    whole, pages = file.read_bytes(), by_page(file)
    size = len(whole) // len(pages)
    copies = {name: (file.parent / "mirror" / name).read_bytes() for name in (STORE_FILE, "state.json")}
    tables = {name for name in pages.values() if name in before}
    assert {"report", "observation", "ledger", "publish_outbox", "audit_entry", "attestation"} <= tables
    at = file.stat()
    for number, (page, name) in enumerate(pages.items()):
        file.write_bytes(whole)
        damage(file, page, size)
        for mirror_file, content in copies.items():
            (file.parent / "mirror" / mirror_file).write_bytes(content)
        if number % 2:
            # As a disk does it that forgets: nothing is written, and the file's time says nothing.
            os.utime(file, ns=(at.st_atime_ns, at.st_mtime_ns))
            salvage.mark(file)
        else:
            assert mirror.told(file) == mirror.IN_DOUBT
        see_to(file, True, NOW)
        assert but_trail(everything(file)) == but_trail(before), (page, name)
        if entries(file) != told:
            assert entries(file) == [*told, trail.MENDED], (page, name)
            for kept in file.parent.glob("*.damaged-*"):
                kept.unlink()
        else:
            assert name == "", f"page {page} of {name} is damaged still"  # a free page
        async with await Store.look(file) as store:
            assert await store.damaged() == []
            assert (await store.check_trail()).ok
        assert mirror.told(file) == mirror.IN_STEP
    left = {path.name for path in file.parent.glob(f"{STORE_FILE}*")} - {
        f"{STORE_FILE}-wal",
        f"{STORE_FILE}-shm",
    }
    assert left == {STORE_FILE}


async def test_a_page_that_its_disk_does_not_give_is_put_back(
    street: Street, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bad block: SQLite calls it malformed, and whoever else reads there has an error."""
    await mirrored(street, file)
    before, size = everything(file), file.stat().st_size // len(by_page(file))
    spoil(file, "ledger")
    page = next(page for page, name in reversed(by_page(file).items()) if name == "ledger")
    at, inode, read = (page - 1) * size, file.stat().st_ino, os.pread

    def bad(opened: int, length: int, offset: int) -> bytes:
        if os.fstat(opened).st_ino == inode and offset <= at < offset + length:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(opened, length, offset)

    monkeypatch.setattr(os, "pread", bad)
    assert mend.differing(file) == {page}
    see_to(file, True, NOW)
    assert but_trail(everything(file)) == but_trail(before)
    assert entries(file)[-1] == trail.MENDED


def as_the_mirror_has_it(file: Path, folder: Path) -> dict[str, list[Any]]:
    """What the mirror and the log together are, the store's file left aside."""
    folder.mkdir(exist_ok=True)
    for name, source in (("x.db", mirror.copy_of(file)), ("x.db-wal", wal.of(file))):
        (folder / name).unlink(missing_ok=True)
        if source.exists():
            shutil.copyfile(source, folder / name)
    found = everything(folder / "x.db")
    shutil.rmtree(folder)
    return found


async def test_it_is_in_step_at_every_commit_and_erasure_included(
    street: Street, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "EVERY_FRAMES", 40)
    monkeypatch.setattr(mirror, "LOOK_S", 0.0)
    monkeypatch.setattr(mirror, "AGAIN_FRAMES", 10)
    monkeypatch.setattr(wal, "_CHUNK", 5)
    monkeypatch.setattr(wal, "_PIECE", 7)
    see_to(file, True, NOW)
    steps: list[bool] = []
    once = mirror.Mirror.step

    def counted(self: mirror.Mirror) -> bool:
        steps.append(once(self))
        return steps[-1]

    monkeypatch.setattr(mirror.Mirror, "step", counted)
    (board,) = street.counters
    async with await Store.open(file, ("city",)) as store:
        assert mirror.told(file) == "not made yet"
        async with kept_in_step(store):
            await street.flow(store).store([board.statement(1)])
            while mirror.told(file) != mirror.IN_STEP or store.mirror is None or store.mirror.wanted:
                await asyncio.sleep(0.01)
            steps.clear()
            for n in range(40):
                await street.flow(store).store([board.report(2 + n, WINDOW - 40 + n)])
                if n % 8 == 0:
                    await store.give_back()  # empties the log
                if n % 3 == 0:
                    assert as_the_mirror_has_it(file, file.parent / "x") == everything(file), n
            assert mirror.told(file) == mirror.IN_STEP
            assert len(steps) >= 15
            assert all(steps)
            # Somebody else erases meanwhile; neither file has anything of it afterwards.
            digest = store_digest(file)
            assert digest in mirror.copy_of(file).read_bytes() + wal.of(file).read_bytes()
            await store.mirror_now()
            assert digest in mirror.copy_of(file).read_bytes()
            async with await Store.look(file) as other:
                assert (await other.erase(board.id, NOW)).rows
                await other.rewrite()
            for one in (file, wal.of(file), mirror.copy_of(file)):
                assert digest not in one.read_bytes(), one
            assert as_the_mirror_has_it(file, file.parent / "x") == everything(file)
    assert mirror.told(file) == mirror.IN_STEP
    assert as_the_mirror_has_it(file, file.parent / "x") == everything(file)
    assert not mend.differing(file)
    # Damaged after that: what comes back has nothing of it either.
    before = everything(file)
    spoil(file, "ledger")
    comes_back(file, before)
    assert before["ledger"]
    assert not before["report"]
    for path in [*file.parent.glob("store.db*"), mirror.copy_of(file)]:
        assert digest not in path.read_bytes(), path


def store_digest(file: Path) -> bytes:
    with looked_at(file) as db:
        found = db.execute("SELECT digest FROM report WHERE digest IS NOT NULL").fetchone()[0]
    return bytes(found)


def spoil(file: Path, table: str, *others: Path) -> None:
    """Overwrite a page of a table in a store, and the same page elsewhere."""
    pages = by_page(file)
    size = file.stat().st_size // len(pages)
    page = next(page for page, name in reversed(pages.items()) if name == table)
    for one in (file, *others):
        damage(one, page, size)


async def test_what_was_written_past_the_mirror_is_not_lost_by_it(street: Street, file: Path) -> None:
    await mirrored(street, file)
    # An entry of the trail that is written while the mirror is away.
    os.rename(mirror.folder_of(file), file.parent / "away")
    async with await Store.open(file) as store:
        await store.note_rules("of another", NOW)
    os.rename(file.parent / "away", mirror.folder_of(file))
    spoil(file, "ledger")
    see_to(file, True, NOW)
    # The mirror's trail is shorter: it is not taken, nor is anything else.
    assert salvage.is_in_vain(file)
    assert mirror.state(file) is not None
    with closing(sqlite3.connect(file)) as db, pytest.raises(sqlite3.DatabaseError, match="malformed"):
        db.execute("SELECT * FROM ledger").fetchall()
    assert not list(file.parent.glob("*.damaged-*")) + list(file.parent.glob("*.mended*"))
    # It is not tried again, and the mirror is not made of what is damaged.
    copy = mirror.copy_of(file).read_bytes()
    see_to(file, True, NOW)
    assert mirror.copy_of(file).read_bytes() == copy


@pytest.mark.parametrize("name", ["50%23", "no #1?mode=rw"])
async def test_a_folder_of_any_name_is_no_damage(street: Street, tmp_path: Path, name: str) -> None:
    """Of a name that means something in a URI."""
    file = tmp_path / name / STORE_FILE
    file.parent.mkdir()
    there = set(tmp_path.iterdir())
    await mirrored(street, file)
    os.rename(mirror.folder_of(file), file.parent / "away")
    async with await Store.open(file) as store:
        await store.note_rules("of another", NOW)
    os.rename(file.parent / "away", mirror.folder_of(file))
    assert mirror.told(file) == mirror.IN_DOUBT
    before = everything(file)
    see_to(file, True, NOW)
    assert mirror.told(file) == mirror.IN_STEP
    assert everything(file) == before
    assert not list(file.parent.glob("*damaged*"))
    # Nor is another one made elsewhere, which is whole.
    assert set(tmp_path.iterdir()) == there


async def test_without_a_whole_copy_nothing_is_put_in_its_place(street: Street, file: Path) -> None:
    await mirrored(street, file)
    spoil(file, "ledger", mirror.copy_of(file))
    salvage.mark(file)
    as_it_was = file.read_bytes()
    see_to(file, True, NOW)
    assert salvage.is_in_vain(file)
    assert file.read_bytes() == as_it_was
    # Gone altogether: nobody begins a new one beside the mirror of the old one unasked.
    file.unlink()
    with pytest.raises(StoreError, match=r"found no store, and a mirror of one in .*mirror, wanted both"):
        see_to(file, True, NOW)


async def test_a_byte_that_changed_in_a_row_is_found_by_comparing(street: Street, file: Path) -> None:
    """SQLite reads it without a word."""
    await mirrored(street, file)
    before = everything(file)
    async with with_mirror(file) as (store, _):
        assert await compare(store)
    content = bytearray(file.read_bytes())
    with looked_at(file) as db:
        (digest,) = db.execute("SELECT digest FROM report WHERE digest IS NOT NULL").fetchone()
    at, where = file.stat(), content.index(digest)
    content[where] ^= 1

    def rot(one: Path, was: os.stat_result) -> None:
        one.write_bytes(content)
        os.utime(one, ns=(was.st_atime_ns, was.st_mtime_ns))

    rot(file, at)
    async with await Store.open(file) as store:
        assert mirror.told(file) == mirror.IN_STEP
        assert await store.damaged() == []
        assert not await compare(store)
        assert store.damage.is_set()
    assert salvage.mark(file)
    comes_back(file, before)
    # The same in the mirror: the store is whole, so the mirror is what is made anew.
    copy = mirror.copy_of(file)
    content, at = bytearray(copy.read_bytes()), copy.stat()
    content[content.index(digest)] ^= 1
    rot(copy, at)
    async with await Store.open(file) as store:
        assert not await compare(store)
        assert not store.damage.is_set()
        assert store.mirror is not None
        assert store.mirror.wanted
        async with kept_in_step(store):
            while store.mirror.wanted:
                await asyncio.sleep(0.01)
        assert await compare(store)
    assert not mend.differing(file)


async def test_made_anew_in_the_middle_of_a_step_it_is_not_taken_for_in_step(
    street: Street, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step writes into the mirror of before, and what it has into the store's file."""
    await mirrored(street, file)
    (board,) = street.counters
    copied, go = threading.Event(), threading.Event()
    to_disk, lock = os.fdatasync, fcntl.flock

    def slow(opened: int) -> None:
        copied.set()
        assert go.wait(DEADLINE_S)
        to_disk(opened)

    def locked(opened: Any, how: int) -> None:
        if copied.is_set():
            go.set()
        lock(opened, how)

    async with await Store.open(file) as store:
        await street.flow(store).store([board.report(90 + n, WINDOW + n) for n in range(3)])
        monkeypatch.setattr(os, "fdatasync", slow)
        monkeypatch.setattr(fcntl, "flock", locked)
        # As a command does it beside a gateway.
        step = asyncio.create_task(store.mirror_now())
        assert await asyncio.to_thread(copied.wait, DEADLINE_S)
        making = asyncio.create_task(asyncio.to_thread(mirror.make, file))
        making.add_done_callback(lambda _: go.set())
        await asyncio.gather(step, making)
        monkeypatch.undo()
        # With the next commit the journal begins again, and has nothing of before any more.
        await street.flow(store).store([board.report(95, WINDOW + 5)])
        assert mirror.told(file) == mirror.IN_STEP
        assert not mend.differing(file)
    assert as_the_mirror_has_it(file, file.parent / "x") == everything(file)


@pytest.mark.parametrize("what", ["compared", "made"])
async def test_told_to_end_it_does_not_wait_for_what_reads_a_large_store(
    street: Street, file: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Who reads takes for ever, as on a disk that stands still."""
    monkeypatch.setattr(mirroring, "FIRST_LOOK_S", 0.0 if what == "compared" else 1e9)
    await mirrored(street, file)
    if what == "made":
        mirror.drop(file, "is to be made")
    run, asked = mirror.Reader.run, threading.Event()

    def stands_still(self: mirror.Reader, what: str, *_: str) -> str:
        asked.set()
        return run(self, what, "-c", "import signal; signal.pause()")

    monkeypatch.setattr(mirror.Reader, "run", stands_still)
    stop = asyncio.Event()
    async with await Store.open(file) as store:
        keeping = asyncio.create_task(keep_mirror(store, stop))
        assert await asyncio.to_thread(asked.wait, DEADLINE_S)
        stop.set()
        await asyncio.wait_for(keeping, DEADLINE_S)


async def test_what_is_written_while_it_is_compared_has_it_compared_again(
    street: Street, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not only the day after: what gives space back does so every hour."""
    monkeypatch.setattr(mirroring, "FIRST_LOOK_S", 0.0)
    monkeypatch.setattr(mirroring, "AGAIN_S", 0.0)
    monkeypatch.setattr(mirroring, "LOOK_S", 0.0)
    await mirrored(street, file)
    found: list[bool | None] = []
    once, run = mirroring.compare, mirror.Reader.run

    async def told(*asked: Any) -> bool | None:
        found.append(await once(*asked))
        return found[-1]

    def meanwhile(self: mirror.Reader, *arguments: str) -> str:
        said = run(self, *arguments)
        if not found:
            # As a command does it at its end.
            assert mirror.Mirror(file).step()
        return said

    monkeypatch.setattr(mirroring, "compare", told)
    monkeypatch.setattr(mirror.Reader, "run", meanwhile)
    stop = asyncio.Event()
    async with await Store.open(file) as store:
        # In the log, so that there is something to write.
        await store.note_rules("of another", NOW)
        keeping = asyncio.create_task(keep_mirror(store, stop))
        while len(found) < 2:
            await asyncio.sleep(0.01)
        stop.set()
        await keeping
    assert found == [None, True]


async def test_what_cannot_be_copied_leaves_nothing_on_a_full_disk(street: Street, file: Path) -> None:
    await filled(street, file)
    mirror.folder_of(file).mkdir()
    # The copying process can write a part of it only.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, before[1]))
    try:
        with pytest.raises(mirror.MirrorError, match=r"store\.db\.part: cannot be written: .*File too large"):
            mirror.make(file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(mirror.folder_of(file).iterdir()) == []


async def test_what_a_killed_start_was_making_is_not_kept(street: Street, file: Path) -> None:
    """It has every figure in it, and nobody who deletes them."""
    await mirrored(street, file)
    left = [file.with_name(f"{STORE_FILE}.{name}") for name in ("mended", "mended-wal", "salvaged")]
    left.append(mirror.copy_of(file).with_name(f"{STORE_FILE}.part"))
    for one in left:
        one.write_bytes(file.read_bytes())
    see_to(file, True, NOW)
    assert not [one for one in left if one.exists()]
    assert mirror.told(file) == mirror.IN_STEP


async def test_without_room_the_store_goes_on_and_its_mirror_says_why(
    street: Street, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "SPARE_BYTES", 1 << 60)
    await filled(street, file)
    see_to(file, True, NOW)
    async with await Store.open(file) as store, kept_in_step(store):
        while "MiB free, wanted" not in mirror.told(file):
            await asyncio.sleep(0.01)
        (board,) = street.counters
        await street.flow(store).store([board.report(90)])
        await store.mirror_now()
        assert wal.read(wal.of(file)).count
        assert len(everything(file)["report"]) == 41
    # Wanted no more: everything of it goes.
    see_to(file, False, NOW)
    assert mirror.told(file) == mirror.OFF
    assert not mirror.folder_of(file).exists()


async def test_a_mirror_that_cannot_be_written_holds_nobody_up(street: Street, file: Path) -> None:
    """Its disk is full or gone: the journal goes into the store's file all the same, and it is made anew."""
    await mirrored(street, file)
    (board,) = street.counters
    async with with_mirror(file) as (store, ours):
        # What it says of itself cannot be written: it is in doubt.
        (mirror.folder_of(file) / "state.json.part").mkdir()
        await street.flow(store).store([board.report(90, WINDOW)])
        assert not await store.mirror_now()
        assert ours.is_whole
        assert mirror.told(file) == mirror.IN_DOUBT
        assert not await store.mirror_now()
        assert ours.wanted
        # The folder itself goes away.
        mirror.folder_of(file).rename(file.parent / "away")
        await street.flow(store).store([board.statement(91)])
        assert not await store.mirror_now()
        assert ours.is_whole
    with closing(sqlite3.connect(file)) as db:
        assert db.execute("SELECT seq FROM report WHERE seq >= 90").fetchall() == [(90,)]
        assert db.execute("SELECT seq FROM attestation WHERE seq >= 90").fetchall() == [(91,)]
        assert db.execute("PRAGMA quick_check").fetchone() == ("ok",)


async def test_a_mirror_that_another_process_has_does_not_let_the_journal_grow_for_ever(
    street: Street, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As who copied for a gateway that died, and hangs on a disk that is gone."""
    monkeypatch.setattr(mirror, "WITHOUT_FRAMES", 20)
    monkeypatch.setattr(mirror, "LOOK_S", 0.0)
    await mirrored(street, file)
    (board,) = street.counters
    with (mirror.folder_of(file) / mirror.LOCK).open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        async with await Store.open(file) as store:
            ours = store.mirror
            assert ours is not None
            ours.take()
            assert not ours.keeps
            for n in range(5):
                await street.flow(store).store([board.report(90 + n, WINDOW + n)])
            assert ours.is_whole
            assert mirror.told(file) == mirror.IN_DOUBT
            # It is let go of.
            fcntl.flock(other, fcntl.LOCK_UN)
            stop = asyncio.Event()
            keeping = asyncio.create_task(keep_mirror(store, stop))
            while mirror.told(file) != mirror.IN_STEP or ours.wanted:
                await asyncio.sleep(0.01)
            stop.set()
            await keeping
    assert not mend.differing(file)


async def test_a_folder_that_cannot_be_reached_holds_nobody_up(street: Street, file: Path) -> None:
    """A link to what cannot even be looked up, and a process that can open nothing more."""
    await filled(street, file)
    mirror.folder_of(file).symlink_to("x" * 300)
    see_to(file, True, NOW)
    (board,) = street.counters
    async with await Store.open(file) as store:
        await street.flow(store).store([board.report(90, WINDOW)])
        assert mirror.told(file) == mirror.OFF
    mirror.folder_of(file).unlink()
    see_to(file, True, NOW)
    (mirror.folder_of(file) / mirror.STATE).write_text("[]")
    assert mirror.told(file) == "not made yet"
    ours = mirror.Mirror(file)
    ours.take()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        assert not ours.is_due()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    ours.release()


async def test_who_copies_may_die_and_holds_the_lock_as_long_as_it_lives(street: Street, file: Path) -> None:
    await mirrored(street, file)
    (board,) = street.counters
    async with with_mirror(file) as (store, ours):
        flow = street.flow(store)
        await flow.store([board.report(90, WINDOW)])
        assert await store.mirror_now()
        assert ours._copier is not None
        copying = ours._copier._process
        assert copying is not None
        # Asked to end it goes on: the gateway is the one to say so.
        copying.terminate()
        await flow.store([board.report(91, WINDOW + 1)])
        assert await store.mirror_now()
        assert ours._copier._process is copying
        copying.kill()
        copying.wait()
        await flow.store([board.report(92, WINDOW + 2)])
        assert await store.mirror_now()
        copying = ours._copier._process
        assert copying is not None
        # As when a gateway died, and another one begins.
        lock = mirror.folder_of(file) / mirror.LOCK
        assert ours._lock is not None
        os.close(ours._lock)
        with lock.open() as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        copying.kill()
        copying.wait()
        with lock.open() as other:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ours._lock = None
    assert not mend.differing(file)
