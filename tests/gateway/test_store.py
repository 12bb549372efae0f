"""The store: one transaction a batch, the same rows once, the publish outbox, the totals, the migrations."""

from __future__ import annotations

import re
import sqlite3
import stat
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import alembic.command
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from patience import DEADLINE_S
from stores import StorePlace

from peilmerk_gateway.refusal import Reason, Refusal
from peilmerk_gateway.store import (
    AttestationRow,
    BatchRows,
    Entry,
    Known,
    LedgerRow,
    ObservationRow,
    Probe,
    ReportRow,
    Store,
    Stored,
    StoreError,
    StoreRefused,
    WithheldRow,
    engine,
)
from peilmerk_gateway.store.schema import metadata
from peilmerk_protocol import topics

DEVICE = "a" * 16
OTHER = "b" * 16
START = 1_800_000_000


def entry(seq: int = 1, *, window: int = 0, device_id: str = DEVICE, public: bool = True) -> Entry:
    start = START + window * 900
    return Entry(
        report=ReportRow(device_id, seq, start, 900, 1, 0, b"d" * 32),
        observations=(
            ObservationRow(
                f"street/{device_id[0]}/bicycle_towards",
                "street",
                device_id[0],
                device_id,
                5,
                start,
                900,
                17,
                noise_scale=1.98,
                is_public=public,
            ),
        ),
        withheld=(WithheldRow(f"street/{device_id[0]}/bicycle_away", start, "below-k"),),
        ledger=(
            LedgerRow("street", device_id, 5, start, 700_000),
            LedgerRow("street", device_id, 6, start, 700_000),
        ),
    )


@pytest.fixture
async def store(store_place: StorePlace) -> AsyncIterator[Store]:
    async with await Store.open(store_place.where, sinks=("city",)) as opened:
        yield opened


async def test_same_batch_twice_writes_the_same_rows_once(store: Store, store_place: StorePlace) -> None:
    batch = BatchRows(
        entries=[entry()], attestations=[AttestationRow(DEVICE, 9, 1, b"f" * 32, b"p" * 32, 1, 4)], received=2
    )
    first = await store.commit_batch(batch, now=5.0)
    tables = ("report", "observation", "withheld", "ledger", "attestation", "publish_outbox")
    rows = store_place.dump(*tables)
    second = await store.commit_batch(batch, now=6.0)
    assert first == Stored(
        reports=1, statements=1, observations=1, withheld=1, refused=0, epsilon_micro=1_400_000
    )
    assert second == Stored()
    assert store_place.dump(*tables) == rows
    assert [len(table) for table in rows] == [1, 1, 1, 2, 1, 1]


async def test_second_report_of_a_window_writes_nothing(store: Store, store_place: StorePlace) -> None:
    await store.commit_batch(BatchRows(entries=[entry(1)]), now=5.0)
    assert (await store.commit_batch(BatchRows(entries=[entry(2)]), now=6.0)).reports == 0
    (reports, ledger) = store_place.dump("report", "ledger")
    assert [row[1] for row in reports] == [1]
    assert len(ledger) == 2


async def test_what_is_not_public_is_stored_but_not_queued(store: Store, store_place: StorePlace) -> None:
    await store.commit_batch(BatchRows(entries=[entry(public=False)]), now=5.0)
    observations, outbox = store_place.dump("observation", "publish_outbox")
    assert len(observations) == 1
    assert outbox == []


async def test_known_tells_number_window_and_last_statement(store: Store) -> None:
    early = AttestationRow(DEVICE, 1, 1, b"f" * 32, b"p" * 32, 1, 4)
    late = AttestationRow(DEVICE, 7, 2, b"g" * 32, b"q" * 32, 1, 5)
    await store.commit_batch(
        BatchRows(entries=[entry(2), entry(3, window=4)], attestations=[early, late]), 5.0
    )
    asked = [
        Probe(DEVICE, 2, START + 900),
        Probe(DEVICE, 6, START),
        Probe(DEVICE, 8, START + 3 * 900),
        Probe(DEVICE, 7),
        Probe(OTHER, 2, START + 900),
    ]
    known = await store.known(asked)
    same, between, after, statement, stranger = (known[probe] for probe in asked)
    assert same.report_digest == b"d" * 32
    assert same.attested == early
    assert between.is_stored is False
    assert between.window_end_before is None
    assert between.attested == early
    assert after.window_end_before == START + 900
    assert after.attested == late
    assert statement.is_statement
    assert stranger == Known()


