"""Commands: kept until answered, each carried out once at most, in order, and nobody else's business."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mqtt_board import Board, board, running, until, up_again, village
from nats.aio.msg import Msg
from patience import DEADLINE_S
from sealed_street import NOW, Counter, Street
from sqlalchemy import create_engine
from stores import KINDS, StorePlace, place_of

from peilmerk_gateway.broker import NatsBroker
from peilmerk_gateway.clock import ScaledClock
from peilmerk_gateway.commands import sender as sender_module
from peilmerk_gateway.commands.sender import Sender
from peilmerk_gateway.ingest.jetstream import connect
from peilmerk_gateway.ingest.nats_courier import NatsCourier
from peilmerk_gateway.registry import Registry
from peilmerk_gateway.settings import Settings
from peilmerk_gateway.store import AnswerRow, BatchRows, CommandRow, Store, commands
from peilmerk_gateway.store.commands import GAP, MOST_OPEN, CommandRefused
from peilmerk_gateway.store.schema import metadata
from peilmerk_protocol import cbor, command

LATER = int(NOW) + 3600
DEVICE = "a" * 16


@pytest.fixture
def street(tmp_path: Path, store_place: StorePlace) -> Iterator[Street]:
    made = Street(tmp_path, counters=2, place=store_place)
    yield made
    made.registry.close()


async def identify(store: Store, device_id: str, seconds: int = 30, expiry: int = LATER) -> CommandRow:
    return await store.queue_command(device_id, command.IDENTIFY, cbor.encode(seconds), expiry, NOW)


# The store.


class ModelDevice:
    """What a device does: carries out a rising counter once, and nothing but beacons without a clock."""

    def __init__(self, has_clock: bool) -> None:
        self.has_clock = has_clock
        self.highest = 0
        self.done: list[int] = []

    def hears(self, counter: int, is_beacon: bool) -> int | None:
        """The outcome, or None when it waits for its clock."""
        if not is_beacon and not self.has_clock:
            return None
        if counter == self.highest and counter in self.done:
            return command.DONE
        if counter <= self.highest:
            return command.STALE
        self.highest = counter
        self.has_clock = True
        self.done.append(counter)
        return command.DONE


@given(
    st.booleans(),
    st.lists(
        st.tuples(
            st.sampled_from(["queue", "send", "beacon", "withdraw", "expire", "reset"]),
            st.booleans(),
            st.booleans(),
        ),
        max_size=60,
    ),
)
def test_whatever_is_lost_no_counter_comes_twice_and_no_command_comes_too_late(
    has_clock: bool, steps: list[tuple[str, bool, bool]]
) -> None:
    # In memory: whether the disk keeps it is tried below, by killing a sender.
    with create_engine("sqlite://").begin() as connection:
        metadata.create_all(connection)
        device = ModelDevice(has_clock)
        taken: list[int] = []
        for step, arrives, answer_arrives in steps:
            waiting = commands.waiting(connection)
            if step == "reset":
                device.has_clock = has_clock
            elif step == "queue" and len(waiting) < MOST_OPEN:
                row = commands.queue(connection, DEVICE, command.REBOOT, cbor.encode(None), LATER, NOW)
                taken.append(row.counter)
            elif step == "beacon":
                number = commands.beacons(connection, [DEVICE]).get(DEVICE)
                if number is None:
                    # Only a command that was never answered while dozens of beacons went out.
                    assert waiting
                    continue
                taken.append(number)
                if arrives:
                    outcome = device.hears(number, True)
                    # A beacon that comes too late is one below a command that was carried out.
                    assert outcome == command.DONE or any(number < done for done in device.done)
            elif step == "send" and waiting:
                first = waiting[0].counter
                assert commands.sent(connection, DEVICE, first, NOW)
                outcome = device.hears(first, False) if arrives else None
                assert outcome in (command.DONE, None)
                if outcome is not None and answer_arrives:
                    assert commands.known(connection, [(DEVICE, first)])[DEVICE, first].outcome is None
                    commands.answer(connection, [_answer(first)], NOW)
            elif step == "withdraw" and waiting:
                commands.withdraw(connection, DEVICE, waiting[0].counter, NOW)
            elif step == "expire":
                commands.expire(connection, LATER + 1)
        assert len(taken) == len(set(taken))
        assert len(device.done) == len(set(device.done))
        assert device.done == sorted(device.done)


def _answer(counter: int) -> AnswerRow:
    return AnswerRow(DEVICE, counter, command.DONE, 0, False)


async def test_a_beacon_goes_below_the_command_that_waits_and_above_the_one_before(street: Street) -> None:
    async with await street.open() as store:
        first = (await store.beacon_counters([DEVICE])).get(DEVICE)
        row = await identify(store, DEVICE)
        below = (await store.beacon_counters([DEVICE])).get(DEVICE)
        assert first is not None
        assert below is not None
        assert 0 < first < below < row.counter
        assert await store.command_sent(DEVICE, row.counter, NOW)
        for _ in range(GAP):
            last = (await store.beacon_counters([DEVICE])).get(DEVICE)
        assert last is None, "no beacon may overtake a command that waits for its answer"
        await store.withdraw_command(DEVICE, row.counter, NOW)
        above = (await store.beacon_counters([DEVICE])).get(DEVICE)
        assert above is not None
        assert above > row.counter
        # Many statements later the next command is above them all, and no beacon took a command's number.
        later = [(await store.beacon_counters([DEVICE])).get(DEVICE) for _ in range(GAP + 2)]
        assert all(number is not None and number % GAP for number in later)
        assert (await identify(store, DEVICE)).counter > max(number or 0 for number in later)


async def test_too_many_commands_and_what_cannot_be_taken_back(street: Street) -> None:
    async with await street.open() as store:
        rows = [await identify(store, DEVICE) for _ in range(MOST_OPEN)]
        with pytest.raises(CommandRefused, match=f"found {MOST_OPEN} commands that wait"):
            await identify(store, DEVICE)
        await identify(store, "b" * 16)
        assert (await store.withdraw_command(DEVICE, rows[0].counter, NOW)).state == "withdrawn"
        with pytest.raises(CommandRefused, match="found command 64 withdrawn, wanted one that still waits"):
            await store.withdraw_command(DEVICE, rows[0].counter, NOW)
        with pytest.raises(CommandRefused, match="found no command 7"):
            await store.withdraw_command(DEVICE, 7, NOW)
        await store.expire_commands(LATER)
        assert len(await store.waiting_commands()) == MOST_OPEN
        await store.expire_commands(LATER + 0.5)
        assert await store.waiting_commands() == []
        assert (await store.figures()).commands == {"expired": MOST_OPEN, "withdrawn": 1}


# Acknowledgements.


async def test_an_answer_is_written_down_once(street: Street) -> None:
    one, other = street.counters
    async with await street.open() as store:
        flow = street.flow(store)
        row = await identify(store, one.id)
        early = await flow.store([one.ack(row.counter)])
        assert (early.answers, early.refused) == (0, 1)
        await store.command_sent(one.id, row.counter, NOW)
        stored = await flow.store([one.ack(row.counter, command.DONE, 5), one.ack(row.counter)])
        assert (stored.answers, stored.refused) == (1, 1)
        again = await flow.store([one.ack(row.counter, command.DONE, 5, again=True)])
        assert (again.answers, again.refused) == (0, 0)
        await flow.store([one.ack(row.counter, command.FAILED), other.ack(row.counter), one.ack(9 * GAP)])
        now = await store.command(one.id, row.counter)
        assert now is not None
        assert (now.state, now.outcome, now.detail) == ("acknowledged", command.DONE, 5)
        assert now.answered_at == NOW
        figures = await store.figures()
        assert figures.answers == 1
        assert figures.refused == {"ack-repeated": 2, "ack-unknown": 3}
        assert figures.received == figures.answers + figures.redelivered + 5


@pytest.mark.parametrize("end", ["expired", "withdrawn"])
async def test_an_answer_that_comes_late_still_counts(street: Street, end: str) -> None:
    (one, _) = street.counters
    async with await street.open() as store:
        row = await identify(store, one.id)
        await store.command_sent(one.id, row.counter, NOW)
        if end == "expired":
            await store.expire_commands(LATER + 1)
        else:
            await store.withdraw_command(one.id, row.counter, NOW)
        assert not await store.command_sent(one.id, row.counter, NOW)
        await street.flow(store).store([one.ack(row.counter, command.EXPIRED)])
        now = await store.command(one.id, row.counter)
        assert now is not None
        assert (now.state, now.outcome) == ("acknowledged", command.EXPIRED)


async def test_beacons_are_answered_without_a_row(street: Street) -> None:
    (one, _) = street.counters
    async with await street.open() as store:
        flow = street.flow(store)
        number = (await store.beacon_counters([one.id])).get(one.id)
        assert number is not None
        stored = await flow.store([one.ack(number), one.ack(number + 1)])
        assert (stored.answers, stored.refused) == (1, 1)
        assert street.rows("command") == []


async def test_the_flow_tells_who_lives_and_who_made_a_statement(street: Street) -> None:
    one, other = street.counters
    told: list[tuple[set[str], set[str]]] = []
    async with await street.open() as store:
        flow = street.flow(store, listener=lambda heard, stated: told.append((set(heard), set(stated))))
        await flow.store([one.statement(1), other.report(1)])
        await flow.store([one.statement(1, again=True)])
        await flow.store([other.ack(GAP)])
        forged = one.report(2)
        await flow.store([type(forged)(other.id, forged.kind, forged.payload)])
    assert told == [({one.id, other.id}, {one.id}), (set(), set()), ({other.id}, set()), (set(), set())]


# The sender, with the real broker and boards that speak MQTT.


class Place:
    """A broker, a store and a sender, in the gateway's own time."""

    def __init__(self, broker: NatsBroker, registry: Registry, store: Store, sender: Sender) -> None:
        self.broker = broker
        self.registry = registry
        self.store = store
        self.sender = sender

    @asynccontextmanager
    async def listening(self, counter: Counter) -> AsyncIterator[Board]:
        await until(lambda: self.broker.revision == self.registry.revision(), "the device to be admitted")
        async with board(self.broker, counter.device) as connected:
            topic = f"peilmerk/1/{counter.id}/command"
            assert await asyncio.to_thread(connected.subscribe, topic)
            yield connected


