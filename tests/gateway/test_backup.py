"""A backup of a gateway that works, put back as an older state: no number twice, nothing spent twice."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import alembic.command
import pytest
from sealed_street import NOW, WINDOW, Street
from typer.testing import CliRunner, Result

from peilmerk_gateway.clock import ScaledClock
from peilmerk_gateway.command import app as root
from peilmerk_gateway.operation.backup import BackupError, back_up
from peilmerk_gateway.operation.migrate import versions
from peilmerk_gateway.operation.restore import Restored, restore
from peilmerk_gateway.settings import ClockSettings, Settings, load, write_default
from peilmerk_gateway.store import engine
from peilmerk_gateway.store.upkeep import RESTORED
from peilmerk_gateway.trust import ensure_trust
from peilmerk_protocol import command

CLOCK = ClockSettings(world_start=NOW, wall_start=0.0, speed=1e-9)


def village(folder: Path) -> tuple[Settings, Street]:
    """A gateway's folder, with a street in it."""
    settings = load(
        write_default(
            folder, mqtt_port=0, web_port=0, update_port=0, clock=CLOCK, deployments="data/deployments"
        )
    )
    token = folder / "city.token"
    token.write_text("a token\n")
    token.chmod(0o600)
    text = settings.file.read_text()
    settings.file.write_text(
        text + '\n[[sinks]]\nname = "city"\nkind = "sensorthings"\nurl = "http://127.0.0.1:9/v1.1"\n'
        'token_file = "city.token"\n'
    )
    ensure_trust(settings)
    return load(folder), Street(settings.gateway.data_dir)


def put_back(source: Path, folder: Path, **options: Any) -> Restored:
    return asyncio.run(restore(source, folder, **options))


def street_of(restored: Restored, street: Street) -> Street:
    """The same boards at the restored gateway."""
    data = restored.settings.gateway.data_dir
    moved = street.moved(data, restored.settings.deployments.directory)
    moved.clock = ScaledClock(NOW + 50, 0.0, 0.0)
    return moved


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Street]:
    """A gateway with reports, a refusal, a command that waits, and one that was answered."""
    settings, street = village(tmp_path_factory.mktemp("first"))
    (board,) = street.counters

    async def work() -> None:
        async with await street.open() as store:
            await store.note_records(street.catalogue.facts, NOW)
            await street.flow(store).store([board.statement(1), board.report(2, WINDOW - 4), board.report(2)])
            done = await store.queue_command(board.id, command.IDENTIFY, b"\x05", int(NOW) + 900, NOW)
            await store.command_sent(board.id, done.counter, NOW)
            await street.flow(store).store([board.ack(done.counter)])
            await store.queue_command(board.id, command.REBOOT, b"\xf6", int(NOW) + 900, NOW)

    asyncio.run(work())
    street.registry.close()
    return settings, street


@pytest.fixture
def worked(first: tuple[Settings, Street], tmp_path: Path) -> tuple[Settings, Street]:
    """That gateway in a folder of its own."""
    settings, street = first
    shutil.copytree(settings.file.parent, tmp_path / "village")
    return load(tmp_path / "village"), street.moved(tmp_path / "village" / "data")


def test_what_comes_back_is_what_was_there_and_secret(
    worked: tuple[Settings, Street], tmp_path: Path
) -> None:
    settings, street = worked
    before = {
        table: street.rows(table) for table in ("report", "ledger", "observation", "refusal", "attestation")
    }
    # While others have it open and write to it: the online backup takes one moment.
    with sqlite3.connect(street.folder / "store.db") as writer:
        writer.execute("BEGIN IMMEDIATE")
        backup = back_up(settings, tmp_path / "monday", NOW)
    paths = {one.path for one in backup.files}
    assert {"gateway.toml", "store.db", "registry.db", "deployments/street.toml"} <= paths
    assert {"trust/authority.pem", "trust/authority.key", "named/sinks.city.token_file"} <= paths
    assert not [path for path in paths if "broker" in path or "owners" in path]
    for path in (tmp_path / "monday").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    restored = put_back(tmp_path / "monday", tmp_path / "new", expected=backup.head)
    assert restored.verdict.ok, restored.verdict.faults
    after = street_of(restored, street)
    assert {table: after.rows(table) for table in before} == before
    assert restored.settings.sinks[0].token_file == tmp_path / "new" / "city.token"
    assert restored.settings.sinks[0].token_file.read_text() == "a token\n"
    assert (tmp_path / "new" / "data" / "trust" / "authority.key").read_bytes() == (
        settings.trust_dir / "authority.key"
    ).read_bytes()
    for path in (tmp_path / "new").rglob("*"):
        assert path.is_dir() or not stat.S_IMODE(path.stat().st_mode) & 0o077, path


