"""The audit trail binds every row that a decision wrote: no column of any can be changed unnoticed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import alembic.command
import cbor2
import pytest
from sqlalchemy import LargeBinary, String
from stores import StorePlace, tampering

from peilmerk_gateway.refusal import Reason, Refusal
from peilmerk_gateway.store import (
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
    schema,
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

WITHHELD = "INSERT INTO withheld (datastream, window_start, device_id, reason, audit_entry) VALUES"


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
async def store(store_place: StorePlace) -> AsyncIterator[Store]:
    async with await Store.open(store_place.where, sinks=("city",)) as opened:
        await live(opened)
        verdict = await opened.check_trail()
        assert verdict.ok, verdict.faults
        yield opened


def kinds(table: str) -> dict[str, type[Any]]:
    return {column.name: type(column.type) for column in schema.metadata.tables[table].columns}


def other_value(name: str, kind: type[Any]) -> str:
    if kind is LargeBinary:
        return "x'00'"
    # No longer than a column takes.
    return f"'x' || substr(coalesce({name}, ''), 2)" if kind is String else f"coalesce({name}, 7) + 500"


async def test_no_column_of_a_bound_row_can_be_changed(store: Store, store_place: StorePlace) -> None:
    for name in TABLES:
        no_column_can_be_changed(name, store_place)


def no_column_can_be_changed(name: str, place: StorePlace) -> None:
    table = TABLES[name]
    there = kinds(table)
    assert set(there) == set(place.columns(table))
    # Of a refusal its number only says in which order they came within their batch.
    bound = [column for column in there if column != "audit_entry" and (table, column) != ("refusal", "id")]
    assert {column.name for column in trail.ROWS[name]} == set(bound)
    with tampering(place) as faults:
        row = f"id = (SELECT max(id) FROM {table})"
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
    "a withheld window that nobody decided on": (f"{WITHHELD} ('street/a/towards', 7, 'a', 'below-k', NULL)"),
    "one under an entry that tells of none": (f"{WITHHELD} ('street/a/towards', 7, 'a', 'below-k', 1)"),
    "one under an entry that is not there yet": (f"{WITHHELD} ('street/a/towards', 7, 'a', 'below-k', 99)"),
    "a total of withheld windows": "UPDATE tally SET n = n - 1 WHERE name = 'withheld'",
    "a total of refusals": "UPDATE tally SET n = n - 1 WHERE name = 'refused:G6'",
    "a window spent twice": (
        "INSERT INTO ledger (deployment, device_id, quantity, kind, window_start, epsilon_micro, spent_at,"
        f" audit_entry) VALUES ('street', '{OTHER}', 5, 1, {START + 1800}, 700000, 3.25, 3)"
    ),
    "rows slipped in as if they were older than the trail": (
        f"{WITHHELD} ('street/a/towards', 7, 'a', 'below-k', NULL);UPDATE audit_head SET form = NULL"
    ),
}


async def test_what_else_is_found(store: Store, store_place: StorePlace) -> None:
    with tampering(store_place) as faults:
        assert [what for what, script in MORE.items() if not faults(script)] == []


async def test_a_form_taken_from_the_head_does_not_make_slipped_rows_older(
    store: Store, store_place: StorePlace
) -> None:
    store_place.run(MORE["rows slipped in as if they were older than the trail"])
    await store.commit_batch(BatchRows([entry(9)], received=1), 9.0)
    faults = (await store.check_trail()).faults
    assert "found a widening of a trail that has the present form" in {what for _, what in faults}


async def test_refusals_are_one_entry_however_many(store: Store, store_place: StorePlace) -> None:
    before = await store.check_trail()
    refusals = [Refusal(Reason.FORGED, None, size, 9.0) for size in range(1_000)]
    await store.commit_batch(BatchRows(refusals=refusals, received=1_000), 9.0)
    verdict = await store.check_trail()
    assert (verdict.ok, verdict.entries - before.entries) == (True, 1)
    with store_place.raw() as db:
        ((body,),) = db.execute("SELECT body FROM audit_entry ORDER BY number DESC LIMIT 1")
    assert len(body) < 250
    said = cbor2.loads(body)
    assert (said["refused"], said["rows"]["refusals"][0]) == ({"forged": 1_000}, 1_000)


async def test_old_refusals_may_go_and_new_ones_may_not(
    store_place: StorePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (batch, trail_check):
        monkeypatch.setattr(module, "REFUSALS_KEPT", 5)
    async with await Store.open(store_place.where) as store:
        for moment in range(5):
            refusals = [Refusal(Reason.FORGED, None, size, float(moment)) for size in range(3)]
            await store.commit_batch(BatchRows(refusals=refusals, received=3), float(moment))
        verdict = await store.check_trail()
        assert verdict.ok, verdict.faults
        assert verdict.rows["refusals"] == 5
    with tampering(store_place) as faults:
        assert [found for found, _ in faults("DELETE FROM refusal WHERE id = 15")] == [6]
        assert faults("UPDATE refusal SET reason = 'G1' WHERE id = 14")
        assert faults("UPDATE refusal SET audit_entry = 6 WHERE id = 12")


async def test_a_board_in_anothers_place_leaves_a_row_of_its_own(store_place: StorePlace) -> None:
    """The first has told of a window; the second, hung in its place with the same name, tells of it too."""
    async with await Store.open(store_place.where, sinks=("city",)) as store:
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
    with store_place.raw() as db:
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


def _old_entry(db: Any, number: int, kind: str, body: dict[str, Any]) -> None:
    """Write an entry as the version before wrote it."""
    before = db.execute("SELECT digest FROM audit_entry WHERE number = ?", (number - 1,)).fetchone()
    written = cbor2.dumps(body, canonical=True)
    digest = trail.digest(before[0] if before else trail.NOTHING, number, 3.0, kind, written)
    db.execute("INSERT INTO audit_entry VALUES (?, 3.0, ?, ?, ?)", (number, kind, written, digest))
    db.execute("DELETE FROM audit_head")
    db.execute("INSERT INTO audit_head VALUES (1, ?, ?)", (number, digest))


def _old_store(place: StorePlace) -> None:
    """A store of the version before: two reports older than the trail, two in it, two publications."""
    writing = engine.open_engine(place.where, writer=True)
    with writing.begin() as connection:
        alembic.command.upgrade(engine._config(connection), "0004")
    writing.dispose()
    reports = [(DEVICE, seq, 1, START + seq * 900, 900, 1, 0, b"d" * 32) for seq in (2, 3, 4, 5)]
    figures = [("city", n, "street/a/towards", START + (n + 1) * 900, 900, 17, None, None) for n in (1, 2)]
    with place.raw() as db:
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
        for total in totals.items():
            db.execute("INSERT INTO tally VALUES (?, ?)", total)
        _old_entry(db, 1, "begun", {"reports": 2, "published": 0, "counted": {"reports": 2, "published": 0}})
        body = {"reports": 2, "root": trail.merkle_root(map(trail.leaf, reports[2:])), "observations": 0}
        body |= {"withheld": {}, "statements": 0, "answers": 0, "refused": {"forged": 1}, "epsilon_micro": 0}
        _old_entry(db, 2, "judged", body)
        root = trail.merkle_root(map(trail.leaf, figures))
        _old_entry(db, 3, "published", {"sink": "city", "observations": 2, "root": root})
        if place.is_postgresql:
            db.execute("SELECT setval(pg_get_serial_sequence('observation', 'id'), 3)")


async def test_a_trail_of_the_version_before_stays_whole_and_goes_on(empty_place: StorePlace) -> None:
    _old_store(empty_place)
    async with await Store.open(empty_place.where, sinks=("city",)) as store:
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
    with tampering(empty_place) as faults:
        for script in (
            "UPDATE report SET health = 1 WHERE seq = 4",
            "UPDATE observation SET result = 18 WHERE id = 1",
            "UPDATE observation SET minimum = 30 WHERE id = 3",
            "UPDATE observation SET maximum = 63 WHERE id = 3",
            "UPDATE observation SET completeness = 84 WHERE id = 3",
            "DELETE FROM report WHERE seq = 2",
            "DELETE FROM withheld WHERE window_start = 1800000000",
            "DELETE FROM ledger WHERE audit_entry IS NULL",
            f"{WITHHELD} ('street/a/towards', 7, '', 'below-k', NULL)",
            "UPDATE ledger SET epsilon_micro = 1 WHERE audit_entry IS NOT NULL",
            "DELETE FROM audit_entry WHERE number = 4",
        ):
            assert faults(script), script


async def test_checking_reads_rows_in_parts(store_place: StorePlace, monkeypatch: pytest.MonkeyPatch) -> None:
    """More rows and entries than are read at once are checked all the same."""
    monkeypatch.setattr(trail_check, "_AT_ONCE", 3)
    async with await Store.open(store_place.where, sinks=("city",)) as store:
        for part in range(4):
            entries = [entry(2 + 5 * part + n) for n in range(5)]
            await store.commit_batch(BatchRows(entries, received=5), 3.0)
        verdict = await store.check_trail()
    assert (verdict.faults, verdict.rows["ledger"]) == ([], 40)
    with tampering(store_place) as faults:
        assert faults("UPDATE ledger SET spent_at = 9 WHERE audit_entry = 4 AND quantity = 6") == [
            (4, "ledger: one of its 10 is not what was decided")
        ]
