"""Everything that there is several of is killed once under load; and the accounts see what is wrong."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from peilmerk_bench.postgresql import ServerError, programs
from peilmerk_bench.scale.campaign import KINDS, ScaleChaos


def test_worker_server_and_connection_are_killed_and_nothing_is_lost_or_doubled(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    try:
        programs()
    except ServerError as reason:
        if os.environ.get("CI", "").lower() == "true":
            raise
        pytest.skip(str(reason))
    kinds = tuple(kind for kind in KINDS if kind not in ("node", "gateway"))
    campaign = ScaleChaos(
        tmp_path_factory.mktemp("scale"), len(kinds), seed=3, boards=4, rate=4.0, workers=2, kinds=kinds
    )
    report: dict[str, Any] = asyncio.run(campaign.run())
    figures = report["figures"]
    assert report["ok"], report
    assert figures["kills"] == dict.fromkeys(kinds, 1)
    assert figures["lost"] == figures["doubled_on_platform"] == figures["left_in_brokers"] == 0
    assert figures["acknowledged"] > 50
    assert figures["ledger_lines"] == 2 * (figures["stored"] - 4)
    assert figures["on_platform"] == figures["observations"] > 50
