"""A disk that is full, read-only, damaged or slow, and a clock that jumps: the reason is told, nothing that
is not stored is acknowledged, and the work goes on by itself when it can.

Of a store that is an SQLite file: a database's disk is its server's, whose loss `test_store_postgresql` and
the campaigns of `bench scale` are about.
"""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from mqtt_board import board, running, village
from patience import DEADLINE_S
from sealed_street import NOW, WINDOW, Counter, Street
from structlog.testing import capture_logs
from typer.testing import CliRunner

from peilmerk_gateway import flow as flows
from peilmerk_gateway.checks import check_gateway
from peilmerk_gateway.cli import app as gateway_app
from peilmerk_gateway.clock_watch import ClockDoubted, WatchedClock, believed
from peilmerk_gateway.flow import Flow
from peilmerk_gateway.ingest import Batch
from peilmerk_gateway.ingest.jetstream import JetStreamIngest
from peilmerk_gateway.open import Keyring
from peilmerk_gateway.registry import Registry
from peilmerk_gateway.store import STORE_FILE, BatchRows, Store, StoreError
from peilmerk_protocol import topics


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    made = Street(tmp_path, counters=1)
    yield made
    made.registry.close()


class OneBatch:
    """An ingest of one batch that remembers whether it was acknowledged."""

    def __init__(self, *deliveries: Any) -> None:
        self.acknowledged = asyncio.Event()
        self._deliveries = deliveries
        self.connected = True

    async def batches(self) -> AsyncIterator[Batch]:
        async def ack() -> None:
            self.acknowledged.set()

        yield Batch(self._deliveries, ack)

    async def close(self) -> None:
        pass


@contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[Path]:
    """A file system of its own, in memory; skips the test where this machine does not let us have one."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "peilmerk-test", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("needs the right to mount a file system in memory")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(file: Path) -> None:
    """Write until the disk is full."""
    handle = os.open(file, os.O_WRONLY | os.O_CREAT)
    try:
        while os.write(handle, bytes(4_096)):
            pass
    except OSError as reason:
        if reason.errno != errno.ENOSPC:
            raise
    finally:
        os.close(handle)


async def test_a_full_disk_holds_the_batch_until_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 2_048) as disk:
        street = Street(disk)
        counter = street.counters[0]
        async with await street.open() as store:
            await street.flow(store).store([counter.statement(1)])
            ballast = disk / "ballast"
            fill(ballast)
            ingest = OneBatch(*(counter.report(2 + n, WINDOW - 80 + n) for n in range(80)))
            with capture_logs() as logs:
                task = asyncio.create_task(street.flow(store).run(ingest, asyncio.Event()))
                async with asyncio.timeout(DEADLINE_S):
                    while not any("full" in entry.get("reason", "") for entry in logs):
                        await asyncio.sleep(0.02)
                assert not ingest.acknowledged.is_set()
                # Reading, and so the page and `status`, goes on.
                assert (await store.figures()).reports == 0
                ballast.unlink()
                await asyncio.wait_for(task, DEADLINE_S)
            assert ingest.acknowledged.is_set()
            assert (await store.figures()).reports == 80
            assert (await store.check_trail()).faults == []
        assert len(street.rows("ledger")) == 160
        street.registry.close()


async def test_a_full_disk_under_the_broker_acknowledges_nothing_that_is_lost(tmp_path: Path) -> None:
    """For the broker alone; a limit on the size of files, which needs no rights, stands for the full disk."""
    settings = village(tmp_path)
    with Registry(settings.gateway.registry) as registry:
        device = registry.enrol("counter", "one")
        counter = Counter(device)
        async with running(settings, registry) as broker:
            assert broker.pid is not None
            async with board(broker, device) as one:
                await asyncio.to_thread(one.report, counter.report(1).payload)
            before = resource.prlimit(broker.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(broker.pid, resource.RLIMIT_FSIZE, (4_096, before[1]))
            sent = {}
            async with asyncio.timeout(DEADLINE_S), board(broker, device) as one:
                for n in range(2, 60):
                    sent[one.send(topics.REPORT, counter.report(n).payload)] = n
                while not broker._cannot_write:
                    await asyncio.sleep(0.02)
                await asyncio.sleep(0.2)
                owed = {sent[mid] for mid in one.acknowledged if mid in sent} | {1}
            assert len(owed) < 59
            # It says so, and is started anew until it can write: the new process has room.
            async with asyncio.timeout(DEADLINE_S):
                while broker.restarts == 0 or broker.state != "up":
                    await asyncio.sleep(0.05)
            async with board(broker, device) as one:
                for n in sorted(set(range(2, 60)) - owed):
                    await asyncio.to_thread(one.report, counter.report(n).payload)
            ingest = JetStreamIngest(broker.access)
            arrived: set[bytes] = set()
            async with asyncio.timeout(DEADLINE_S):
                async for batch in ingest.batches():
                    arrived |= {delivery.payload for delivery in batch.deliveries}
                    await batch.ack()
                    if len(arrived) == 59:
                        break
            await ingest.close()
            assert arrived == {counter.report(n).payload for n in range(1, 60)}


def test_a_read_only_disk_is_named_and_the_gateway_starts_once_it_is_not(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 8_192) as disk:
        street = Street(disk)

        async def store_one(n: int) -> None:
            async with await street.open() as store:
                await street.flow(store).store([street.counters[0].statement(n)])

        asyncio.run(store_one(1))
        street.registry.close()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(StoreError, match="cannot open the store: Read-only file system"):
            asyncio.run(store_one(2))
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        street.registry = Registry(disk / "registry.db")
        asyncio.run(store_one(2))
        assert len(street.rows("attestation")) == 2
        street.registry.close()


async def test_a_damaged_page_is_told_with_what_to_do_and_acknowledges_nothing(tmp_path: Path) -> None:
    settings = village(tmp_path)
    street = Street(tmp_path)
    file = settings.gateway.data_dir / STORE_FILE
    counter = street.counters[0]

    def flow(store: Store) -> Flow:
        return Flow(Keyring(street.registry), street.catalogue, store, street.clock)

    async with await Store.open(file) as store:
        await flow(store).store(
            [counter.statement(1), *(counter.report(2 + n, WINDOW - n) for n in range(9))]
        )
    with closing(sqlite3.connect(file)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'report'").fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    whole = file.read_bytes()
    with file.open("r+b") as damaged:
        damaged.seek((page - 1) * size)
        damaged.write(b"\xff" * size)
    _, complaints = await check_gateway(settings)
    assert any("malformed" in complaint and str(file) in complaint for complaint in complaints)
    ingest = OneBatch(counter.report(20, WINDOW - 20))
    stop = asyncio.Event()
    async with await Store.open(file) as store:
        with capture_logs() as logs:
            task = asyncio.create_task(flow(store).run(ingest, stop))
            async with asyncio.timeout(DEADLINE_S):
                while not any("malformed" in entry.get("reason", "") for entry in logs):
                    await asyncio.sleep(0.02)
            stop.set()
            await task
        assert any("backup" in entry["reason"] for entry in logs)
    assert not ingest.acknowledged.is_set()
    # The backup in its place, it goes on, and nothing that waited at the broker is missing.
    for leftover in file.parent.glob(STORE_FILE + "-*"):
        leftover.unlink()
    file.write_bytes(whole)
    async with await Store.open(file) as store:
        await flow(store).run(ingest, asyncio.Event())
        assert (await store.figures()).reports == 10
    assert ingest.acknowledged.is_set()
    street.registry.close()


async def test_a_slow_disk_has_everything_brought_again_and_stored_once(tmp_path: Path) -> None:
    """Another process holds the store for longer than the broker waits for an acknowledgement."""
    settings = village(tmp_path)
    (settings.deployments.directory / "none").mkdir()
    street = Street(tmp_path)
    counter = street.counters[0]
    with Registry(settings.gateway.registry) as registry:
        device = registry.enrol("counter", "one")
        counter = Counter(device)
        street.write("street", [("fietspad-0", device.device_id)])
        street.catalogue.reload()
        async with running(settings, registry, ack_wait=0.5) as broker, await street.open() as store:
            ingest = JetStreamIngest(broker.access, ack_wait=0.5)
            flow = Flow(Keyring(registry), street.catalogue, store, street.clock)
            stop = asyncio.Event()
            with closing(sqlite3.connect(street.folder / "store.db", isolation_level=None)) as slow:
                slow.execute("BEGIN IMMEDIATE")
                task = asyncio.create_task(flow.run(ingest, stop))
                async with board(broker, device) as one:
                    for delivery in (
                        counter.statement(1),
                        *(counter.report(2 + n, WINDOW - 30 + n) for n in range(30)),
                    ):
                        await asyncio.to_thread(one.publish, _topic(delivery), delivery.payload)
                await asyncio.sleep(1.5)
                assert await ingest.pending() == 31
                slow.execute("ROLLBACK")
            async with asyncio.timeout(DEADLINE_S):
                while await ingest.pending():
                    await asyncio.sleep(0.05)
            stop.set()
            await ingest.close()
            await task
            figures = await store.figures()
            assert (figures.reports, figures.refused) == (30, {})
            assert figures.redelivered >= 1
            assert (await store.check_trail()).faults == []
    assert len(street.rows("ledger")) == 60
    street.registry.close()


def _topic(delivery: Any) -> str:
    return topics.topic(delivery.device_id, delivery.kind)


class Hands:
    """A clock, and time that passes, both moved by hand."""

    def __init__(self) -> None:
        self.wall, self.run = NOW, 1_000.0

    def now(self) -> float:
        return self.wall

    def elapsed(self) -> float:
        return self.run

    def passes(self, seconds: float) -> None:
        self.wall += seconds
        self.run += seconds


@pytest.mark.parametrize("jump", [-121.0, 10 * 365 * 86_400.0])
async def test_a_clock_that_jumps_is_waited_out(street: Street, jump: float) -> None:
    hands = Hands()
    clock = WatchedClock(hands, None, elapsed=hands.elapsed)
    counter = street.counters[0]
    async with await street.open() as store:
        flow = Flow(Keyring(street.registry), street.catalogue, store, clock)
        await flow.store([counter.statement(1), counter.report(2, WINDOW - 4)])
        hands.passes(86_400)
        hands.wall += jump
        ingest = OneBatch(counter.report(3, WINDOW))
        with capture_logs() as logs:
            task = asyncio.create_task(flow.run(ingest, asyncio.Event()))
            async with asyncio.timeout(DEADLINE_S):
                while not any("the clock: found" in entry.get("reason", "") for entry in logs):
                    await asyncio.sleep(0.01)
            assert not ingest.acknowledged.is_set()
            hands.wall -= jump
            await asyncio.wait_for(task, DEADLINE_S)
        assert ingest.acknowledged.is_set()
        figures = await store.figures()
    assert (figures.reports, figures.refused) == (2, {})


def test_small_steps_and_long_quiet_are_believed_and_so_is_what_stays(tmp_path: Path) -> None:
    hands = Hands()
    clock = WatchedClock(hands, NOW, elapsed=hands.elapsed)
    for step in (-119.0, 119.0, 3_599.0):
        hands.wall += step
        assert clock.now() == hands.wall
    hands.passes(30 * 86_400)
    assert clock.now() == hands.wall
    # It was wrong, and was put right for good: ten minutes later that is how it is.
    hands.wall -= 86_400
    for _ in range(10):
        with pytest.raises(ClockDoubted):
            clock.now()
        hands.passes(60)
    assert clock.now() == hands.wall
    # At a start the gateway may have been away for any time; what it wrote was not in the future.
    assert WatchedClock(hands, NOW - 400 * 86_400, elapsed=hands.elapsed).now() == hands.wall
    with pytest.raises(ClockDoubted):
        WatchedClock(hands, NOW - 400 * 86_400, away_s=86_400, elapsed=hands.elapsed).now()
    with pytest.raises(ClockDoubted):
        WatchedClock(hands, hands.wall + 200, elapsed=hands.elapsed).now()


async def test_a_gateway_with_a_clock_of_before_does_not_start_until_it_is_right(street: Street) -> None:
    async with await street.open() as store:
        await street.flow(store).store([street.counters[0].statement(1)])
        last = await store.last_written()
    assert last == NOW
    hands = Hands()
    hands.wall = 0.0
    clock = WatchedClock(hands, last, elapsed=hands.elapsed)
    stop = asyncio.Event()
    waiting = asyncio.create_task(believed(clock, stop))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    stop.set()
    await waiting
    hands.wall = NOW + 60
    await believed(clock, asyncio.Event())


async def test_a_message_that_no_store_takes_is_kept_and_the_others_pass(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poisoned one, which nobody knows how to make: the write of every batch with it fails, for ever."""
    from peilmerk_gateway.store import batch

    counter = street.counters[0]
    written = batch.write_batch

    def breaks(connection: Any, rows: BatchRows, *rest: Any) -> Any:
        if any(entry.report.seq == 3 for entry in rows.entries):
            raise OverflowError("Python int too large to convert to SQLite INTEGER")
        return written(connection, rows, *rest)

    monkeypatch.setattr(flows, "BACKOFF_FIRST_S", 0.01)
    async with await street.open() as store:
        with monkeypatch.context() as patched:
            patched.setattr(batch, "write_batch", breaks)
            ingest = OneBatch(
                counter.statement(1), *(counter.report(2 + n, WINDOW - 3 + n) for n in range(3))
            )
            await asyncio.wait_for(street.flow(store).run(ingest, asyncio.Event()), DEADLINE_S)
        assert ingest.acknowledged.is_set()
        figures = await store.figures()
        assert (figures.reports, figures.refused, figures.received) == (2, {"internal": 1}, 4)
        assert [row.seq for row in await store.quarantined()] == [3]
        assert (await store.check_trail()).faults == []


