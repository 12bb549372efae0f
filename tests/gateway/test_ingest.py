"""Ingest: what a device was told is kept comes out, and comes again until it is acknowledged."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from mqtt_board import Board, board, next_batch, pending, running, until, up_again, village

from peilmerk_gateway.broker import NatsBroker
from peilmerk_gateway.ingest import Batch, Delivery, IngestError
from peilmerk_gateway.ingest.jetstream import JetStreamIngest, connect, delivery
from peilmerk_gateway.registry import Device, Registry
from peilmerk_gateway.settings import Settings
from peilmerk_protocol import topics

ACK_WAIT_S = 2.0


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return village(tmp_path)


@pytest.fixture
def registry(settings: Settings) -> Iterator[Registry]:
    with Registry(settings.gateway.registry) as opened:
        yield opened


@pytest.fixture
def device(registry: Registry) -> Device:
    return registry.enrol("counter", "x")


@pytest.fixture
async def broker(settings: Settings, registry: Registry, device: Device) -> AsyncIterator[NatsBroker]:
    async with running(settings, registry, ack_wait=ACK_WAIT_S) as started:
        yield started


@pytest.fixture
async def opened(broker: NatsBroker) -> AsyncIterator[Callable[..., JetStreamIngest]]:
    """Makes ingests that are closed at the end."""
    made: list[JetStreamIngest] = []

    def make(**options: int) -> JetStreamIngest:
        made.append(JetStreamIngest(broker.access, ack_wait=ACK_WAIT_S, **options))
        return made[-1]

    yield make
    for ingest in made:
        await ingest.close()


async def collect(batches: AsyncIterator[Batch], count: int, *, acknowledge: bool = True) -> list[Delivery]:
    """Take batches until so many deliveries are there."""
    found: list[Delivery] = []
    while len(found) < count:
        batch = await next_batch(batches)
        found += batch.deliveries
        if acknowledge:
            await batch.ack()
    return found


async def test_a_delivery_tells_device_kind_and_bytes(
    broker: NatsBroker, device: Device, opened: Callable[..., JetStreamIngest]
) -> None:
    ingest = opened()
    payloads = {
        topics.REPORT: b"\x83\x00\xff",
        topics.STATEMENT: b"",
        topics.ACK: bytes(range(256)),
        topics.DAY: b"\x00",
    }
    async with board(broker, device) as reporter:
        for kind, payload in payloads.items():
            await asyncio.to_thread(reporter.publish, topics.topic(device.device_id, kind), payload)
    assert await ingest.pending() == 4
    found = await collect(ingest.batches(), 4)
    assert found == [Delivery(device.device_id, kind, payload, False) for kind, payload in payloads.items()]
    await pending(opened(), 0)


async def test_no_report_that_was_acknowledged_is_lost_when_the_broker_is_killed(
    broker: NatsBroker, device: Device, opened: Callable[..., JetStreamIngest]
) -> None:
    acknowledged: set[bytes] = set()
    sent = 0
    for round_ in range(3):
        reporter = Board(broker, device)
        assert await asyncio.to_thread(reporter.connect) == "Success"
        mids = {}
        for number in range(600):
            payload = b"%d/%d" % (round_, number)
            mids[reporter.send(topics.REPORT, payload)] = payload
        sent += len(mids)
        assert await asyncio.to_thread(reporter.wait, lambda seen=reporter.acknowledged: len(seen) > 100)
        assert broker.pid is not None
        os.kill(broker.pid, signal.SIGKILL)
        assert await asyncio.to_thread(reporter.wait, lambda lost=reporter: lost.lost)
        reporter.client.loop_stop()
        acknowledged |= {mids[mid] for mid in reporter.acknowledged}
        await up_again(broker, round_ + 1)
    ingest = opened()
    held = await ingest.pending()
    assert 300 < len(acknowledged) <= held <= sent
    found = {delivered.payload for delivered in await collect(ingest.batches(), held)}
    assert acknowledged <= found
    await pending(ingest, 0)


async def test_what_was_not_acknowledged_comes_again_when_the_connection_died(
    broker: NatsBroker, device: Device, opened: Callable[..., JetStreamIngest]
) -> None:
    async with board(broker, device) as reporter:
        for number in range(20):
            await asyncio.to_thread(reporter.report, b"%d" % number)
    first = opened(batch=10, outstanding=20)
    batches = first.batches()
    kept = await next_batch(batches)
    left = 20 - len(kept.deliveries)
    assert left >= 10
    dropped: list[Batch] = []
    while sum(len(batch.deliveries) for batch in dropped) < left:
        dropped.append(await next_batch(batches))
    await kept.ack()
    await first.close()
    for batch in dropped:
        await batch.ack()  # too late, on a connection that is gone: not heard, and no error
    await pending(opened(), left)
    again = await collect(opened().batches(), left)
    lost = [one for batch in dropped for one in batch.deliveries]
    assert {one.payload for one in again} == {one.payload for one in lost}
    assert all(one.redelivered for one in again)
    assert not any(one.redelivered for one in lost)
    await pending(opened(), 0)


async def test_a_batch_is_the_brokers_until_its_ack(
    broker: NatsBroker, device: Device, opened: Callable[..., JetStreamIngest]
) -> None:
    async with board(broker, device) as reporter:
        await asyncio.to_thread(reporter.report, b"one")
    ingest = opened()
    batches = ingest.batches()
    first = await next_batch(batches)
    assert await ingest.pending() == 1
    # Nobody acknowledges: the same message comes on the same connection, marked.
    second = await next_batch(batches)
    assert [(one.payload, one.redelivered) for one in first.deliveries] == [(b"one", False)]
    assert [(one.payload, one.redelivered) for one in second.deliveries] == [(b"one", True)]
    await second.ack()
    await pending(ingest, 0)
    assert ingest.connections == 1


async def test_no_more_batches_than_agreed_are_handed_out(
    broker: NatsBroker, device: Device, opened: Callable[..., JetStreamIngest]
) -> None:
    async with board(broker, device) as reporter:
        for number in range(12):
            await asyncio.to_thread(reporter.report, b"%d" % number)
    ingest = opened(batch=3, outstanding=2)
    batches = ingest.batches()
    held = [await next_batch(batches), await next_batch(batches)]
    third = asyncio.create_task(anext(batches))  # type: ignore[arg-type]
    await asyncio.wait([third], timeout=ACK_WAIT_S / 4)
    assert not third.done(), "two are outstanding"
    await held[0].ack()
    batch = await asyncio.wait_for(third, ACK_WAIT_S / 2)
    assert 1 <= len(batch.deliveries) <= 3


async def test_it_goes_on_when_the_broker_comes_back(
    broker: NatsBroker, device: Device, opened: Callable[..., JetStreamIngest]
) -> None:
    ingest = opened()
    batches = ingest.batches()
    async with board(broker, device) as reporter:
        await asyncio.to_thread(reporter.report, b"before")
    waiting = await next_batch(batches)
    next_one = asyncio.create_task(anext(batches))  # type: ignore[arg-type]
    assert broker.pid is not None
    os.kill(broker.pid, signal.SIGKILL)
    await up_again(broker)
    assert not next_one.done() or (await next_one).deliveries[0].redelivered
    await waiting.ack()
    async with board(broker, device) as reporter:
        await asyncio.to_thread(reporter.report, b"after")
    found = {one.payload: one.redelivered for one in (await asyncio.wait_for(next_one, 20)).deliveries}
    while set(found) != {b"before", b"after"}:
        found |= {one.payload: one.redelivered for one in (await next_batch(batches)).deliveries}
    assert found == {b"before": True, b"after": False}, "an ack on the old connection does not count"
    assert ingest.connections == 2


async def test_it_waits_for_a_broker_that_is_not_there_yet(settings: Settings, registry: Registry) -> None:
    broker = NatsBroker(settings, registry)
    ingest = JetStreamIngest(broker.access)
    with pytest.raises(IngestError, match="the broker does not answer"):
        await ingest.pending()
    first = asyncio.create_task(anext(ingest.batches()))  # type: ignore[arg-type]
    device = registry.enrol("air", "x")
    await asyncio.sleep(0)
    await broker.start()
    try:
        async with board(broker, device) as reporter:
            await asyncio.to_thread(reporter.report, b"x")
        assert (await asyncio.wait_for(first, 20)).deliveries[0].payload == b"x"
    finally:
        await ingest.close()
        await broker.stop()


async def test_closing_ends_the_batches(opened: Callable[..., JetStreamIngest]) -> None:
    ingest = opened()

    async def all_of_them() -> list[Batch]:
        return [batch async for batch in ingest.batches()]

    running_task = asyncio.create_task(all_of_them())
    await until(lambda: ingest.connected, "a connection")
    await ingest.close()
    assert await asyncio.wait_for(running_task, 5) == []


async def test_a_subject_of_nobody_is_delivered_without_a_device(
    broker: NatsBroker, device: Device, opened: Callable[..., JetStreamIngest]
) -> None:
    connection = await connect(broker.access())
    await connection.jetstream().publish("$MQTT.msgs.peilmerk.1.NOT-an-id.report", b"who?")
    await connection.close()
    async with board(broker, device) as reporter:
        await asyncio.to_thread(reporter.report, b"me")
    found = await collect(opened().batches(), 2)
    assert found == [
        Delivery(None, 0, b"who?", False),
        Delivery(device.device_id, topics.REPORT, b"me", False),
    ]


@pytest.mark.parametrize(
    ("subject", "device_id", "kind"),
    [
        ("$MQTT.msgs.peilmerk.1.abcdefghijklmnop.ack", "abcdefghijklmnop", topics.ACK),
        ("$MQTT.msgs.peilmerk.2.abcdefghijklmnop.ack", None, 0),
        ("$MQTT.msgs.peilmerk.1.abcdefghijklmnop.report.x", None, 0),
        ("$MQTT.msgs.", None, 0),
        ("", None, 0),
    ],
)
def test_reading_a_subject(subject: str, device_id: str | None, kind: int) -> None:
    assert delivery(subject, b"p", True) == Delivery(device_id, kind, b"p", True)


def test_payloads_are_not_in_what_is_printed() -> None:
    assert "secret" not in repr(Batch((Delivery("abcdefghijklmnop", 1, b"secret"),)))


async def test_a_large_backlog_comes_in_batches_of_the_size_agreed(
    broker: NatsBroker, device: Device, opened: Callable[..., JetStreamIngest]
) -> None:
    reporter = Board(broker, device)
    assert await asyncio.to_thread(reporter.connect) == "Success"
    for number in range(1000):
        reporter.send(topics.REPORT, number.to_bytes(2, "big"))
    assert await asyncio.to_thread(reporter.wait, lambda: len(reporter.acknowledged) == 1000)
    await asyncio.to_thread(reporter.close)
    ingest = opened(batch=128)
    numbers: list[int] = []
    sizes: list[int] = []
    async for batch in ingest.batches():
        numbers += [int.from_bytes(one.payload, "big") for one in batch.deliveries]
        sizes.append(len(batch.deliveries))
        await batch.ack()
        if len(numbers) >= 1000:
            break
    assert numbers == list(range(1000)), "in order while nothing was redelivered"
    assert max(sizes) <= 128
    assert len(sizes) < 60, f"found {len(sizes)} batches for 1000 messages: too small to commit cheaply"
    await pending(ingest, 0)
