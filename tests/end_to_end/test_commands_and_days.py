"""A street that is told what to do and lives through a midnight: commands answered by real firmware, a signed
update fetched from the gateway, and the total of a day in the account.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from end_to_end.witness import Witness, free_port, look, read_store
from peilmerk_bench.demo import settled
from peilmerk_bench.street import Plan, Street
from peilmerk_protocol import topics
from peilmerk_protocol.report import HEALTH_PAUSED
from peilmerk_provisioning import release as releases
from peilmerk_provisioning.board import Board
from peilmerk_provisioning.bundle import build
from peilmerk_provisioning.enrol import put_release_keys

# Two minutes of this machine's time before midnight: enough to give two boards their firmware.
WORLD_START = datetime(2024, 2, 28, 22, 0, tzinfo=UTC).timestamp()
MIDNIGHT = int(datetime(2024, 2, 29, tzinfo=UTC).timestamp())
DAY_S = 86_400
WITHIN_S = 240.0
TOLD, LEFT_ALONE = "fietspad-1", "fietspad-2"
NEW = (99, 0, 0)


@dataclass
class Night:
    """What was seen: the answers by command, and everything else once the boards were off."""

    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    new_digest: bytes = b""
    seen: Witness | None = None

    @property
    def witness(self) -> Witness:
        assert self.seen is not None
        return self.seen

    def rows(self, table: str, name: str) -> list[dict[str, Any]]:
        """Rows of one board."""
        device = self.witness.device(name)
        return [row for row in self.witness.rows[table] if row["device_id"] == device]


async def told(street: Street, *words: str) -> dict[str, Any]:
    """Give a command as an operator does, and wait until the board has answered."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "peilmerk_gateway", "gateway", "command", *words),
        *("--gateway", str(street.gateway_folder), "--wait", "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, errors = await asyncio.wait_for(process.communicate(), WITHIN_S)
    assert said, errors.decode()
    report: dict[str, Any] = json.loads(said)
    return report | {"exit": process.returncode}


async def updated(street: Street, folder: Path) -> tuple[bytes, dict[str, Any]]:
    """Release new firmware, name it in the record, and offer it to a board that trusts the city's key."""
    public = releases.new_key(folder / "release.pem")
    # In a thread: the board's end of the cable lives in this loop.
    await asyncio.to_thread(put_release_keys, Board(street.boards[TOLD].port), releases.public_keys([public]))
    new = await asyncio.to_thread(build, kind="counter", version=NEW)
    made = releases.make(new, NEW, "counter", ["linux"], releases.load_key(folder / "release.pem"))
    file = releases.write(made, folder)
    (record,) = street.settings.deployments.directory.glob("*.toml")
    text = record.read_text("utf-8")
    named = re.sub(r'(firmware_digest = ".*"\n)', rf'\1next_firmware_digest = "{new.digest}"\n', text)
    named = named.replace('version = "1"', 'version = "2"')
    # Whole or not at all: the gateway may look at any moment.
    draft = record.with_suffix(".draft")
    draft.write_text(named, "utf-8")
    draft.replace(record)
    return bytes.fromhex(new.digest), await told(street, "update", TOLD, str(file))


async def until(true: Callable[[], object], what: str) -> None:
    end = time.monotonic() + WITHIN_S
    while not true():
        assert time.monotonic() < end, f"waited {WITHIN_S} s for: {what}"
        await asyncio.sleep(0.5)


async def live(night: Night, folder: Path) -> None:
    plan = Plan.new(folder, counters=2, air=0, page_port=free_port(), world=WORLD_START)
    street = Street(plan)
    await street.start()
    try:
        device = {house.name: house.device_id for house in plan.boards}

        def reports(name: str) -> list[dict[str, Any]]:
            rows = read_store(street.store_file)["report"]
            return [row for row in rows if row["device_id"] == device[name]]

        night.answers["identify"] = await told(street, "identify", TOLD, "--for", "30")
        night.answers["self-test"] = await told(street, "self-test", TOLD)
        night.answers["pause"] = await told(street, "pause", TOLD)
        await until(
            lambda: any(row["health"] & HEALTH_PAUSED for row in reports(TOLD)), "a report of a pause"
        )
        night.answers["resume"] = await told(street, "resume", TOLD)
        night.answers["profile"] = await told(street, "profile", TOLD)
        await until(
            lambda: any(row["revision"] == 2 for row in reports(TOLD)), "a report under the new profile"
        )
        night.new_digest, night.answers["update"] = await updated(street, folder)

        def runs_the_new() -> bool:
            stated = [
                row["seq"]
                for row in read_store(street.store_file)["attestation"]
                if row["device_id"] == device[TOLD] and row["firmware_digest"] == night.new_digest
            ]
            return bool(stated) and any(row["seq"] > min(stated) for row in reports(TOLD))

        await until(runs_the_new, "a report of the new firmware")
        await until(
            lambda: any(row["kind"] == topics.DAY for row in reports(LEFT_ALONE)), "the total of the day"
        )
        await street.quiet_moment()
        night.seen = await look(street, settled)
    finally:
        await street.stop()


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    night = Night()
    asyncio.run(live(night, tmp_path_factory.mktemp("night")))
    return night


def test_every_command_was_carried_out_and_answered(night: Night) -> None:
    for verb, report in night.answers.items():
        figures = report["figures"]
        # It was deployed without a light, by which it could be told from others.
        outcome, code = ("refused", 1) if verb == "identify" else ("done", 0)
        assert report["exit"] == code, report
        assert (figures["verb"], figures["state"], figures["outcome"]) == (verb, "acknowledged", outcome)
    assert night.answers["identify"]["figures"]["reason"].startswith("the board has no light and no buzzer")
    counters = [report["figures"]["counter"] for report in night.answers.values()]
    assert counters == sorted(set(counters))


def test_no_message_was_refused_and_nothing_was_lost(night: Night) -> None:
    assert night.witness.tally.ok, night.witness.tally
    # A command that was sent twice is answered twice; there is nothing else to refuse.
    assert set(night.witness.tally.refused_by_reason) <= {"ack-repeated"}


def test_an_update_is_fetched_from_the_gateway_and_reports_of_either_firmware_are_taken(
    night: Night,
) -> None:
    stated = [row["seq"] for row in night.rows("attestation", TOLD)]
    new = [
        row["seq"] for row in night.rows("attestation", TOLD) if row["firmware_digest"] == night.new_digest
    ]
    reported = [row["seq"] for row in night.rows("report", TOLD)]
    assert min(stated) < min(new)
    assert min(reported) < min(new) < max(reported)


def test_a_pause_is_reported_and_nothing_is_measured_in_it(night: Night) -> None:
    paused = [row for row in night.rows("report", TOLD) if row["health"] & HEALTH_PAUSED]
    assert paused
    starts = {row["window_start"] for row in paused}
    for table in ("observation", "ledger"):
        assert not [row for row in night.rows(table, TOLD) if row["window_start"] in starts]


def test_a_new_profile_is_stated_before_it_is_reported_under(night: Night) -> None:
    stated = [row["seq"] for row in night.rows("attestation", TOLD) if row["revision"] == 2]
    under = [row["seq"] for row in night.rows("report", TOLD) if row["revision"] == 2]
    assert stated
    assert under
    assert min(stated) < min(under)


def test_the_day_is_paid_for_once_beside_its_windows_and_withheld_because_it_is_not_whole(
    night: Night,
) -> None:
    (total,) = (row for row in night.rows("report", LEFT_ALONE) if row["kind"] == topics.DAY)
    assert (total["window_start"], total["window_s"]) == (MIDNIGHT - DAY_S, DAY_S)
    lines = [row for row in night.rows("ledger", LEFT_ALONE) if row["kind"] == topics.DAY]
    assert sorted((row["quantity"], row["epsilon_micro"], row["window_start"]) for row in lines) == [
        (5, 300_000, MIDNIGHT - DAY_S),
        (6, 300_000, MIDNIGHT - DAY_S),
    ]
    withheld = {
        (row["datastream"].rpartition("/")[0].rpartition("/")[2], row["reason"])
        for row in night.witness.rows["withheld"]
        if row["datastream"].endswith(f"{LEFT_ALONE}/bicycle_towards/day")
        or row["datastream"].endswith(f"{LEFT_ALONE}/bicycle_away/day")
    }
    assert withheld == {("bicycle_towards", "partial-day"), ("bicycle_away", "partial-day")}
    leaves = [row for row in night.rows("ledger", LEFT_ALONE) if row["kind"] == topics.REPORT]
    assert {row["epsilon_micro"] for row in leaves} == {700_000}
    assert all("day" not in row["datastream"] for row in night.witness.platform)
