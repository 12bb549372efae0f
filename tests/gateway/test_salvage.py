"""A damaged page of the store: an index is made anew without anybody's hands, a table is never pretended."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from damaged_store import all_in_the_file, damage, everything, filled, roots
from patience import DEADLINE_S
from running_gateway import begun, connected, gateway, reached
from sealed_street import Counter, Street

from peilmerk_gateway.operation.mirroring import see_to
from peilmerk_gateway.retention import retain_loop
from peilmerk_gateway.settings import Settings
from peilmerk_gateway.store import STORE_FILE, Store, StoreError, mirror, salvage, wal


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    made = Street(tmp_path)
    yield made
    made.registry.close()


async def test_whichever_index_is_damaged_every_row_is_there_again(street: Street, tmp_path: Path) -> None:
    file = tmp_path / STORE_FILE
    await filled(street, file)
    size, indexes, _ = roots(file)
    whole, before = file.read_bytes(), everything(file)
    assert len(indexes) >= 10
    for name, page in indexes.items():
        file.write_bytes(whole)
        damage(file, page, size)
        done = await asyncio.to_thread(salvage.salvage, file, 7.0)
        assert everything(file) == before, name
        assert done.rows == sum(map(len, before.values())) - len(before["alembic_version"]), name
        assert (
            done.kept.read_bytes()[(page - 1) * size : page * size] != whole[(page - 1) * size : page * size]
        )
        assert file.stat().st_mode & 0o777 == 0o600
        async with await Store.open(file) as store:
            assert await store.damaged() == []
            assert (await store.check_trail()).ok
    assert sorted(path.name for path in tmp_path.glob(f"{STORE_FILE}*")) == [
        STORE_FILE,
        f"{STORE_FILE}.damaged-7",
    ]


# Killed before the nth renaming of a file of the store's folder.
KILLED = """
import os, signal, sys
from pathlib import Path
from peilmerk_gateway.operation.mirroring import see_to
left = int(sys.argv[2])
def look(event, names):
    global left
    if event == "os.rename" and Path(os.fsdecode(names[0])).name.startswith("store.db"):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(look)
