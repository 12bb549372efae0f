"""Kill the gateway, then the broker, then a board in mid-run, and start a second run: nothing lost, nothing
doubled.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path

import pytest
from patience import DEADLINE_S

from end_to_end.witness import Witness, free_port, look, read_store
from peilmerk_bench.demo import settled
from peilmerk_bench.street import Plan, Street

WINDOW_S = 900
# One window at sixty times speed, seconds of real time.
WINDOW_WALL_S = 15.0


def broker_pid(gateway_pid: int) -> int:
    """The nats-server that is a child of the gateway."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            name = (entry / "comm").read_text().strip()
        except (OSError, ValueError, IndexError):
            continue
        if parent == gateway_pid and name == "nats-server":
            return int(entry.name)
    raise AssertionError(f"no nats-server below the gateway {gateway_pid}")


async def until_reports(street: Street, more: int, each: int = 0) -> None:
    """Wait until the gateway has stored so many more reports, and of every board `each` more."""
    before = Counter(row["device_id"] for row in read_store(street.store_file)["report"])
    async with asyncio.timeout(2 * DEADLINE_S):
        while True:
            now = Counter(row["device_id"] for row in read_store(street.store_file)["report"]) - before
            if now.total() >= more and all(now[house.device_id] >= each for house in street.plan.boards):
                return
            await asyncio.sleep(0.2)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Witness, Witness]:
    folder: Path = tmp_path_factory.mktemp("street")
    plan = Plan.new(folder, counters=2, air=1, page_port=free_port())

    async def first() -> Witness:
        street = Street(plan)
        await street.start()
        try:
            await until_reports(street, 2)
            # The gateway dies, and its broker with it; a window closes while nobody listens.
            await street.gateway.kill()
            await asyncio.sleep(WINDOW_WALL_S)
            await street.gateway.start()
            await until_reports(street, 3)
            # The broker alone dies; the gateway brings it back.
            assert street.gateway.pid is not None
            os.kill(broker_pid(street.gateway.pid), signal.SIGKILL)
            await until_reports(street, 3)
            # A board loses power in the middle of a window.
            board = street.boards["fietspad-1"]
            await board.power_cut()
            await asyncio.sleep(2)
            await board.power_on()
            await until_reports(street, 4, each=1)
            return await look(street, settled)
        finally:
            await street.stop()

    async def second() -> Witness:
        again = Plan.load(folder)
        assert again is not None
        street = Street(again)
        await street.start()
        try:
            await until_reports(street, 4, each=1)
            return await look(street, settled)
        finally:
            await street.stop()

    return asyncio.run(first()), asyncio.run(second())


def test_kills_lose_and_double_nothing(runs: tuple[Witness, Witness]) -> None:
    seen, _ = runs
    assert seen.tally.ok, seen.tally
    assert seen.tally.refused_by_reason.keys() <= {"replayed"}, seen.tally.refused_by_reason
    assert seen.tally.reports_stored >= 12


def test_the_audit_trail_tells_of_everything(runs: tuple[Witness, Witness]) -> None:
    for seen in runs:
        assert seen.trail.ok, seen.trail.faults
        assert seen.trail.reports == len(seen.rows["report"])
        assert seen.trail.published == sum(row["state"] == "done" for row in seen.rows["publish_outbox"])
    assert runs[1].trail.by_kind["records"] >= 1


def test_windows_that_closed_while_nobody_listened_arrived_later(runs: tuple[Witness, Witness]) -> None:
    seen, _ = runs
    device = seen.device("fietspad-2")
    starts = sorted(row["window_start"] for row in seen.rows["report"] if row["device_id"] == device)
    assert starts == list(range(starts[0], starts[-1] + WINDOW_S, WINDOW_S))


def test_the_board_that_lost_power_goes_on_with_new_numbers(runs: tuple[Witness, Witness]) -> None:
    seen, _ = runs
    device = seen.device("fietspad-1")
    assert max(row["boot_count"] for row in seen.rows["attestation"] if row["device_id"] == device) >= 2
    numbers = [
        row["seq"]
        for table in ("report", "attestation")
        for row in seen.rows[table]
        if row["device_id"] == device
    ]
    assert sorted(numbers) == list(range(1, max(numbers) + 1))


def test_a_second_run_on_the_same_folder_continues(runs: tuple[Witness, Witness]) -> None:
    first, second = runs
    assert second.tally.ok, second.tally
    assert second.tally.reports_stored >= first.tally.reports_stored + 4
    for house in first.plan.boards:
        assert second.device(house.name) == house.device_id
        newest = max(
            row["window_start"] for row in first.rows["report"] if row["device_id"] == house.device_id
        )
        later = [
            row["window_start"]
            for row in second.rows["report"]
            if row["device_id"] == house.device_id and row["window_start"] > newest
        ]
        assert later
    before = {(row["datastream"], row["phenomenonTime"]) for row in first.platform}
    after = {(row["datastream"], row["phenomenonTime"]) for row in second.platform}
    assert before < after


def test_things_and_datastreams_are_there_once(runs: tuple[Witness, Witness]) -> None:
    for seen in runs:
        assert len(seen.things) == len(set(seen.things)) == len(seen.plan.boards)
        assert len(seen.datastreams) == len(set(seen.datastreams))
        # A datastream comes with its first published figure; a direction whose every count stayed below the
        # threshold has none yet. At most two directions of two counters; four quantities of one air node.
        published = {row["datastream"] for row in seen.rows["observation"]}
        assert len(seen.datastreams) == len(published) <= 2 * 2 + 4
        assert {name for name in seen.datastreams if name.startswith("lucht-1")} == {
            "lucht-1: Fine particles PM2.5",
            "lucht-1: Particles PM10",
            "lucht-1: Air temperature",
            "lucht-1: Relative humidity",
        }
    first, second = runs
    assert set(first.datastreams) <= set(second.datastreams)