async def test_known_answers_more_than_one_statement_can_ask(store: Store) -> None:
    known = await store.known([Probe(DEVICE, seq) for seq in range(12_000)])
    assert len(known) == 12_000


async def test_figures_count_and_survive_reopening(store_place: StorePlace) -> None:
    async with await Store.open(store_place.where, sinks=("city",)) as store:
        refusals = [
            Refusal(Reason.FORGED, None, 40, 1.0),
            Refusal(Reason.FORGED, None, 41, 1.0),
            Refusal(Reason.G6, DEVICE, 42, 2.0),
        ]
        await store.commit_batch(
            BatchRows(entries=[entry()], refusals=refusals, received=5, redelivered=1), now=5.0
        )
    async with await Store.open(store_place.where, sinks=("city",)) as store:
        figures = await store.figures()
        assert (figures.received, figures.redelivered, figures.reports) == (5, 1, 1)
        assert (figures.observations, figures.withheld) == (1, 1)
        assert figures.refused == {"G6": 1, "forged": 2}
        assert figures.sinks["city"].waiting == 1
        assert [r.reason for r in await store.last_refusals(2)] == ["G6", "forged"]


async def test_outbox_goes_from_waiting_to_done_once(store: Store, store_place: StorePlace) -> None:
    await store.commit_batch(BatchRows(entries=[entry(n, window=n) for n in (3, 1, 2)]), now=5.0)
    taken = await store.claim("city", 2, now=10.0)
    assert [row.observation_id for row in taken] == [1, 2]
    assert [row.attempts for row in taken] == [0, 0]
    assert (await store.in_doubt("city")) != []
    await store.mark_done("city", [(1, "Observations(7)")], now=11.0)
    await store.mark_done("city", [(1, "Observations(8)")], now=12.0)
    await store.mark_again("city", [1, 2], "503", next_attempt_at=20.0)
    assert [row.observation_id for row in await store.claim("city", 9, now=19.0)] == [3]
    assert [row.observation_id for row in await store.claim("city", 9, now=20.0)] == [2]
    await store.mark_rejected("city", [(2, "no such datastream")], START)
    sink = (await store.figures()).sinks["city"]
    assert (sink.published, sink.waiting, sink.sending, sink.rejected) == (1, 0, 1, 1)
    assert (await store.rejected("city"))[0].error == "no such datastream"
    (rows,) = store_place.dump("publish_outbox")
    assert rows[0][2] == "done"
    assert rows[0][6] == "Observations(7)"


async def test_outbox_asks_only_the_index_of_unfinished_rows(tmp_path: Path) -> None:
    async with await Store.open(tmp_path / "store.db", sinks=("city",)) as store:
        seen: list[str] = []
        import sqlalchemy

        sqlalchemy.event.listen(store._writing, "before_cursor_execute", lambda *a: seen.append((a[2], a[3])))
        await store.claim("city", 5, now=1.0)
    with sqlite3.connect(tmp_path / "store.db") as db:
        statement, parameters = next(s for s in seen if s[0].startswith("SELECT"))
        plan = " ".join(str(row) for row in db.execute(f"EXPLAIN QUERY PLAN {statement}", parameters))
    assert "ix_publish_outbox_unfinished" in plan


async def test_a_figure_whose_line_is_of_another_window_is_not_kept(
    store: Store, store_place: StorePlace
) -> None:
    """A mistake of ours in accounting: every line is new, and none pays for the figure."""
    one, other = entry(1), entry(2, window=1)
    wrong = one._replace(ledger=other.ledger)
    stored = await store.commit_batch(BatchRows(entries=[wrong]), now=5.0)
    assert (stored.reports, stored.observations, stored.withheld) == (1, 0, 2)
    assert store_place.dump("observation", "publish_outbox") == [[], []]


async def test_latest_mixes_figures_and_withheld_windows(store: Store) -> None:
    key = "street/a/bicycle_towards"
    await store.commit_batch(BatchRows(entries=[entry(1), entry(2, window=2)]), now=5.0)
    hidden = Entry(
        ReportRow(DEVICE, 3, START + 900, 900, 1, 0, None),
        withheld=(WithheldRow(key, START + 900, "below-k"),),
    )
    await store.commit_batch(BatchRows(entries=[hidden]), now=5.0)
    await store.claim("city", 1, now=9.0)
    await store.mark_done("city", [(1, None)], now=9.0)
    windows = await store.latest(key, 9)
    assert [(w.window_start - START, w.result, w.published, w.reason) for w in windows] == [
        (0, 17, True, None),
        (900, None, False, "below-k"),
        (1800, 17, False, None),
    ]
    assert await store.latest(key, 2) == windows[1:]