@pytest.fixture
def folder(tmp_path: Path) -> Settings:
    return village(tmp_path)


@pytest.fixture
async def place(folder: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    # Nothing is sent again but for a reason that a test gives.
    monkeypatch.setattr(sender_module, "FIRST_PAUSE_S", 900.0)
    monkeypatch.setattr(sender_module, "MOST_PAUSE_S", 900.0)
    with Registry(folder.gateway.registry) as registry:
        async with (
            running(folder, registry) as broker,
            await Store.open(folder.gateway.data_dir / "store.db") as store,
        ):
            courier = NatsCourier(broker.access)
            sender = Sender(store, registry, ScaledClock(NOW, 0.0, 0.0), courier, poll_s=0.1)
            stop = asyncio.Event()
            task = asyncio.create_task(sender.run(stop))
            try:
                yield Place(broker, registry, store, sender)
            finally:
                stop.set()
                await asyncio.wait_for(task, DEADLINE_S)


def heard(counter: Counter, connected: Board) -> list[command.Command]:
    return [counter.hears(payload) for _, payload in connected.received]


async def got(counter: Counter, connected: Board, number: int) -> list[command.Command]:
    assert await asyncio.to_thread(connected.wait, lambda: len(connected.received) >= number, 60)
    return heard(counter, connected)


async def test_a_command_reaches_its_device_alone_and_ends_with_the_answer(place: Place) -> None:
    one = Counter(place.registry.enrol("counter", "one"))
    other = Counter(place.registry.enrol("counter", "other"))
    async with place.listening(one) as connected, place.listening(other) as neighbour:
        row = await identify(place.store, one.id)
        (order, *_) = await got(one, connected, 1)
        assert order == command.Command(row.counter, LATER, command.IDENTIFY, 30)
        # No answer: the device shows life, so it is told again, the very same.
        before = len(connected.received)
        place.sender.heard({one.id, other.id}, set())
        again = await got(one, connected, before + 1)
        assert set(again) == {order}
        await place.store.commit_batch(_answered(one, order), NOW)
        following = await identify(place.store, one.id, 60)
        await asyncio.to_thread(
            connected.wait, lambda: any(o.counter == following.counter for o in heard(one, connected)), 60
        )
        assert heard(one, connected)[-1].argument == 60
        assert neighbour.received == []


def _answered(counter: Counter, order: command.Command) -> BatchRows:
    answer = AnswerRow(counter.id, order.counter, command.DONE, 0, False)
    return BatchRows(answers=[answer])


async def test_commands_go_out_one_at_a_time_and_in_order(place: Place) -> None:
    one = Counter(place.registry.enrol("counter", "one"))
    rows = [await identify(place.store, one.id, 10 + number) for number in range(3)]
    async with place.listening(one) as connected:
        for row in rows:
            # Whatever was sent before this board listened, it hears now, because it shows that it lives.
            place.sender.heard({one.id}, set())
            await until(
                lambda row=row: row.counter in [order.counter for order in heard(one, connected)],
                f"command {row.counter}",
                60,
            )
            assert {order.counter for order in heard(one, connected)} <= {
                known.counter for known in rows if known.counter <= row.counter
            }
            await place.store.commit_batch(_answered(one, heard(one, connected)[-1]), NOW)
        told = [order.counter for order in heard(one, connected)]
        assert told == sorted(told)
        assert len(set(told)) == 3


async def test_after_a_statement_the_device_is_told_the_time(place: Place) -> None:
    one = Counter(place.registry.enrol("counter", "one"))
    async with place.listening(one) as connected:
        place.sender.heard({one.id}, {one.id})
        (beacon,) = await got(one, connected, 1)
        assert (beacon.verb, beacon.argument) == (command.TIME, int(NOW))
        assert NOW < beacon.expiry <= NOW + 600
        # A command that waits comes after the time, and has the higher counter.
        row = await identify(place.store, one.id)
        await got(one, connected, 2)
        before = len(connected.received)
        place.sender.heard({one.id}, {one.id})
        orders = await got(one, connected, before + 2)
        verbs = [order.verb for order in orders[before:]]
        assert command.TIME in verbs
        times = [order.counter for order in orders if order.verb == command.TIME]
        assert times == sorted(set(times))
        assert max(times) < row.counter
    assert await place.store.commands() == [await place.store.command(one.id, row.counter)]


async def test_commands_wait_for_a_broker_that_died(place: Place) -> None:
    one = Counter(place.registry.enrol("counter", "one"))
    async with place.listening(one) as connected:
        # The sender has a connection, which is about to die under it.
        place.sender.heard({one.id}, {one.id})
        await got(one, connected, 1)
    assert place.broker.pid is not None
    os.kill(place.broker.pid, signal.SIGKILL)
    row = await identify(place.store, one.id)
    await up_again(place.broker)
    async with place.listening(one) as connected:
        place.sender.heard({one.id}, set())
        orders = await got(one, connected, 1)
        assert {order.counter for order in orders} == {row.counter}


async def test_a_device_that_shows_no_life_is_told_again_after_a_pause(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_module, "FIRST_PAUSE_S", 0.1)
    one = Counter(place.registry.enrol("counter", "one"))
    row = await identify(place.store, one.id)
    async with place.listening(one) as connected:
        orders = await got(one, connected, 2)
        assert {order.counter for order in orders} == {row.counter}


async def test_a_revoked_device_is_told_nothing(place: Place) -> None:
    one = Counter(place.registry.enrol("counter", "one"))
    other = Counter(place.registry.enrol("counter", "other"))
    place.registry.revoke(one.id)
    connection = await connect(place.broker.access())
    told: list[str] = []

    async def note(message: Msg) -> None:
        told.append(message.subject)

    await connection.subscribe("peilmerk.1.*.command", cb=note)
    await connection.flush()
    await identify(place.store, one.id)
    await identify(place.store, other.id)
    # Devices have their turn together: when the other one was told of several, this one had its turn, too.
    for number in range(1, 5):
        await until(lambda number=number: len(told) >= number, f"message {number}", 60)
        place.sender.heard({one.id, other.id}, {one.id, other.id})
    await connection.close()
    assert set(told) == {f"peilmerk.1.{other.id}.command"}


DIES = """
import asyncio, os, signal, sys
from pathlib import Path
from peilmerk_gateway.commands.sender import Sender
from peilmerk_gateway.clock import ScaledClock
from peilmerk_gateway.registry import Registry
from peilmerk_gateway.settings import load
from peilmerk_gateway.store import Store

class Dying(Sender):
    async def _publish(self, *order):
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    settings = load(Path(sys.argv[1]))
    with Registry(settings.gateway.registry) as registry:
        async with await Store.open(settings.store_place) as store:
            await Dying(store, registry, ScaledClock(%r, 0.0, 0.0), None).run(asyncio.Event())

asyncio.run(main())
"""


@pytest.mark.parametrize("kind", KINDS)
async def test_killed_between_store_and_publish_the_same_command_goes_out_again(
    folder: Settings, request: pytest.FixtureRequest, kind: str
) -> None:
    place = place_of(kind, folder.gateway.data_dir, request)
    place.serve(folder.file)
    with Registry(folder.gateway.registry) as registry:
        one = Counter(registry.enrol("counter", "one"))
        async with await Store.open(place.where) as store:
            row = await identify(store, one.id)
        died = subprocess.run(
            [sys.executable, "-c", DIES % NOW, str(folder.file)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            timeout=60,
            check=False,
        )
        assert died.returncode == -signal.SIGKILL
        with place.raw() as db:
            assert db.execute("SELECT state, attempts FROM command").fetchall() == [("sent", 1)]
        async with running(folder, registry) as broker, await Store.open(place.where) as store:
            courier = NatsCourier(broker.access)
            sender = Sender(store, registry, ScaledClock(NOW, 0.0, 0.0), courier, poll_s=0.1)
            alive = Place(broker, registry, store, sender)
            stop = asyncio.Event()
            async with alive.listening(one) as connected:
                task = asyncio.create_task(sender.run(stop))
                (order,) = await got(one, connected, 1)
                assert order.counter == row.counter
                stop.set()
                await asyncio.wait_for(task, DEADLINE_S)
            assert (await identify(store, one.id)).counter > row.counter


async def test_beacons_of_many_take_what_each_would_alone(store_place: StorePlace) -> None:
    async with await Store.open(store_place.where) as store:
        boards = [letter * 16 for letter in "abcdefgh"]
        for number, board in enumerate(boards):
            for _ in range(number % 3):
                await store.queue_command(board, command.REBOOT, b"\xf6", int(NOW) + 900, NOW)
            for _ in range(number // 2):
                await store.beacon_counters([board])
        alone = {board: (await store.beacon_counters([board])).get(board) for board in boards}
        together = await store.beacon_counters(boards)
        assert together == {board: n + 1 for board, n in alone.items() if n is not None}
        assert await store.beacon_counters([]) == {}
        # One whose gap before its command is used up is left out, and costs the others nothing.
        for _ in range(GAP):
            await store.beacon_counters([boards[1]])
        assert sorted(await store.beacon_counters(boards)) == [*boards[:1], *boards[2:]]
