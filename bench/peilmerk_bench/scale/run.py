"""`peilmerk bench scale`: throughput, then kills, in one report."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peilmerk_bench.chaos.plan import Plan, Say
from peilmerk_bench.scale import throughput
from peilmerk_bench.scale.campaign import ScaleChaos
from peilmerk_bench.scale.crew import CrewChaos


async def run(
    kills: int,
    seed: int,
    boards: int,
    rate: float,
    reports: int,
    workers: Sequence[int],
    told: Say,
    *,
    own_broker: bool = False,
) -> dict[str, Any]:
    """Return {"name", "ok", "figures", "limits"}. Raises PeilmerkError when there is nothing to measure."""
    figures: dict[str, Any] = {}
    limits: dict[str, Any] = {}
    ok = True
    if reports:
        with tempfile.TemporaryDirectory(prefix="peilmerk-scale-") as folder:
            found = await throughput.measure(Path(folder), workers, reports, told)
        figures["throughput"] = found
        drained = [found["sqlite"], *found["processes"].values(), *found["of_three"].values()]
        ok = all(one["adds_up"] for one in drained)
        limits["adds_up"] = True
    if kills:
        with tempfile.TemporaryDirectory(prefix="peilmerk-scale-") as folder:
            campaign = CrewChaos if own_broker else ScaleChaos
            chaos = await campaign(Plan(Path(folder), kills, seed, boards, rate, told)).run()
        figures["chaos"] = chaos["figures"]
        limits |= chaos["limits"]
        ok = ok and chaos["ok"]
    return {"name": "scale", "ok": ok, "figures": figures, "limits": limits}
