"""The audit trail binds every row that a decision wrote: no column of any can be changed unnoticed."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import alembic.command
import cbor2
import pytest
from sqlalchemy import Connection, create_engine

from peilmerk_gateway.refusal import Reason, Refusal
from peilmerk_gateway.store import (
    STORE_FILE,
    AttestationRow,
    BatchRows,
    Entry,
    LedgerRow,
    ObservationRow,
    ReportRow,
    Store,
    WithheldRow,
    batch,
    engine,
    trail,
    trail_check,
)

DEVICE, OTHER = "a" * 16, "b" * 16
START = 1_800_000_000
TABLES = {
    "reports": "report",
    "observations": "observation",
    "withheld": "withheld",
    "ledger": "ledger",
    "statements": "attestation",
    "refusals": "refusal",
}


def entry(seq: int, device_id: str = DEVICE, window: int | None = None, *, below: bool = False) -> Entry:
    """A report of a count, a count below the threshold, and a mean with all that goes along with it."""
    start = START + (seq if window is None else window) * 900
    count = ObservationRow(
        "street/a/towards", "street", "a", device_id, 5, start, 900, 17 + seq, noise_scale=1.98
    )
    mean = ObservationRow("street/a/pm", "street", "a", device_id, 0, start, 900, 40, 3, 6, None, 31, 62, 83)
    withheld = [WithheldRow("street/a/away", start, "below-k")]
    if below:
        withheld.append(WithheldRow("street/a/towards", start, "below-k"))
    return Entry(
        ReportRow(device_id, seq, start, 900, 1, 0, None if below else b"d" * 32),
        (mean,) if below else (count, mean),
        tuple(withheld),
        tuple(LedgerRow("street", device_id, quantity, start, 700_000) for quantity in (5, 6)),
    )


async def live(store: Store) -> None:
    """Four entries that judge, two that publish, one that rejects and one of a command, behind the first."""
    statement = AttestationRow(DEVICE, 1, 1, b"f" * 32, b"p" * 32, 1, 3, 60)
    refusals = [Refusal(Reason.FORGED, None, 40 + n, 2.0) for n in range(3)]
    await store.commit_batch(BatchRows(attestations=[statement], refusals=refusals, received=4), 2.0)
    await store.commit_batch(BatchRows([entry(2), entry(3)], received=2), 3.25)
    await store.commit_batch(
        BatchRows([entry(4)], refusals=[Refusal(Reason.G6, DEVICE, 42, 3.5)], received=2), 3.5
    )
    await store.commit_batch(BatchRows([entry(5)], received=1), 4.0)
    rows = await store.claim("city", 6, 5.0)
    await store.mark_done(
        "city", [(row.observation_id, f"Observations({n})") for n, row in enumerate(rows[:2])], 5.0
    )
    await store.mark_done("city", [(row.observation_id, None) for row in rows[2:4]], 5.5)
    await store.mark_rejected("city", [(rows[4].observation_id, "no such datastream")], 6.0)
    await store.queue_command(DEVICE, 1, b"\x05", START, 7.0)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await Store.open(tmp_path / STORE_FILE, sinks=("city",)) as opened:
        await live(opened)
        verdict = await opened.check_trail()
        assert verdict.ok, verdict.faults
        yield opened


@contextmanager
def tampering(file: Path) -> Iterator[Callable[[str], list[tuple[int, str]]]]:
    """Do one thing past all of our code, foreign keys off, check, and undo it."""
    opened = create_engine(f"sqlite:///{file}")

    def faults(script: str) -> list[tuple[int, str]]:
        with opened.connect() as connection, connection.begin() as transaction:
            for statement in script.split(";"):
                assert connection.exec_driver_sql(statement).rowcount, statement
            found = trail_check.check(connection).faults
            transaction.rollback()
        return found

    yield faults
    opened.dispose()


def columns(file: Path, table: str) -> dict[str, str]:
    with closing(sqlite3.connect(file)) as db:
        return {name: kind for _, name, kind, *_ in db.execute(f"PRAGMA table_info({table})")}


def other_value(name: str, kind: str) -> str:
    if kind == "BLOB":
        return "x'00'"
    return f"coalesce({name}, '') || 'x'" if kind.startswith("VARCHAR") else f"coalesce({name}, 7) + 500"


async def test_no_column_of_a_bound_row_can_be_changed(store: Store, tmp_path: Path) -> None:
    for name in TABLES:
        no_column_can_be_changed(name, tmp_path / STORE_FILE)


def no_column_can_be_changed(name: str, file: Path) -> None:
    table = TABLES[name]
    there = columns(file, table)
    # Of a refusal its number only says in which order they came within their batch.
    bound = [column for column in there if column != "audit_entry" and (table, column) != ("refusal", "id")]
    assert {column.name for column in trail.ROWS[name]} == set(bound)
    with tampering(file) as faults:
        row = f"rowid = (SELECT max(rowid) FROM {table})"
        if table in ("report", "withheld", "ledger", "attestation"):
            keys = {
                "report": "seq = 4",
                "withheld": f"window_start = {START + 3600}",
                "ledger": f"window_start = {START + 3600} AND quantity = 6",
                "attestation": "seq = 1",
            }
            row = keys[table]
        for column in bound:
            value = other_value(column, there[column])
            assert faults(f"UPDATE {table} SET {column} = {value} WHERE {row}"), column
        assert faults(f"UPDATE {table} SET audit_entry = NULL WHERE {row}")
        assert faults(f"UPDATE {table} SET audit_entry = 1 WHERE {row}")
        assert faults(f"UPDATE {table} SET audit_entry = 6 WHERE {row}")
        assert faults(f"UPDATE {table} SET audit_entry = 99 WHERE {row}")
        assert faults(f"DELETE FROM {table} WHERE {row}")


MORE = {
    "a figure queued that was not to go out": (
        "INSERT INTO publish_outbox (sink, observation_id, state, attempts, next_attempt_at)"
        " VALUES ('other', 8, 'waiting', 0, 0)"
    ),
    "a figure that was to go out forgotten": "DELETE FROM publish_outbox WHERE observation_id = 8",
    "the lowest sample of a published mean": "UPDATE observation SET minimum = 30 WHERE id = 2",
    "the highest": "UPDATE observation SET maximum = 63 WHERE id = 2",
    "its completeness": "UPDATE observation SET completeness = 100 WHERE id = 2",
    "the noise of a published count": "UPDATE observation SET noise_scale = 1.0 WHERE id = 1",
    "where a figure is published": (
        "UPDATE publish_outbox SET remote_id = 'Observations(9)' WHERE observation_id = 1"
    ),
    "when it was": "UPDATE publish_outbox SET published_at = 4.0 WHERE observation_id = 1",
    "a publication to be done again": "UPDATE publish_outbox SET state = 'waiting' WHERE observation_id = 1",
    "a rejected figure to be sent": "UPDATE publish_outbox SET state = 'waiting' WHERE observation_id = 5",
    "another figure rejected in its place": (
        "UPDATE publish_outbox SET state = 'waiting' WHERE observation_id = 5;"
        "UPDATE publish_outbox SET state = 'rejected' WHERE observation_id = 8"
    ),
    "a figure rejected by nobody": "UPDATE publish_outbox SET state = 'rejected' WHERE observation_id = 8",
    "a command's argument": "UPDATE command SET argument = x'06'",
    "a command that nobody gave": (
        "INSERT INTO command (device_id, counter, expiry, verb, argument, state, attempts, created_at)"
        " SELECT device_id, 128, expiry, verb, argument, state, attempts, created_at FROM command"
    ),
    "a command taken away": "DELETE FROM command",
    "a withheld window that nobody decided on": (
        "INSERT INTO withheld VALUES ('street/a/towards', 7, 'a', 'below-k', NULL)"
    ),
    "one under an entry that tells of none": (
        "INSERT INTO withheld VALUES ('street/a/towards', 7, 'a', 'below-k', 1)"
    ),
    "one under an entry that is not there yet": (
        "INSERT INTO withheld VALUES ('street/a/towards', 7, 'a', 'below-k', 99)"
    ),
    "a total of withheld windows": "UPDATE tally SET n = n - 1 WHERE name = 'withheld'",
    "a total of refusals": "UPDATE tally SET n = n - 1 WHERE name = 'refused:G6'",
    "a window spent twice": (
        f"INSERT INTO ledger VALUES ('street', '{OTHER}', 5, 1, {START + 1800}, 700000, 3.25, 3)"
    ),
    "rows slipped in as if they were older than the trail": (
        "INSERT INTO withheld VALUES ('street/a/towards', 7, 'a', 'below-k', NULL);"
        "UPDATE audit_head SET form = NULL"
    ),
}


async def test_what_else_is_found(store: Store, tmp_path: Path) -> None:
    with tampering(tmp_path / STORE_FILE) as faults:
        assert [what for what, script in MORE.items() if not faults(script)] == []


async def test_a_form_taken_from_the_head_does_not_make_slipped_rows_older(
    store: Store, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / STORE_FILE)) as db, db:
        db.execute("INSERT INTO withheld VALUES ('street/a/towards', 7, 'a', 'below-k', NULL)")
        db.execute("UPDATE audit_head SET form = NULL")
    await store.commit_batch(BatchRows([entry(9)], received=1), 9.0)
    faults = (await store.check_trail()).faults
    assert "found a widening of a trail that has the present form" in {what for _, what in faults}


async def test_refusals_are_one_entry_however_many(store: Store, tmp_path: Path) -> None:
    before = await store.check_trail()
    refusals = [Refusal(Reason.FORGED, None, size, 9.0) for size in range(1_000)]
    await store.commit_batch(BatchRows(refusals=refusals, received=1_000), 9.0)
    verdict = await store.check_trail()
    assert (verdict.ok, verdict.entries - before.entries) == (True, 1)
    with closing(sqlite3.connect(tmp_path / STORE_FILE)) as db:
        ((body,),) = db.execute("SELECT body FROM audit_entry ORDER BY number DESC LIMIT 1")
    assert len(body) < 250
    said = cbor2.loads(body)
    assert (said["refused"], said["rows"]["refusals"][0]) == ({"forged": 1_000}, 1_000)


async def test_old_refusals_may_go_and_new_ones_may_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (batch, trail_check):
        monkeypatch.setattr(module, "REFUSALS_KEPT", 5)
    file = tmp_path / STORE_FILE
    async with await Store.open(file) as store:
        for moment in range(5):
            refusals = [Refusal(Reason.FORGED, None, size, float(moment)) for size in range(3)]
            await store.commit_batch(BatchRows(refusals=refusals, received=3), float(moment))
        verdict = await store.check_trail()
        assert verdict.ok, verdict.faults
        assert verdict.rows["refusals"] == 5
    with tampering(file) as faults:
        assert [found for found, _ in faults("DELETE FROM refusal WHERE id = 15")] == [6]
        assert faults("UPDATE refusal SET reason = 'G1' WHERE id = 14")
        assert faults("UPDATE refusal SET audit_entry = 6 WHERE id = 12")


async def test_a_board_in_anothers_place_leaves_a_row_of_its_own(tmp_path: Path) -> None:
    """The first has told of a window; the second, hung in its place with the same name, tells of it too."""
    file = tmp_path / STORE_FILE
    async with await Store.open(file, sinks=("city",)) as store:
        await store.commit_batch(BatchRows([entry(2)], received=1), 3.0)
        stored = await store.commit_batch(BatchRows([entry(7, OTHER, window=2)], received=1), 4.0)
        assert (stored.reports, stored.observations, stored.withheld) == (1, 0, 3)
        # Both below the threshold: one row each, and one batch may hold both.
        both = [entry(3, below=True), entry(8, OTHER, window=3, below=True)]
        stored = await store.commit_batch(BatchRows(both, received=2), 5.0)
        assert (stored.observations, stored.withheld, stored.epsilon_micro) == (1, 5, 4 * 700_000)
        verdict = await store.check_trail()
        assert verdict.ok, verdict.faults
        assert verdict.rows["withheld"] == 1 + 3 + 5
        windows = await store.latest("street/a/towards", 9)
        assert [(w.result, w.reason) for w in windows] == [(19, None), (None, "below-k")]
        assert (await store.figures()).withheld == 9
    with closing(sqlite3.connect(file)) as db:
        reasons = db.execute(
            "SELECT datastream, reason FROM withheld WHERE device_id = ? AND window_start = ? ORDER BY 1",
            (OTHER, START + 1800),
        ).fetchall()
        assert reasons == [
            ("street/a/away", "below-k"),
            ("street/a/pm", "other-board"),
            ("street/a/towards", "other-board"),
        ]
        # With the key in hand a digest would give the forgotten figure away by trial.
        assert (
            db.execute("SELECT digest FROM report WHERE device_id = ?", (OTHER,)).fetchall() == [(None,)] * 2
        )


def _old_entry(db: sqlite3.Connection, number: int, kind: str, body: dict[str, Any]) -> None:
    """Write an entry as the version before wrote it."""
    before = db.execute("SELECT digest FROM audit_entry WHERE number = ?", (number - 1,)).fetchone()
    written = cbor2.dumps(body, canonical=True)
    digest = trail.digest(before[0] if before else trail.NOTHING, number, 3.0, kind, written)
    db.execute("INSERT INTO audit_entry VALUES (?, 3.0, ?, ?, ?)", (number, kind, written, digest))
    db.execute("INSERT OR REPLACE INTO audit_head VALUES (1, ?, ?)", (number, digest))


def _old_store(file: Path) -> None:
    """A store of the version before: two reports older than the trail, two in it, two publications."""
    writing = engine.open_engine(file, writer=True)
    with writing.begin() as connection:
        alembic.command.upgrade(engine._config(connection), "0004")
    writing.dispose()
    reports = [(DEVICE, seq, 1, START + seq * 900, 900, 1, 0, b"d" * 32) for seq in (2, 3, 4, 5)]
    figures = [("city", n, "street/a/towards", START + (n + 1) * 900, 900, 17, None, None) for n in (1, 2)]
    with closing(sqlite3.connect(file)) as db, db:
        for report, number in zip(reports, (None, None, 2, 2), strict=True):
            db.execute("INSERT INTO report VALUES (?, ?, ?, ?, ?, ?, ?, ?, 3.0, ?)", (*report, number))
        for _, n, stream, start, length, result, *_ in figures:
            db.execute(
                "INSERT INTO observation (id, datastream, deployment, thing, device_id, quantity,"
                " window_start, window_s, result, stored_at)"
                " VALUES (?, ?, 'street', 'a', ?, 5, ?, ?, ?, 3.0)",
                (n, stream, DEVICE, start, length, result),
            )
            sent = ("city", n, "done", 1, 0.0, None, None, 3.0, 3)
            db.execute("INSERT INTO publish_outbox VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", sent)
        # One that waits: only its publication, later, binds it.
        db.execute(
            "INSERT INTO observation SELECT 3, 'street/a/pm', deployment, thing, device_id, 0, window_start,"
            " window_s, 40, 3, 6, NULL, stored_at, 31, 62, 83 FROM observation WHERE id = 1"
        )
        db.execute("INSERT INTO publish_outbox VALUES ('city', 3, 'waiting', 0, 0, NULL, NULL, NULL, NULL)")
        db.execute("INSERT INTO withheld VALUES ('street/a/away', ?, 'below-k')", (START,))
        db.execute("INSERT INTO ledger VALUES ('street', ?, 5, 1, ?, 700000, 3.0)", (DEVICE, START + 1800))
        db.execute("INSERT INTO refusal (at, reason, size) VALUES (3.0, 'forged', 40)")
        totals = {"reports": 4, "published:city": 2, "observations": 3, "withheld": 1, "refused:forged": 1}
        db.executemany("INSERT INTO tally VALUES (?, ?)", totals.items())
        _old_entry(db, 1, "begun", {"reports": 2, "published": 0, "counted": {"reports": 2, "published": 0}})
        body = {"reports": 2, "root": trail.merkle_root(map(trail.leaf, reports[2:])), "observations": 0}
        body |= {"withheld": {}, "statements": 0, "answers": 0, "refused": {"forged": 1}, "epsilon_micro": 0}
        _old_entry(db, 2, "judged", body)
        root = trail.merkle_root(map(trail.leaf, figures))
        _old_entry(db, 3, "published", {"sink": "city", "observations": 2, "root": root})


async def test_a_trail_of_the_version_before_stays_whole_and_goes_on(tmp_path: Path) -> None:
    file = tmp_path / STORE_FILE
    _old_store(file)
    async with await Store.open(file, sinks=("city",)) as store:
        verdict = await store.check_trail()
        assert verdict.ok, verdict.faults
        assert (verdict.entries, verdict.reports, verdict.published) == (3, 2, 2)
        await store.queue_command(DEVICE, 1, b"\x05", START, 7.0)
        await store.commit_batch(BatchRows([entry(7)], received=1), 8.0)
        (row,) = await store.claim("city", 1, 9.0)
        await store.mark_done("city", [(row.observation_id, None)], 9.0)
        verdict = await store.check_trail()
        assert verdict.ok, verdict.faults
        kinds = {"begun": 1, "judged": 2, "published": 2, "widened": 1, "command": 1}
        assert verdict.by_kind == kinds
        assert (verdict.reports, verdict.rows["withheld"], verdict.rows["ledger"]) == (3, 1, 2)
    with tampering(file) as faults:
        for script in (
            "UPDATE report SET health = 1 WHERE seq = 4",
            "UPDATE observation SET result = 18 WHERE id = 1",
            "UPDATE observation SET minimum = 30 WHERE id = 3",
            "UPDATE observation SET maximum = 63 WHERE id = 3",
            "UPDATE observation SET completeness = 84 WHERE id = 3",
            "DELETE FROM report WHERE seq = 2",
            "DELETE FROM withheld WHERE window_start = 1800000000",
            "DELETE FROM ledger WHERE audit_entry IS NULL",
            "INSERT INTO withheld VALUES ('street/a/towards', 7, '', 'below-k', NULL)",
            "UPDATE ledger SET epsilon_micro = 1 WHERE audit_entry IS NOT NULL",
            "DELETE FROM audit_entry WHERE number = 4",
        ):
            assert faults(script), script


def test_checking_reads_rows_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More rows and entries than are read at once are checked all the same."""
    import asyncio

    monkeypatch.setattr(trail_check, "_AT_ONCE", 3)

    async def fill() -> None:
        async with await Store.open(tmp_path / STORE_FILE, sinks=("city",)) as store:
            for part in range(4):
                entries = [entry(2 + 5 * part + n) for n in range(5)]
                await store.commit_batch(BatchRows(entries, received=5), 3.0)
            assert (await store.check_trail()).rows["ledger"] == 40

    asyncio.run(fill())
    opened = create_engine(f"sqlite:///{tmp_path / STORE_FILE}")
    with opened.connect() as connection:
        assert _faults(connection) == []
        connection.exec_driver_sql("UPDATE ledger SET spent_at = 9 WHERE audit_entry = 4 AND quantity = 6")
        assert _faults(connection) == [(4, "ledger: one of its 10 is not what was decided")]
        connection.rollback()
    opened.dispose()


def _faults(connection: Connection) -> list[tuple[int, str]]:
    return trail_check.check(connection).faults
