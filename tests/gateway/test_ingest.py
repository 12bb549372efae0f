"""Ingest from JetStream: what is its own beside the contract of every ingest (test_ingest_contract.py)."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from ingest_brokers import collect
from mqtt_board import Board, board, next_batch, pending, running, up_again, village, whole_batches
from patience import DEADLINE_S

from peilmerk_gateway.broker import NatsBroker
from peilmerk_gateway.ingest import Batch, Delivery, IngestError
from peilmerk_gateway.ingest.jetstream import DURABLE, FILTER, STREAM, JetStreamIngest, connect, delivery
from peilmerk_gateway.registry import Device, Registry
from peilmerk_gateway.settings import Settings
from peilmerk_protocol import topics

# Longer than any pause of a busy machine, see `ingest_brokers`.
ACK_WAIT_S = 4.0


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

    def make(**options: Any) -> JetStreamIngest:
        made.append(JetStreamIngest(broker.access, ack_wait=ACK_WAIT_S, **options))
        return made[-1]

    yield make
    for ingest in made:
        await ingest.close()


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
        assert (await asyncio.wait_for(first, DEADLINE_S)).deliveries[0].payload == b"x"
    finally:
        await ingest.close()
        await broker.stop()


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


async def holds(broker: NatsBroker, messages: int, first: int | None = None) -> None:
    """Wait until the broker's stream has so many messages, the first of them at a place."""
    connection = await connect(broker.access())
    try:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                state = (await connection.jetstream().stream_info(STREAM)).state
                if state.messages == messages and first in (None, state.first_seq):
                    return
                await asyncio.sleep(0.02)
    finally:
        await connection.close()


async def publish(broker: NatsBroker, device: Device, payloads: Sequence[bytes]) -> None:
    reporter = Board(broker, device)
    assert await asyncio.to_thread(reporter.connect) == "Success"
    for payload in payloads:
        reporter.send(topics.REPORT, payload)
    assert await asyncio.to_thread(reporter.wait, lambda: len(reporter.acknowledged) == len(payloads))
    await asyncio.to_thread(reporter.close)


async def test_alone_it_cuts_the_stream_no_further_than_what_it_did_not_acknowledge(
    broker: NatsBroker,
    device: Device,
    opened: Callable[..., JetStreamIngest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole_batches(monkeypatch)
    await publish(broker, device, [b"%d" % n for n in range(10)])
    batches = opened(batch=3, alone=True).batches()
    first, second, third = [await next_batch(batches) for _ in range(3)]
    await second.ack()
    await holds(broker, 7, first=1)
    await third.ack()
    await holds(broker, 4, first=1)
    await first.ack()
    await holds(broker, 1, first=10)
    last = await next_batch(batches)
    assert [one.payload for one in last.deliveries] == [b"9"]
    await last.ack()
    await holds(broker, 0, first=11)


async def test_alone_it_cuts_nothing_while_an_earlier_connection_holds_something(
    broker: NatsBroker,
    device: Device,
    opened: Callable[..., JetStreamIngest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the first one took and lost comes again, although the second one stored all that came later."""
    whole_batches(monkeypatch)
    await publish(broker, device, [b"%d" % n for n in range(6)])
    dead = opened(batch=2, alone=True)
    lost = await next_batch(dead.batches())
    await dead.close()
    batches = opened(batch=2, alone=True).batches()
    found: list[bytes] = []
    while len(found) < 6:
        batch = await next_batch(batches)
        found += [one.payload for one in batch.deliveries]
        await batch.ack()
    assert {one.payload for one in lost.deliveries} == {b"0", b"1"}
    assert found.index(b"4") < found.index(b"0")
    assert sorted(found) == [b"0", b"1", b"2", b"3", b"4", b"5"]
    await holds(broker, 0)


async def test_a_delivery_that_went_elsewhere_is_not_cut_off(
    broker: NatsBroker, device: Device, opened: Callable[..., JetStreamIngest]
) -> None:
    """Somebody reads meanwhile whom nobody announced: a dead connection's request, or a second gateway."""
    one, other = opened(batch=1, alone=True), opened(batch=1, alone=True)
    ours, theirs = one.batches(), other.batches()
    await publish(broker, device, [b"0"])
    await (await next_batch(ours)).ack()
    elsewhere = asyncio.create_task(next_batch(theirs))
    while not other.connected:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0)
    await publish(broker, device, [b"%d" % n for n in range(1, 5)])
    taken = await elsewhere
    await other.close()
    rest: list[bytes] = []
    while len(rest) < 4:
        batch = await next_batch(ours)
        rest += [delivered.payload for delivered in batch.deliveries]
        await batch.ack()
    assert sorted(rest) == [b"1", b"2", b"3", b"4"]
    assert {delivered.payload for delivered in taken.deliveries} <= set(rest)
    await holds(broker, 0)


async def test_a_consumer_of_an_older_version_goes_on_where_it_was(
    broker: NatsBroker, device: Device, opened: Callable[..., JetStreamIngest]
) -> None:
    connection = await connect(broker.access())
    stream = connection.jetstream()
    older = (await stream.consumer_info(STREAM, DURABLE)).config
    older.filter_subject = None
    older.filter_subjects = [
        f"$MQTT.msgs.peilmerk.1.*.{kind}" for kind in ("report", "statement", "ack", "day")
    ]
    await stream.add_consumer(STREAM, older)
    async with board(broker, device) as reporter:
        for number in range(4):
            await asyncio.to_thread(reporter.report, b"%d" % number)
    for message in await (await stream.pull_subscribe_bind(DURABLE, STREAM)).fetch(2):
        await message.ack_sync()
    found = await collect(opened().batches(), 2)
    assert [delivered.payload for delivered in found] == [b"2", b"3"]
    config = (await stream.consumer_info(STREAM, DURABLE)).config
    assert (config.filter_subject, config.filter_subjects) == (FILTER, None)
    await connection.close()
