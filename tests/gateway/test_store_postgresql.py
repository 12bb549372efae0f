"""PostgreSQL as the store: how it is named, who gets in, what becomes of a connection that is lost."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sealed_street import NOW, WINDOW, Street
from stores import StorePlace, connected, is_ci, new_place
from typer.testing import CliRunner

from peilmerk_bench.postgresql import PostgresServer, ServerError, programs
from peilmerk_gateway.child import Lease
from peilmerk_gateway.command import app as root
from peilmerk_gateway.free_port import free_port
from peilmerk_gateway.ingest import Batch, Delivery
from peilmerk_gateway.registry import Registry
from peilmerk_gateway.settings import Settings, SettingsError, load, write_default
from peilmerk_gateway.store import Store, StoreError
from peilmerk_gateway.store.engine import WRITER
from peilmerk_gateway.store_place import Database
from peilmerk_gateway.trust import ensure_trust


def settings_with(folder: Path, store: str) -> Settings:
    """A gateway whose settings have these lines under [store]."""
    file = folder / "gateway.toml"
    if not file.exists():
        write_default(folder, mqtt_port=0, web_port=0, update_port=0)
    text = file.read_text().partition("\n[store]\n")[0]
    file.write_text(f"{text}\n[store]\n{store}\n")
    return load(file)


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ('url = "postgresql://peilmerk:hunter2@/x?host=/run"', "store.url: found a password in it"),
        ('url = "mysql://peilmerk@/x"', "store.url: found mysql, wanted postgresql://"),
        ('url = "postgresql://peilmerk@db.example.org"', "store.url: found no name of one database"),
        (
            'url = "postgresql://p@db.example.org/x"',
            "store: found a database on another machine and no ca_file",
        ),
        ('url = "postgresql://p@/x?host=db.example.org"', r"store.url: found \?host= of a name"),
        ('url = "postgresql://p@/x?host=/run&sslmode=disable"', "store.url: found 'sslmode' in it"),
        ('url = "postgresql://p@[::1/x"', "store.url: found no URL"),
        ('password_file = "x"', "store.url: not found"),
    ],
)
def test_a_database_is_named_without_password_and_off_this_machine_with_authority(
    tmp_path: Path, lines: str, why: str
) -> None:
    with pytest.raises(SettingsError, match=why) as told:
        settings_with(tmp_path, lines)
    assert "hunter2" not in str(told.value)


def test_off_this_machine_the_server_is_verified_by_name(tmp_path: Path) -> None:
    place = settings_with(
        tmp_path, 'url = "postgresql://p@db.example.org:6432/x"\nca_file = "ca.pem"\npassword_file = "secret"'
    ).store_place
    assert isinstance(place, Database)
    options = place.options()
    assert (options["sslmode"], options["sslrootcert"]) == ("verify-full", str(tmp_path / "ca.pem"))
    local = settings_with(tmp_path, 'url = "postgresql://p@localhost/x"').store_place
    assert isinstance(local, Database)
    assert "sslmode" not in local.options()


def test_a_password_that_others_can_read_is_refused_and_never_shown(
    tmp_path: Path, postgresql: PostgresServer
) -> None:
    place = postgresql.database("secrets")
    secret = tmp_path / "store.password"
    secret.write_text("not-the-password\n")
    secret.chmod(0o644)
    settings_with(tmp_path, f'url = "{place.url}"\npassword_file = "store.password"')
    done = CliRunner().invoke(root, ["gateway", "check", str(tmp_path)])
    assert done.exit_code == 1
    assert (
        "found mode 0644, wanted a file of mode 0600: others could read the store's password" in done.stderr
    )
    secret.chmod(0o600)
    done = CliRunner().invoke(root, ["gateway", "check", str(tmp_path)])
    assert done.exit_code == 1
    assert "password authentication failed" in done.stderr
    assert "not-the-password" not in done.stderr
    # Read anew at every connection.
    secret.write_text(postgresql.password_file.read_text())
    assert CliRunner().invoke(root, ["gateway", "check", str(tmp_path)]).exit_code == 0


async def test_what_is_no_store_and_what_does_not_answer_is_named(postgresql: PostgresServer) -> None:
    place = postgresql.database("empty")
    with pytest.raises(StoreError, match="found no store in it, wanted one: 'peilmerk gateway run' makes it"):
        await Store.look(place)
    gone = Database("postgresql://p@127.0.0.1:9/x")
    with pytest.raises(StoreError, match=r"cannot open the store: .*refused"):
        await Store.open(gone)


@pytest.fixture
def street(tmp_path: Path, postgresql: PostgresServer) -> Iterator[Street]:
    made = Street(tmp_path, counters=2, place=new_place(tmp_path, postgresql))
    yield made
    made.registry.close()


async def test_writers_of_two_processes_take_turns_and_the_trail_stays_one(street: Street) -> None:
    first, second = street.counters
    async with await street.open() as one, await street.open() as other:
        flows = [street.flow(one), street.flow(other)]
        await flows[0].store([first.statement(1), second.statement(1)])
        await asyncio.gather(
            *(
                flow.store([board.report(2 + n, WINDOW - 40 + n)])
                for n in range(40)
                for flow, board in zip(flows, (first, second), strict=True)
            )
        )
        verdict = await one.check_trail()
    assert verdict.ok, verdict.faults
    assert verdict.reports == 80
    assert len(street.rows("ledger")) == 160


async def test_a_writer_waits_for_the_one_that_is_at_it(street: Street) -> None:
    assert isinstance(street.place.where, Database)
    async with await street.open() as store:
        with connected(street.place.where) as other:
            other.execute(f"SELECT pg_advisory_xact_lock({WRITER})")
            waiting = asyncio.create_task(store.probe())
            # Readers do not wait.
            await store.figures()
            waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            while not other.execute(waits).fetchone()[0]:
                await asyncio.sleep(0.01)
            assert not waiting.done()
        await waiting


class Brought:
    """An ingest of given batches, which tells what was acknowledged."""

    def __init__(self, batches: list[list[Delivery]]) -> None:
        self._batches = batches
        self.acknowledged: list[int] = []
        self.connected = True

    async def batches(self) -> Any:
        for number, deliveries in enumerate(self._batches):

            async def ack(number: int = number) -> None:
                self.acknowledged.append(number)

            yield Batch(tuple(deliveries), ack)

    async def close(self) -> None: ...


async def test_a_connection_that_is_cut_again_and_again_loses_and_doubles_nothing(
    street: Street, postgresql: PostgresServer
) -> None:
    assert isinstance(street.place.where, Database)
    name = street.place.where.url.partition("?")[0].rpartition("/")[2]
    first, second = street.counters
    batches = [[first.statement(1), second.statement(1)]]
    for n in range(20):
        batches.append([board.report(2 + n, WINDOW - 20 + n) for board in (first, second)])
    brought, chance = Brought(batches), random.Random(1)
    async with await street.open() as store:
        running = asyncio.create_task(street.flow(store).run(brought, asyncio.Event()))
        cuts = 0
        while not running.done():
            # Once for each batch that got through, at whatever moment of the next ones.
            done = len(brought.acknowledged)
            await asyncio.sleep(chance.uniform(0.0, 0.03))
            cuts += await asyncio.to_thread(postgresql.cut_connections, name)
            while len(brought.acknowledged) == done and not running.done():
                await asyncio.sleep(0.005)
        await running
        assert cuts > 10
        assert brought.acknowledged == list(range(21))
        verdict = await store.check_trail()
        assert verdict.ok, verdict.faults
    assert len(street.rows("report")) == 40
    assert len(street.rows("ledger")) == 80
    # What was written before the answer got lost came again as what it was: no replay.
    assert street.refused() == []


async def test_a_commit_whose_answer_got_lost_is_no_replay(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = street.counters[0]
    brought = Brought([[board.statement(1), board.report(2)]])
    async with await street.open() as store:
        commit = store.commit_batch

        async def lost(rows: Any, now: float) -> Any:
            monkeypatch.undo()
            await commit(rows, now)
            raise StoreError("the connection was lost")

        monkeypatch.setattr(store, "commit_batch", lost)
        await street.flow(store).run(brought, asyncio.Event())
        figures = await store.figures()
    assert brought.acknowledged == [0]
    assert (figures.reports, figures.redelivered, figures.refused) == (1, 2, {})


@pytest.fixture(scope="module")
def over_tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PostgresServer, Settings, int]]:
    """A server on a port of this machine, with a certificate of the gateway's own authority."""
    try:
        programs()
    except ServerError as reason:
        if is_ci():
            raise
        pytest.skip(str(reason))
    folder = tmp_path_factory.mktemp("tls")
    settings = load(write_default(folder, server_names=["localhost"], mqtt_port=0, web_port=0, update_port=0))
    trust = ensure_trust(settings)
    port = free_port()
    server = PostgresServer({"listen_addresses": "127.0.0.1", "ssl": "off", "fsync": "off"}, port)
    server.start()
    server.stop()
    data = server.folder / "data"
    owner = data.stat()
    for name, source in (("server.crt", trust.certificate), ("server.key", trust.key)):
        (data / name).write_bytes(source.read_bytes())
        (data / name).chmod(0o600)
        os.chown(data / name, owner.st_uid, owner.st_gid)
    server._settings["ssl"] = "on"
    server.start()
    yield server, settings, port
    server.close()