see_to(Path(sys.argv[1]), sys.argv[3] == "mirrored", 1.8e9)
"""


@pytest.mark.parametrize("mirrored", [True, False], ids=["mirrored", "salvaged"])
async def test_killed_while_a_whole_file_is_put_in_its_place_nothing_is_lost(
    street: Street, tmp_path: Path, mirrored: bool
) -> None:
    """At each renaming, with commits that are in the journal only."""
    file, word = tmp_path / STORE_FILE, "mirrored" if mirrored else "not"
    await filled(street, file)
    see_to(file, mirrored, 1.8e9)
    size, indexes, tables = roots(file)
    template = tmp_path / "template"
    template.mkdir()
    async with await Store.open(file) as store:
        await store.note_rules("of another", 1.8e9)
        journal = wal.of(file).read_bytes()
        assert journal
        before = everything(file)
        if mirrored:
            shutil.copytree(mirror.folder_of(file), template / "mirror")
        whole = file.read_bytes()
    page = tables["ledger"] if mirrored else indexes["ix_report_audit_entry"]
    for number in range(20):
        folder = tmp_path / f"n{number}"
        shutil.copytree(template, folder)
        file = folder / STORE_FILE
        file.write_bytes(whole)
        damage(file, page, size)
        wal.of(file).write_bytes(journal)
        if mirrored:
            known = mirror.state(file)
            assert known is not None
            mirror.note(file, replace(known, main=mirror.stamp(file)))
        salvage.mark(file)
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", KILLED, str(file), str(number), word],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
        )
        see_to(file, mirrored, 1.8e9)
        after = everything(file)
        for name in before:
            if name not in ("audit_entry", "audit_head"):
                assert after[name] == before[name], (number, name)
        assert set(before["audit_entry"]) <= set(after["audit_entry"]), number
        async with await Store.look(file) as store:
            assert await store.damaged() == []
            assert (await store.check_trail()).ok
        left = {path.name.partition("damaged-")[0] for path in folder.glob("store.db*")}
        assert left <= {"store.db", "store.db-wal", "store.db-shm", "store.db."}
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
    assert number >= 3


async def test_whichever_table_is_damaged_nothing_is_put_in_its_place(street: Street, tmp_path: Path) -> None:
    file = tmp_path / STORE_FILE
    await filled(street, file)
    size, _, tables = roots(file)
    whole = file.read_bytes()
    for name, page in tables.items():
        if name == "device_stream":
            continue
        file.write_bytes(whole)
        damage(file, page, size)
        as_it_was = file.read_bytes()
        with pytest.raises(
            StoreError, match=name if name != "alembic_version" else "malformed|not a database"
        ):
            await asyncio.to_thread(salvage.salvage, file)
        assert file.read_bytes() == as_it_was
        assert not list(tmp_path.glob("*.salvaged*")) + list(tmp_path.glob("*.damaged-*"))
    # It is not tried again, until another file is there.
    assert not salvage.mark(file)
    assert not salvage.is_marked(file)
    os.link(file, tmp_path / "kept")
    file.unlink()
    file.write_bytes(whole)
    assert salvage.mark(file)
    assert salvage.is_marked(file)


async def test_what_boards_have_told_is_worked_out_anew(street: Street, tmp_path: Path) -> None:
    file = tmp_path / STORE_FILE
    await filled(street, file)
    size, _, tables = roots(file)
    before = everything(file)
    damage(file, tables["device_stream"], size)
    await asyncio.to_thread(salvage.salvage, file, 7.0)
    assert everything(file) == before


async def test_the_damaged_file_does_not_outlive_what_is_deleted(street: Street, tmp_path: Path) -> None:
    file = tmp_path / STORE_FILE
    await filled(street, file)
    for name in ("damaged-7", "damaged-7-wal", "damaged-8", "damaged", "damaged-by-hand"):
        (tmp_path / f"{STORE_FILE}.{name}").write_bytes(b"figures")
    left = {STORE_FILE, f"{STORE_FILE}.damaged", f"{STORE_FILE}.damaged-by-hand"}
    async with await Store.open(file) as store:
        assert await store.forget_damaged(6.9) == 0
        assert await store.forget_damaged(7.0) == 2
        stop = asyncio.Event()
        going = asyncio.create_task(retain_loop(store, street.catalogue, street.clock, stop))
        while (tmp_path / f"{STORE_FILE}.damaged-8").exists():
            await asyncio.sleep(0.01)
        stop.set()
        await going
    assert {path.name for path in tmp_path.glob(f"{STORE_FILE}*")} == left


async def test_a_row_that_is_missing_is_found_by_the_trail(street: Street, tmp_path: Path) -> None:
    file = tmp_path / STORE_FILE
    await filled(street, file)
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("DELETE FROM ledger WHERE window_start = (SELECT max(window_start) FROM ledger)")
    with pytest.raises(salvage.SalvageError, match=r"the audit trail does not hold: .*ledger"):
        await asyncio.to_thread(salvage.salvage, file)


async def test_a_gateway_that_meets_a_damaged_index_ends_and_comes_back_whole(
    settings: Settings, counter: Counter
) -> None:
    """Without a mirror, from which it would come back at once."""
    settings.file.write_text(settings.file.read_text().replace("# mirror = true", "mirror = false"))
    file = settings.gateway.data_dir / STORE_FILE
    window = int(time.time()) // 900 - 1
    async with begun(settings, counter, window - 1):
        pass
    all_in_the_file(file)
    size, indexes, _ = roots(file)
    page = next(page for name, page in indexes.items() if name.startswith("sqlite_autoindex_report"))
    damage(file, page, size)
    async with gateway(settings) as running:
        async with connected(settings, running, counter) as reporter:
            await asyncio.to_thread(reporter.report, counter.report(3, window).payload)
        assert await asyncio.wait_for(running.process.wait(), DEADLINE_S) == 1
        assert "found a damaged page: looked at when it is started anew" in running.log.read_text()
    async with gateway(settings) as running:
        assert "the store is whole again" in running.log.read_text()
        assert not (settings.gateway.data_dir / "mirror").exists()
        # What was on its way is stored, and what was stored is still there.
        await reached(settings, 2)
