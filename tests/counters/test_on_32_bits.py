"""Interrupts and frames on 32-bit objects, as on an ESP32: they allocate nothing, and what they cost."""

from __future__ import annotations

import shutil
from pathlib import Path

from stepped_street import ROOT

from peilmerk_bench.measure import wasm32

MOST = {"beam_pair": 160_000, "pulse_pair": 90_000, "radio": 180_000, "ld2450 0": 90_000, "ld2450 3": 600_000}
"""Instructions; about twice what was measured when this was written."""


def test_nothing_is_allocated_and_little_is_done(tmp_path: Path) -> None:
    for base, package in (("firmware", "node"), ("protocol", "peilmerk_protocol")):
        shutil.copytree(ROOT / base / package, tmp_path / package)
    found = wasm32.run("counter_interrupts", tmp_path).figures
    print(found)
    assert {name: cost for name, cost in found.items() if cost > MOST.get(name, 600_000)} == {}
