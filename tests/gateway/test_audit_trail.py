"""The audit trail: every decision has its entry; what is done to it or to what it tells of is found."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from operator import itemgetter
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import update
from stores import KINDS, StorePlace, new_place, place_of
from typer.testing import CliRunner

from peilmerk_gateway import settings as gateway_settings
from peilmerk_gateway.audit_cli import app
from peilmerk_gateway.chain import packed_root_of
from peilmerk_gateway.refusal import Reason, Refusal
from peilmerk_gateway.store import (
    AttestationRow,
    BatchRows,
    Entry,
    ObservationRow,
    ReportRow,
    Store,
    WithheldRow,
    engine,
    schema,
    trail,
    trail_check,
)

DEVICE = "a" * 16
START = 1_800_000_000

# Inputs and roots of the tests that the reference implementation of Certificate Transparency carries.
CT_LEAVES = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
]
CT_ROOTS = {
    0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


def entry(seq: int) -> Entry:
    start = START + seq * 900
    observation = ObservationRow("street/a/towards", "street", "a", DEVICE, 5, start, 900, 17 + seq)
    return Entry(
        ReportRow(DEVICE, seq, start, 900, 1, 0, b"d" * 32),
        (observation,),
        (WithheldRow("street/a/away", start, "below-k"),),
    )


async def live(store: Store) -> None:
    """Let everything happen that is decided about: ten entries."""
    await store.note_rules("0.1.0", 1.0)
    await store.note_records({"street.toml": {"sha256": "00" * 32, "usable": True}}, 1.0)
    statement = AttestationRow(DEVICE, 1, 1, b"f" * 32, b"p" * 32, 1, 3)
    refusals = [Refusal(Reason.FORGED, None, 40, 2.0), Refusal(Reason.FORGED, None, 41, 2.0)]
    await store.commit_batch(BatchRows(attestations=[statement], refusals=refusals, received=3), 2.0)
    await store.commit_batch(BatchRows([entry(2), entry(3), entry(4)], received=3), 3.0)
    await store.commit_batch(BatchRows([entry(5)], received=1), 4.0)
    rows = await store.claim("city", 10, 5.0)
    await store.mark_done("city", [(row.observation_id, None) for row in rows[:3]], 5.0)
    await store.mark_rejected("city", [(rows[3].observation_id, "no such datastream")], 6.0)
    command = await store.queue_command(DEVICE, 1, b"\x05", START, 7.0)
    await store.withdraw_command(DEVICE, command.counter, 8.0)


@pytest.fixture
async def store(store_place: StorePlace) -> AsyncIterator[Store]:
    async with await Store.open(store_place.where, sinks=("city",)) as opened:
        await live(opened)
        yield opened


def entries(place: StorePlace) -> list[tuple[int, str, Any]]:
    with place.raw() as db:
        rows = db.execute("SELECT number, kind, body FROM audit_entry ORDER BY number").fetchall()
    return [(number, kind, cbor2.loads(body)) for number, kind, body in rows]


@pytest.mark.parametrize("size", sorted(CT_ROOTS))
def test_merkle_roots_are_those_of_certificate_transparency(size: int) -> None:
    assert trail.merkle_root(bytes.fromhex(leaf) for leaf in CT_LEAVES[:size]).hex() == CT_ROOTS[size]


async def test_every_decision_has_its_entry(store: Store, store_place: StorePlace) -> None:
    found = entries(store_place)
    kinds = ["begun", "rules", "records", "judged", "judged", "judged", "published", "rejected"]
    kinds += ["command", "command"]
    assert [(number, kind) for number, kind, _ in found] == list(enumerate(kinds, 1))
    judged = [body for _, kind, body in found if kind == "judged"]
    assert [body["reports"] for body in judged] == [0, 3, 1]
    assert judged[0]["refused"] == {"forged": 2}
    assert judged[0]["statements"] == 1
    assert judged[1]["withheld"] == {"below-k": 3}
    assert found[6][2]["observations"] == 3
    assert found[8][2] == {
        "action": "queued",
        "device_id": DEVICE,
        "counter": 64,
        "verb": 1,
        "expiry": START,
        "argument": b"\x05",
    }
    assert found[9][2]["action"] == "withdrawn"
    verdict = await store.check_trail()
    assert verdict.ok, verdict.faults
    assert (verdict.entries, verdict.reports, verdict.published) == (10, 4, 3)


async def test_what_decides_nothing_adds_nothing(store: Store) -> None:
    before = await store.check_trail()
    await store.commit_batch(BatchRows([entry(5)], received=1, redelivered=1), 9.0)
    await store.mark_done("city", [(1, None)], 9.0)
    await store.note_rules("0.1.0", 9.0)
    after = await store.check_trail()
    assert (after.entries, after.head, after.ok) == (before.entries, before.head, True)
    await store.note_rules("0.2.0", 9.0)
    assert (await store.check_trail()).entries == before.entries + 1


async def test_an_entry_is_written_with_what_it_tells_or_not_at_all(
    store: Store, store_place: StorePlace
) -> None:
    with store_place.raw() as db:
        if store_place.is_postgresql:
            db.execute(
                "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql"
                " AS $$ BEGIN RAISE EXCEPTION 'no room left'; END $$"
            )
            db.execute(
                "CREATE TRIGGER no_room BEFORE INSERT ON withheld FOR EACH ROW EXECUTE FUNCTION no_room()"
            )
        else:
            db.execute(
                "CREATE TRIGGER no_room BEFORE INSERT ON withheld"
                " BEGIN SELECT RAISE(ABORT, 'no room left'); END"
            )
    with pytest.raises(Exception, match="no room left"):
        await store.commit_batch(BatchRows([entry(6)], received=1), 9.0)
    verdict = await store.check_trail()
    assert verdict.ok, verdict.faults
    assert (verdict.entries, verdict.reports) == (10, 4)


TAMPERINGS = {
    "an entry removed": "DELETE FROM audit_entry WHERE number = 5",
    "the first entry removed": "DELETE FROM audit_entry WHERE number = 1",
    "the last entry removed": "DELETE FROM audit_entry WHERE number = 10",
    "the last removed, head and all": (
        "DELETE FROM audit_entry WHERE number > 5;"
        "UPDATE audit_head SET number = 5, digest = (SELECT digest FROM audit_entry WHERE number = 5)"
    ),
    "an entry changed": "UPDATE audit_entry SET body = x'a0' WHERE number = 4",
    "a moment changed": "UPDATE audit_entry SET at = at + 1 WHERE number = 4",
    "a kind changed": "UPDATE audit_entry SET kind = 'rules' WHERE number = 9",
    "two entries swapped": (
        "UPDATE audit_entry SET number = 99 WHERE number = 9; UPDATE audit_entry SET number = 9"
        " WHERE number = 10; UPDATE audit_entry SET number = 10 WHERE number = 99"
    ),
    "a report removed": "DELETE FROM report WHERE seq = 3",
    "a report changed": "UPDATE report SET window_start = window_start + 900000 WHERE seq = 5",
    "a report added": (
        "INSERT INTO report (device_id, seq, kind, window_start, window_s, revision, health, admitted_at)"
        " VALUES ('b', 1, 1, 0, 900, 1, 0, 9.0)"
    ),
    "a report added to an entry": (
        "INSERT INTO report (device_id, seq, kind, window_start, window_s, revision, health, admitted_at,"
        " audit_entry) VALUES ('b', 1, 1, 0, 900, 1, 0, 9.0, 5)"
    ),
    "a published figure changed": "UPDATE observation SET result = result + 1 WHERE id = 2",
    "a publication taken back": "UPDATE publish_outbox SET audit_entry = NULL WHERE observation_id = 2",
    "a publication claimed": "UPDATE publish_outbox SET state = 'done' WHERE observation_id = 4",
    "a total changed": "UPDATE tally SET n = n + 1 WHERE name = 'reports'",
}


@pytest.mark.parametrize("script", TAMPERINGS.values(), ids=TAMPERINGS)
async def test_tampering_is_found(store: Store, store_place: StorePlace, script: str) -> None:
    store_place.run(script)
    verdict = await store.check_trail()
    assert not verdict.ok


async def test_no_bit_of_an_entry_can_be_turned(store: Store, store_place: StorePlace) -> None:
    opened = engine.open_engine(store_place.where, writer=True)

    @given(number=st.integers(1, 10), column=st.sampled_from(["body", "digest"]), bit=st.integers(0, 255))
    @settings(max_examples=60, deadline=None, database=None)
    def turn(number: int, column: str, bit: int) -> None:
        with opened.connect() as connection, connection.begin() as transaction:
            (was,) = connection.exec_driver_sql(f"SELECT {column} FROM audit_entry WHERE number = {number}")
            turned = bytearray(was[0])
            turned[bit // 8 % len(turned)] ^= 1 << bit % 8
            connection.execute(
                update(schema.audit_entry)
                .where(schema.audit_entry.c.number == number)
                .values({column: bytes(turned)})
            )
            faults = trail_check.check(connection).faults
            transaction.rollback()
        assert number in {entry for entry, _ in faults}

    turn()
    opened.dispose()
    assert (await store.check_trail()).ok


async def test_a_rewritten_trail_is_found_by_a_head_kept_elsewhere(
    store: Store, store_place: StorePlace, tmp_path: Path
) -> None:
    kept = await store.check_trail()
    expected = (kept.entries, kept.head)
    assert (await store.check_trail(expected)).ok
    # Everything anew, consistent in itself, by other rules.
    (tmp_path / "other").mkdir()
    other = new_place(tmp_path / "other", store_place.server)
    async with await Store.open(other.where, sinks=("city",)) as anew:
        await anew.note_rules("0.1.1", 1.0)
        await live(anew)
        assert (await anew.check_trail()).ok
        assert [entry for entry, _ in (await anew.check_trail(expected)).faults] == [kept.entries]
        found = await anew.check_trail((99, kept.head))
        assert found.faults == [(0, "found 11 entries, expected at least 99")]


def forge(place: StorePlace, number: int, body: dict[str, Any], *, onwards: bool) -> None:
    """Write another body into an entry with a digest that fits it; onwards: into all that follow, and the
    head.
    """
    with place.raw() as db:
        rows = db.execute("SELECT number, at, kind, body, digest FROM audit_entry ORDER BY number").fetchall()
        before = trail.NOTHING
        for n, at, kind, was, digest in rows:
            if n == number or (onwards and n > number):
                now = cbor2.dumps(body, canonical=True) if n == number else was
                digest = trail.digest(before, n, at, kind, now)
                db.execute("UPDATE audit_entry SET body = ?, digest = ? WHERE number = ?", (now, digest, n))
                if onwards:
                    db.execute("UPDATE audit_head SET number = ?, digest = ?", (n, digest))
            before = digest


async def test_an_entry_forged_with_a_digest_of_its_own_breaks_the_chain_behind_it(
    store: Store, store_place: StorePlace
) -> None:
    kept = await store.check_trail()
    forge(store_place, 2, {"gateway": "9.9.9"}, onwards=False)
    assert (await store.check_trail()).faults == [
        (3, "its digest does not follow from the entry before and its content")
    ]
    # With all that follows forged too, only a head that was kept elsewhere tells.
    forge(store_place, 2, {"gateway": "9.9.9"}, onwards=True)
    assert (await store.check_trail()).ok
    (fault,) = (await store.check_trail((kept.entries, kept.head))).faults
    assert fault[0] == kept.entries


async def test_a_store_from_before_the_trail_begins_one(store_place: StorePlace) -> None:
    async with await Store.open(store_place.where, sinks=("city",)) as store:
        await store.commit_batch(BatchRows([entry(2), entry(3)], received=2), 3.0)
        (row, _) = await store.claim("city", 10, 5.0)
        await store.mark_done("city", [(row.observation_id, None)], 5.0)
    store_place.run("DELETE FROM audit_entry; DELETE FROM audit_head")
    for table in ("report", "observation", "withheld", "publish_outbox"):
        store_place.run(f"UPDATE {table} SET audit_entry = NULL")
    async with await Store.open(store_place.where, sinks=("city",)) as store:
        await store.commit_batch(BatchRows([entry(4)], received=1), 6.0)
        verdict = await store.check_trail()
        assert verdict.ok, verdict.faults
        assert (verdict.entries, verdict.reports) == (2, 1)
    begun = entries(store_place)[0][2]
    assert {name: n for name, n in begun["loose"].items() if n} == {
        "reports": 2,
        "observations": 2,
        "queued": 2,
        "withheld": 2,
        "published": 1,
    }
    assert {name: n for name, n in begun["counted"].items() if n} == {
        "reports": 2,
        "observations": 2,
        "withheld": 2,
        "published": 1,
    }


@pytest.mark.parametrize("kind", KINDS)
def test_command(tmp_path: Path, request: pytest.FixtureRequest, kind: str) -> None:
    folder = tmp_path / "gateway"
    file = gateway_settings.write_default(folder)
    place = place_of(kind, gateway_settings.load(file).gateway.data_dir, request)
    place.serve(file)

    async def fill() -> None:
        async with await Store.open(place.where, sinks=("city",)) as store:
            await live(store)

    asyncio.run(fill())
    runner = CliRunner()

    def run(*words: str) -> tuple[int, Any]:
        done = runner.invoke(app, ["ledger", str(folder), "--json", *words])
        return done.exit_code, json.loads(done.stdout) if done.stdout else done.stderr

    code, said = run()
    assert code == 0
    assert said["ok"]
    head = said["figures"]["head"]
    assert head.startswith("10:")
    assert run("--expect", head)[0] == 0
    assert run("--expect", f"10:{'0' * 64}")[0] == 1
    assert run("--expect", "yesterday") == (
        2,
        "error: --expect: found 'yesterday', wanted NUMBER:DIGEST, as this command prints its head\n",
    )
    place.run("UPDATE report SET health = 1 WHERE seq = 4")
    code, said = run()
    assert code == 1
    assert said["figures"]["faults"] == [
        {"entry": 5, "what": "reports: one of its 3 is not what was decided"}
    ]
    assert (
        "entry 5: reports: one of its 3 is not what was decided"
        in runner.invoke(app, ["ledger", str(folder)]).stdout
    )


@given(
    rows=st.lists(
        st.tuples(
            st.text(max_size=3),
            st.none() | st.integers(-3, 3),
            st.none() | st.floats(-4, 4) | st.integers(-3, 3).map(float),
            st.integers(-3, 3).map(float) | st.floats(0, 1e12),
        ),
        max_size=6,
    )
)
def test_a_root_is_the_same_whether_or_not_it_is_told_where_floats_are(rows: list[tuple[Any, ...]]) -> None:
    told = trail.root_of(rows, (2, 3))
    assert told == trail.root_of(rows)
    # As a database gives whole numbers back, and in any order.
    plain = [
        tuple(int(one) if one.__class__ is float and one == int(one) else one for one in row) for row in rows
    ]
    assert told == trail.root_of(reversed(plain), (2, 3))


@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 40),
            st.none() | st.integers(-3, 3).map(float) | st.floats(-4, 4),
            st.binary(max_size=3),
        ),
        max_size=30,
        unique_by=lambda row: row[0],
    ),
    a_leaf=st.integers(1, 9),
)
def test_a_root_over_several_rows_a_leaf_is_that_of_their_arrays(
    rows: list[tuple[Any, ...]], a_leaf: int
) -> None:
    told = packed_root_of(rows, itemgetter(0), a_leaf, (1,))
    plain = [
        [int(one) if one.__class__ is float and one.is_integer() else one for one in row]
        for row in sorted(rows)
    ]
    leaves = [plain[n : n + a_leaf] for n in range(0, len(plain), a_leaf)]
    assert told == trail.merkle_root(cbor2.dumps(one, canonical=True) for one in leaves)
    # In any order, and whether or not it is told where floats are.
    assert told == packed_root_of(reversed(rows), itemgetter(0), a_leaf)
    for n in range(len(rows)):
        changed = [*rows[:n], (*rows[n][:2], rows[n][2] + b"."), *rows[n + 1 :]]
        assert packed_root_of(changed, itemgetter(0), a_leaf) != told


def test_no_root_is_over_leaves_without_rows_nor_over_several_without_a_key() -> None:
    for a_leaf in (0, -1):
        with pytest.raises(ValueError, match=f"found {a_leaf} reports a leaf, wanted one, or more"):
            trail.root_over("reports", [(DEVICE, 1)], a_leaf)
    with pytest.raises(ValueError, match=r"found 8 refusals a leaf, wanted one$"):
        trail.root_over("refusals", [(1.0, None, "forged", 40)], 8)


async def test_a_trail_of_a_row_a_leaf_stays_whole_and_goes_on(
    store_place: StorePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trail, "_KEYS", {})
    async with await Store.open(store_place.where, sinks=("city",)) as store:
        await live(store)
        monkeypatch.undo()
        await store.commit_batch(BatchRows([entry(n) for n in range(6, 26)], received=20), 9.0)
        verdict = await store.check_trail()
    assert verdict.ok, verdict.faults
    told = [body["rows"] for _, kind, body in entries(store_place) if kind == "judged"]
    assert [rows["reports"][0:1] + rows["reports"][2:] for rows in told[-2:]] == [[1], [20, 8]]
    for seq in (3, 13):
        store_place.run(f"UPDATE report SET health = health + 1 WHERE seq = {seq}")
        async with await Store.look(store_place.where) as store:
            faults = (await store.check_trail()).faults
        assert [what for _, what in faults][-1].startswith("reports: one of its ")
