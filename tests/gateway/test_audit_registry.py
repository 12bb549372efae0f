"""The registry's trail: boards enrolled and revoked, and that the gateway's trail knows how far it is."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import cbor2
import pytest
from sealed_street import Street
from stores import KINDS, StorePlace, place_of
from typer.testing import CliRunner

from peilmerk_gateway import registry_trail
from peilmerk_gateway import settings as gateway_settings
from peilmerk_gateway.audit_cli import app
from peilmerk_gateway.registry import Registry
from peilmerk_gateway.store import Store

LABEL = "at the house of somebody"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Three boards, one of them revoked."""
    with Registry(tmp_path / "registry.db") as registry:
        boards = [registry.enrol("counter", LABEL) for _ in range(3)]
        registry.revoke(boards[1].device_id)
        registry.revoke(boards[1].device_id)
    return tmp_path / "registry.db"


def actions(file: Path) -> list[tuple[int, str, dict[str, object]]]:
    with closing(sqlite3.connect(file)) as db:
        rows = db.execute("SELECT number, kind, body FROM action ORDER BY number").fetchall()
    return [(number, kind, cbor2.loads(body)) for number, kind, body in rows]


def test_every_enrolment_and_revocation_is_an_action(file: Path) -> None:
    told = actions(file)
    assert [kind for _, kind, _ in told] == ["begun", "enrolled", "enrolled", "enrolled", "revoked"]
    with Registry(file) as registry:
        boards = registry.all()
        assert [said["device_id"] for _, kind, said in told if kind == "enrolled"] == [
            board.device_id for board in boards
        ]
        assert told[-1][2] == {"device_id": boards[1].device_id, "revoked_at": boards[1].revoked_at}
        assert registry.trail_head()[0] == 5
    found = registry_trail.check(file)
    assert (found.faults, sorted(found.digests)) == ([], [1, 2, 3, 4, 5])


def test_no_secret_and_no_label_is_in_an_action(file: Path) -> None:
    with closing(sqlite3.connect(file)) as db:
        bodies = b"".join(body for (body,) in db.execute("SELECT body FROM action"))
    with Registry(file) as registry:
        for board in registry.all():
            for secret in (board.root_key, board.password_hash.encode(), LABEL.encode()):
                assert secret not in bodies


def test_a_label_may_be_forgotten(file: Path) -> None:
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("UPDATE device SET label = 'x'")
    assert registry_trail.check(file).faults == []


TAMPERINGS = {
    "an action removed": "DELETE FROM action WHERE number = 3",
    "an action changed": "UPDATE action SET body = x'a0' WHERE number = 3",
    "a moment changed": "UPDATE action SET at = at + 1 WHERE number = 3",
    "two actions swapped": (
        "UPDATE action SET number = 9 WHERE number = 2; UPDATE action SET number = 2 WHERE number = 3;"
        "UPDATE action SET number = 3 WHERE number = 9"
    ),
    "a key exchanged": "UPDATE device SET root_key = zeroblob(32)",
    "a password exchanged": "UPDATE device SET password_hash = 'x'",
    "another password exchanged": "UPDATE device SET mosquitto_hash = NULL",
    "a kind changed": "UPDATE device SET kind = 'air'",
    "a revocation taken back": "UPDATE device SET revoked_at = NULL",
    "a revocation made up": "UPDATE device SET revoked_at = 7 WHERE revoked_at IS NULL",
    "a moment of revocation changed": "UPDATE device SET revoked_at = revoked_at + 1",
    "a board removed": "DELETE FROM device WHERE revoked_at IS NOT NULL",
    "a board slipped in": (
        "INSERT INTO device SELECT 'zzzz', kind, label, root_key, password_hash, enrolled_at, NULL,"
        " mosquitto_hash FROM device LIMIT 1"
    ),
}


@pytest.mark.parametrize("script", TAMPERINGS.values(), ids=TAMPERINGS)
def test_tampering_is_found(file: Path, script: str) -> None:
    with closing(sqlite3.connect(file)) as db:
        db.executescript(script)
    assert registry_trail.check(file).faults