async def test_over_a_network_it_is_tls_and_the_certificate_is_verified(
    over_tls: tuple[PostgresServer, Settings, int], tmp_path: Path
) -> None:
    server, settings, port = over_tls
    server.database("store")
    authority = ensure_trust(settings).authority
    place = Database(f"postgresql://peilmerk@localhost:{port}/store", server.password_file, authority)
    async with await Store.open(place) as store:
        with store._reading.connect() as connection:
            ask = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            assert connection.exec_driver_sql(ask).scalar() is True
    # The right server under another name, and one that somebody else vouches for.
    wrong = Database(place.url.replace("localhost", "127.0.0.1"), server.password_file, authority)
    with pytest.raises(StoreError, match="does not match host name"):
        await Store.open(wrong)
    stranger = load(write_default(tmp_path, mqtt_port=0, web_port=0, update_port=0))
    with pytest.raises(StoreError, match="certificate verify failed"):
        await Store.open(Database(place.url, server.password_file, ensure_trust(stranger).authority))


async def _live(street: Street) -> None:
    (board,) = street.counters
    async with await street.open() as store:
        await street.flow(store).store([board.statement(1), board.report(2)])
        await store.queue_command(board.id, 1, b"\xf6", int(NOW) + 900, NOW)


def test_backup_and_dump_are_put_back_together(tmp_path: Path, postgresql: PostgresServer) -> None:
    folder = tmp_path / "gateway"
    place = postgresql.database("backed")
    (tmp_path / "gateway").mkdir()
    secret = folder / "store.password"
    secret.touch(0o600)
    secret.write_text(postgresql.password_file.read_text())
    settings = settings_with(folder, f'url = "{place.url}"\npassword_file = "store.password"')
    settings.gateway.data_dir.mkdir()
    street = Street(settings.gateway.data_dir, place=StorePlace(settings.store_place))
    asyncio.run(_live(street))
    street.registry.close()

    def run(*words: str) -> Any:
        return CliRunner().invoke(root, ["gateway", *words])

    # As the guide says: first the dump by the command that is printed, then the backup.
    out = tmp_path / "monday"
    environment = os.environ | {
        "PGPASSWORD": secret.read_text(),
        "PATH": f"{programs()}:{os.environ['PATH']}",
    }
    told = json.loads(run("backup", str(folder), "--out", str(tmp_path / "other"), "--json").stdout)[
        "figures"
    ]
    dump = told["left_out"][-1].partition("before: ")[2]
    assert dump.startswith("pg_dump ")
    assert secret.read_text() not in dump
    subprocess.run(dump, shell=True, check=True, cwd=tmp_path, env=environment)
    done = run("backup", str(folder), "--out", str(out), "--json")
    assert done.exit_code == 0, done.stderr
    assert not (out / "store.db").exists()
    postgresql.execute('DROP DATABASE "backed"')
    postgresql.database("backed")
    done = run("restore", str(out), str(tmp_path / "new"))
    assert done.exit_code == 2
    assert "put the copy of the store back first: pg_restore" in done.stderr
    load_it = done.stderr.partition("back first: ")[2].strip()
    subprocess.run(load_it, shell=True, check=True, cwd=tmp_path, env=environment)
    for left in (tmp_path / "new").rglob("*"):
        if left.is_file():
            left.unlink()
    done = run("restore", str(out), str(tmp_path / "new"), "--json")
    assert done.exit_code == 0, done.stderr
    figures = json.loads(done.stdout)["figures"]
    assert (figures["commands_withdrawn"], figures["trail_faults"]) == (1, 0)
    assert street.rows("report", "seq") == [(2,)]
    # A second one finds it in use.
    done = run("restore", str(out), str(tmp_path / "again"))
    assert done.exit_code == 2
    assert "it is in use" in done.stderr


