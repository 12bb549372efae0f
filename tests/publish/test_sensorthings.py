"""What arrives on a real SensorThings service: everything once, in the right words, and nothing else."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import httpx
import reader
import street
from conftest import publishing, settled, until
from patience import DEADLINE_S
from publisher_process import SINK, quick_sink
from street import AIR, COUNTER, DAY, WINDOW_S, Words
from wiretap import Wiretap

from peilmerk_bench.platform import SensorThingsServer
from peilmerk_gateway.publish import Outcome
from peilmerk_gateway.store import Store


async def _publish_all(store: Store, url: str, words: Words) -> None:
    async with publishing(store, quick_sink(url, store), words):
        await until(lambda: settled(store))


async def test_everything_arrives_once_with_its_figure(
    platform: SensorThingsServer, store: Store, words: Words
) -> None:
    assert await street.fill(store, range(50)) == 250
    await _publish_all(store, platform.url, words)

    figures, often = await asyncio.to_thread(reader.observations, platform.url)
    assert figures == street.expected(range(50))
    assert set(often.values()) == {1}
    done = (await store.figures()).sinks[SINK]
    assert (done.published, done.waiting, done.sending, done.rejected) == (250, 0, 0, 0)


async def test_entities_are_made_once_also_by_a_store_that_knows_nothing(
    platform: SensorThingsServer, store: Store, words: Words, tmp_path: Path
) -> None:
    await street.fill(store, range(2))
    await _publish_all(store, platform.url, words)
    async with await Store.open(tmp_path / "another.sqlite3", [SINK]) as empty:
        await street.fill(empty, range(2, 4))
        await _publish_all(empty, platform.url, words)

    assert reader.names(platform.url, "things") == [COUNTER, AIR]
    assert reader.names(platform.url, "locations") == [f"Grid cell {street.CELL}"] * 2
    assert reader.names(platform.url, "sensors") == ["SDS011", "two light beams"]
    assert reader.names(platform.url, "observed_properties") == sorted(
        street.description(COUNTER, quantity).quantity.label for quantity in street.COUNTS + street.MEANS
    )
    assert len(reader.names(platform.url, "datastreams")) == 5
    figures, often = reader.observations(platform.url)
    assert figures == street.expected(range(4))
    assert set(often.values()) == {1}


async def test_an_observation_says_when_what_and_how_good(
    platform: SensorThingsServer, store: Store, words: Words
) -> None:
    await street.fill(store, range(1))
    await _publish_all(store, platform.url, words)

    async with httpx.AsyncClient(base_url=platform.url, timeout=DEADLINE_S) as client:
        datastreams = (await client.get("/Datastreams")).json()["value"]
        by_key = {entity["properties"]["datastream"]: entity for entity in datastreams}
        pm = by_key[street.key(AIR, "pm2_5")]
        assert pm["unitOfMeasurement"] == {
            "name": "µg/m³",
            "symbol": "µg/m³",
            "definition": "http://unitsofmeasure.org/ucum.html#ug/m3",
        }
        assert pm["observationType"].endswith("OM_Measurement")

        # By links, one by one: this service mixes up what is expanded for several entities at once.
        async def linked(datastream: dict[str, str], name: str) -> dict[str, object]:
            return (await client.get(datastream[f"{name}@iot.navigationLink"])).json()

        assert str((await linked(pm, "ObservedProperty"))["definition"]).endswith("/aq/pollutant/6001")
        assert (await linked(pm, "Sensor"))["name"] == "SDS011"
        assert (await linked(pm, "Thing"))["properties"] == {
            "peilmerk": f"{street.DEPLOYMENT}/{AIR}@{street.CELL}",
            "deployment": street.DEPLOYMENT,
            "cell": street.CELL,
        }
        bicycles = by_key[street.key(COUNTER, "bicycle_towards")]
        assert bicycles["unitOfMeasurement"]["definition"] == "http://unitsofmeasure.org/ucum.html#1"
        assert bicycles["observationType"].endswith("OM_CountObservation")

        async def only(datastream: dict[str, str]) -> dict[str, object]:
            (entity,) = (await client.get(datastream["Observations@iot.navigationLink"])).json()["value"]
            return entity

        air, count = await only(pm), await only(bicycles)
        locations = (await client.get("/Locations")).json()["value"]
    assert air["phenomenonTime"] == "2026-11-01T00:00:00+00:00"
    assert air["resultTime"] == "2026-11-01T00:15:00+00:00"
    assert (air["result"], air["parameters"]) == (12.3, {"window_s": 900, "spread": 0.7, "samples": 890})
    assert (count["result"], count["parameters"]) == (10, {"window_s": 900, "noise_sd": 2.0})
    outline = {"type": "Polygon", "coordinates": [[list(corner) for corner in street.OUTLINE]]}
    assert [location["location"] for location in locations] == [outline, outline]


async def test_a_row_the_platform_never_takes_is_put_aside_and_the_rest_goes_through(
    platform: SensorThingsServer, store: Store, words: Words, tmp_path: Path
) -> None:
    refuse_result(tmp_path / "platform" / "platform.sqlite3", 510)  # bicycles away in window 10
    await street.fill(store, range(30))
    await _publish_all(store, platform.url, words)

    bad = (street.key(COUNTER, "bicycle_away"), DAY + 10 * WINDOW_S)
    wanted = street.expected(range(30))
    del wanted[bad]
    figures, often = await asyncio.to_thread(reader.observations, platform.url)
    assert figures == wanted
    assert set(often.values()) == {1}
    (rejected,) = await store.rejected(SINK)
    assert (rejected.datastream, rejected.window_start) == bad
    assert rejected.error == "refused without a cause"

    # It is not tried again, and what comes later is not held up.
    await street.fill(store, range(30, 31))
    async with Wiretap(platform.url) as wire:
        await _publish_all(store, wire.url, words)
        posts = [path for method, path in wire.requests if method == "POST"]
    assert posts == ["/v1.1/CreateObservations"]


async def test_a_row_that_breaks_the_platform_does_not_hold_up_the_rest(
    platform: SensorThingsServer, store: Store, words: Words, tmp_path: Path
) -> None:
    """Six bad rows in a row: halving finds them all, and order is kept around them."""
    for figure in range(512, 518):
        refuse_result(tmp_path / "platform" / "platform.sqlite3", figure)
    await street.fill(store, range(30))
    await _publish_all(store, platform.url, words)
    rejected = await store.rejected(SINK)
    assert [row.result for row in rejected] == list(range(512, 518))
    figures, _ = await asyncio.to_thread(reader.observations, platform.url)
    assert len(figures) == 150 - 6


async def test_what_may_no_longer_be_published_waits(
    platform: SensorThingsServer, store: Store, words: Words
) -> None:
    closed = street.key(AIR, "pm2_5")
    words.closed.add(closed)
    await street.fill(store, range(4))
    async with publishing(store, quick_sink(platform.url, store), words):

        async def rest_is_done() -> bool:
            return (await store.figures()).sinks[SINK].published == 16

        await until(rest_is_done)
    figures, _ = await asyncio.to_thread(reader.observations, platform.url)
    assert {datastream for datastream, _ in figures} == {
        street.key(COUNTER, quantity) for quantity in street.COUNTS
    } | {street.key(AIR, "temperature"), street.key(AIR, "humidity")}
    assert (await store.figures()).sinks[SINK].waiting == 4


async def test_a_thing_removed_on_the_platform_is_made_anew(
    platform: SensorThingsServer, store: Store, words: Words
) -> None:
    await street.fill(store, range(2))
    await _publish_all(store, platform.url, words)
    async with httpx.AsyncClient(base_url=platform.url, timeout=DEADLINE_S) as client:
        for thing in (await client.get("/Things")).json()["value"]:
            if thing["name"] == COUNTER:
                assert (await client.delete(thing["@iot.selfLink"])).status_code < 300
    await street.fill(store, range(2, 4))
    await _publish_all(store, platform.url, words)

    assert reader.names(platform.url, "things") == [COUNTER, AIR]
    figures, often = await asyncio.to_thread(reader.observations, platform.url)
    # The counter's first two windows went with it; they were published once and are not sent again.
    lost = {place for place in street.expected(range(2)) if f"/{COUNTER}/" in place[0]}
    assert set(figures) == set(street.expected(range(4))) - lost
    assert set(often.values()) == {1}


async def test_look_up_tells_what_is_there_from_what_is_not(
    platform: SensorThingsServer, store: Store, words: Words
) -> None:
    """More than a page of the service, and windows on both sides of what was sent."""
    await street.fill(store, range(130))
    sink = quick_sink(platform.url, store, batch_rows=1000)
    rows = await store.claim(SINK, 1000, DAY)
    half = [row for row in rows if (row.window_start - DAY) // WINDOW_S % 2]
    assert not await sink.find(rows)  # nothing is prepared: nothing can be there
    await sink.prepare([about for row in rows if (about := words.describe(row.datastream)) is not None])
    sent: list[Outcome] = list(await sink.send(half))
    assert await sink.find(rows) == {outcome.observation_id: outcome.remote_id for outcome in sent}
    assert len(sent) == 325
    # Sparse questions: between two rows that are asked for lie many that are not.
    await sink.send([row for row in rows if row not in half])
    sparse = [row for row in rows if (row.window_start - DAY) // WINDOW_S % 5 == 0]
    assert set(await sink.find(sparse)) == {row.observation_id for row in sparse}
    await sink.close()


def refuse_result(database: Path, figure: int) -> None:
    """Teach the service's own database to refuse one figure, so that the service answers as it does for a row
    it cannot store: "error" for the whole group.
    """
    with sqlite3.connect(database, timeout=DEADLINE_S) as connection:
        (table,) = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE '%_observation'"
        ).fetchone()
        connection.execute(
            f"CREATE TRIGGER refuse_{figure} BEFORE INSERT ON {table} WHEN NEW.result = {figure} "
            "BEGIN SELECT RAISE(ABORT, 'not this one'); END"
        )
    connection.close()