def test_a_registry_of_the_version_before_begins_a_trail(file: Path) -> None:
    with closing(sqlite3.connect(file)) as db:
        db.executescript("DROP TABLE action; PRAGMA user_version = 2")
    assert registry_trail.check(file) == registry_trail.RegistryTrail()
    with Registry(file) as registry:
        (first, *_) = registry.all()
        registry.revoke(first.device_id)
        registry.enrol("air", LABEL)
    assert [kind for _, kind, _ in actions(file)] == ["begun", "revoked", "enrolled"]
    assert actions(file)[0][2]["devices"] == 3
    assert registry_trail.check(file).faults == []
    for change in ("root_key = zeroblob(32)", "revoked_at = NULL", "kind = 'air'"):
        with closing(sqlite3.connect(file)) as db:
            db.execute(
                f"UPDATE device SET {change} WHERE enrolled_at = (SELECT min(enrolled_at) FROM device)"
            )
            db.commit()
        assert registry_trail.check(file).faults, change


def test_what_cannot_be_read_is_a_fault_and_what_is_not_there_is_none(tmp_path: Path) -> None:
    assert registry_trail.check(tmp_path / "registry.db").faults == []
    (tmp_path / "registry.db").write_bytes(b"this is no database " * 100)
    (fault,) = registry_trail.check(tmp_path / "registry.db").faults
    assert "cannot be read" in fault


async def test_the_gateways_trail_knows_how_far_the_registry_is(
    tmp_path: Path, store_place: StorePlace
) -> None:
    street = Street(tmp_path, counters=1, place=store_place)
    file = tmp_path / "registry.db"
    async with await street.open() as store:
        flow = street.flow(store)
        await flow.store([street.counters[0].statement(1)])
        await flow.settle()
        assert (await store.check_trail()).by_kind["registry"] == 1
        street.registry.enrol("air", "another")
        await flow.settle()
        verdict = await store.check_trail(None, registry_trail.check(file))
        assert (verdict.ok, verdict.by_kind["registry"], verdict.registry) == (True, 2, 3)
        # Cut off at its end, board and all, the registry is whole by itself.
        with closing(sqlite3.connect(file)) as db, db:
            db.execute("DELETE FROM action WHERE number = 3")
            db.execute("DELETE FROM device WHERE label = 'another'")
        assert registry_trail.check(file).faults == []
        verdict = await store.check_trail(None, registry_trail.check(file))
        assert [what for _, what in verdict.faults] == ["action 3 of the registry is gone or was changed"]
    street.registry.close()


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_looks_at_both(tmp_path: Path, request: pytest.FixtureRequest, kind: str) -> None:
    street = Street(tmp_path, counters=1)
    street.registry.close()
    file = gateway_settings.write_default(tmp_path / "gateway")
    settings = gateway_settings.load(file)
    place = place_of(kind, settings.gateway.data_dir, request)
    place.serve(file)
    settings.gateway.registry.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "registry.db").rename(settings.gateway.registry)
    for journal in tmp_path.glob("registry.db-*"):
        journal.unlink()

    async def note() -> None:
        with Registry(settings.gateway.registry) as registry:
            street.registry = registry
            async with await Store.open(place.where) as store:
                await street.flow(store).store([street.counters[0].statement(1)])

    asyncio.run(note())

    def run() -> tuple[int, Any]:
        done = CliRunner().invoke(app, ["ledger", str(tmp_path / "gateway"), "--json"])
        return done.exit_code, json.loads(done.stdout)["figures"]

    code, figures = run()
    assert (code, figures["registry"], figures["faults"]) == (0, 2, [])
    assert {name: n for name, n in figures["rows"].items() if n} == {"statements": 1}
    settings.gateway.registry.unlink()
    code, figures = run()
    assert code == 1
    assert figures["faults"] == [{"entry": 2, "what": "action 2 of the registry is gone or was changed"}]
