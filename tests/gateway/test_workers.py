"""Several gateways on one store: what is judged at a time comes out as if judged one after the other."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from patience import DEADLINE_S
from sealed_street import NOW, WINDOW, Street
from stores import new_place
from typer.testing import CliRunner

from peilmerk_bench.postgresql import PostgresServer
from peilmerk_gateway.beside import BrokerBeside
from peilmerk_gateway.broker import BrokerDown, NatsBroker
from peilmerk_gateway.clock import ScaledClock
from peilmerk_gateway.command import app as root
from peilmerk_gateway.deployments.catalogue import Catalogue
from peilmerk_gateway.flow import Flow
from peilmerk_gateway.ingest import Delivery
from peilmerk_gateway.judge import Judge, Judged
from peilmerk_gateway.meter import Meter
from peilmerk_gateway.open import Keyring
from peilmerk_gateway.registry import Registry, RegistryError
from peilmerk_gateway.service import Ready, Service
from peilmerk_gateway.settings import SettingsError, load, write_default
from peilmerk_gateway.store import Store, StoreError
from peilmerk_gateway.store.halts import PAUSE
from peilmerk_gateway.store.lead import EVERY_S, Alone, Shared, open_lead, this_folder, while_leading
from peilmerk_gateway.store.meanwhile import Overtaken


@pytest.fixture
def street(tmp_path: Path, postgresql: PostgresServer) -> Iterator[Street]:
    made = Street(tmp_path, counters=2, place=new_place(tmp_path, postgresql))
    yield made
    made.registry.close()


class Worker:
    """One gateway: a store, and a judge of its own with its own view of records and registry."""

    def __init__(self, street: Street, store: Store) -> None:
        self.store = store
        self.registry = Registry(street.folder / "registry.db")
        self.catalogue = Catalogue(street.records)
        self.judge = Judge(Keyring(self.registry), self.catalogue, store)

    async def judged(self, *deliveries: Delivery) -> Judged:
        return await self.judge.batch(deliveries, NOW)

    async def write(self, judged: Judged) -> int:
        return (await self.store.commit_batch(judged.rows, NOW)).reports


@pytest.fixture
async def workers(street: Street) -> AsyncIterator[tuple[Worker, Worker]]:
    async with await street.open() as one, await street.open() as other:
        made = Worker(street, one), Worker(street, other)
        yield made
        for worker in made:
            worker.registry.close()
        verdict = await one.check_trail()
        assert verdict.ok, verdict.faults


Two = tuple[Worker, Worker]


async def test_one_message_in_two_hands_is_stored_once_and_is_no_replay(street: Street, workers: Two) -> None:
    one, other = workers
    board = street.counters[0]
    await one.write(await one.judged(board.statement(1)))
    first, second = await one.judged(board.report(2)), await other.judged(board.report(2))
    assert await one.write(first) == 1
    with pytest.raises(Overtaken, match="a message of this batch"):
        await other.write(second)
    # What the broker brought twice is met as such.
    again = await other.judged(replace(board.report(2), redelivered=True))
    assert await other.write(again) == 0
    assert street.refused() == []
    assert len(street.rows("ledger")) == 2


async def test_windows_that_overlap_are_told_once_whoever_comes_first(street: Street, workers: Two) -> None:
    one, other = workers
    board = street.counters[0]
    await one.write(await one.judged(board.statement(1)))
    first, second = await one.judged(board.report(2, WINDOW)), await other.judged(board.report(3, WINDOW))
    assert await one.write(first) == 1
    with pytest.raises(Overtaken, match="a window of this batch"):
        await other.write(second)
    assert await other.write(await other.judged(board.report(3, WINDOW))) == 0
    assert street.refused() == [("window-repeated", True)]
    assert len(street.rows("ledger")) == 2


async def test_a_report_rests_on_the_statement_that_another_worker_has(street: Street, workers: Two) -> None:
    one, other = workers
    board = street.counters[0]
    # The report is judged while the statement is in the other's hands: it would wait for two minutes.
    said, told = await one.judged(board.statement(1)), await other.judged(board.report(2))
    assert told.rows.parked
    await one.write(said)
    with pytest.raises(Overtaken, match="a statement of a board"):
        await other.write(told)
    assert await other.write(await other.judged(board.report(2))) == 1
    assert street.rows("parked") == []


async def test_a_statement_finds_what_another_worker_parked_meanwhile(street: Street, workers: Two) -> None:
    one, other = workers
    board = street.counters[0]
    said, told = await one.judged(board.statement(1)), await other.judged(board.report(2))
    await other.write(told)
    with pytest.raises(Overtaken, match="what waits for a statement"):
        await one.write(said)
    assert await one.write(await one.judged(board.statement(1))) == 1
    assert street.rows("parked") == []


async def test_what_waits_is_judged_by_one(street: Street, workers: Two) -> None:
    one, other = workers
    board = street.counters[0]
    await one.write(await one.judged(board.report(3)))
    late = [Judged(await worker.judge.overdue(NOW), None) for worker in workers]
    assert late[0].rows.unparked == late[1].rows.unparked == []
    for worker in workers:
        worker.judge._patience_s = -1.0
    late = [Judged(await worker.judge.overdue(NOW), None) for worker in workers]
    await one.write(late[0])
    with pytest.raises(Overtaken):
        await other.write(late[1])
    assert street.refused() == [("not-attested", True)]


async def test_boards_of_their_own_do_not_stand_in_each_others_way(street: Street, workers: Two) -> None:
    one, other = workers
    first, second = street.counters
    await one.write(await one.judged(first.statement(1), second.statement(1)))
    for n in range(3):
        mine, theirs = (
            await one.judged(first.report(2 + n, WINDOW - 9 + n)),
            await other.judged(second.report(2 + n, WINDOW - 9 + n), first.report(20 + n, WINDOW - 20 + n)),
        )
        assert await one.write(mine) == 1
        assert await other.write(theirs) == 2


async def test_nobody_judges_by_records_that_are_in_force_no_more(street: Street, workers: Two) -> None:
    one, other = workers
    board = street.counters[0]
    for worker in workers:
        await worker.store.note_records(worker.catalogue.facts, NOW)
    await one.write(await one.judged(board.statement(1)))
    file = street.records / "street.toml"
    file.write_text(file.read_text() + "\n# changed\n")
    reading = one.catalogue.look()
    assert reading is not None
    judged = await other.judged(board.report(2))
    await one.store.note_records(reading.facts, NOW)
    one.catalogue.take(reading)
    with pytest.raises(StoreError, match="other deployment records are in force"):
        await other.write(judged)
    reading = other.catalogue.look()
    assert reading is not None
    assert not await other.store.note_records(reading.facts, NOW)
    other.catalogue.take(reading)
    assert await other.write(await other.judged(board.report(2))) == 1


async def test_a_host_who_pauses_is_heard_by_every_worker(street: Street, workers: Two) -> None:
    one, other = workers
    board = street.counters[0]
    await one.write(await one.judged(board.statement(1)))
    judged = await other.judged(board.report(2))
    await one.store.halt(board.id, PAUSE, NOW)
    with pytest.raises(StoreError, match="a host paused"):
        await other.write(judged)
    assert await other.write(await other.judged(board.report(2))) == 0
    assert street.refused() == [("host-paused", True)]


async def test_however_messages_are_dealt_out_the_outcome_is_the_same(street: Street) -> None:
    chance = random.Random(5)
    said: list[Delivery] = []
    for board in street.counters:
        said += [board.statement(1)]
        said += [board.report(2 + n, WINDOW - 30 + n) for n in range(20)]
        # The same again, another number for a window, another window for a number.
        said += [replace(board.report(5, WINDOW - 27), redelivered=True), board.report(30, WINDOW - 20)]
    async with await street.open() as one, await street.open() as other, await street.open() as third:
        flows = [street.flow(store) for store in (one, other, third)]

        async def work(flow: Flow, share: Sequence[Sequence[Delivery]]) -> None:
            for batch in share:
                await flow.store(batch)

        dealt: list[list[Delivery]] = [said[n::3] for n in range(3)]
        for share in dealt:
            chance.shuffle(share)
        await asyncio.gather(
            *(
                work(flow, [share[n : n + 4] for n in range(0, len(share), 4)])
                for flow, share in zip(flows, dealt, strict=True)
            )
        )
        assert await one.parked() == []
        verdict = await one.check_trail()
        assert verdict.ok, verdict.faults
    assert len(street.rows("report")) == 40
    assert len(street.rows("ledger")) == 80
    # Of two numbers for a window the one that came second is refused, whichever that was. What the broker
    # brings again may come before what it is a repetition of, which is a replay then.
    refused = [reason for reason, _ in street.refused()]
    assert sorted(reason for reason in refused if reason != "replayed") == ["window-repeated"] * 2
    assert refused.count("replayed") <= 2


# -- who leads


async def until(what: object, seconds: float = DEADLINE_S) -> None:
    async with asyncio.timeout(seconds):
        while not what():  # type: ignore[operator]
            await asyncio.sleep(0.02)


async def test_one_leads_and_the_next_one_when_its_connection_is_cut(postgresql: PostgresServer) -> None:
    place = postgresql.database("led")
    stop, pause = asyncio.Event(), asyncio.Event()
    one, other = Shared(place), Shared(place)
    tasks = [asyncio.create_task(one.run(pause))]
    await until(lambda: one.leads)
    tasks.append(asyncio.create_task(other.run(stop)))
    await until(lambda: other.members == 2 and one.members == 2)
    assert await one.held()
    assert not await other.held()
    done: list[str] = []

    async def work(ends: asyncio.Event) -> None:
        done.append("began")
        await ends.wait()
        done.append("ended")

    tasks.append(asyncio.create_task(while_leading(other, stop, work)))
    # Its connection ends under it: it knows when it asks. Whoever tries first leads next: here the other one.
    pause.set()
    await tasks[0]
    postgresql.execute(
        "SELECT pg_terminate_backend(l.pid) FROM pg_locks l WHERE l.locktype = 'advisory'"
        " AND l.mode = 'ExclusiveLock' AND l.objid = 1"
    )
    assert not await one.held()
    await until(lambda: other.leads)
    await until(lambda: done == ["began"])
    # And no way back for as long as the other one leads.
    tasks[0] = asyncio.create_task(one.run(stop))
    await until(lambda: other.members == 2 and one.members == 2)
    assert not await one.held()
    await other.close()
    await until(lambda: done == ["began", "ended"])
    await until(lambda: one.leads)
    assert not await other.held()
    stop.set()
    await asyncio.gather(*tasks)
    await one.close()


async def test_from_a_copy_of_its_files_no_second_gateway_begins(
    tmp_path: Path, postgresql: PostgresServer
) -> None:
    """A registry that is copied is soon stale, and what is unknown to it would be refused for good."""
    place = postgresql.database("fenced")
    for name in ("registry.db", "copy.db"):
        (tmp_path / name).write_bytes(b"the same")
    ours, theirs = tmp_path / "registry.db", tmp_path / "copy.db"
    first = await open_lead(place, ours)
    # As many of the same files as one likes.
    second = await open_lead(place, ours)
    with pytest.raises(StoreError, match="found a gateway at work on it from other files"):
        await open_lead(place, theirs, strangers_s=0.0)
    assert isinstance(first, Shared)
    assert isinstance(second, Shared)
    assert await first.held()
    # One that waits begins when the others have ended, by themselves or with their machine.
    waiting = asyncio.create_task(open_lead(place, theirs))
    await second.close()
    await asyncio.sleep(0)
    assert not waiting.done()
    await first.close()
    third = await asyncio.wait_for(waiting, 30)
    assert isinstance(third, Shared)
    assert await third.held()
    # Whoever comes back to find it there ends.
    again = Shared(place, this_folder(ours), 0.0)
    with pytest.raises(StoreError, match="from other files"):
        await again.run(asyncio.Event())
    await again.close()
    await third.close()


async def test_the_one_at_work_goes_on_whoever_tries_to_begin(
    tmp_path: Path, postgresql: PostgresServer
) -> None:
    place = postgresql.database("undisturbed")
    for name in ("registry.db", "copy.db"):
        (tmp_path / name).write_bytes(b"the same")
    ours, theirs = tmp_path / "registry.db", tmp_path / "copy.db"
    stop = asyncio.Event()
    # It ends as soon as it finds anybody.
    first = Shared(place, this_folder(ours), 0.0)
    running = asyncio.create_task(first.run(stop))
    await until(lambda: first.leads)
    with pytest.raises(StoreError, match="from other files"):
        await open_lead(place, theirs, strangers_s=2 * EVERY_S)
    assert first.members == 1
    assert not running.done()
    # It was away, another one began, and it comes back: the other one goes on.
    stop.set()
    await running
    postgresql.cut_connections("undisturbed")
    assert not await first.held()
    second = await open_lead(place, theirs, strangers_s=0.0)
    assert isinstance(second, Shared)
    other = asyncio.create_task(second.run(asyncio.Event()))
    with pytest.raises(StoreError, match="from other files"):
        await first.run(asyncio.Event())
    assert await second.held()
    assert not other.done()
    await second.close()
    await asyncio.wait_for(other, DEADLINE_S)
    await first.close()


async def test_of_two_that_begin_at_once_one_does(tmp_path: Path, postgresql: PostgresServer) -> None:
    place = postgresql.database("at_once")
    for name in ("registry.db", "copy.db"):
        (tmp_path / name).write_bytes(b"the same")
    tasks = {asyncio.create_task(open_lead(place, tmp_path / name)) for name in ("registry.db", "copy.db")}
    for _ in range(2):
        done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        (begun,) = (task.result() for task in done)
        assert isinstance(begun, Shared)
        assert await begun.held()
        await begun.close()


async def test_with_an_older_copy_of_the_registry_no_gateway_begins(
    tmp_path: Path, postgresql: PostgresServer
) -> None:
    file = write_default(tmp_path, host="127.0.0.1", mqtt_port=0, web_port=0, update_port=0)
    new_place(tmp_path, postgresql).serve(file)
    settings = load(file)
    copy = tmp_path / "registry.of-yesterday"
    with Registry(settings.gateway.registry) as registry:
        registry.enrol("counter", "one")
    copy.write_bytes(settings.gateway.registry.read_bytes())
    copy.chmod(0o600)
    with Registry(settings.gateway.registry) as registry:
        registry.enrol("counter", "two")
        async with await Store.open(settings.store_place) as store:
            await Flow(Keyring(registry), Catalogue(tmp_path), store, ScaledClock(NOW, 0.0, 0.0)).store(
                [Delivery("a" * 16, 1, b"x")]
            )
    for left in settings.gateway.registry.parent.glob("registry.db*"):
        left.unlink()
    copy.rename(settings.gateway.registry)
    why = "found a registry of 2 actions, wanted at least 3"
    with pytest.raises(RegistryError, match=why):
        await Service(settings).run()
    done = await asyncio.to_thread(CliRunner().invoke, root, ["gateway", "check", str(tmp_path)])
    assert done.exit_code == 1
    assert why in done.stderr
    # Enrolled anew, as after every loss, it is whole enough to go on.
    with Registry(settings.gateway.registry) as registry:
        registry.enrol("counter", "two again")
    ready: list[Ready] = []
    service = Service(settings, ready.append)
    running = asyncio.create_task(service.run())
    await until(lambda: ready or running.done(), 60)
    service.stop()
    await running
    assert ready


async def test_a_file_has_one_gateway_which_leads(tmp_path: Path) -> None:
    lead = await open_lead(tmp_path / "store.db", tmp_path / "registry.db")
    assert isinstance(lead, Alone)
    assert await lead.held()
    assert lead.members == 1


def test_the_meter_counts_for_those_that_others_took() -> None:
    class Nobody:
        def mandate(self, _device_id: str) -> None:
            return None

    def taken(members: int) -> int:
        meter = Meter(Nobody(), ScaledClock(NOW, 0.0, 0.0), lambda: members)  # type: ignore[arg-type]
        n = 0
        while not meter.judge(0.0)[1]:
            meter.count([Delivery("a" * 16, 1, b"")] * 100)
            n += 100
        return n

    assert taken(1) == pytest.approx(4 * taken(4), rel=0.02)


# -- settings, and the broker beside


def test_workers_need_a_store_and_a_broker_that_can_be_shared(tmp_path: Path) -> None:
    file = write_default(tmp_path, mqtt_port=0, web_port=0, update_port=0)
    text = file.read_text().replace("[gateway]", "[gateway]\nworkers = 2")
    file.write_text(text)
    with pytest.raises(SettingsError, match=r"gateway\.workers: found 2 and no \[store\]"):
        load(file)
    file.write_text(text.replace("workers = 2", "workers = 1"))
    done = CliRunner().invoke(root, ["gateway", "worker", str(tmp_path)])
    assert done.exit_code == 2
    assert "gateway.workers: found 1, wanted more: its gateway reads alone" in done.stderr
    mqtt = text.replace('kind = "nats"', 'kind = "mqtt"').replace("mqtt_port = 0", "mqtt_port = 8883")
    file.write_text(
        mqtt + '\n[broker.mqtt]\npassword_file = "x"\n[store]\nurl = "postgresql://p@/x?host=/run"\n'
    )
    with pytest.raises(SettingsError, match=r'gateway\.workers: found 2 with broker\.kind "mqtt"'):
        load(file)


async def test_a_worker_finds_the_broker_of_its_folder_while_it_runs(tmp_path: Path) -> None:
    settings = load(write_default(tmp_path, mqtt_port=0, web_port=0, update_port=0))
    beside = BrokerBeside(settings)
    with pytest.raises(BrokerDown, match="never started"):
        beside.access()
    with Registry(settings.gateway.registry) as registry:
        broker = NatsBroker(settings, registry)
        await broker.start()
        try:
            assert beside.access() == broker.access()
        finally:
            await broker.stop()
    # The port may be anybody's now.
    with pytest.raises(BrokerDown, match="does not run"):
        beside.access()
