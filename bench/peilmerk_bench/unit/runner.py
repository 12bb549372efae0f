"""Runs the firmware's unit tests on a board, virtual or real: what passes here passes where it will hang.

The board gets nothing to keep: mpremote mounts a folder of this machine (`cases/`, and the contract's vectors
one line at a time), the board imports the cases from there and prints one line a test. Its firmware must be
on it (`peilmerk device deploy`), for that is what is tested; it is reset when the tests are over.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import peilmerk_protocol
from peilmerk_bench.board import BoardError, BoardSpec, VirtualBoard, air_sensors, counter_sensors
from peilmerk_bench.world.clock import WorldClock
from peilmerk_provisioning import bundle as bundles
from peilmerk_provisioning.board import Board, Inspection, Reset
from peilmerk_provisioning.deploy import deploy
from peilmerk_provisioning.kinds import KINDS
from peilmerk_provisioning.linking import Program

CASES = Path(__file__).parent / "cases"
VECTORS = Path(peilmerk_protocol.__file__).parent / "vectors"
MARK = b"peilmerk-says:"
# The slowest test hashes and writes flash; an ESP32 needs some seconds for it.
SILENCE_S = 120.0


@dataclass
class Outcome:
    """What the tests of one board came to: the port, what the board says it is, its MicroPython and the
    digest of its firmware. results: one row a test, in the order of running.
    """

    board: str
    machine: str
    micropython: str
    firmware: str
    results: list[dict[str, Any]] = field(default_factory=list)

    def named(self, outcome: str) -> list[dict[str, Any]]:
        """Return the rows that ended so: "passed", "failed" or "skipped"."""
        return [row for row in self.results if row["outcome"] == outcome]

    @property
    def ok(self) -> bool:
        """Something passed and nothing failed: a run that found no test is no proof."""
        return bool(self.named("passed")) and not self.named("failed")

    def report(self) -> dict[str, Any]:
        """Return it for --json."""
        counts = {name: len(self.named(name)) for name in ("passed", "failed", "skipped")}
        return {"name": "test", "ok": self.ok, "figures": asdict(self) | counts, "limits": {"failed": 0}}


def cases(choice: str = "") -> list[str]:
    """Return the names of the cases whose name holds `choice`. Raises BoardError when there are none."""
    found = sorted(path.stem for path in CASES.glob("case_*.py"))
    chosen = [name for name in found if choice in name]
    if not chosen:
        wanted = ", ".join(name.removeprefix("case_") for name in found)
        raise BoardError(f"found no case {choice!r}, wanted one of {wanted}")
    return chosen


def lines_of(vectors: dict[str, Any]) -> list[str]:
    """Return a vector file as lines of [part, row]: first what stands beside the lists, then every row."""
    beside = {key: value for key, value in vectors.items() if not isinstance(value, list)}
    rows = [["about", beside]]
    rows += [[part, row] for part, value in vectors.items() if isinstance(value, list) for row in value]
    return [json.dumps(row) for row in rows]


def write_folder(folder: Path, program: Program | None) -> None:
    """Write what the board will mount; `program` when its firmware is joined."""
    for path in CASES.glob("*.py"):
        if program and path.stem.startswith("case_"):
            guest = "from unit import absent\n" + program.guest(path.read_text("utf-8"), absent="absent")
            (folder / path.name).write_text(guest, "utf-8")
        else:
            shutil.copy(path, folder)
    (folder / "vectors").mkdir()
    for path in VECTORS.glob("*.json"):
        lines = lines_of(json.loads(path.read_text("utf-8")))
        (folder / "vectors" / path.name).write_text("\n".join(lines) + "\n", "utf-8")


def program_of(found: Inspection, port: str) -> Program | None:
    """Return how the firmware of a board is called there: None for modules under their own names.

    Raises BoardError when it is not what is built here of the same kind and drivers.
    """
    if "node/window.mpy" in found.files:
        return None
    kind = found.kind or ""
    own = {sensor["driver"] for sensor in KINDS[kind]["sensors"]} if kind in KINDS else set()
    here = {Path(path).stem for path in found.files if path.startswith("node/sensing/")}
    major, minor, patch = found.firmware or bundles.source_version()
    bundle = bundles.build(kind=kind, drivers=sorted(here - own), version=(major, minor, patch))
    if found.digest not in (bundle.digest, bundle.on_mains().digest):
        raise BoardError(
            f"the board on {port} carries the firmware {(found.digest or '')[:16]}…, wanted "
            f"{bundle.digest[:16]}… as it is built here: run `peilmerk device deploy`"
        )
    return bundle.program


async def run_on(port: str, chosen: list[str], on_result: Callable[[dict[str, Any]], None]) -> Outcome:
    """Run cases on the board at a port. Raises BoardError when the board does not go through with it."""
    found = await asyncio.to_thread(Board(port).inspect)
    if not any(path.startswith("node/") for path in found.files):
        raise BoardError(f"the board on {port} carries no firmware, wanted it: run `peilmerk device deploy`")
    program = await asyncio.to_thread(program_of, found, port)
    outcome = Outcome(port, found.machine, found.micropython, found.digest or "")
    with tempfile.TemporaryDirectory(prefix="peilmerk-unit-") as folder:
        write_folder(Path(folder), program)
        code = "import unit\n" + "".join(f"unit.run({name!r})\n" for name in chosen)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "mpremote", "connect", port, "mount", folder, "exec", code),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            tail = await _listen(process, outcome, on_result)
            ended = await process.wait()
        finally:
            with suppress(ProcessLookupError):
                process.kill()
    await asyncio.to_thread(Board(port).do, [Reset()])
    if ended:
        raise BoardError(f"the board on {port} did not finish its tests: {tail}")
    return outcome


async def _listen(
    process: asyncio.subprocess.Process, outcome: Outcome, on_result: Callable[[dict[str, Any]], None]
) -> str:
    """Take the board's lines until it ends; return the last of what else it said."""
    assert process.stdout is not None
    tail: list[str] = []
    while True:
        try:
            line = await asyncio.wait_for(process.stdout.readline(), SILENCE_S)
        except TimeoutError:
            raise BoardError(f"the board said nothing for {SILENCE_S:.0f} s") from None
        if not line:
            return " | ".join(tail[-4:]) or "it said nothing"
        at = line.find(MARK)
        if at < 0:
            tail.append(line.decode(errors="replace").rstrip())
            continue
        row = json.loads(line[at + len(MARK) :])
        outcome.results.append(row)
        on_result(row)


async def run_on_virtual(
    kind: str, chosen: list[str], on_result: Callable[[dict[str, Any]], None]
) -> Outcome:
    """Run cases on a fresh virtual board that carries this kind's firmware."""
    sensors = counter_sensors() if kind == "counter" else air_sensors()
    with tempfile.TemporaryDirectory(prefix="peilmerk-board-") as folder:
        spec = BoardSpec("unit", kind, Path(folder) / "flash.img", sensors=sensors)
        board = VirtualBoard(spec, WorldClock.starting(time.time()), Path(folder))
        await board.start()
        try:
            bundle = await asyncio.to_thread(bundles.build, kind=kind)
            await asyncio.to_thread(deploy, Board(board.port), kind, bundle)
            outcome = await run_on(board.port, chosen, on_result)
        finally:
            await board.stop()
    outcome.board = "virtual"
    return outcome
