"""Trace in, platform out: a street of real parts, and every figure on the platform explained.

The boards' random bytes come from a seeded source that keeps what it handed out, so the noise of every window
can be drawn again, by other code, and taken off.
"""

from __future__ import annotations

import asyncio
import statistics
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from end_to_end.noise_by_hand import Blocks, bit_stream, laplace
from end_to_end.witness import Witness, count_what_was_tampered_with, free_port, look, read_store
from peilmerk_bench.demo import settled
from peilmerk_bench.street import Plan, Street

WHOLE = 4
WITHIN_S = 600.0
WINDOW_S = 900
DAY_S = 86_400
BLOCK = 32
TOWARDS, AWAY = 5, 6
PARTIAL = 1
K = 10


async def until_whole_windows(street: Street) -> None:
    """Wait until the gateway has enough windows of every board, lived through from border to border."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            rows = read_store(street.store_file)["report"]
            whole = Counter(row["device_id"] for row in rows if not row["health"] & PARTIAL)
            if all(whole[house.device_id] >= WHOLE for house in street.plan.boards):
                return
            await asyncio.sleep(0.2)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Witness:
    folder: Path = tmp_path_factory.mktemp("street")
    plan = Plan.new(folder, counters=2, air=1, page_port=free_port())

    async def run() -> Witness:
        street = Street(plan, entropy_seed=b"a street whose noise can be drawn again")
        await street.start()
        try:
            await until_whole_windows(street)
            seen = await look(street, settled)
            # Last, because it leaves the platform with an observation too many.
            seen.tampered = await count_what_was_tampered_with(street, folder)
            return seen
        finally:
            await street.stop()

    return asyncio.run(run())


def whole_windows(seen: Witness, name: str) -> Iterator[tuple[int, int]]:
    """(start, end) of the windows that a board lived through from border to border."""
    for row in seen.rows["report"]:
        if row["device_id"] == seen.device(name) and not row["health"] & PARTIAL:
            yield row["window_start"], row["window_start"] + row["window_s"]


def counters(seen: Witness) -> list[str]:
    return [house.name for house in seen.plan.boards if house.kind == "counter"]


def noise_of(seen: Witness, name: str, start: int) -> dict[int, int]:
    """The noise that the board drew for the window which began at `start`, when it began.

    The day's noise is drawn before it where a day begins, and at a board's start; from blocks of its own.
    """
    log = [handout for handout in seen.boards[name].entropy_log if len(handout.data) == BLOCK]
    blocks = [handout.data for handout in log if start <= handout.at < start + WINDOW_S]
    if start % DAY_S == 0 or log[0].at >= start:
        counted = Blocks(blocks)
        for _ in (TOWARDS, AWAY):
            laplace(counted, 3, 10)
        del blocks[: counted.begun]
    bits = bit_stream(b"".join(blocks))
    return {quantity: laplace(bits, 7, 10) for quantity in (TOWARDS, AWAY)}


def true_counts(seen: Witness, name: str, start: int, end: int) -> dict[int, int]:
    passages = [passage for passage in seen.boards[name].passages if start <= passage.at < end]
    return {
        TOWARDS: sum(passage.direction == "in" for passage in passages),
        AWAY: sum(passage.direction == "out" for passage in passages),
    }


def on_platform(seen: Witness) -> dict[tuple[str, int], float]:
    """(name of the datastream, start of the window) -> result."""
    return {
        (
            row["datastream"],
            round(datetime.fromisoformat(row["phenomenonTime"].split("/")[0]).astimezone(UTC).timestamp()),
        ): row["result"]
        for row in seen.platform
    }


def key(seen: Witness, observation_or_withheld: dict[str, Any]) -> tuple[str, int]:
    return observation_or_withheld["datastream"], observation_or_withheld["window_start"]


def test_nothing_is_lost_or_doubled_and_everything_stored_is_on_the_platform(seen: Witness) -> None:
    assert seen.tally.ok, seen.tally
    assert seen.tally.refused == 0, seen.tally.refused_by_reason
    assert seen.tally.reports_sealed == seen.tally.reports_stored + seen.tally.waiting_on_boards
    assert seen.tally.on_platform == seen.tally.observations == len(seen.rows["observation"])


def test_the_count_finds_what_is_lost_and_what_is_doubled(seen: Witness) -> None:
    lost = seen.tampered["without a report"]
    assert (lost.ok, lost.lost, lost.duplicated) == (False, 1, 0)
    doubled = seen.tampered["with one twice"]
    assert (doubled.ok, doubled.lost, doubled.duplicated) == (False, 0, 1)


def test_counts_are_the_traces_counts_plus_the_noise_drawn_again(seen: Witness) -> None:
    published = {key(seen, row): row["result"] for row in seen.rows["observation"]}
    withheld = {key(seen, row) for row in seen.rows["withheld"]}
    compared = 0
    for name in counters(seen):
        for start, end in whole_windows(seen, name):
            noise = noise_of(seen, name, start)
            true = true_counts(seen, name, start, end)
            for quantity, word in ((TOWARDS, "bicycle_towards"), (AWAY, "bicycle_away")):
                at = (f"fietspad-voorbeeldstraat/{name}/{word}", start)
                expected = true[quantity] + noise[quantity]
                if expected < K:
                    assert at in withheld
                    assert at not in published
                else:
                    assert published[at] == expected, (at, true[quantity], noise[quantity])
                compared += 1
    # Four windows of two counters in two directions, at the least.
    assert compared >= 12


def test_the_noise_is_noise(seen: Witness) -> None:
    drawn = [
        value
        for name in counters(seen)
        for start, _ in whole_windows(seen, name)
        for value in noise_of(seen, name, start).values()
    ]
    assert len(set(drawn)) > 2
    assert any(drawn)


def test_what_is_on_the_platform_is_what_was_stored(seen: Witness) -> None:
    results = sorted(on_platform(seen).values())
    scale = {0: 0.1, 1: 0.1, 2: 0.1, 3: 0.1}
    stored = sorted(
        round(row["result"] * scale.get(row["quantity"], 1), 1) for row in seen.rows["observation"]
    )
    assert [round(float(value), 1) for value in results] == stored


def test_air_is_the_mean_of_what_the_sensors_answered(seen: Witness) -> None:
    (name,) = (house.name for house in seen.plan.boards if house.kind == "air")
    wanted = {
        "pm2_5": ("sds011", 0),
        "pm10": ("sds011", 1),
        "temperature": ("sht3x", 2),
        "humidity": ("sht3x", 3),
    }
    compared = 0
    for start, end in whole_windows(seen, name):
        for word, (sensor, quantity) in wanted.items():
            answers = [
                served.values[word]
                for served in seen.boards[name].served
                if served.sensor == sensor and served.good and start <= served.at < end
            ]
            (row,) = (
                row
                for row in seen.rows["observation"]
                if row["window_start"] == start and row["quantity"] == quantity
            )
            assert row["samples"] >= 4
            # A sample is itself rounded to the wire's tenth before it is averaged.
            assert row["result"] / 10 == pytest.approx(statistics.fmean(answers), abs=0.15), word
            compared += 1
    assert compared >= 12


def test_the_ledger_is_spent_once_a_quantity_and_window(seen: Witness) -> None:
    spent = [(row["device_id"], row["quantity"], row["window_start"]) for row in seen.rows["ledger"]]
    assert len(spent) == len(set(spent))
    assert {row["epsilon_micro"] for row in seen.rows["ledger"]} == {700_000}
    reports = [
        row
        for row in seen.rows["report"]
        if row["device_id"] in {seen.device(name) for name in counters(seen)}
    ]
    assert len(spent) == 2 * len(reports)


def test_nothing_public_tells_device_ids_or_points(seen: Witness) -> None:
    public = repr(seen.platform)
    for house in seen.plan.boards:
        assert house.device_id not in public
    assert "52.0907" not in public