def run_gateway(folder: Path) -> tuple[int, str]:
    """How a start ends that cannot succeed, and what it says last."""
    done = CliRunner().invoke(gateway_app, ["run", str(folder)])
    assert "Traceback" not in done.output, done.output
    assert isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stderr.splitlines()[-1]


@pytest.mark.parametrize("full", [True, False], ids=["full", "read-only"])
def test_a_start_on_a_bad_disk_is_tried_again_by_whoever_supervises_it(tmp_path: Path, full: bool) -> None:
    with small_disk(tmp_path / "disk", 8_192) as disk:
        settings = village(disk / "village", web_port=0)
        Registry(settings.gateway.registry).close()
        if full:
            fill(disk / "filler")
        else:
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        # Not 2, at which the unit leaves it stopped: there will be room again.
        code, said = run_gateway(disk / "village")
        assert (code, said.partition(": ")[2].partition(": ")[0]) == (1, "the gateway did not start")
        assert str(settings.gateway.registry) in said


def test_a_start_without_its_database_server_is_tried_again(tmp_path: Path) -> None:
    settings = village(tmp_path / "village", web_port=0)
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    with settings.file.open("a") as file:
        file.write(f'\n[store]\nurl = "postgresql://peilmerk@127.0.0.1:{port}/peilmerk"\n')
    code, said = run_gateway(settings.file.parent)
    assert code == 1
    assert said.startswith("error: the gateway did not start: postgresql")
    assert "Connection refused" in said


def test_a_file_that_cannot_be_used_is_named_and_is_for_somebody_to_put_right(tmp_path: Path) -> None:
    settings = village(tmp_path / "village", web_port=0)
    lock = settings.gateway.data_dir / "broker" / "lock"
    lock.mkdir(parents=True)
    assert run_gateway(settings.file.parent) == (2, f"error: {lock}: Is a directory")
