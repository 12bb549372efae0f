"""A running gateway whose store loses a page of a table: a real broker, killed, and nobody's hands."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from damaged_store import but_trail, by_page, damage, entries, everything, looked_at, roots
from running_gateway import begun, connected, gateway, reached
from sealed_street import Counter

from peilmerk_gateway.checks import gateway_status
from peilmerk_gateway.settings import Settings
from peilmerk_gateway.store import STORE_FILE, Store, mirror, trail


async def ledger_of(file: Path) -> list[Any]:
    with looked_at(file) as db:
        return db.execute(
            "SELECT window_start, count(*), sum(epsilon_micro) FROM ledger GROUP BY window_start"
        ).fetchall()


@pytest.mark.parametrize(
    "table", ["report", "observation", "ledger", "attestation", "audit_entry", "audit_head", "tally"]
)
async def test_it_ends_and_comes_back_with_everything(
    settings: Settings, counter: Counter, table: str
) -> None:
    """Damaged as a disk does it, without a word: found when the page is read."""
    file = settings.gateway.data_dir / STORE_FILE
    window = int(time.time()) // 900 - 1
    async with begun(settings, counter, window - 2) as running:
        # In the middle of a checkpoint it is in doubt for a moment.
        while (await gateway_status(settings))["figures"]["mirror"] != mirror.IN_STEP:
            await asyncio.sleep(0.05)
        async with httpx.AsyncClient() as client:
            said = (await client.get(running.ready["web"] + "metrics")).text
            assert "peilmerk_store_mirror_in_step 1.0" in said
    before = everything(file)
    at, (size, _, tables) = file.stat(), roots(file)
    damage(file, tables[table], size)
    os.utime(file, ns=(at.st_atime_ns, at.st_mtime_ns))
    # It may end before it listens, or as soon as it reads that page; whoever supervises it starts it anew.
    acknowledged = False
    with suppress(AssertionError, OSError, TimeoutError):
        async with gateway(settings) as running:
            async with connected(settings, running, counter) as reporter:
                await asyncio.to_thread(reporter.report, counter.report(4, window - 1).payload)
                acknowledged = True
            assert await asyncio.wait_for(running.process.wait(), 30) == 1
    async with gateway(settings) as running:
        assert "the store is whole again, from its mirror" in running.log.read_text()
        async with connected(settings, running, counter) as reporter:
            if not acknowledged:
                await asyncio.to_thread(reporter.report, counter.report(4, window - 1).payload)
            await asyncio.to_thread(reporter.report, counter.report(5, window).payload)
        await reached(settings, 3)
        assert await running.end(signal.SIGTERM) == 0
    after = everything(file)
    for name in ("report", "observation", "ledger", "attestation"):
        assert set(before[name]) <= set(after[name]), name
    assert entries(file).count(trail.MENDED) == 1
    # Each window is paid for once, at the same price.
    paid = await ledger_of(file)
    assert [row[0] for row in paid] == [(window - back) * 900 for back in (2, 1, 0)]
    assert len({row[1:] for row in paid}) == 1
    async with await Store.look(file) as store:
        assert (await store.check_trail()).ok
        assert await store.damaged() == []


async def test_killed_and_damaged_at_once_nothing_of_the_journal_is_lost(
    settings: Settings, counter: Counter
) -> None:
    """The store's file and its mirror are as of the last checkpoint, and the journal has the rest."""
    file = settings.gateway.data_dir / STORE_FILE
    window = int(time.time()) // 900 - 1
    async with begun(settings, counter, window - 2):
        pass
    async with gateway(settings) as running:
        async with connected(settings, running, counter) as reporter:
            await asyncio.to_thread(reporter.report, counter.report(3, window - 1).payload)
            await reached(settings, 2)
        running.process.kill()
        await running.process.wait()
    before = everything(file, look=True)
    assert mirror.told(file) == mirror.IN_STEP
    pages = by_page(file)
    # What is not in the journal comes from the mirror.
    for page in pages:
        if pages[page] in ("command", "sink_entity", "quarantine", "parked", "refusal", "withheld"):
            damage(file, page, file.stat().st_size // len(pages))
    assert mirror.told(file) == mirror.IN_DOUBT
    async with gateway(settings) as running:
        assert "the store is whole again, from its mirror" in running.log.read_text()
        await reached(settings, 2)
        assert await running.end(signal.SIGTERM) == 0
    after = everything(file)
    for name in ("report", "observation", "ledger", "command", "withheld"):
        assert after[name] == before[name], name
    assert but_trail(after).keys() == but_trail(before).keys()
