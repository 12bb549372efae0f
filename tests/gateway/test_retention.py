"""Retention: what its record no longer lets us keep is gone to the last byte, and the trail verifies."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sealed_street import DAY, NOW, WINDOW, Street
from sqlalchemy import insert, text
from stores import KINDS, StorePlace, place_of
from typer.testing import CliRunner

from peilmerk_gateway import checks, retention, settings
from peilmerk_gateway.cli import app
from peilmerk_gateway.clock import ScaledClock
from peilmerk_gateway.deployments.catalogue import Catalogue
from peilmerk_gateway.deployments.deployment import RecordError, parse
from peilmerk_gateway.deployments.history import FOLDER, History, Texts
from peilmerk_gateway.store import (
    BatchRows,
    Entry,
    LedgerRow,
    ObservationRow,
    ReportRow,
    Store,
    WithheldRow,
    removal,
    schema,
)
from peilmerk_gateway.store.removal import Removed

DAY_S = 86_400
STREAM = "street/fietspad-0/bicycle_towards"


@pytest.fixture(scope="module", params=KINDS)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Street:
    """Four windows and a day of one counter, of which two windows were published and one is on its way."""
    folder = tmp_path_factory.mktemp("built")
    made = Street(folder, counters=1, place=place_of(request.param, folder, request))
    board = made.counters[0]

    async def live() -> None:
        async with await made.open() as store:
            flow = made.flow(store)
            await flow.store([board.statement(1), board.report(2, WINDOW - 3), board.report(3, WINDOW - 2)])
            await flow.store([board.report(4, WINDOW - 1, {5: (17,), 6: (3,)}), board.day(5)])
            await flow.store([board.report(6)])
            ids = [row.observation_id for row in await store.claim("city", 4, NOW)]
            await store.mark_done("city", [(number, f"remote-{number}") for number in ids], NOW)
            (_,) = await store.claim("city", 1, NOW)

    asyncio.run(live())
    made.registry.close()
    return made


@pytest.fixture
def street(built: Street, tmp_path: Path) -> Iterator[Street]:
    shutil.copytree(built.folder, tmp_path / "street")
    moved = built.moved(tmp_path / "street")
    yield moved
    moved.registry.close()


def kept_by(street: Street, folder: Path) -> StorePlace:
    """Have a gateway in this folder keep the store of the street; return where that is now."""
    (folder / "data").mkdir(exist_ok=True)
    for file in [*street.folder.glob("store.db*")]:
        file.rename(folder / "data" / file.name)
    place = street.place.copied(folder / "data")
    place.serve(folder / "gateway.toml")
    return place


async def at_age(street: Street, store: Store, days: float, **options: int) -> Removed:
    """Let so many days pass since the last window, and retain."""
    return await retention.retain(store, street.catalogue, NOW + days * DAY_S, **options)


async def test_a_year_is_kept_unless_the_record_says_otherwise(street: Street) -> None:
    async with await street.open() as store:
        assert (await at_age(street, store, 364)).rows == 0
        assert (await retention.overdue(store, street.catalogue, NOW + 367 * DAY_S)).observations == 8
        assert len(street.rows("observation")) == 9
        removed = await at_age(street, store, 367)
        verdict = await store.check_trail()
    # What is on its way to the platform stays until its answer is written down.
    assert removed == Removed(observations=8, withheld=1, reports=5)
    assert [len(street.rows(table)) for table in ("observation", "report", "withheld")] == [1, 0, 0]
    assert verdict.faults == []
    assert verdict.by_kind["removed"] == 1
    assert (verdict.reports, verdict.published) == (0, 0)


async def test_rows_of_a_whole_city_go_in_one_step(store_place: StorePlace) -> None:
    """More boards than SQLite takes conditions beside each other; a batch of each, as boards send at once."""
    boards = [f"{n:016x}" for n in range(1_100)]

    def entry(board: str, seq: int) -> Entry:
        start = WINDOW * 900 + seq * 900
        figure = ObservationRow(f"city/{board}/towards", "city", board, board, 5, start, 900, 17)
        withheld = WithheldRow(f"city/{board}/away", start, "below-k")
        ledger = (LedgerRow("city", board, 5, start, 700_000),)
        return Entry(ReportRow(board, seq, start, 900, 1, 0, b"d" * 32), (figure,), (withheld,), ledger)

    since = WINDOW * 900 + 2 * 900 + 86_400
    streams = [
        removal.Term(f"city/{board}/{name}", since) for board in boards for name in ("towards", "away")
    ]
    devices = [removal.Term(board, WINDOW * 900 + 2 * 900) for board in boards]
    async with await Store.open(store_place.where) as store:
        for seq in (1, 2):
            await store.commit_batch(BatchRows([entry(board, seq) for board in boards], received=1_100), NOW)
        rows = await store.due(streams, devices, 10_000)
        assert await store.age_out(rows, NOW) == Removed(observations=2_200, withheld=2_200, reports=1_100)
        assert (await store.check_trail()).faults == []
    # The others have lost what would give their figures away.
    with store_place.raw() as db:
        assert db.execute("SELECT count(*), count(digest) FROM report").fetchall() == [(1_100, 0)]


async def test_what_the_record_says_of_each_datastream_holds(street: Street) -> None:
    street.change("street", 'measures = "bicycle_away"', 'measures = "bicycle_away"\nretention_days = 2')
    async with await street.open() as store:
        removed = await at_age(street, store, 10)
        verdict = await store.check_trail()
    assert removed == Removed(observations=4, withheld=1, reports=0)
    assert {key for (key,) in street.rows("observation", "datastream")} == {STREAM, STREAM + "/day"}
    assert verdict.faults == []


async def test_the_edge_is_the_end_of_the_window(street: Street) -> None:
    end = (WINDOW - 2) * 900
    async with await street.open() as store:
        before = await retention.overdue(store, street.catalogue, end + 365 * DAY_S - 1)
        at = await retention.overdue(store, street.catalogue, end + 365 * DAY_S)
    day = end >= (DAY + 1) * DAY_S
    assert (before.observations, at.observations) == (2 * day, 2 * day + 2)
    assert (before.reports, at.reports) == (day, day + 1)


async def test_the_trail_verifies_after_every_step_however_small(street: Street) -> None:
    async with await street.open() as store:
        wanted = await retention.plan(store, street.catalogue, NOW + 400 * DAY_S)
        steps = 0
        while (await store.age_out((await store.due(wanted.streams, wanted.devices, 1))[:1], NOW)).rows:
            steps += 1
            assert (await store.check_trail()).faults == []
        # Another process, which has read nothing of it yet, comes to the same end.
    async with await street.open() as store:
        assert (await at_age(street, store, 400)).rows == 0
        assert (await store.check_trail()).faults == []
    assert steps == 8 + 1 + 5


@pytest.mark.parametrize(
    "tampering",
    [
        "DELETE FROM observation WHERE id = (SELECT max(id) FROM observation WHERE quantity = 5)",
        "UPDATE observation SET result = result + 1 WHERE datastream LIKE '%towards'",
        "UPDATE report SET health = 1 WHERE seq = 6",
        "DELETE FROM report WHERE seq = 6",
        "UPDATE publish_outbox SET remote_id = 'x' WHERE state = 'done'",
    ],
)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_deleting_hides_nothing_that_was_done_to_the_rest(
    street: Street, tampering: str, when: str
) -> None:
    """Whether rows were changed before or after others of their entries were deleted: it is found."""

    def tamper() -> None:
        with street.place.raw() as db:
            assert db.execute(tampering).rowcount > 0

    # Of the last window and of what is published one datastream goes and one stays.
    street.change("street", 'measures = "bicycle_away"', 'measures = "bicycle_away"\nretention_days = 2')
    async with await street.open() as store:
        if when == "before":
            tamper()
        await at_age(street, store, 10)
        if when == "after":
            tamper()
        faults = (await store.check_trail()).faults
    assert faults


async def test_a_row_that_was_deleted_cannot_be_put_back(street: Street) -> None:
    async with await street.open() as store:
        (row,) = [row for row in street.rows("report") if row[1] == 6]
        await at_age(street, store, 400)
        with street.place.raw() as db:
            db.execute(f"INSERT INTO report VALUES ({', '.join('?' * len(row))})", row)
        assert (await store.check_trail()).faults


async def test_with_a_figure_goes_what_would_give_it_away(street: Street) -> None:
    """The digest of a sealed message, with the device's key, is a way to find the figure by trial."""
    digests = dict(street.rows("report", "seq, digest"))
    assert digests[2]
    assert digests[4] is None
    street.change("street", 'measures = "bicycle_away"', 'measures = "bicycle_away"\nretention_days = 2')
    async with await street.open() as store:
        await at_age(street, store, 10)
        await store.rewrite()
    assert [digest for (digest,) in street.rows("report", "digest")] == [None] * 5
    assert not street.place.holds(digests[2])