async def test_budget_of_the_day(store: Store) -> None:
    await store.commit_batch(BatchRows(entries=[entry(1), entry(2, window=1), entry(3, window=96)]), now=5.0)
    lines = await store.budget_today(now=START + 1)
    assert [
        (line.quantity, line.windows, line.epsilon_sum_micro, line.epsilon_window_micro) for line in lines
    ] == [
        (5, 2, 1_400_000, 700_000),
        (6, 2, 1_400_000, 700_000),
    ]


async def test_changed_wakes_who_waits(store: Store) -> None:
    import asyncio

    since = store.changes
    waiting = asyncio.create_task(store.changed(since))
    await asyncio.sleep(0)
    await store.commit_batch(BatchRows(entries=[entry()]), now=5.0)
    assert await asyncio.wait_for(waiting, DEADLINE_S) == since + 1


async def test_entities_remember_the_latest_id(store: Store) -> None:
    await store.remember_entity("city", "Thing", "street/a", "1")
    await store.remember_entity("city", "Thing", "street/a", "2")
    assert await store.entities("city") == {("Thing", "street/a"): "2"}
    assert await store.entities("other") == {}


def test_migrations_make_exactly_the_schema(empty_place: StorePlace, tmp_path: Path) -> None:
    writing = engine.open_engine(empty_place.where, writer=True)
    engine.migrate(writing)
    engine.migrate(writing)
    with writing.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    found, wanted = engine.revisions(writing)
    assert found == wanted == "0008"
    if empty_place.is_postgresql:
        ours = _made_of(empty_place)
        writing.dispose()
        empty_place.remove()
        plain = engine.open_engine(empty_place.where, writer=True)
        metadata.create_all(plain)
        plain.dispose()
        assert _made_of(empty_place) == ours
        return
    # Alembic compares neither partial indexes nor row ids; the texts of the tables do.
    plain = engine.open_engine(tmp_path / "plain.db", writer=True)
    metadata.create_all(plain)
    ours, theirs = (_definitions(tmp_path / name) for name in ("store.db", "plain.db"))
    del ours["alembic_version"]
    assert ours == theirs
    for opened in (writing, plain):
        opened.dispose()


def _made_of(place: StorePlace) -> list[list[tuple[Any, ...]]]:
    """Columns, indexes and constraints of a PostgreSQL database, but for Alembic's own."""
    asks = (
        "SELECT table_name, column_name, data_type, character_maximum_length, is_nullable, column_default"
        " FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version'",
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
        " AND tablename <> 'alembic_version'",
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace ="
        " 'public'::regnamespace AND conname NOT LIKE 'alembic%'",
    )
    with place.raw() as db:
        return [sorted(db.execute(ask).fetchall(), key=repr) for ask in asks]


def _definitions(path: Path) -> dict[str, list[str]]:
    """Name -> what it is made of; a column that a migration added stands behind the others, so sorted."""
    with sqlite3.connect(path) as db:
        rows = db.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    found = {}
    for name, sql in rows:
        head, _, rest = "".join(sql.split()).partition("(")
        inner, _, tail = rest.rpartition(")")
        found[name] = [head, tail, *sorted(re.split(r",(?![^()]*\))", inner))]
    return found


async def test_a_store_of_the_first_version_is_brought_along_with_all_its_rows(
    empty_place: StorePlace,
) -> None:
    writing = engine.open_engine(empty_place.where, writer=True)
    with writing.begin() as connection:
        alembic.command.upgrade(engine._config(connection), "0001")
    writing.dispose()
    with empty_place.raw() as db:
        db.execute("INSERT INTO report VALUES (?, 7, ?, 900, 1, 0, ?, 5.0)", (DEVICE, START, b"d" * 32))
        db.execute("INSERT INTO ledger VALUES ('street', ?, 5, ?, 700000, 5.0)", (DEVICE, START))
        db.execute("INSERT INTO parked VALUES (?, 8, ?, ?, 5.0)", (DEVICE, b"\0", b"e" * 32))
        db.execute("INSERT INTO attestation VALUES (?, 6, 1, ?, ?, 1, 3, 5.0)", (DEVICE, b"f", b"p"))
        db.execute(
            "INSERT INTO observation VALUES"
            " (1, 'street/a/x', 'street', 'a', ?, 5, ?, 900, 17, NULL, NULL, 1.9, 5)",
            (DEVICE, START),
        )
        db.execute("INSERT INTO publish_outbox VALUES ('city', 1, 'waiting', 0, 0.0, NULL, NULL, NULL)")
    async with await Store.open(empty_place.where, sinks=("city",)) as store:
        probe = Probe(DEVICE, 7, START + 900)
        known = (await store.known([probe]))[probe]
        assert (known.report_digest, known.follows, known.window_end_before) == (b"d" * 32, True, START + 900)
        day = Probe(DEVICE, 9, START + 86_400, topics.DAY)
        assert (await store.known([day]))[day].window_end_before is None
        (line,) = await store.budget_today(START)
        assert (line.windows, line.epsilon_sum_micro, line.epsilon_day_micro) == (1, 700_000, 0)
        assert [(row.seq, row.kind) for row in await store.parked()] == [(8, topics.REPORT)]
        assert (await store.stated([DEVICE]))[DEVICE].uptime is None
        (row,) = await store.claim("city", 10, 9.0)
        assert (row.result, row.minimum, row.maximum, row.completeness) == (17, None, None, None)
    assert not [name for name in empty_place.tables() if "_before" in name]


