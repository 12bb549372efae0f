"""What every ingest promises, over each adapter with its real broker: at least once, and nothing acknowledged
that is not stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from ingest_brokers import ACK_WAIT_S, Place, collect, killed_with_a_batch, needs_mosquitto
from ingest_brokers import place as new_place
from mqtt_board import next_batch, until
from patience import DEADLINE_S

from peilmerk_gateway.ingest import Batch, Delivery
from peilmerk_protocol import topics

JETSTREAM = "jetstream"
MQTT_5 = pytest.param("mosquitto 5", marks=needs_mosquitto)
MQTT_3_1_1 = pytest.param("mosquitto 3.1.1", marks=needs_mosquitto)
# The older protocol differs in what is asked for when connecting; the rest is the same code.
over_all = pytest.mark.parametrize("place", [JETSTREAM, MQTT_5, MQTT_3_1_1], indirect=True)


@pytest.fixture(params=[JETSTREAM, MQTT_5])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    async with new_place(request.param, tmp_path) as made:
        yield made


async def test_a_delivery_tells_device_kind_and_bytes(place: Place) -> None:
    payloads = {
        topics.REPORT: b"\x83\x00\xff",
        topics.STATEMENT: b"",
        topics.ACK: bytes(range(256)),
        topics.DAY: b"\x00",
    }
    async with place.board() as reporter:
        for kind, payload in payloads.items():
            await asyncio.to_thread(reporter.publish, topics.topic(place.device.device_id, kind), payload)
    ingest = place.ingest()
    found = await collect(ingest.batches(), 4)
    assert found == [Delivery(place.device.device_id, kind, payload) for kind, payload in payloads.items()]
    await place.nothing_left(ingest)


@over_all
async def test_what_was_not_acknowledged_comes_again_when_the_connection_died(place: Place) -> None:
    await place.publish([b"%d" % number for number in range(20)])
    first = place.ingest(batch=10, outstanding=20)
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
    second = place.ingest()
    again = await collect(second.batches(), left)
    lost = [one for batch in dropped for one in batch.deliveries]
    assert {one.payload for one in again} == {one.payload for one in lost}
    assert all(one.redelivered for one in again)
    assert not any(one.redelivered for one in lost)
    await place.nothing_left(second)


async def test_a_batch_is_the_brokers_until_its_ack(place: Place) -> None:
    await place.publish([b"one"])
    ingest = place.ingest()
    batches = ingest.batches()
    first = await next_batch(batches)
    # Nobody acknowledges, and somebody waits for more: the same message comes again, marked.
    second = await next_batch(batches)
    assert [(one.payload, one.redelivered) for one in first.deliveries] == [(b"one", False)]
    assert [(one.payload, one.redelivered) for one in second.deliveries] == [(b"one", True)]
    await second.ack()
    await place.nothing_left(ingest)


async def test_no_more_batches_than_agreed_are_handed_out(place: Place) -> None:
    await place.publish([b"%d" % number for number in range(12)])
    ingest = place.ingest(batch=3, outstanding=2)
    batches = ingest.batches()
    held = [await next_batch(batches), await next_batch(batches)]
    third = asyncio.create_task(anext(batches))  # type: ignore[arg-type]
    await asyncio.wait([third], timeout=ACK_WAIT_S / 10)
    assert not third.done(), "two are outstanding"
    await held[0].ack()
    batch = await asyncio.wait_for(third, DEADLINE_S)
    assert 1 <= len(batch.deliveries) <= 3


@over_all
async def test_it_goes_on_when_the_broker_comes_back(place: Place) -> None:
    ingest = place.ingest()
    batches = ingest.batches()
    await place.publish([b"before"])
    waiting = await next_batch(batches)
    next_one = asyncio.create_task(anext(batches))  # type: ignore[arg-type]
    await place.restart()
    assert not next_one.done() or [one.payload for one in (await next_one).deliveries] == [b"before"]
    await waiting.ack()
    await place.publish([b"after"])
    found: dict[bytes, bool] = {}
    batch = await asyncio.wait_for(next_one, DEADLINE_S)
    while True:
        for one in batch.deliveries:
            # Nothing is acknowledged here, so whatever is slow comes again; how it came first counts.
            found.setdefault(one.payload, one.redelivered)
        if set(found) == {b"before", b"after"}:
            break
        batch = await next_batch(batches)
    # That it came again shows that an acknowledgement on the old connection does not count. A NATS server
    # that is killed may have forgotten that it delivered something, never that nobody acknowledged it.
    assert found[b"before"] or place.kind == JETSTREAM
    assert not found[b"after"]


async def test_what_came_while_nobody_listened_outlives_the_brokers_restart(place: Place) -> None:
    sent = [b"%d" % number for number in range(200)]
    await place.publish(sent)
    await place.restart()
    ingest = place.ingest()
    found = await collect(ingest.batches(), 200)
    assert [one.payload for one in found] == sent
    await place.nothing_left(ingest)


async def test_a_gateway_that_is_killed_before_its_ack_gets_it_again(place: Place) -> None:
    await place.publish([b"a", b"b", b"c"])
    assert await killed_with_a_batch(place) == b"abc"
    ingest = place.ingest()
    again = await collect(ingest.batches(), 3)
    assert [(one.payload, one.redelivered) for one in again] == [(b"a", True), (b"b", True), (b"c", True)]
    await place.nothing_left(ingest)


@over_all
async def test_a_large_backlog_comes_in_order_and_in_batches_of_the_size_agreed(place: Place) -> None:
    await place.publish([number.to_bytes(2, "big") for number in range(1000)])
    ingest = place.ingest(batch=128)
    numbers: list[int] = []
    sizes: list[int] = []
    async for batch in ingest.batches():
        numbers += [int.from_bytes(one.payload, "big") for one in batch.deliveries]
        sizes.append(len(batch.deliveries))
        await batch.ack()
        if len(numbers) >= 1000:
            break
    assert numbers == list(range(1000)), "each once and in order while nothing was redelivered"
    assert max(sizes) <= 128
    assert len(sizes) < 60, f"found {len(sizes)} batches for 1000 messages: too small to commit cheaply"
    await place.nothing_left(ingest)


async def test_closing_ends_the_batches(place: Place) -> None:
    ingest = place.ingest()

    async def all_of_them() -> list[Batch]:
        return [batch async for batch in ingest.batches()]

    running_task = asyncio.create_task(all_of_them())
    await until(lambda: ingest.connected, "a connection")
    await ingest.close()
    assert await asyncio.wait_for(running_task, DEADLINE_S) == []
    assert not ingest.connected
