"""From a deployment record to the platform: what is told is what the record permits, and follows it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

import httpx
import pytest
import reader
import street
from conftest import publishing, settled, until
from patience import DEADLINE_S
from publisher_process import SINK, quick_sink
from street import COUNTER, DEVICES, Words
from wiretap import Wiretap

from peilmerk_bench.platform import SensorThingsServer
from peilmerk_gateway.deployments.catalogue import Catalogue
from peilmerk_gateway.deployments.template import NewDevice, new_record
from peilmerk_gateway.publish import PublishError
from peilmerk_gateway.publish.sensorthings import open_sink
from peilmerk_gateway.settings import SinkSettings
from peilmerk_gateway.store import Store
from peilmerk_protocol.profile import STANDARD_COUNTER

# A point to seven digits, about a centimetre; the canaries below are its first five, about a metre.
LONGITUDE, LATITUDE = 5.3874321, 52.1561234
CANARIES = ("5.38743", "52.15612", "canary-person", "canary-mail@example.org", *DEVICES.values())


def _write_record(folder: Path, longitude: float = LONGITUDE, latitude: float = LATITUDE) -> None:
    text = new_record(
        id=street.DEPLOYMENT,
        description="Kerkstraat, between the church and the canal",
        longitude=longitude,
        latitude=latitude,
        devices=[NewDevice(COUNTER, DEVICES[COUNTER], bytes(32), "beam counter", "two light beams")],
        profile=STANDARD_COUNTER,
        notified_at=date(2025, 6, 1),
        active_from=date(2026, 1, 1),
        active_until=date(2027, 12, 31),
        organisation="Municipality",
        contact="https://example.org/sensors",
    )
    owner = '[owner]\nname = "canary-person"\nemail = "canary-mail@example.org"\n'
    assert text.count("[owner]\n") == 1
    folder.mkdir(exist_ok=True)
    (folder / "kerkstraat.toml").write_text(text.replace("[owner]\n", owner), encoding="utf-8")


async def _publish(store: Store, url: str, catalogue: Catalogue | Words) -> None:
    async with publishing(store, quick_sink(url, store), catalogue):
        await until(lambda: settled(store))


async def test_no_byte_names_board_point_or_person(
    platform: SensorThingsServer, store: Store, tmp_path: Path
) -> None:
    _write_record(tmp_path / "records")
    catalogue = Catalogue(tmp_path / "records")
    assert catalogue.broken == ()
    await store.commit_batch(street.batch([street.counter_entry(n, 20, 30) for n in range(3)]), street.DAY)
    async with Wiretap(platform.url) as wire:
        await _publish(store, wire.url, catalogue)
        sent = bytes(wire.sent)
    _, often = await asyncio.to_thread(reader.observations, platform.url)
    assert len(often) == 6
    await platform.stop()
    kept = b"".join(file.read_bytes() for file in (tmp_path / "platform").iterdir())
    record = (tmp_path / "records" / "kerkstraat.toml").read_bytes()
    for canary in CANARIES:
        # The search can find: the record has every one of them, except the board of the other sensor.
        assert canary.encode() in record or canary == DEVICES[street.AIR]
        assert canary.encode() not in sent
        assert canary.encode() not in kept
    assert b"rd100-E" in sent
    assert b"rd100-E" in kept


async def test_a_sensor_that_moves_is_another_thing_in_its_new_cell(
    platform: SensorThingsServer, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "records").mkdir()
    catalogue = Catalogue(tmp_path / "records")
    cells = []
    for window, moved in enumerate((0.0, 0.01)):
        _write_record(tmp_path / "records", longitude=LONGITUDE + moved)
        assert catalogue.reload()
        cells.append(catalogue.deployments[street.DEPLOYMENT].cells[COUNTER])
        await store.commit_batch(street.batch([street.counter_entry(window, 20, 30)]), street.DAY)
        await _publish(store, platform.url, catalogue)

    assert cells[0].id != cells[1].id
    async with httpx.AsyncClient(base_url=platform.url, timeout=DEADLINE_S) as client:
        for window, cell in enumerate(cells):
            query = f"properties/cell eq '{cell.id}'"
            (thing,) = (await client.get("/Things", params={"$filter": query})).json()["value"]
            (location,) = (await client.get(thing["Locations@iot.navigationLink"])).json()["value"]
            assert location["location"]["coordinates"] == [[list(corner) for corner in cell.outline]]
            datastreams = (await client.get(thing["Datastreams@iot.navigationLink"])).json()["value"]
            for datastream in datastreams:
                found = (await client.get(datastream["Observations@iot.navigationLink"])).json()["value"]
                start = street.DAY + window * street.WINDOW_S
                assert [datetime.fromisoformat(o["phenomenonTime"]).timestamp() for o in found] == [start]
            assert len(datastreams) == 2


def test_figures_that_may_not_be_compared_have_keys_of_their_own() -> None:
    about = street.description(COUNTER, "bicycle_away")
    assert about.series_key == street.description(COUNTER, "bicycle_away").series_key
    others = [
        replace(about, cell="rd100-E0001N3000"),
        replace(about, facts={"window_s": 3600}),
        replace(about, facts={"window_s": 900, "epsilon_leaf": "7/20"}),
        replace(about, sensor_model="three light beams"),
    ]
    assert len({about.series_key, *(other.series_key for other in others)}) == 5
    # A new wording is no new way of counting.
    assert replace(about, deployment_text="Other words").series_key == about.series_key
    assert replace(about, facts={"window_s": 900, "themes": ["x"]}).series_key == about.series_key
    long = replace(about, sensor_model="m" * 400)
    assert len(long.sensor_key) == 200
    assert long.sensor_key != replace(about, sensor_model="m" * 399).sensor_key


async def test_a_sink_is_opened_from_settings(store: Store, tmp_path: Path) -> None:
    settings = SinkSettings.model_validate(
        {"name": SINK, "kind": "sensorthings", "url": "https://sensors.example.org/v1.1"}
    )
    sink = open_sink(settings, store)
    assert (sink.name, sink.batch_rows) == (SINK, 500)
    await sink.close()
    with pytest.raises(PublishError, match="found sink 'city' of kind 'pigeon', wanted sensorthings"):
        open_sink(settings.model_copy(update={"kind": "pigeon"}), store)