async def test_store_keeps_what_it_promises_on_disk(store: Store, store_place: StorePlace) -> None:
    if store_place.is_postgresql:
        with store._writing.begin() as connection:
            shown = {
                name: connection.exec_driver_sql(f"SHOW {name}").scalar()
                for name in (
                    "synchronous_commit",
                    "transaction_isolation",
                    "idle_in_transaction_session_timeout",
                )
            }
            assert shown == {
                "synchronous_commit": "on",
                "transaction_isolation": "read committed",
                "idle_in_transaction_session_timeout": "30s",
            }
        with store._reading.begin() as connection:
            assert connection.exec_driver_sql("SHOW transaction_isolation").scalar() == "repeatable read"
        return
    with store._writing.begin() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    assert isinstance(store_place.where, Path)
    assert stat.S_IMODE(store_place.where.stat().st_mode) == 0o600


async def test_who_only_reads_waits_for_no_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also not while connecting: `status` of a gateway at work found its store locked."""
    monkeypatch.setattr(engine, "BUSY_MS", 0)
    place = tmp_path / "store.db"
    async with await Store.open(place):
        pass
    with closing(sqlite3.connect(place, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        async with await Store.look(place, ["city"]) as store:
            assert (await store.figures()).reports == 0
        writer.execute("ROLLBACK")
        (kind,) = writer.execute("PRAGMA auto_vacuum").fetchone()
    assert kind == 2, "made by the writer all the same"


async def test_a_file_that_is_no_store_is_named(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    file.write_bytes(b"not a database at all, but long enough to look at" * 40)
    with pytest.raises(StoreError, match=r"store\.db.*not a database"):
        await Store.open(file)


async def test_a_store_of_a_newer_version_is_refused(store_place: StorePlace) -> None:
    async with await Store.open(store_place.where):
        pass
    with store_place.raw() as db:
        db.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError, match="newer peilmerk"):
        await Store.open(store_place.where)


@pytest.mark.parametrize("number", [1, 7, 8, 63, 65, 511, 513, 1_100])
async def test_of_any_number_of_rows_each_is_there_once(
    store: Store, store_place: StorePlace, number: int
) -> None:
    before = await store.commit_batch(BatchRows(entries=[entry(seq, window=seq) for seq in (1, 5)]), 1.0)
    assert before.reports == 2
    batch = [entry(seq, window=seq) for seq in range(1, number + 1)]
    stored = await store.commit_batch(BatchRows(entries=batch), 2.0)
    there = sum(seq <= number for seq in (1, 5))
    assert (stored.reports, stored.observations, stored.withheld) == (number - there,) * 3
    reports, ledger = store_place.dump("report", "ledger")
    assert sorted(row[1] for row in reports) == sorted({*range(1, number + 1), 1, 5})
    assert len(ledger) == 2 * len(reports)


async def test_rows_that_a_table_refuses_leave_nothing_of_their_batch(
    store: Store, store_place: StorePlace
) -> None:
    good = [entry(seq, window=seq) for seq in range(1, 600)]
    bad = entry(600, window=600)
    bad = bad._replace(ledger=(bad.ledger[0]._replace(epsilon_micro=None),))  # type: ignore[arg-type]
    with pytest.raises(StoreRefused, match="epsilon_micro"):
        await store.commit_batch(BatchRows(entries=[*good, bad]), 1.0)
    assert store_place.dump("report", "ledger", "observation") == [[], [], []]
    assert (await store.commit_batch(BatchRows(entries=good), 1.0)).reports == 599
