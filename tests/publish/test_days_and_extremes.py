"""The total of a day is a figure of its own on the platform; extremes and completeness go with their mean."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any

import httpx
from conftest import publishing, settled, until
from publisher_process import quick_sink
from street import AIR, COUNTER, DEPLOYMENT, DEVICES

from peilmerk_bench.platform import SensorThingsServer
from peilmerk_gateway.account import account
from peilmerk_gateway.admit import Admitted
from peilmerk_gateway.deployments.catalogue import Catalogue
from peilmerk_gateway.deployments.template import NewDevice, new_record
from peilmerk_gateway.store import BatchRows, Store
from peilmerk_protocol import topics
from peilmerk_protocol.profile import AIR_FULL, STANDARD_COUNTER
from peilmerk_protocol.report import HEALTH_PARTIAL, Report

TODAY = 20_500
MIDNIGHT = TODAY * 86_400


def write_records(folder: Path) -> None:
    folder.mkdir()
    for name, profile in ((COUNTER, STANDARD_COUNTER), (AIR, AIR_FULL)):
        text = new_record(
            id=DEPLOYMENT if profile is STANDARD_COUNTER else "lucht",
            description="Kerkstraat",
            longitude=5.3874321,
            latitude=52.1561234,
            devices=[NewDevice(name, DEVICES[name], bytes(32), "a type", "a model")],
            profile=profile,
            notified_at=date(2025, 6, 1),
            active_from=date(2026, 1, 1),
            active_until=date(2027, 12, 31),
            organisation="Municipality",
            contact="https://example.org/sensors",
        )
        (folder / f"{name}.toml").write_text(text, "utf-8")


async def published(url: str) -> dict[tuple[str, int], dict[str, Any]]:
    """Every observation by (name of its datastream, unix second at which its time begins)."""
    found = {}
    async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
        for stream in (await client.get(f"{url}/Datastreams?$top=100")).json()["value"]:
            link = stream["Observations@iot.navigationLink"]
            for one in (await client.get(f"{link}?$top=100")).json()["value"]:
                start = datetime.fromisoformat(one["phenomenonTime"].split("/")[0]).timestamp()
                found[stream["name"], round(start)] = one | {"stream": stream["properties"]}
    return found


async def test_days_and_extremes_arrive_as_what_they_are(
    platform: SensorThingsServer, store: Store, tmp_path: Path
) -> None:
    write_records(tmp_path / "records")
    catalogue = Catalogue(tmp_path / "records")
    assert catalogue.broken == ()
    counter, air = catalogue.mandate(DEVICES[COUNTER]), catalogue.mandate(DEVICES[AIR])
    assert counter is not None
    assert air is not None

    def said(mandate: Any, report: Report, kind: int = topics.REPORT) -> Any:
        return account(Admitted(mandate.device_id, report, mandate, b"d" * 32, kind))

    entries = [
        # The first window of a day and the day itself begin at the same second.
        said(counter, Report(1, MIDNIGHT // 900, 1, 0, {5: (20,), 6: (30,)})),
        said(counter, Report(2, TODAY, 1, 0, {5: (1234,), 6: (9,)}), topics.DAY),
        said(counter, Report(3, TODAY + 1, 1, HEALTH_PARTIAL, {5: (777,), 6: (888,)}), topics.DAY),
        said(
            air,
            Report(1, MIDNIGHT // 900, 1, 0, {0: (100, 3), 2: (-85, 12), 4: (6,), 24: (83,), 27: (-99, -70)}),
        ),
    ]
    await store.commit_batch(BatchRows(entries=entries, received=4), MIDNIGHT + 2 * 86_400.0)
    async with publishing(store, quick_sink(platform.url, store), catalogue):
        await until(lambda: settled(store))
    found = await published(platform.url)
    day = found[f"{COUNTER}: Bicycles, towards, total of the day", MIDNIGHT]
    assert day["result"] == 1234
    assert day["parameters"] == {"window_s": 86_400, "noise_sd": 4.696}
    assert day["stream"]["epsilon_day"] == "3/10"
    assert datetime.fromisoformat(day["resultTime"]).timestamp() == MIDNIGHT + 86_400
    leaf = found[f"{COUNTER}: Bicycles, towards", MIDNIGHT]
    assert (leaf["result"], leaf["parameters"]) == (20, {"window_s": 900, "noise_sd": 1.98})
    cold = next(one for (name, _), one in found.items() if one["result"] == -8.5)
    assert cold["parameters"] == {
        "window_s": 900,
        "spread": 1.2,
        "minimum": -9.9,
        "maximum": -7.0,
        "samples": 6,
        "completeness": 83,
    }
    # Neither the total below the threshold nor the part of a day, nor extremes as figures of their own.
    assert len(found) == 3 + 2
    assert not {one["result"] for one in found.values()} & {9, 777, 888}