def test_migrate_brings_a_database_along(tmp_path: Path, postgresql: PostgresServer) -> None:
    place = postgresql.database("moving")
    secret = tmp_path / "store.password"
    secret.touch(0o600)
    secret.write_text(postgresql.password_file.read_text())
    settings_with(tmp_path, f'url = "{place.url}"\npassword_file = "store.password"')
    done = CliRunner().invoke(root, ["gateway", "migrate", str(tmp_path), "--check", "--json"])
    assert done.exit_code == 1, done.stderr
    assert json.loads(done.stdout)["figures"]["store"] is None
    assert CliRunner().invoke(root, ["gateway", "migrate", str(tmp_path)]).exit_code == 0
    assert CliRunner().invoke(root, ["gateway", "migrate", str(tmp_path), "--check"]).exit_code == 0


def test_a_store_is_moved_from_its_file_row_by_row_and_goes_on(
    tmp_path: Path, postgresql: PostgresServer
) -> None:
    place = postgresql.database("moved")
    secret = tmp_path / "store.password"
    secret.touch(0o600)
    secret.write_text(postgresql.password_file.read_text())
    settings = settings_with(tmp_path, f'url = "{place.url}"\npassword_file = "store.password"')
    file = StorePlace(settings.gateway.data_dir / "store.db")
    settings.gateway.data_dir.mkdir()
    street = Street(settings.gateway.data_dir, place=file)
    (board,) = street.counters

    def run() -> Any:
        return CliRunner().invoke(root, ["gateway", "move-store", str(tmp_path), "--json"])

    assert "found no store, wanted one" in run().stderr

    async def live() -> None:
        async with await street.open() as store:
            stranger = replace(board.report(9), payload=b"x")
            await street.flow(store).store([board.statement(1), board.report(2), board.report(3), stranger])
            await store.queue_command(board.id, 1, b"\xf6", int(NOW) + 900, NOW)
            rows = await store.claim("city", 2, NOW)
            await store.mark_done("city", [(rows[0].observation_id, "Observations(1)")], NOW)

    asyncio.run(live())
    tables = [name for name in file.tables() if name != "alembic_version"]
    before = dict(zip(tables, file.dump(*tables), strict=True))
    order = {name: file.columns(name) for name in tables}
    street.registry.close()
    lease = Lease(settings.gateway.data_dir / "broker")
    assert "in use by another gateway" in run().stderr
    lease.release()
    done = run()
    assert done.exit_code == 0, done.stderr
    there = StorePlace(settings.store_place)
    with there.raw() as db:
        for name, rows in before.items():
            # Migrations left the columns in another order.
            columns = ", ".join(f'"{column}"' for column in order[name])
            found = db.execute(f"SELECT {columns} FROM {name}").fetchall()
            assert sorted(found, key=repr) == rows, name
    assert json.loads(done.stdout)["figures"]["rows"]["report"] == 1
    assert not (settings.gateway.data_dir / "store.db").exists()
    (settings.gateway.data_dir / "store.db.moved").rename(settings.gateway.data_dir / "store.db")
    done = run()
    assert done.exit_code == 2
    assert "wanted an empty database" in done.stderr

    async def goes_on() -> None:
        with Registry(settings.gateway.registry) as street.registry:
            street._place = there
            async with await street.open() as store:
                await street.flow(store).store([board.report(5, WINDOW - 3)])
                assert (await store.in_doubt("city"))[0].datastream
                verdict = await store.check_trail()
                assert verdict.ok, verdict.faults
                assert verdict.reports == 2

    asyncio.run(goes_on())


async def test_the_size_is_what_postgresql_says(street: Street) -> None:
    async with await street.open() as store:
        with street.place.raw() as db:
            ((size,),) = db.execute("SELECT pg_database_size(current_database())").fetchall()
        assert abs(await store.size() - size) < 1 << 20
        await store.rewrite()
