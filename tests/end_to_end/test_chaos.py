"""The chaos campaign in small: three kills under load; and its accounts see what is wrong."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from peilmerk_bench.chaos.campaign import KINDS, Chaos, Figures
from peilmerk_bench.chaos.plan import Plan


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Chaos, dict[str, Any]]:
    chaos = Chaos(Plan(tmp_path_factory.mktemp("chaos"), kills=3, seed=3, boards=3, rate=4.0))
    return chaos, asyncio.run(chaos.run())


def test_kills_under_load_lose_double_and_overspend_nothing(ran: tuple[Chaos, dict[str, Any]]) -> None:
    _, report = ran
    figures = report["figures"]
    assert report["ok"], report
    assert figures["kills"] == dict.fromkeys(KINDS[:3], 1)
    assert figures["acknowledged"] > 10
    assert figures["ledger_lines"] == 2 * (figures["stored"] - 3)
    assert figures["on_platform"] == figures["observations"] > 10
    assert report["limits"]["lost"] == 0


def test_the_accounts_see_a_loss_and_a_payment_for_nothing(ran: tuple[Chaos, dict[str, Any]]) -> None:
    chaos, _ = ran
    store = chaos._data / "store.db"
    with closing(sqlite3.connect(store)) as db, db:
        device, seq = db.execute("SELECT device_id, seq FROM report LIMIT 1").fetchone()
        db.execute("DELETE FROM report WHERE device_id = ? AND seq = ?", (device, seq))

    async def again() -> Figures:
        chaos.figures = Figures()
        owed, kept = chaos._owed(), await chaos._kept()
        chaos.figures.lost = len(owed - kept)
        await chaos._compare_ledger()
        return chaos.figures

    figures = asyncio.run(again())
    assert (figures.lost, figures.ledger_wrong) == (1, 1)
    assert not figures.ok
