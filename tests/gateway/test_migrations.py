"""A store of every earlier schema, with rows in every table, is brought to this version's and goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import alembic.command
import cbor2
import pytest
from alembic.script import ScriptDirectory
from sealed_street import NOW, WINDOW, Street
from stores import StorePlace
from typer.testing import CliRunner, Result

from peilmerk_gateway import chain
from peilmerk_gateway.child import Lease
from peilmerk_gateway.command import app as root
from peilmerk_gateway.settings import write_default
from peilmerk_gateway.store import engine, trail
from peilmerk_protocol import command

SCRIPTS = ScriptDirectory(str(engine.MIGRATIONS))
REVISIONS = [script.revision for script in reversed(list(SCRIPTS.walk_revisions()))]
START = (WINDOW - 50) * 900

# What a row of each table holds; what a schema does not have yet is left out.
ROWS: dict[str, dict[str, Any]] = {
    "report": {
        "seq": 7,
        "kind": 1,
        "window_start": START,
        "window_s": 900,
        "revision": 1,
        "health": 0,
        "digest": b"d" * 32,
        "admitted_at": 5.0,
    },
    "observation": {
        "id": 1,
        "datastream": "street/fietspad-0/bicycle_towards",
        "deployment": "street",
        "thing": "fietspad-0",
        "quantity": 5,
        "window_start": START,
        "window_s": 900,
        "result": 17,
        "noise_scale": 1.9,
        "stored_at": 5.0,
    },
    "withheld": {"datastream": "street/fietspad-0/bicycle_away", "window_start": START, "reason": "below-k"},
    "ledger": {
        "deployment": "street",
        "quantity": 5,
        "kind": 1,
        "window_start": START,
        "epsilon_micro": 700_000,
        "spent_at": 5.0,
    },
    "attestation": {
        "seq": 6,
        "revision": 1,
        "firmware_digest": b"f" * 32,
        "profile_digest": b"p" * 32,
        "reset_cause": 1,
        "boot_count": 3,
        "at": 5.0,
    },
    "parked": {"seq": 8, "kind": 1, "sealed": b"s", "digest": b"e" * 32, "at": 5.0},
    "refusal": {"id": 1, "at": 5.0, "reason": "forged", "size": 40},
    "tally": {"name": "reports", "n": 3},
    "publish_outbox": {
        "sink": "city",
        "observation_id": 1,
        "state": "waiting",
        "attempts": 0,
        "next_attempt_at": 0.0,
    },
    "sink_entity": {"sink": "city", "kind": "Thing", "key": "street/fietspad-0", "remote_id": "1"},
    "command": {
        "counter": 64,
        "expiry": 9,
        "verb": 1,
        "argument": b"\xf6",
        "state": "sent",
        "attempts": 1,
        "created_at": 5.0,
    },
    "command_counter": {"command": 64, "beacon": 65},
    "halt": {"kind": "paused", "since": 1.0, "until": 2.0},
    "quarantine": {"seq": 9, "kind": 1, "window": 7, "sealed": b"s", "size": 40, "reason": "g6", "at": 5.0},
    "alembic_version": {},
}
COUNTED = {"reports": 3, "published": 0}


def old_store(place: StorePlace, revision: str, device_id: str) -> dict[str, list[dict[str, Any]]]:
    """Make a store of an earlier schema with a row in every table; return its rows."""
    opened = engine.open_engine(place.where, writer=True)
    with opened.begin() as connection:
        alembic.command.upgrade(engine._config(connection), revision)
    opened.dispose()
    there = place.tables()
    with place.raw() as db:
        # Rows that others point at come first.
        for table in sorted(there, key=lambda name: (name == "publish_outbox", name)):
            if table.startswith("audit_"):
                continue
            has = place.columns(table)
            known = ROWS.get(table)
            assert known is not None, f"{table}: found no row for it here, wanted one"
            row = {name: value for name, value in ({"device_id": device_id} | known).items() if name in has}
            if known:
                marks = ", ".join("?" * len(row))
                names = ", ".join(f'"{name}"' for name in row)
                db.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(row.values()))
        if "audit_entry" in there:
            begin_trail(db)
        if place.is_postgresql:
            for table in ("observation", "refusal"):
                db.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), 1)")
    return dump(place)


def begin_trail(db: Any) -> None:
    """Begin a trail of the first form, as the version that brought it did."""
    body = cbor2.dumps({"reports": 1, "published": 0, "counted": COUNTED}, canonical=True)
    digest = chain.digest(chain.NOTHING, 1, 6.0, trail.BEGUN, body)
    db.execute("INSERT INTO audit_entry VALUES (1, 6.0, ?, ?, ?)", (trail.BEGUN, body, digest))
    db.execute("INSERT INTO audit_head (id, number, digest) VALUES (1, 1, ?)", (digest,))


def dump(place: StorePlace) -> dict[str, list[dict[str, Any]]]:
    found = {}
    for table in place.tables():
        names = place.columns(table)
        found[table] = [dict(zip(names, row, strict=True)) for row in place.dump(table)[0]]
    del found["alembic_version"]
    return found


@pytest.fixture
def street(tmp_path: Path, empty_place: StorePlace) -> Iterator[Street]:
    made = Street(tmp_path, place=empty_place)
    yield made
    made.registry.close()


@pytest.mark.parametrize("revision", REVISIONS[:-1])
async def test_a_store_of_this_schema_keeps_every_row_and_goes_on(revision: str, street: Street) -> None:
    (board,) = street.counters
    before = old_store(street.place, revision, board.id)
    async with await street.open() as store:
        after = dump(street.place)
        for table, rows in before.items():
            # Every value of before is in its place; what a schema added has its own.
            kept = [{name: row[name] for name in old} for row, old in zip(after[table], rows, strict=True)]
            assert kept == rows, table
        assert engine.revisions(store._reading) == (REVISIONS[-1], REVISIONS[-1])
        # It knows what was there, takes what is new, and every word of its trail holds.
        await street.flow(store).store([board.report(7), board.statement(9), board.report(10)])
        assert [reason for reason, _ in street.refused()][-1] == "sequence-reused"
        given = await store.queue_command(board.id, command.REBOOT, b"\xf6", int(NOW) + 900, NOW)
        assert given.counter % 64 == 0
        if "command" in before:
            assert given.counter > 65
        assert [row.window_start for row in await store.claim("city", 10, NOW)] == [
            START,
            WINDOW * 900,
            WINDOW * 900,
        ]
        verdict = await store.check_trail()
        assert verdict.ok, verdict.faults
        assert "widened" in verdict.by_kind or "audit_entry" not in before


def test_every_step_has_one_step_before_it() -> None:
    assert SCRIPTS.get_heads() == REVISIONS[-1:]
    assert SCRIPTS.get_bases() == REVISIONS[:1]
    assert sorted(REVISIONS) == REVISIONS


def test_the_command_says_that_it_is_due_and_does_it(tmp_path: Path) -> None:
    file = write_default(tmp_path)
    street = Street(tmp_path / "data") if (tmp_path / "data").mkdir() is None else None
    assert street is not None
    old_store(StorePlace(tmp_path / "data" / "store.db"), "0002", street.counters[0].id)

    def run(*words: str) -> tuple[Result, dict[str, Any]]:
        done = CliRunner().invoke(root, ["gateway", "migrate", str(file.parent), "--json", *words])
        return done, json.loads(done.stdout)["figures"] if done.stdout else {}

    done, figures = run("--check")
    assert (done.exit_code, figures["store"], figures["due"]) == (1, "0002", True)
    lease = Lease(tmp_path / "data" / "broker")
    done, _ = run()
    assert done.exit_code == 2
    assert "in use by another gateway" in done.stderr
    lease.release()
    done, figures = run()
    assert (done.exit_code, figures["migrated"], figures["due"]) == (0, True, False)
    done, figures = run()
    assert (done.exit_code, figures["migrated"]) == (0, False)
    assert run("--check")[0].exit_code == 0
    (tmp_path / "data" / "store.db").unlink()
    done, _ = run("--check")
    assert done.exit_code == 2
    assert "found no store" in done.stderr
