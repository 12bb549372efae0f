"""Everything that there is several of is killed once under load; and the accounts see what is wrong."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from peilmerk_bench.chaos.plan import Plan
from peilmerk_bench.postgresql import PostgresServer, ServerError, programs
from peilmerk_bench.scale.campaign import KINDS, ScaleChaos
from peilmerk_bench.scale.crew import CrewChaos
from peilmerk_bench.scale.throughput import Drain


@pytest.fixture(autouse=True)
def _postgresql() -> None:
    try:
        programs()
    except ServerError as reason:
        if os.environ.get("CI", "").lower() == "true":
            raise
        pytest.skip(str(reason))


def nothing_is_lost_or_doubled(report: dict[str, Any], boards: int) -> None:
    figures = report["figures"]
    assert report["ok"], report
    assert figures["lost"] == figures["doubled_on_platform"] == figures["left_in_brokers"] == 0
    assert figures["acknowledged"] > 50
    # A statement of each board spends nothing.
    assert figures["ledger_lines"] == 2 * (figures["stored"] - boards)
    assert figures["on_platform"] == figures["observations"] > 50
    # Trail and registry, as `peilmerk audit ledger` finds them.
    assert figures["audit_ledger"]["faults"] == []
    assert figures["audit_ledger"]["reports"] == figures["stored"] - boards


def test_worker_server_and_connection_are_killed_and_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    kinds = tuple(kind for kind in KINDS if kind not in ("node", "gateway"))
    plan = Plan(tmp_path, len(kinds), seed=3, boards=4, rate=4.0, workers=2, kinds=kinds)
    report = asyncio.run(ScaleChaos(plan).run())
    nothing_is_lost_or_doubled(report, 4)
    assert report["figures"]["kills"] == dict.fromkeys(kinds, 1)


def test_workers_beside_the_gateways_own_broker_are_killed_with_messages_in_their_hands(
    tmp_path: Path,
) -> None:
    """One at any moment, one that was frozen until the broker waits for what it was given, and the broker."""
    kinds = ("worker", "held", "broker")
    plan = Plan(tmp_path, len(kinds), seed=5, boards=4, rate=6.0, workers=3, kinds=kinds)
    report = asyncio.run(CrewChaos(plan).run())
    nothing_is_lost_or_doubled(report, 4)
    assert report["figures"]["kills"] == dict.fromkeys(kinds, 1)
    assert report["figures"]["workers"] == 3


async def test_what_three_servers_hold_is_drained_once_and_counted(tmp_path: Path) -> None:
    server = PostgresServer()
    try:
        await asyncio.to_thread(server.start)
        found = await Drain(tmp_path, 1, server, cluster=True).run(2_000)
    finally:
        await asyncio.to_thread(server.close)
    assert found["adds_up"], found
    assert found["reports_a_second"] > 0
    # The servers are no children of the gateway, and counted all the same.
    assert min(found["processor_s_a_million"].values()) > 0
