"""Several readers of one broker: what they stored is cut off together, what one of them holds is not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mqtt_board import next_batch, pending, running, until, village, whole_batches
from patience import DEADLINE_S
from test_ingest import ACK_WAIT_S, holds, publish

from peilmerk_gateway.broker import NatsBroker
from peilmerk_gateway.ingest import cutting
from peilmerk_gateway.ingest.jetstream import JetStreamIngest, connect
from peilmerk_gateway.registry import Device, Registry


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry(village(tmp_path).gateway.registry) as opened:
        yield opened


@pytest.fixture
def device(registry: Registry) -> Device:
    return registry.enrol("counter", "x")


@pytest.fixture
async def broker(tmp_path: Path, registry: Registry, device: Device) -> AsyncIterator[NatsBroker]:
    from peilmerk_gateway.settings import load

    async with running(load(tmp_path), registry, ack_wait=ACK_WAIT_S) as started:
        yield started


@pytest.fixture
async def opened(broker: NatsBroker) -> AsyncIterator[Callable[..., JetStreamIngest]]:
    made: list[JetStreamIngest] = []

    def make(**options: Any) -> JetStreamIngest:
        made.append(JetStreamIngest(broker.access, ack_wait=ACK_WAIT_S, **options))
        return made[-1]

    yield make
    for ingest in made:
        await ingest.close()


async def heard(broker: NatsBroker, subject: str, into: list[bytes]) -> Any:
    """Listen to everything on a subject."""
    connection = await connect(broker.access())

    async def note(message: Any) -> None:
        into.append(message.data)

    await connection.subscribe(subject, cb=note)
    await connection.flush()
    return connection


async def test_two_readers_are_cut_off_in_steps_and_acknowledge_nothing_one_by_one(
    broker: NatsBroker, device: Device, opened: Callable[..., JetStreamIngest]
) -> None:
    acks: list[bytes] = []
    listener = await heard(broker, "$JS.ACK.>", acks)
    readers = [opened(batch=5, cutting=True), opened(batch=5, cutting=False)]
    found: list[bytes] = []
    ended = asyncio.Event()

    async def read(ingest: JetStreamIngest) -> None:
        async for batch in ingest.batches():
            found.extend(one.payload for one in batch.deliveries)
            await batch.ack()
            if len(found) >= 60:
                ended.set()

    tasks = [asyncio.create_task(read(reader)) for reader in readers]
    while not all(reader.connected for reader in readers):
        await asyncio.sleep(0.01)
    await publish(broker, device, [b"%d" % n for n in range(60)])
    await asyncio.wait_for(ended.wait(), DEADLINE_S)
    await holds(broker, 0, first=61)
    assert sorted(found, key=int) == [b"%d" % n for n in range(60)]
    assert acks == []
    await pending(readers[0], 0)
    for reader in readers:
        await reader.close()
    await asyncio.gather(*tasks)
    await listener.close()


async def test_what_another_reader_holds_is_not_cut_and_comes_again_when_it_dies(
    broker: NatsBroker,
    device: Device,
    opened: Callable[..., JetStreamIngest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cutting, "PATIENCE_S", 0.2)
    one, other = opened(batch=2, cutting=True), opened(batch=2, cutting=False)
    ours, theirs = one.batches(), other.batches()
    first = asyncio.create_task(next_batch(theirs))
    while not other.connected:
        await asyncio.sleep(0.01)
    await publish(broker, device, [b"0", b"1"])
    held = await first
    rest = asyncio.create_task(next_batch(ours))
    while not one.connected:
        await asyncio.sleep(0.01)
    # What the other had asked for meanwhile is with it too.
    await publish(broker, device, [b"%d" % n for n in range(2, 10)])
    seen: list[bytes] = []
    batch = await rest
    while True:
        seen += [delivered.payload for delivered in batch.deliveries]
        await batch.ack()
        if len(seen) >= 6:
            break
        batch = await next_batch(ours)
    assert {delivered.payload for delivered in held.deliveries}.isdisjoint(seen)
    connection = await connect(broker.access())
    state = (await connection.jetstream().stream_info("$MQTT_msgs")).state
    await connection.close()
    assert state.first_seq == 1
    await other.close()
    while len(set(seen)) < 10:
        batch = await next_batch(ours)
        seen += [delivered.payload for delivered in batch.deliveries]
        await batch.ack()
    await holds(broker, 0)


async def test_without_anybody_who_cuts_each_acknowledges_for_itself(
    broker: NatsBroker,
    device: Device,
    opened: Callable[..., JetStreamIngest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cutting, "PATIENCE_S", 0.1)
    whole_batches(monkeypatch)
    acks: list[bytes] = []
    listener = await heard(broker, "$JS.ACK.>", acks)
    batches = opened(batch=4, cutting=False).batches()
    await publish(broker, device, [b"%d" % n for n in range(4)])
    await (await next_batch(batches)).ack()
    await holds(broker, 0)
    await until(lambda: len(acks) >= 4, "four acknowledgements")
    assert acks == [b"+ACK"] * 4
    await listener.close()


async def test_words_that_are_none_are_no_places(
    broker: NatsBroker, device: Device, opened: Callable[..., JetStreamIngest]
) -> None:
    batches = opened(batch=4, cutting=True).batches()
    await publish(broker, device, [b"0"])
    held = await next_batch(batches)
    speaker = await connect(broker.access())
    for words in (b"", b"7", b'["x"]', b"{}", json.dumps([5, 6, 7]).encode()):
        await speaker.publish(cutting.STORED, words)
    await speaker.publish(cutting.CUT, b"x")
    await speaker.flush()
    await publish(broker, device, [b"1"])
    await holds(broker, 2, first=1)
    await held.ack()
    await holds(broker, 1, first=2)
    await speaker.close()