async def test_what_is_deleted_is_in_no_byte_of_a_file_nor_of_a_database_that_was_rewritten(
    tmp_path: Path, store_place: StorePlace
) -> None:
    street = Street(tmp_path, counters=1, place=store_place)
    board = street.counters[0]
    canary = 0x5EC2E7CAFE
    # PostgreSQL writes whole numbers as its machine does.
    as_stored = canary.to_bytes(8, sys.byteorder) if store_place.is_postgresql else canary.to_bytes(6)
    async with await street.open() as store:
        await street.flow(store).store([board.statement(1), board.report(2)])
        async with await street.open() as beside:
            await beside._write(
                lambda c: c.execute(
                    insert(schema.observation).values(
                        datastream=STREAM,
                        deployment="street",
                        thing="fietspad-0",
                        device_id=board.id,
                        quantity=5,
                        window_start=WINDOW * 900 - 9_000,
                        window_s=900,
                        result=canary,
                        stored_at=NOW,
                    )
                )
            )
        assert street.place.holds(as_stored)
        await at_age(street, store, 400)
        if store_place.is_postgresql:
            # As when somebody is erased, or on a file that is older than its own overwriting.
            await store.rewrite()
    if not store_place.is_postgresql:
        # Nobody has written the file anew; the journal went when the last one let go of it.
        assert [file.name for file in tmp_path.glob("store.db*")] == ["store.db"]
    assert not street.place.holds(as_stored)
    street.registry.close()