def test_an_older_state_uses_no_number_twice_and_spends_nothing_twice(
    worked: tuple[Settings, Street], tmp_path: Path
) -> None:
    settings, street = worked
    (board,) = street.counters
    back_up(settings, tmp_path / "monday", NOW)

    async def go_on() -> tuple[int, int]:
        """What the gateway did after its backup: a report, beacons, and a command that was carried out."""
        async with await street.open() as store:
            await street.flow(store).store([board.report(3, WINDOW - 3)])
            beacons = [(await store.beacon_counters([board.id])).get(board.id) for _ in range(3)]
            given = await store.queue_command(board.id, command.IDENTIFY, b"\x05", int(NOW) + 900, NOW)
            return max(filter(None, beacons)), given.counter

    used = max(asyncio.run(go_on()))
    restored = put_back(tmp_path / "monday", tmp_path / "new")
    assert (restored.devices, restored.commands_withdrawn) == (1, 1)
    older = street_of(restored, street)

    async def work() -> None:
        async with await older.open() as store:
            assert await store.waiting_commands() == []
            given = await store.queue_command(board.id, command.IDENTIFY, b"\x05", int(NOW) + 900, NOW)
            assert given.counter > used + RESTORED // 2
            beacon = (await store.beacon_counters([board.id])).get(board.id)
            assert beacon is not None
            assert beacon > used
            # A replay of what the backup has is refused; what came after it, a board sends once and no more.
            await older.flow(store).store([board.report(2, WINDOW - 4)])
            await older.flow(store).store([board.report(3, WINDOW - 3)])
            await older.flow(store).store([board.report(3, WINDOW - 3)])
            await older.flow(store).store([board.report(4, WINDOW - 3)])
            assert (await store.check_trail()).ok

    asyncio.run(work())
    assert [row[1] for row in older.rows("report")] == [2, 3]
    assert len(older.rows("ledger")) == 4
    reasons = [reason for reason, _ in older.refused()]
    assert reasons == ["sequence-reused", "replayed", "replayed", "window-repeated"]


def test_a_board_that_was_first_told_something_after_the_backup_gets_a_new_number(
    worked: tuple[Settings, Street], tmp_path: Path
) -> None:
    settings, street = worked
    other = street.registry.enrol("counter", "late")
    back_up(settings, tmp_path / "monday", NOW)

    async def tell(at: Street) -> int:
        async with await at.open() as store:
            return (
                await store.queue_command(other.device_id, command.REBOOT, b"\xf6", int(NOW) + 900, NOW)
            ).counter

    first = asyncio.run(tell(street))
    restored = put_back(tmp_path / "monday", tmp_path / "new")
    assert asyncio.run(tell(street_of(restored, street))) > first + RESTORED // 2


def test_nothing_is_overwritten_and_no_backup_is_made_over_another(
    worked: tuple[Settings, Street], tmp_path: Path
) -> None:
    settings, _ = worked
    back_up(settings, tmp_path / "monday", NOW)
    with pytest.raises(BackupError, match=r"monday: found something there, wanted a new folder"):
        back_up(settings, tmp_path / "monday", NOW)
    with pytest.raises(BackupError, match=r"found something there, wanted nothing: it is not over"):
        put_back(tmp_path / "monday", settings.file.parent)
    (tmp_path / "new" / "data").mkdir(parents=True)
    (tmp_path / "new" / "data" / "registry.db").write_bytes(b"mine")
    with pytest.raises(BackupError, match=r"registry\.db: found something there"):
        put_back(tmp_path / "monday", tmp_path / "new")
    assert not (tmp_path / "new" / "gateway.toml").exists()
    assert (tmp_path / "new" / "data" / "registry.db").read_bytes() == b"mine"


