"""`peilmerk bench faults`: a fault is made and mended, and what it cost is counted; so is a theft."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from patience import DEADLINE_S

from peilmerk_bench.faults import FAULTS, Campaign, Fault, Outcome
from peilmerk_bench.faults.campaign import LINK, choose
from peilmerk_bench.faults.faults import Scene
from peilmerk_gateway.errors import PeilmerkError

# The list of the bench's design, each under the name that the command knows.
WANTED = {
    "power-cut",
    "wifi-gone",
    "broker-gone",
    "dns-moved",
    "clock-jump",
    "sensor-silent",
    "sensor-babbling",
    "checksum-errors",
    "flash-full",
    "slow-network",
    "certificate-expired",
}


def test_every_fault_of_the_list_can_be_made() -> None:
    assert {fault.name for fault in FAULTS} >= WANTED
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert choose([]) == list(FAULTS)
    with pytest.raises(PeilmerkError, match="found no fault 'rain', wanted one of power-cut, wifi-gone"):
        choose(["rain"])


def test_a_boot_ends_every_connection_before_it() -> None:
    said = "peilmerk: link: connected to x\r\npeilmerk: abcdefghijklmnop, boot 2, 1 sensors\r\n"
    assert LINK.findall(said) == ["connected", ""]


def test_a_fault_that_is_none_is_named() -> None:
    command = [sys.executable, "-m", "peilmerk_gateway", "bench", "faults", "--only", "rain"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 2
    assert "found no fault 'rain'" in done.stderr


async def nothing(scene: Scene) -> None:
    pass


async def take_away(scene: Scene) -> None:
    """A report leaves the store, as if it had never come."""
    device = scene.street.plan.boards[0].device_id
    with closing(sqlite3.connect(scene.street.store_file, timeout=DEADLINE_S)) as db, db:
        (seq,) = db.execute("SELECT min(seq) FROM report WHERE device_id = ?", [device]).fetchone()
        db.execute("DELETE FROM report WHERE device_id = ? AND seq = ?", [device, seq])


def test_an_access_point_that_goes_costs_nothing_and_a_report_that_is_taken_is_missed(tmp_path: Path) -> None:
    # Patience for a busy machine; the theft is never mended, and waits for all of it.
    campaign = Campaign(tmp_path, patience_s=75)
    thief = Fault("thief", "somebody takes a report out of the store", take_away, nothing, hold_s=1)
    outcomes: list[Outcome] = []
    result = asyncio.run(campaign.run([*choose(["wifi-gone"]), thief], outcomes.append))
    gone, taken = outcomes
    assert gone.ok
    assert (gone.fault, gone.lost, gone.unsealed, gone.doubled) == ("wifi-gone", 0, 0, 0)
    assert gone.held_s >= 18
    assert gone.recovery_s is not None
    assert gone.recovery_s > 0
    assert taken.lost == 1
    assert not taken.ok
    assert not result["ok"]
    assert result["figures"]["stored"] >= 4
    assert json.dumps(result)
