"""Many homes, each with a sensor at its front: what our gateway publishes of where they are.

The messages are made of the contract (what a board measures does not matter here); they go through the
gateway's flow, store and publisher into a city's open-data file like any others.
"""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path

from peilmerk_bench.audit.attacks import records
from peilmerk_bench.audit.attacks.location import Place
from peilmerk_bench.audit.attacks.open_data import At, OpenData, publish_all
from peilmerk_bench.audit.attacks.worlds import BEGAN, DAY_S
from peilmerk_gateway.deployments.catalogue import Catalogue
from peilmerk_gateway.flow import Flow
from peilmerk_gateway.ingest import Delivery
from peilmerk_gateway.open import Keyring
from peilmerk_gateway.registry import Device, Registry
from peilmerk_gateway.store import Store
from peilmerk_protocol import cose, keys, quantities, report, statement, topics
from peilmerk_protocol import profile as profiles
from peilmerk_protocol.profile import AIR, Profile

HOURLY = Profile(1, 3600, AIR.set, (0, 1), (0, 1), 0, 0)
HOMES, HOURS = 200, 50
EAST, NORTH = (4.6, 6.4), (51.6, 53.0)
"""Where homes may be, degrees: the middle of the Netherlands."""
FIRMWARE = bytes(range(32))


def scattered(homes: int, seed: int = 7) -> dict[str, Place]:
    """Return where homes are, by their public names."""
    generator = random.Random(seed)
    return {
        f"thuis-{n}/huis-{n}": (round(generator.uniform(*EAST), 7), round(generator.uniform(*NORTH), 7))
        for n in range(homes)
    }


async def published(
    folder: Path, homes: int = HOMES, hours: int = HOURS
) -> tuple[dict[str, list[Place]], dict[str, Place]]:
    """Publish `hours` windows of each home; return the places that were published with its figures, and where
    it is. Raises AuditError.
    """
    where = scattered(homes)
    devices: dict[str, Device] = {}
    with closing(Registry(folder / "registry.db")) as registry:
        for key, point in where.items():
            deployment, thing = key.split("/")
            devices[key] = registry.enrol("air", thing)
            pole = records.Pole(thing, devices[key].device_id, point)
            records.write(folder / "deployments", deployment, [pole], HOURLY, FIRMWARE, at_home=True)
        catalogue = Catalogue(folder / "deployments")
        clock = At(float(BEGAN + (hours // 24 + 2) * DAY_S))
        file = OpenData()
        async with await Store.open(folder / "store.db", sinks=(file.name,)) as store:
            flow = Flow(Keyring(registry), catalogue, store, clock)
            await flow.store([_stated(device) for device in devices.values()])
            for hour in range(hours):
                await flow.store([_hour(device, hour) for device in devices.values()])
            await publish_all(store, [file], catalogue, clock)
    places: dict[str, list[Place]] = {key: [] for key in where}
    for figure in file.figures:
        assert figure.longitude is not None
        assert figure.latitude is not None
        places[figure.thing].append((figure.longitude, figure.latitude))
    return places, where


def _stated(device: Device) -> Delivery:
    said = statement.Statement(
        1,
        HOURLY.revision,
        FIRMWARE,
        profiles.digest(HOURLY),
        1,
        (0, 1, 0),
        (1, 29, 0),
        1,
        3_600,
        50_000,
        90_000,
    )
    return _sealed(device, topics.STATEMENT, statement.encode(said))


def _hour(device: Device, hour: int) -> Delivery:
    values = {quantities.TEMPERATURE: (150 + hour, 3), quantities.SAMPLES: (12,)}
    body = report.encode(2 + hour, BEGAN // HOURLY.window_s + hour, HOURLY.revision, 0, values)
    return _sealed(device, topics.REPORT, body)


def _sealed(device: Device, kind: int, body: bytes) -> Delivery:
    key = keys.derive(device.root_key, keys.UP)
    return Delivery(device.device_id, kind, cose.seal(key, kind, device.device_id, body))
