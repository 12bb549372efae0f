"""Lines that break and platforms that are away: nothing is lost, nothing appears twice, nobody else waits."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import reader
import street
from conftest import publishing, settled, until
from publisher_process import SINK, quick_sink
from street import Words
from wiretap import Line, Wiretap

from peilmerk_bench.platform import SensorThingsServer
from peilmerk_gateway.publish import Unavailable
from peilmerk_gateway.publish.outbox import Pace
from peilmerk_gateway.publish.sensorthings_http import Service
from peilmerk_gateway.store import Store


async def test_a_platform_that_is_away_gets_everything_when_it_is_back(
    platform: SensorThingsServer, store: Store, words: Words
) -> None:
    await street.fill(store, range(3))
    async with publishing(store, quick_sink(platform.url, store), words):
        await until(lambda: settled(store))
        await platform.stop()
        for window in range(3, 9):
            await street.fill(store, range(window, window + 1))

        async def tried() -> bool:
            rows = await store.in_doubt(SINK)
            figures = (await store.figures()).sinks[SINK]
            return not rows and figures.waiting == 30

        await until(tried)
        await platform.start()
        await until(lambda: settled(store))
    figures, often = await asyncio.to_thread(reader.observations, platform.url)
    assert figures == street.expected(range(9))
    assert set(often.values()) == {1}


@pytest.mark.parametrize("fate", [Line.NO_REQUEST, Line.NO_ANSWER, Line.LATE, Line.BROKEN, Line.BUSY])
async def test_whatever_happens_to_a_request_its_rows_arrive_once(
    platform: SensorThingsServer, store: Store, words: Words, fate: Line
) -> None:
    """It happens to every third POST, to those that make things and those that send observations."""
    posts = 0

    def every_third_post(method: str, path: str) -> Line:
        nonlocal posts
        posts += method == "POST"
        return fate if method == "POST" and posts % 3 == 0 else Line.PASS

    await street.fill(store, range(30))
    async with Wiretap(platform.url) as wire:
        wire.on_request = every_third_post
        async with publishing(store, quick_sink(wire.url, store), words):
            await until(lambda: settled(store))
    figures, often = await asyncio.to_thread(reader.observations, platform.url)
    assert figures == street.expected(range(30))
    assert set(often.values()) == {1}
    assert len(reader.names(platform.url, "things")) == 2
    assert len(reader.names(platform.url, "observed_properties")) == 5


async def test_each_datastream_arrives_in_order(
    platform: SensorThingsServer, store: Store, words: Words
) -> None:
    """Ids of this service rise with time, so they tell the order of arrival."""
    posts = 0

    def every_third_post(method: str, path: str) -> Line:
        nonlocal posts
        posts += method == "POST"
        return Line.NO_REQUEST if method == "POST" and posts % 3 == 0 else Line.PASS

    await street.fill(store, range(60))
    async with Wiretap(platform.url) as wire:
        wire.on_request = every_third_post
        async with publishing(store, quick_sink(wire.url, store), words):
            await until(lambda: settled(store))
        service = Service(platform.url)
        for quantity in street.COUNTS:
            found = await _in_order_of_arrival(service, street.key(street.COUNTER, quantity))
            assert found == sorted(found)
            assert len(found) == 60
        await service.close()


async def test_a_sink_that_hangs_holds_up_no_other(
    platform: SensorThingsServer, tmp_path: Path, words: Words
) -> None:
    async with (
        await Store.open(tmp_path / "two.sqlite3", ["hangs", "works"]) as store,
        Wiretap(platform.url) as wire,
    ):
        wire.on_request = lambda method, path: Line.HOLD
        await street.fill(store, range(20))
        hanging = quick_sink(wire.url, store, "hangs")
        async with publishing(store, hanging, words):
            async with publishing(store, quick_sink(platform.url, store, "works"), words):
                await until(lambda: settled(store, "works"))
            sinks = (await store.figures()).sinks
            assert sinks["works"].published == 100
            assert sinks["hangs"].published == 0
            wire.on_request = lambda method, path: Line.PASS
            wire.release()
            await until(lambda: settled(store, "hangs"))


async def test_a_token_comes_from_its_file_and_goes_nowhere_else(
    platform: SensorThingsServer, tmp_path: Path
) -> None:
    token = tmp_path / "city.token"
    token.write_text("secret-canary-1\n", encoding="ascii")
    async with Wiretap(platform.url) as wire:
        service = Service(wire.url, token)
        await service.get("Things")
        assert b"Authorization: Bearer secret-canary-1\r\n" in bytes(wire.sent)
        token.write_text("secret-canary-2\n", encoding="ascii")
        await service.get("Things")
        assert b"Authorization: Bearer secret-canary-2\r\n" in bytes(wire.sent)
        token.write_text("two secrets", encoding="ascii")
        with pytest.raises(
            Unavailable, match=r"found no single token in .*city\.token, wanted one"
        ) as caught:
            await service.get("Things")
        assert "secrets" not in str(caught.value).replace(str(tmp_path), "")
        token.unlink()
        with pytest.raises(Unavailable, match=r"cannot read the token file .*city\.token: No such file"):
            await service.get("Things")
        await service.close()


def test_pauses_grow_to_a_bound_and_are_never_all_alike() -> None:
    pace = Pace(first_s=1.0, most_s=60.0)
    for failures, longest in [(1, 1), (2, 2), (3, 4), (7, 60), (1000, 60)]:
        drawn = [pace.pause(failures) for _ in range(200)]
        assert longest / 2 <= min(drawn) < max(drawn) <= longest
    assert pace.pause(1, at_least_s=30) == 30


async def _in_order_of_arrival(service: Service, key: str) -> list[int]:
    """Start times of a datastream's observations, by the service's id."""
    datastreams = await service.get("Datastreams", {"$filter": f"properties/datastream eq '{key}'"})
    (datastream,) = datastreams["value"]
    answer = await service.get(
        f"Datastreams('{datastream['@iot.id']}')/Observations", {"$orderby": "id asc", "$top": "100"}
    )
    entities = sorted(answer["value"], key=lambda entity: entity["@iot.id"])
    return [entity["phenomenonTime"] for entity in entities]