async def test_rows_from_before_the_trail_are_told_as_such(street: Street) -> None:
    with street.place.raw() as db:
        for table in ("report", "observation", "withheld", "publish_outbox", "ledger", "attestation"):
            db.execute(f"UPDATE {table} SET audit_entry = NULL")
        db.execute("DELETE FROM audit_entry")
        db.execute("DELETE FROM audit_head")
    async with await street.open() as store:
        await store.note_rules("0.1.0", NOW)
        assert (await store.check_trail()).faults == []
        assert (await at_age(street, store, 400)).rows == 14
        assert (await store.check_trail()).faults == []


async def test_a_report_outlives_its_figures_until_nobody_can_send_it_again(street: Street) -> None:
    text = (street.records / "street.toml").read_text("utf-8")
    (street.records / "street.toml").write_text(
        text.replace("is_public = true", "is_public = true\nretention_days = 1")
    )
    street.catalogue.reload()
    board = street.counters[0]
    async with await street.open() as store:
        assert await at_age(street, store, 30) == Removed(observations=8, withheld=1)
        street.clock = ScaledClock(NOW + 30 * DAY_S, 0.0, 0.0)
        await street.flow(store).store([board.report(2, WINDOW - 3), board.report(9, WINDOW - 3)])
        assert await at_age(street, store, 95) == Removed(reports=5)
        street.clock = ScaledClock(NOW + 95 * DAY_S, 0.0, 0.0)
        await street.flow(store).store([board.report(2, WINDOW - 3)])
    assert street.refused() == [("replayed", True), ("window-repeated", True), ("window-behind", True)]


