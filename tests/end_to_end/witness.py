"""Run a street and keep what every side saw, so that tests can compare them after everything has stopped."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from patience import DEADLINE_S

from peilmerk_bench.board import VirtualBoard
from peilmerk_bench.street import Plan, Street, Tally, tally
from peilmerk_bench.street.tally import observations_on
from peilmerk_gateway.free_port import free_port
from peilmerk_gateway.store import Store
from peilmerk_gateway.store.trail_check import Verdict


@dataclass
class Witness:
    """What was seen: `boards` by public name, rows of the store by table, the platform's observations."""

    plan: Plan
    boards: dict[str, VirtualBoard]
    tally: Tally
    trail: Verdict
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    platform: list[dict[str, Any]] = field(default_factory=list)
    things: list[str] = field(default_factory=list)
    datastreams: list[str] = field(default_factory=list)
    tampered: dict[str, Tally] = field(default_factory=dict)

    def device(self, name: str) -> str:
        """The device id of a board."""
        return next(house.device_id for house in self.plan.boards if house.name == name)


def read_store(store: Path) -> dict[str, list[dict[str, Any]]]:
    """Every row of the store's tables."""
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
        db.row_factory = sqlite3.Row
        tables = ("report", "observation", "withheld", "ledger", "attestation", "refusal", "publish_outbox")
        return {table: [dict(row) for row in db.execute(f"SELECT * FROM {table}")] for table in tables}


async def check_trail(store: Path) -> Verdict:
    """What the check of the audit trail finds."""
    async with await Store.look(store) as opened:
        return await opened.check_trail()


async def look(street: Street, until_ok: Any) -> Witness:
    """Switch the boards off, wait until everything has arrived, and read every side."""
    await street.power_off_boards()
    total = await until_ok(street)
    assert street.platform is not None
    return Witness(
        street.plan,
        street.boards,
        total,
        await check_trail(street.store_file),
        read_store(street.store_file),
        await observations_on(street.platform.url),
        await names_of(street.platform.url, "Things"),
        await names_of(street.platform.url, "Datastreams"),
    )


async def names_of(platform_url: str, entities: str) -> list[str]:
    """The names of a kind of entity on the platform, each as often as it is there; a street fits one page."""
    async with httpx.AsyncClient(timeout=DEADLINE_S, trust_env=False) as client:
        answer = await client.get(f"{platform_url}/{entities}?$top=100")
    return [entity["name"] for entity in answer.raise_for_status().json()["value"]]


async def recount(street: Street, store: Path) -> Tally:
    """Count again with another store in the place of the gateway's."""
    assert street.platform is not None
    flashes = {house.device_id: street.flash(house) for house in street.plan.boards}
    return await tally(flashes, store, street.platform.url)


async def count_what_was_tampered_with(street: Street, folder: Path) -> dict[str, Tally]:
    """Count once with a report missing from the store, then with an observation twice on the platform."""
    assert street.platform is not None
    copy = folder / "tampered.db"
    with closing(sqlite3.connect(street.store_file)) as db, closing(sqlite3.connect(copy)) as other:
        db.backup(other)
        device_id, seq = other.execute("SELECT device_id, seq FROM report LIMIT 1").fetchone()
        other.execute("DELETE FROM report WHERE device_id = ? AND seq = ?", (device_id, seq))
        other.commit()
    without_a_report = await recount(street, copy)
    async with httpx.AsyncClient(timeout=DEADLINE_S, trust_env=False) as client:
        stream = (await client.get(f"{street.platform.url}/Datastreams?$top=1")).json()["value"][0]
        link = stream["Observations@iot.navigationLink"]
        one = (await client.get(f"{link}?$top=1")).json()["value"][0]
        again = {name: one[name] for name in ("phenomenonTime", "resultTime", "result")}
        again["Datastream"] = {"@iot.id": stream["@iot.id"]}
        (await client.post(f"{street.platform.url}/Observations", json=again)).raise_for_status()
    return {
        "without a report": without_a_report,
        "with one twice": await recount(street, street.store_file),
    }


__all__ = ["Witness", "count_what_was_tampered_with", "free_port", "look", "read_store"]
