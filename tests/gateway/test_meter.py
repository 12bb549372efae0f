"""The meter: no honest board is ever kept out, a mad one is, and nothing that was acknowledged is refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mqtt_board import Board, board, running, village
from patience import DEADLINE_S
from sealed_street import NOW, WINDOW, Street

from peilmerk_gateway import meter as meters
from peilmerk_gateway.clock import ScaledClock
from peilmerk_gateway.ingest import Delivery
from peilmerk_gateway.meter import PAUSE_FIRST_S, Meter, meter_loop
from peilmerk_gateway.registry import Registry
from peilmerk_protocol import topics

DAY_S = 86_400
BURST = (96 + 4) * 92


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    made = Street(tmp_path, counters=1)
    yield made
    made.registry.close()


class At:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> float:
        return self.at


def sent(device_id: str, n: int, *, again: bool = False) -> list[Delivery]:
    return [Delivery(device_id, topics.REPORT, b"", again)] * n


def test_everything_that_a_board_can_have_is_let_through_at_once(street: Street) -> None:
    meter, clock = Meter(street.catalogue, clock := At()), clock
    device = street.counters[0].id
    # Its whole outbox of 92 days after an outage, in a moment, and the broker bringing all of it twice more.
    meter.count(sent(device, 92 * 98))
    meter.count(sent(device, 20_000, again=True))
    assert meter.judge(1.0) == (frozenset(), [])
    # And then a year as boards live, each message twice, with a boot a minute of one whole day.
    for day in range(365):
        clock.at += DAY_S
        meter.count(sent(device, 2 * 98))
        assert meter.judge(day * DAY_S) == (frozenset(), [])
    for _ in range(1_440):
        clock.at += 60
        meter.count(sent(device, 1))
    assert meter.judge(400 * DAY_S) == (frozenset(), [])


def test_a_flood_is_kept_out_longer_each_time_and_let_in_again(street: Street) -> None:
    meter = Meter(street.catalogue, ScaledClock(NOW, 0.0, 0.0))
    device, other = street.counters[0].id, "a2a2a2a2a2a2a2a2"
    meter.count(sent(device, BURST))
    assert meter.judge(1.0) == (frozenset(), [])
    meter.count([*sent(device, 1), *sent(other, 5)])
    assert meter.judge(1.0) == ({device}, [device])
    # What it had sent by then is no new offence.
    meter.count(sent(device, 1_000))
    assert meter.judge(2.0) == ({device}, [])
    back = 1.0 + PAUSE_FIRST_S
    assert meter.judge(back) == (frozenset(), [])
    meter.count(sent(device, 2))
    assert meter.judge(back + 1.0) == ({device}, [device])
    assert meter.judge(back + 1.0 + 2 * PAUSE_FIRST_S - 0.1)[0] == {device}
    assert meter.judge(back + 1.0 + 2 * PAUSE_FIRST_S) == (frozenset(), [])
    # Well for as long as its last pause: forgiven.
    later = back + 1.0 + 5 * PAUSE_FIRST_S
    meter.count(sent(device, 2))
    assert meter.judge(later)[1] == [device]
    assert meter.judge(later + PAUSE_FIRST_S)[0] == frozenset()


def test_names_that_nobody_has_do_not_fill_the_memory(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meters, "MOST_DEVICES", 10)
    meter = Meter(street.catalogue, ScaledClock(NOW, 0.0, 0.0))
    meter.count([Delivery(f"a{n:015d}", topics.REPORT, b"") for n in range(1_000)])
    assert len(meter._buckets) <= 10


async def test_the_broker_keeps_a_mad_board_out_and_others_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a real broker: the mad one's connection ends, its sibling's does not, and all that was taken stays
    with the broker.
    """
    monkeypatch.setattr(meters, "EVERY_S", 0.05)
    settings = village(tmp_path)
    street = Street(tmp_path)
    with Registry(settings.gateway.registry) as registry:
        mad, sane = registry.enrol("counter", "mad"), registry.enrol("counter", "sane")
        async with running(settings, registry) as broker, await street.open() as store:
            meter, stop = Meter(street.catalogue, At()), asyncio.Event()
            loop = asyncio.create_task(meter_loop(meter, store, broker.bar, stop))
            async with board(broker, mad) as one, board(broker, sane) as two:
                one.client.reconnect_delay_set(60)
                await asyncio.to_thread(one.report, b"before")
                meter.count(sent(mad.device_id, 40_000))
                assert await asyncio.to_thread(one.wait, lambda: one.lost)
                refused = Board(broker, mad, client_id="another")
                assert await asyncio.to_thread(refused.connect) == "Not authorized"
                await asyncio.to_thread(refused.close)
                await asyncio.to_thread(two.report, b"goes on")
                assert two.lost == 0
                # Its pause is over.
                meter._buckets[mad.device_id].until = time.monotonic()
                async with asyncio.timeout(DEADLINE_S):
                    while (back := Board(broker, mad)) and await asyncio.to_thread(back.connect) != "Success":
                        await asyncio.to_thread(back.close)
                        await asyncio.sleep(0.1)
                await asyncio.to_thread(back.report, b"after")
                await asyncio.to_thread(back.close)
                assert two.lost == 0
            stop.set()
            await loop
            assert (await store.figures()).barred == {mad.device_id: 1}
    street.registry.close()


def test_what_is_over_the_limit_and_acknowledged_is_stored(street: Street) -> None:
    """The limit holds at the door only: the stages take whatever the broker took."""
    device = street.counters[0]

    async def live() -> int:
        async with await street.open() as store:
            meter = Meter(street.catalogue, street.clock)
            flow = street.flow(store)
            meter.count(sent(device.id, 2 * BURST))
            assert meter.judge(1.0)[0] == {device.id}
            deliveries = [device.statement(1), device.report(2, WINDOW)]
            meter.count(deliveries)
            return (await flow.store(deliveries)).reports

    assert asyncio.run(live()) == 1