async def test_a_record_that_cannot_be_read_deletes_nothing_and_one_that_is_gone_the_default(
    street: Street,
) -> None:
    file = street.records / "street.toml"
    file.write_text("not = a record")
    street.catalogue.reload()
    async with await street.open() as store:
        assert (await retention.plan(store, street.catalogue, NOW)).undecided
        assert (await at_age(street, store, 4_000)).rows == 0
        file.unlink()
        street.catalogue.reload()
        assert (await at_age(street, store, 300)).rows == 0
        assert (await at_age(street, store, 400)).rows == 14


async def test_the_disk_of_a_file_gets_its_space_back(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    async with await Store.open(file) as store:
        rows = [
            {
                "datastream": f"a/{'b' * 60}/c",
                "deployment": "a",
                "thing": "b" * 60,
                "device_id": "d" * 16,
                "quantity": 5,
                "window_start": n * 900,
                "window_s": 900,
                "result": n,
                "stored_at": 1.0,
            }
            for n in range(3_000)
        ]
        await store._write(lambda connection: connection.execute(insert(schema.observation), rows))
        await store.rewrite()
        full = file.stat().st_size
        terms = [removal.Term(f"a/{'b' * 60}/c", 10**9)]
        assert (await store.age_out((await store.due(terms, [], 10_000))[:10_000], 1.0)).observations == 3_000
        left = await store.give_back(10)
        assert left > 0
        assert await store.give_back() == 0
        # Neither the file nor its journal holds a byte of it any more.
        for part in (file, tmp_path / "store.db-wal"):
            assert b"b" * 60 not in part.read_bytes()
    assert file.stat().st_size < full / 2


async def test_a_file_that_was_made_before_gives_space_back_once_it_is_rewritten(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    with closing(sqlite3.connect(file)) as db:
        db.execute("CREATE TABLE old (data BLOB)")
        db.execute("INSERT INTO old VALUES (zeroblob(400000))")
        db.commit()

    def free(pragma: str) -> int:
        with closing(sqlite3.connect(file)) as db:
            return int(db.execute(f"PRAGMA {pragma}").fetchone()[0])

    async with await Store.open(file) as store:
        await store._write(lambda connection: connection.execute(text("DROP TABLE old")))
        # No space, but what was deleted is in the journal no more.
        assert (tmp_path / "store.db-wal").stat().st_size > 0
        assert await store.give_back() == 0
        assert (tmp_path / "store.db-wal").stat().st_size == 0
        assert free("freelist_count") > 90
        await store.rewrite()
        assert (free("freelist_count"), free("auto_vacuum")) == (0, 2)


@pytest.mark.parametrize("days", ["0", "3651", '"30"', "1.5", "-1", "true"])
def test_a_retention_that_is_none_breaks_the_record(street: Street, days: str) -> None:
    text = (street.records / "street.toml").read_text("utf-8")
    text = text.replace('measures = "bicycle_away"', f'measures = "bicycle_away"\nretention_days = {days}')
    with pytest.raises(RecordError, match=r"datastreams\[2\].retention_days"):
        parse(text.encode(), Path("street.toml"))


async def test_the_command_counts_first_and_deletes_then(street: Street, tmp_path: Path) -> None:
    folder = tmp_path / "gateway"
    file = settings.write_default(folder)
    with file.open("a") as toml:
        toml.write(f"[clock]\nworld_start = {NOW + 400 * DAY_S}\nwall_start = 4e9\nspeed = 1e-9\n")
    kept_by(street, folder)
    (street.records / "street.toml").rename(folder / "deployments" / "street.toml")
    run = CliRunner()
    for options, rows in (["--dry-run"], 14), ([], 14), ([], 0):
        answer = await asyncio.to_thread(run.invoke, app, ["retain", str(folder), "--json", *options])
        assert answer.exit_code == 0, answer.output
        figures = json.loads(answer.stdout)["figures"]
        assert figures["observations"] + figures["reports"] + figures["withheld"] == rows
        assert figures["dry_run"] is bool(options)


async def test_a_shorter_retention_that_is_not_in_force_deletes_nothing(
    street: Street, tmp_path: Path
) -> None:
    """A record that changed without a higher version is refused, by the command as by the gateway."""
    folder = tmp_path / "gateway"
    found = settings.load(settings.write_default(folder))
    data = found.gateway.data_dir
    place = kept_by(street, folder)
    found = settings.load(folder)
    record = folder / "deployments" / "street.toml"
    (street.records / "street.toml").rename(record)
    async with await Store.open(place.where) as store:
        history = History(Texts(data / FOLDER), await store.records_told())
        await store.note_records(Catalogue(record.parent, history).facts, NOW)
        record.write_text(
            record.read_text("utf-8").replace("is_public", "retention_days = 1\nis_public"), "utf-8"
        )
    report = await checks.retained(found, dry_run=False, rewrite=False)
    assert report["figures"]["undecided"] == 4
    async with await Store.look(place.where) as store:
        assert (await store.figures()).observations == 9
        assert len(await store.latest(STREAM, 10)) == 4


async def test_rows_of_an_entry_go_together(street: Street) -> None:
    async with await street.open() as store:
        wanted = await retention.plan(store, street.catalogue, NOW + 400 * DAY_S)
        rows = await store.due(wanted.streams, wanted.devices, 1_000)
        assert len(rows) == 14
        entries = [row[0] for row in rows]
        assert entries == sorted(entries)
        assert len(set(entries)) == 3
        steps = [len(some) for some in removal.together(rows, 12)]
        assert sum(steps) == 14
        removed = [await store.age_out(some, NOW) for some in removal.together(rows, 12)]
        assert sum(one.rows for one in removed) == 14
        told = [
            cbor2.loads(body) for kind, body in street.rows("audit_entry", "kind, body") if kind == "removed"
        ]
        # Each is stated anew once.
        assert len(told) == len(steps) > 1
        stated = [
            (name, entry)
            for body in told
            for name in {*body["left"], *body["emptied"]}
            for entry in [one[0] for one in body["left"].get(name, ())] + body["emptied"].get(name, [])
        ]
        assert len(stated) == len(set(stated))


async def test_what_set_out_for_a_platform_meanwhile_stays(street: Street) -> None:
    async with await street.open() as store:
        wanted = await retention.plan(store, street.catalogue, NOW + 400 * DAY_S)
        rows = await store.due(wanted.streams, wanted.devices, 1_000)
        claimed = {row.observation_id for row in await store.claim("city", 100, NOW)}
        assert claimed
        await store.age_out(rows, NOW)
        assert claimed <= {id for (id,) in street.rows("observation", "id")}
        assert (await store.check_trail()).faults == []


@given(
    entries=st.lists(st.integers(0, 9), max_size=60).map(sorted),
    most=st.integers(1, 20),
)
def test_steps_are_of_whole_entries_where_they_fit(entries: list[int], most: int) -> None:
    rows: list[removal.Due] = [(entry, 0, (n,)) for n, entry in enumerate(entries)]
    steps = list(removal.together(rows, most))
    assert [row for some in steps for row in some] == rows
    assert all(0 < len(some) <= most for some in steps)
    for before, after in pairwise(steps):
        if before[-1][0] == after[0][0]:
            assert entries.count(after[0][0]) > most
