"""Ingest from JetStream: what is its own beside the contract of every ingest (test_ingest_contract.py)."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from ingest_brokers import collect
from mqtt_board import Board, board, pending, running, up_again, village

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
        assert (await asyncio.wait_for(first, 20)).deliveries[0].payload == b"x"
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