def changed(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"x")


def listed_outside(file: Path) -> None:
    told = json.loads((file.parent / "backup.json").read_text())
    told["files"].append({"path": "../evil", "sha256": "00", "size": 1})
    (file.parent / "backup.json").write_text(json.dumps(told))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (changed, r"registry\.db: found it changed, wanted it as it was backed up"),
        (Path.unlink, r"registry\.db: not found, wanted the file that the backup's list tells of"),
        (
            lambda file: (file.parent / "backup.json").write_text("{}"),
            r"backup\.json: found no list of a backup",
        ),
        (listed_outside, r"found a path '\.\./evil', wanted one inside of the backup"),
    ],
)
def test_a_spoilt_backup_is_named_and_leaves_nothing(
    worked: tuple[Settings, Street], tmp_path: Path, spoil: Callable[[Path], object], said: str
) -> None:
    settings, _ = worked
    back_up(settings, tmp_path / "monday", NOW)
    spoil(tmp_path / "monday" / "registry.db")
    with pytest.raises(BackupError, match=said):
        put_back(tmp_path / "monday", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_backup_whose_trail_is_not_the_one_that_was_written_down_is_refused(
    worked: tuple[Settings, Street], tmp_path: Path
) -> None:
    settings, _ = worked
    backup = back_up(settings, tmp_path / "monday", NOW)
    with pytest.raises(BackupError, match="found a trail that ends with"):
        put_back(tmp_path / "monday", tmp_path / "new", expected=(backup.head[0], "0" * 64))


def test_a_backup_of_an_older_version_is_brought_along(
    worked: tuple[Settings, Street], tmp_path: Path
) -> None:
    settings, street = worked
    file = street.folder / "store.db"
    for old in file.parent.glob("store.db*"):
        old.unlink()
    opened = engine.open_engine(file, writer=True)
    with opened.begin() as connection:
        alembic.command.upgrade(engine._config(connection), "0003")
    opened.dispose()
    backup = back_up(settings, tmp_path / "monday", NOW)
    assert backup.head == (0, "")
    restored = put_back(tmp_path / "monday", tmp_path / "new")
    assert not versions(restored.settings).due
    assert restored.verdict.ok
    assert restored.verdict.by_kind == {"begun": 1, "restored": 1}


def test_the_commands_say_what_is_in_it_and_what_is_to_be_seen_to(
    worked: tuple[Settings, Street], tmp_path: Path
) -> None:
    settings, _ = worked

    def run(*words: object) -> Result:
        return CliRunner().invoke(root, [str(word) for word in words])

    made = run("gateway", "backup", settings.file.parent, "--out", tmp_path / "monday", "--json")
    assert made.exit_code == 0, made.output
    told = run("gateway", "backup", settings.file.parent, "--out", tmp_path / "tuesday").stdout
    assert "left out the broker's stream; who has a sensor at home" in " ".join(told.split())
    head = json.loads(made.stdout)["figures"]["head"]
    done = run("gateway", "restore", tmp_path / "monday", tmp_path / "new", "--expect", head, "--json")
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout)["figures"]
    assert (figures["commands_withdrawn"], figures["trail_faults"]) == (1, 0)
    assert done.stderr.count("see to it: ") == 4
    audit = run("audit", "ledger", tmp_path / "new", "--expect", head, "--json")
    assert audit.exit_code == 0, audit.stdout
    assert json.loads(audit.stdout)["figures"]["by_kind"]["restored"] == 1
    assert run("gateway", "check", tmp_path / "new").exit_code == 0
    again = run("gateway", "restore", tmp_path / "monday", tmp_path / "new")
    assert (again.exit_code, again.stdout) == (2, "")
    shutil.rmtree(tmp_path / "monday")
    assert run("gateway", "restore", tmp_path / "monday", tmp_path / "newer").exit_code == 2
