"""Every public byte: what a platform holds, what the gateway's page shows, what exports say."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from peilmerk_bench.audit.attacks.figures import Figure
from peilmerk_bench.audit.overlay import AuditError
from peilmerk_gateway import settings as gateway_settings
from peilmerk_gateway.clock import Clock
from peilmerk_gateway.deployments.catalogue import Catalogue
from peilmerk_gateway.deployments.exports.export import KINDS, Wish, export, languages
from peilmerk_gateway.deployments.exports.needs import ExportError
from peilmerk_gateway.operation.condition import Condition
from peilmerk_gateway.publish.sensorthings_observations import times_and_id
from peilmerk_gateway.store import Store
from peilmerk_gateway.web.app import create_app

ENTITIES = (
    "Things",
    "Locations",
    "HistoricalLocations",
    "Datastreams",
    "Sensors",
    "ObservedProperties",
    "FeaturesOfInterest",
    "Observations",
)
PAGE = 100
PAGE_ADDRESS = "https://sensoren.voorbeeld.example/"
DRAWN = ("pdf",)
"""Forms that are pressed; what they say is in the other forms of the same export too."""


@dataclass
class Public:
    """A platform as everybody sees it: `documents` as JSON by kind of entity, `things` by their name."""

    url: str
    documents: dict[str, str] = field(default_factory=dict, repr=False)
    things: dict[str, Any] = field(default_factory=dict, repr=False)
    streams: dict[str, str] = field(default_factory=dict, repr=False)
    """Link of the observations of a datastream, by our key of it."""

    async def ask(self, streams: Collection[str], times: int) -> list[Figure]:
        """Ask for all observations of some datastreams, so many times."""
        answers = []
        async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
            for _ in range(times):
                for stream in streams:
                    for row in await _all(client, f"{self.streams[stream]}?$top={PAGE}"):
                        (start, end), _ = times_and_id(row)
                        answers.append(Figure(stream, start, end, row["result"], stream))
        return answers


async def platform(url: str) -> Public:
    """Read everything that a SensorThings service holds."""
    found = Public(url)
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        entities = {kind: await _all(client, f"{url}/{kind}?$top={PAGE}") for kind in ENTITIES}
        for thing in entities["Things"]:
            streams = await _all(client, thing["Datastreams@iot.navigationLink"])
            places = await _all(client, thing["Locations@iot.navigationLink"])
            found.things[thing["name"]] = [thing, *streams, *places]
        found.documents = {
            f"platform, {kind}": json.dumps(rows, ensure_ascii=False) for kind, rows in entities.items()
        }
        found.streams = {
            stream["properties"]["datastream"]: stream["Observations@iot.navigationLink"]
            for stream in entities["Datastreams"]
        }
    return found


async def pages(
    store: Store, catalogue: Catalogue, clock: Clock, folder: Path, data_set: int
) -> dict[str, str]:
    """Ask a gateway's page for all that it shows, in both languages."""
    file = folder / "gateway.toml"
    if not file.exists():
        file.write_text(
            '[gateway]\ndata_dir = "data"\n[deployments]\ndirectory = "deployments"\n'
            '[[sinks]]\nname = "platform"\nkind = "sensorthings"\nurl = "http://127.0.0.1:1/v1.1"\n',
            "utf-8",
        )
    condition = Condition(store, clock, folder, 0, clock.now)
    app = create_app(store, catalogue, clock, gateway_settings.load(file), condition=condition)
    found = {}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://gateway", timeout=60
    ) as client:
        for path in ("/", "/?lang=nl", "/?lang=en", "/healthz", "/metrics"):
            answer = await client.get(path)
            if answer.status_code != httpx.codes.OK:
                raise AuditError(f"the gateway's page {path}: found {answer.status_code}, wanted 200")
            found[f"page {path}, data set {data_set + 1}"] = answer.text
    return found


def exports(catalogue: Catalogue) -> dict[str, str]:
    """Make every export of every record that can be made, in both languages."""
    found = {}
    for deployment in catalogue.deployments.values():
        for kind, chosen in KINDS.items():
            for form in chosen.forms:
                if form in DRAWN:
                    continue
                for language in languages():
                    wish = Wish(language, deployment.record.devices[0].name, PAGE_ADDRESS)
                    try:
                        text = export(deployment, kind, form, wish).decode()
                    except ExportError:
                        continue  # what lacks is named to whoever asks, and nothing is public
                    found[f"export {deployment.id}, {kind}.{form} {language}"] = text
    return found


async def _all(client: httpx.AsyncClient, link: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    following: str | None = link
    while following:
        answer = await client.get(following)
        if answer.status_code != httpx.codes.OK:
            raise AuditError(f"{following}: found status {answer.status_code}, wanted 200")
        page = answer.json()
        rows.extend(page["value"])
        following = page.get("@iot.nextLink")
    return rows
