"""One draw a window and a day, whatever happens: a board's loop on flash that refuses, killed and started.

Three lives of one board, each ended by SIGKILL. The first goes over a midnight while flash refuses every
message twice. In the second the memory of the clock is still there (a warm reset) and the clock is an hour
behind, so that windows and midnight come a second time, with other passages; in the third that memory is gone
too (a power cut). Within a life every attempt at a message must be the same bytes, and so must be what is
asked for ten thousand times; over all lives each window and day has one message at most.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from peilmerk_bench.audit.device_side import SCRIPTS, micropython
from peilmerk_bench.audit.overlay import AuditError
from peilmerk_protocol import topics

MIDNIGHT = 1_893_542_400
HOUR = 3_600
REFUSALS = 2
LAST_WORD = "stands"

LIVES = (
    # seconds from midnight: beginning and end; ms between two passages; whether the clock's memory is kept
    (-HOUR - 400, 1_000, 60_000, True),
    (-HOUR // 2, 1_100, 7_000, True),
    (-HOUR, 2_000, 11_000, False),
)


def live(firmware: Path | None, folder: Path, began: int, ended: int, every_ms: int) -> list[dict[str, Any]]:
    """Let a board live in `folder` between two Unix seconds, kill it, and return what it said."""
    start, environment = micropython(firmware)
    words = [str(folder), str(began), str(ended), str(every_ms), str(REFUSALS)]
    said: list[dict[str, Any]] = []
    with subprocess.Popen(
        [*start, str(SCRIPTS / "life.py"), *words],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if not line.startswith("{"):
                break
            said.append(json.loads(line))
            if LAST_WORD in said[-1]:
                break
        process.kill()
        trouble = process.stderr.read().strip().splitlines()[-1:]
    if not said or LAST_WORD not in said[-1]:
        raise AuditError(f"the board died before its time: {trouble or said[-1:]}")
    return said


def run(firmware: Path | None = None) -> dict[str, Any]:
    """Return how many windows and days were released, and `wrong`: every one drawn for more than once."""
    stored: dict[tuple[int, int], set[str]] = defaultdict(set)
    oldest: set[str] = set()
    wrong = []
    with tempfile.TemporaryDirectory(prefix="peilmerk-once-") as name:
        folder = Path(name)
        for began, ended, every_ms, keeps in LIVES:
            if not keeps:
                (folder / "clock").unlink(missing_ok=True)
            tried: dict[int, set[str]] = defaultdict(set)
            for row in live(firmware, folder, MIDNIGHT + began, MIDNIGHT + ended, every_ms):
                if LAST_WORD in row:
                    oldest.add(row[LAST_WORD])
                    continue
                if "changed" in row:
                    wrong.append(f"message {row['changed']} changed while it waited")
                    continue
                if row["kind"] not in (topics.REPORT, topics.DAY):
                    continue
                tried[row["seq"]].add(row["payload"])
                if row["fault"] is None:
                    stored[row["kind"], row["end"]].add(row["payload"])
            wrong += [f"message {seq} was tried as {len(t)}" for seq, t in tried.items() if len(t) > 1]
    if len(oldest) > 1:
        wrong.append(f"the oldest message came as {len(oldest)} after a reset")
    words = {topics.REPORT: "window", topics.DAY: "day"}
    wrong += [
        f"{words[kind]} that ended at {end} was released {len(found)} times"
        for (kind, end), found in sorted(stored.items())
        if len(found) > 1
    ]
    kinds = [kind for kind, _ in stored]
    windows, days = kinds.count(topics.REPORT), kinds.count(topics.DAY)
    if not windows or not days:
        wrong.append(f"found {windows} windows and {days} days released, wanted some of both")
    return {"windows": windows, "days": days, "lives": len(LIVES), "wrong": wrong}
