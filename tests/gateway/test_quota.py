"""Quota: a platform that is away fills what it was allowed, the oldest go, and no other platform notices."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from patience import DEADLINE_S
from sealed_street import NOW, WINDOW, Street
from sqlalchemy import event
from stores import StorePlace

from peilmerk_gateway import quota as quotas
from peilmerk_gateway import retention
from peilmerk_gateway.clock import ScaledClock
from peilmerk_gateway.settings import SettingsError, load, write_default
from peilmerk_gateway.store import Store
from peilmerk_gateway.store.quota import Quota

SINKS = ("away", "city")
WIDE = Quota(1_000, 30)


@pytest.fixture
def street(tmp_path: Path, store_place: StorePlace) -> Iterator[Street]:
    made = Street(tmp_path, counters=1, place=store_place)
    yield made
    made.registry.close()


async def filled(street: Street, store: Store, reports: int) -> None:
    """Two figures a report, a minute between two reports."""
    board = street.counters[0]
    await street.flow(store).store([board.statement(1)])
    for n in range(reports):
        street.clock = ScaledClock(NOW + 60 * n, 0.0, 0.0)
        await street.flow(store).store([board.report(2 + n, WINDOW - reports + n)])


async def waiting(store: Store, sink: str) -> list[int]:
    """What is sent to a platform in the end, in this order; it is taken out of the queue."""
    found: list[int] = []
    while rows := await store.claim(sink, 100, NOW * 2):
        found += [row.observation_id for row in rows]
        await store.mark_done(sink, [(row.observation_id, None) for row in rows], NOW)
    return found


async def test_the_oldest_of_one_platform_go_and_the_other_has_them_all(street: Street) -> None:
    async with await Store.open(street.place.where, SINKS) as store:
        await filled(street, store, 10)
        on_its_way = await store.claim("away", 2, NOW * 2)
        assert [row.observation_id for row in on_its_way] == [1, 2]
        dropped = await quotas.enforce(store, {"away": Quota(5, 30), "city": WIDE}, NOW, rows=4)
        assert dropped == {"away": 13}
        figures = (await store.figures()).sinks
        assert (figures["away"].waiting, figures["away"].sending, figures["away"].dropped) == (5, 2, 13)
        assert (figures["city"].waiting, figures["city"].dropped) == (20, 0)
        # Stored at the seventh and at the first report.
        assert (figures["away"].oldest_waiting, figures["city"].oldest_waiting) == (NOW + 60 * 7, NOW)
        assert await quotas.enforce(store, {"away": Quota(5, 30), "city": WIDE}, NOW) == {}
        # What was on its way is sent after all, and the figures themselves are all kept.
        await store.mark_again("away", [1, 2], "gone", NOW)
        assert await waiting(store, "away") == [1, 2, 16, 17, 18, 19, 20]
        assert await waiting(store, "city") == list(range(1, 21))
        verdict = await store.check_trail()
    assert verdict.faults == []
    assert verdict.by_kind["removed"] == 4
    assert len(street.rows("observation")) == 20


async def test_what_has_waited_for_too_many_days_goes(street: Street) -> None:
    async with await Store.open(street.place.where, SINKS) as store:
        await filled(street, store, 4)
        days = {"away": Quota(1_000, 3), "city": Quota(1_000, 4)}
        after = NOW + 3 * 86_400
        assert await quotas.enforce(store, days, after) == {}
        assert await quotas.enforce(store, days, after + 90, rows=1) == {"away": 4}
        # A platform that the settings name no longer.
        assert await quotas.enforce(store, {"away": days["away"]}, NOW + 31 * 86_400) == {
            "away": 4,
            "city": 8,
        }
        assert (await store.check_trail()).faults == []


async def test_the_loop_enforces_while_others_write(street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas, "EVERY_S", 0.02)
    monkeypatch.setattr(quotas, "PAUSE_S", 0.0)
    async with await Store.open(street.place.where, SINKS) as store:
        stop = asyncio.Event()
        loop = asyncio.create_task(quotas.quota_loop(store, {"away": Quota(6, 30)}, street.clock, stop))
        await filled(street, store, 20)
        async with asyncio.timeout(DEADLINE_S):
            while (await store.figures()).sinks["away"].dropped < 34:
                await asyncio.sleep(0.02)
        stop.set()
        await loop
        figures = (await store.figures()).sinks
        assert (figures["away"].waiting, figures["city"].waiting) == (6, 40)
        assert (await store.check_trail()).faults == []


def test_the_settings_state_each_platforms_quota(tmp_path: Path) -> None:
    file = write_default(tmp_path)
    table = '\n[[sinks]]\nname = "{}"\nkind = "sensorthings"\nurl = "http://localhost/v1.1"\n'
    text = file.read_text()
    file.write_text(
        text + table.format("usual") + table.format("small") + "quota_rows = 1000\nquota_days = 1\n"
    )
    found = quotas.quotas_of(load(file).sinks)
    assert found == {"usual": quotas.USUAL, "small": Quota(1_000, 1)}
    file.write_text(text + table.format("none") + "quota_rows = 0\n")
    with pytest.raises(SettingsError, match="quota_rows: found 0"):
        load(file)


async def test_a_row_that_goes_costs_no_look_at_all_the_others(tmp_path: Path) -> None:
    """A queue may hold millions: what quota and age take out of it is found by its key."""
    street = Street(tmp_path)
    asked: list[tuple[str, Any]] = []
    async with await Store.open(street.place.where, SINKS) as store:
        await filled(street, store, 4)
        event.listen(store._writing, "before_cursor_execute", lambda *given: asked.append(given[2:4]))
        assert await quotas.enforce(store, {"away": Quota(2, 30), "city": WIDE}, NOW) == {"away": 6}
        street.catalogue.look()
        removed = await retention.retain(store, street.catalogue, NOW + 400 * 86_400)
        assert removed.observations == 8
        assert (await store.check_trail()).faults == []
    plans: dict[str, str] = {}
    with closing(sqlite3.connect(street.folder / "store.db")) as db:
        for statement, parameters in asked:
            # What is never true is not looked for.
            if re.search(r"publish_outbox|\breport\b", statement) and not re.search(
                r"^INSERT|WHERE 0 = 1$", statement
            ):
                rows = db.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
                plans[statement] = "; ".join(row[3] for row in rows)
    assert len(plans) > 5
    # The index of what is unfinished is as long as the queue that waits, and is asked once a step.
    slow = {
        statement: plan
        for statement, plan in plans.items()
        if re.search(
            r"SCAN (report|publish_outbox)(?! USING (COVERING )?INDEX ix_publish_outbox_unfinished)", plan
        )
    }
    assert not slow
