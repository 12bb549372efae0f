"""`machine.Counter` against what MicroPython documents of it, on a board whose time is stepped."""

from __future__ import annotations

import ast

from conftest import BUSY

from peilmerk_bench.board import SensorSpec
from peilmerk_bench.sensors.device import Edge, PinDevice

STEPPED = {"stepped": True, "speed": 0.001}
"""World time moves only by the board's own waiting, so a script's moments are the same on every host."""


class Script(PinDevice):
    """Edges as written down: (moment, level) on pin 4; idle is high."""

    def __init__(self, name: str, edges: list[tuple[float, int]]) -> None:
        super().__init__(name, pins=(4,))
        self.script = [(moment, 4, level) for moment, level in edges]

    def levels(self, at: float) -> dict[int, int]:
        return {4: [1, *(level for moment, _, level in self.script if moment <= at)][-1]}

    def edges(self, after: float, until: float) -> list[Edge]:
        return [edge for edge in self.script if after < edge[0] <= until]


def pulses(count: int, first: float, every: float, wide: float) -> list[tuple[float, int]]:
    """Low pulses; `first` in seconds after BUSY."""
    starts = [BUSY + first + i * every for i in range(count)]
    return [edge for at in starts for edge in ((at, 0), (at + wide, 1))]


async def counted(start, edges: list[tuple[float, int]], source: str) -> list[object]:
    """What a board prints last; the script may use `until(s)`, which sleeps until s seconds after BUSY."""
    bench = await start(sensors=(SensorSpec("script", lambda name: Script(name, edges)),), **STEPPED)
    head = f"""
import time
from machine import Counter, Pin, RTC
begin = {int(BUSY)} * 1000000
def now(): return time.ticks_us()
def until(seconds):
    time.sleep_us(int(seconds * 1000000) - now())
pin = Pin(4, Pin.IN, Pin.PULL_UP)
"""
    return ast.literal_eval((await bench.run(head + source)).splitlines()[-1])


async def test_stepped_time_is_exact_and_costs_no_waiting(start) -> None:
    bench = await start(**STEPPED)
    source = """
import asyncio, time
t = time.ticks_ms(); time.sleep(86400); slept = time.ticks_diff(time.ticks_ms(), t)
async def nap(seconds): await asyncio.sleep(seconds)
async def main():
    t = time.ticks_us()
    await asyncio.gather(nap(3), nap(5))
    return time.ticks_diff(time.ticks_us(), t)
print([slept, asyncio.run(main())])
"""
    day, gathered = ast.literal_eval(await bench.run(source))
    assert 86_400_000 <= day <= 86_400_001
    assert 5_000_000 <= gathered < 5_010_000


async def test_a_counter_counts_the_edge_it_is_told_to_and_both_if_told_so(start) -> None:
    source = """
found = []
for unit, edge in ((0, Counter.RISING), (1, Counter.FALLING), (2, Counter.RISING | Counter.FALLING)):
    found.append(Counter(unit, pin, edge=edge))
down = Counter(3, src=pin, direction=Counter.DOWN)
until(12.5)
print([counter.value() for counter in found] + [down.value()])
"""
    # the third pulse has begun and not ended
    assert await counted(start, pulses(3, 10.0, 1.0, 0.6), source) == [2, 3, 5, -2]


async def test_reading_and_setting_loses_no_pulse_and_doubles_none(start) -> None:
    source = """
counter = Counter(0, pin)
taken = []
for _ in range(1000):
    time.sleep_us(1700)          # out of step with the pulses
    taken.append(counter.value(0))
until(14)
taken.append(counter.value(5))
print([sum(taken), max(taken), counter.value(), counter.value(0), counter.value()])
"""
    seen = await counted(start, pulses(1000, 10.0, 0.001, 0.0004), "until(9.5)\n" + source)
    assert seen[0] == 1000
    assert 1 <= seen[1] <= 1000
    assert seen[2:] == [5, 5, 0]


async def test_a_counter_counts_beyond_its_sixteen_bits(start) -> None:
    source = """
counter = Counter(0, pin)
found = []
for preset in (31998, 65534, -2):
    counter.value(preset); time.sleep(15)
    found.append(counter.value())
print(found)
"""
    # four pulses in the first 15 seconds, none later
    edges = pulses(4, 10.0, 1.0, 0.5) + pulses(4, 25.0, 1.0, 0.5) + pulses(4, 40.0, 1.0, 0.5)
    assert await counted(start, edges, source) == [32_002, 65_538, 2]


async def test_the_filter_stops_glitches_up_to_12_8_microseconds_and_no_bounce(start) -> None:
    source = """
counters = [Counter(unit, pin, edge=Counter.FALLING, filter_ns=ns)
            for unit, ns in enumerate((0, 5000, 12787, 1000000))]
until(20)
print([counter.value() for counter in counters])
"""
    glitches = pulses(10, 10.0, 0.1, 4e-6) + pulses(10, 12.0, 0.1, 9e-6) + pulses(10, 14.0, 0.1, 5e-3)
    assert await counted(start, glitches, source) == [30, 20, 10, 10]


async def test_one_object_a_unit_and_only_its_arguments_begin_anew(start) -> None:
    source = """
counter = Counter(0, pin)
until(12.8)
same = Counter(0)
before = [same is counter, same.value()]
again = Counter(0, pin, edge=Counter.FALLING)
after = [again is counter, counter.value()]
until(20)
counter.init(pin)
errors = []
counter.deinit()
for call in (counter.value, lambda: Counter(8, pin), lambda: Counter(5)):
    try: call()
    except Exception as error: errors.append(type(error).__name__ + ': ' + str(error)[:15])
print([before, after, counter.deinit(), errors])
"""
    before, after, _, errors = await counted(start, pulses(6, 10.0, 1.0, 0.5), source)
    assert before == [True, 3]
    assert after == [True, 0]
    assert errors[:2] == ["RuntimeError: not initialised", "ValueError: invalid unit"]
    assert errors[2].startswith("TypeError: ")


async def test_a_counter_and_an_interrupt_share_a_pin(start) -> None:
    source = """
counter = Counter(0, pin, edge=Counter.FALLING)
heard = []
pin.irq(lambda pin: heard.append(counter.value()), Pin.IRQ_FALLING)
until(20)
print(heard)
"""
    assert await counted(start, pulses(4, 10.0, 1.0, 0.5), source) == [1, 2, 3, 4]
