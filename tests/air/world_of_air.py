"""Drivers that sample as they run on a board, compiled, on stepped world time, against simulated sensors."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from stepped_street import BEGIN, Street

from peilmerk_bench.board import SensorSpec, VirtualBoard
from peilmerk_bench.sensors.device import Served

SAMPLING = """
import asyncio, json, random, time
from node import sensing

random.seed(20261123)

def world_ms():
    return time.time_ns() // 1000000 + 946684800000 - given["rtc_offset"] // 1000

class Record:
    def __init__(self, place):
        self.place = place
    def __call__(self, quantity, value):
        print("SAMPLE", json.dumps([self.place, world_ms(), quantity, value]))

async def sense(driver, place):
    while True:
        try:
            driver.start()
            await driver.run(Record(place))
        except Exception as fault:
            print("RAISED", type(fault).__name__, fault)
            driver.failed()
        await asyncio.sleep(10)

async def main():
    drivers = [sensing.load(entry) for entry in given["entries"]]
    if given["only"]:
        drivers[0].quantities = given["only"]
    tasks = [asyncio.create_task(sense(drivers[i], i)) for i in range(len(drivers))]
    for moment in given["looks"]:
        while world_ms() < moment * 1000:
            await asyncio.sleep_ms(min(86400000, moment * 1000 - world_ms()))
        told = [[d.good, d.faults, d.damaged, d.resets, d.healthy, d.expected(900)] for d in drivers]
        print("LOOK", json.dumps(told))
    if given["stop"]:
        for driver in drivers:
            driver.stop()

asyncio.run(main())
"""


@dataclass(frozen=True)
class Look:
    """A driver's health at a moment."""

    good: int
    faults: int
    damaged: int
    resets: int
    healthy: bool
    expected: int


@dataclass
class Sampled:
    """What the drivers told. samples: (moment, {quantity: value}) of each; looks: their health at each moment
    asked for.
    """

    samples: list[list[tuple[float, dict[int, int]]]] = field(default_factory=list)
    looks: list[list[Look]] = field(default_factory=list)
    raised: list[str] = field(default_factory=list)
    printed: str = ""
    board: VirtualBoard | None = None

    def served(self, sensor: str) -> list[Served]:
        """What a sensor answered that may be believed."""
        assert self.board is not None
        return [s for s in self.board.served if s.sensor == sensor and s.good]


class Air(Street):
    """Boards for one test."""

    async def sample(
        self,
        sensors: SensorSpec | tuple[SensorSpec, ...],
        *entries: dict[str, Any],
        looks: tuple[int, ...] = (600,),
        faults: tuple[tuple[str, float, str, bool], ...] = (),
        only: tuple[int, ...] = (),
        stop: bool = True,
    ) -> Sampled:
        """Let drivers work from BEGIN on and look at their health at `looks` (seconds after BEGIN).

        faults: (sensor, seconds after BEGIN, fault, on). only: what the first driver is to give.
        stop: the drivers are stopped at the end.
        """
        board = await self.board(*(sensors if isinstance(sensors, tuple) else (sensors,)))
        for name, at, fault, on in faults:
            board.sensors[name].planned.append((BEGIN + at, fault, on))
        given = {
            "rtc_offset": board._chip.rtc_offset_us,
            "entries": list(entries),
            "only": only,
            "stop": stop,
            "looks": [int(BEGIN) + look for look in looks],
        }
        text = await self.run(board, f"given = {given!r}\n{SAMPLING}")
        found = Sampled([[] for _ in entries], printed=text, board=board)
        for line in text.splitlines():
            if line.startswith("SAMPLE "):
                place, at, quantity, value = json.loads(line[7:])
                moment = at / 1000 - BEGIN
                of = found.samples[place]
                if of and quantity not in of[-1][1] and moment - of[-1][0] < 0.5:
                    of[-1][1][quantity] = value
                else:
                    of.append((moment, {quantity: value}))
            elif line.startswith("LOOK "):
                found.looks.append([Look(*told) for told in json.loads(line[5:])])
            elif line.startswith("RAISED "):
                found.raised.append(line[7:])
        assert len(found.looks) == len(looks), text[-3000:]
        return found
