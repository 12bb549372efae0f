"""Runs the gateway's publication path and its ledger, as shipped or changed, in processes of their own."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import peilmerk_gateway
from peilmerk_bench.audit import gateway_child
from peilmerk_bench.audit.children import answer_of
from peilmerk_bench.audit.device_side import Figures
from peilmerk_protocol import topics
from peilmerk_protocol.profile import Profile

SOURCES = Path(peilmerk_gateway.__file__).parent
PATIENCE_S = 300


def ask(what: str, gateway: Path | None = None, **more: Any) -> Any:
    """Ask gateway_child; `gateway` is the folder that holds another peilmerk_gateway. Raises AuditError."""
    return json.loads(in_gateway("peilmerk_bench.audit.gateway_child", {"what": what, **more}, gateway))


def in_gateway(module: str, told: dict[str, Any], gateway: Path | None = None) -> str:
    """Run a module on the gateway that is shipped, or on the one in a folder, and return what it says.
    Raises AuditError.
    """
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    if gateway is not None:
        before = os.environ.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(gateway), before)))
    command = [sys.executable, "-m", module]
    return answer_of(command, environment, "the gateway in the audit", PATIENCE_S, json.dumps(told))


class Publication:
    """What the gateway makes of figures: asked once for all figures that came up."""

    def __init__(
        self, profile: Profile, kind: int, figures: Iterable[int | str], gateway: Path | None = None
    ) -> None:
        self._profile, self._kind = profile, kind
        asked = sorted(set(figures), key=lambda figure: (isinstance(figure, str), figure))
        if gateway is None:
            answers = gateway_child.publish(profile, kind, asked)
        else:
            answers = ask("publish", gateway, profile=profile.fields(), kind=kind, figures=asked)
        self._of: dict[int | str, dict[str, Any]] = dict(zip(asked, answers, strict=True))

    def of(self, figures: Figures) -> Counter[str]:
        """Return how often each thing was written down, when these figures were sent."""
        kept: Counter[str] = Counter()
        for figure, times in figures.items():
            kept[self._of[figure]["kept"]] += times
        return kept

    def wrong(self) -> list[str]:
        """Tell where the noisy figure was not held against k, left a trace below it, or was not spent."""
        found = []
        k = self._profile.k
        epsilon = self._profile.epsilon_day if self._kind == topics.DAY else self._profile.epsilon_leaf
        price = [epsilon[0] * 1_000_000 // epsilon[1]]
        counts = {z: row for z, row in self._of.items() if isinstance(z, int)}
        for z, row in counts.items():
            if (row["result"] is None) != (z < k) or row["result"] not in (None, z):
                found.append(f"{z} with k = {k} is published as {row['result']}")
            if row["spent"] != price:
                found.append(f"{z} cost {row['spent']} millionths, wanted {price}")
        traces = {row["kept"] for z, row in counts.items() if z < k}
        if len(traces) > 1:
            found.append(f"figures below k = {k} leave {len(traces)} different traces, wanted one")
        return found
