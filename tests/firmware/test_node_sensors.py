"""Many sensors, each failing in its own way: none stops another, and a pause stops them all."""

SENSORS = """
import asyncio, json, time
from node import sensing, sensors
from node.control import Control
from node.sensing import Driver, register
from node.sensors import Sensors
from node.uplink.clock import Clock
from node.window import Tally

NOW = 1_900_000_800

class Good(Driver):
    quantities = (0,)
    settle_ms = 7

    def __init__(self, spec):
        super().__init__()
        self.calls = []

    def start(self):
        self.calls.append("start")

    def stop(self):
        self.calls.append("stop")

    def border(self, tick):
        self.calls.append("border")

    def take(self, tally):
        tally.count(5, 1)
        self.calls.append("take")

    async def run(self, record):
        while True:
            record(0, 11)
            self.succeeded()
            await asyncio.sleep_ms(2)

def bad(name, where, fault):
    class Bad(Good):
        def __init__(self, spec):
            super().__init__(spec)
            if where == "made":
                raise fault

    def method(self, *_):
        self.calls.append(where)
        raise fault

    async def run(self, record):
        self.calls.append("run")
        raise fault

    if where != "made":
        setattr(Bad, where, run if where == "run" else method)
    register(name, Bad)

for where in ("made", "start", "run", "border", "take", "stop"):
    for name, fault in (("value", ValueError("x")), ("memory", MemoryError()), ("os", OSError(5))):
        bad(where + "_" + name, where, fault)
NAMES = [w + "_" + n for w in ("made", "start", "run", "border", "take", "stop")
         for n in ("value", "memory", "os")]
register("good", Good)

class Hanging(Good):
    async def run(self, record):
        self.calls.append("run")
        await asyncio.sleep(10000)

register("hanging", Hanging)

class Interrupting(Good):
    async def run(self, record):
        pass

register("interrupting", Interrupting)

control = Control("data", "./")
clock = Clock()
clock.set(NOW * 1000, time.ticks_ms())
taken = []
record = lambda quantity, value: taken.append(value)
make = lambda *names: Sensors([{"driver": name} for name in names], record)

async def work(it, milliseconds):
    task = asyncio.create_task(it.run(control, clock))
    await asyncio.sleep_ms(milliseconds)
    task.cancel()
"""


def test_no_driver_stops_another_however_it_fails(micropython):
    found = micropython(
        SENSORS
        + """
it = make(*(NAMES + ["nowhere", "good"]))
tally = Tally((0, 5))
async def main():
    await work(it, 200)
    it.border(5)
    it.take(tally)
    it.stop()
asyncio.run(main())
good = it.drivers[-1]
print(json.dumps([len(taken) > 1, good.calls, it.faulty(), tally.take_count(5), good.healthy,
                  [d is None for d in it.drivers]]))
"""
    )
    heard, calls, faulty, counted, healthy, missing = found
    assert heard
    assert calls == ["start", "border", "take", "stop"]
    assert healthy
    # Making failed for the first three and the unknown one; the good one and those that only fail to stop,
    # and what is counted by those whose take works, are whole.
    assert missing == [True] * 3 + [False] * 15 + [True, False]
    assert faulty == 0b0_1_000_111_111_111_111_111
    assert counted == 13


def test_who_fails_again_and_again_is_started_ever_later(micropython):
    found = micropython(
        SENSORS
        + """
pauses = []

class Quick:
    def __init__(self):
        self.TimeoutError = asyncio.TimeoutError
        self.create_task = asyncio.create_task

    async def wait_for_ms(self, what, milliseconds):
        await asyncio.sleep_ms(1)

    async def sleep(self, seconds):
        pauses.append(seconds)
        await asyncio.sleep_ms(0)
        if len(pauses) >= 12:
            await asyncio.sleep(100)

class Recovering(Good):
    async def run(self, record):
        if self.calls.count("start") == 10:
            self.succeeded()
        raise ValueError("again")

register("recovering", Recovering)
sensors.asyncio = Quick()
it = make("recovering", "interrupting")
async def main():
    task = asyncio.create_task(it.run(control, clock))
    while len(pauses) < 12:
        await asyncio.sleep_ms(1)
    task.cancel()
asyncio.run(main())
print(json.dumps([pauses] + [driver.calls.count("start") for driver in it.drivers]))
"""
    )
    pauses, recovering, interrupting = found
    assert pauses == [10, 20, 40, 80, 160, 320, 600, 600, 600, 10, 20, 40]
    assert recovering == 12
    assert interrupting == 1


def test_who_says_nothing_for_two_hours_is_started_again(micropython):
    found = micropython(
        SENSORS
        + """
now = 1000
sensors.ticks_ms = lambda: now
sensors.ticks_diff = lambda a, b: a - b
it = make("hanging", "interrupting", "good")
seen = []
async def main():
    global now
    task = asyncio.create_task(it.run(control, clock))
    for step in (3_600_000, 3_599_000, 2000):
        await asyncio.sleep_ms(50)
        now += step
        control.changed.set()
        await asyncio.sleep_ms(50)
        seen.append([driver.calls.count("start") for driver in it.drivers] + [it.faulty()])
    task.cancel()
asyncio.run(main())
print(json.dumps(seen))
"""
    )
    assert found == [[1, 1, 1, 0], [1, 1, 1, 0], [2, 1, 1, 1]]


def test_while_paused_nothing_is_measured_and_the_window_says_so(micropython):
    found = micropython(
        SENSORS
        + """
it = make("good", "stop_value")
good = it.drivers[0]
seen = []
windows = lambda *starts: [it.paused_in((NOW + s) * 1000, (NOW + s + 900) * 1000) for s in starts]
at = lambda seconds: clock.set((NOW + seconds) * 1000, time.ticks_ms())

async def settle():
    control.changed.set()
    await asyncio.sleep_ms(80)

async def main():
    task = asyncio.create_task(it.run(control, clock))
    await settle()
    seen.append([good.calls[:], windows(0)])
    at(100)
    control.pause(NOW + 900)
    await settle()
    del taken[:]
    await settle()
    seen.append([len(taken), good.calls[:], windows(-900, 0, 900)])
    at(880)
    await settle()
    seen.append([len(taken)])
    at(900)
    await settle()
    # It ended at a border: the window before was paused, the one after is whole.
    seen.append([len(taken) > 0, good.calls[:], windows(-900, 0, 900)])
    at(1900)
    control.pause(0)
    await settle()
    at(2800)
    await settle()
    seen.append([windows(900, 1800, 2700)])
    at(2900)
    control.resume()
    await settle()
    seen.append([windows(900, 1800, 2700, 3600), good.calls[-1]])
    task.cancel()
asyncio.run(main())
print(json.dumps(seen))
"""
    )
    assert found == [
        [["start"], [False]],
        [0, ["start", "stop"], [False, True, True]],
        [0],
        [True, ["start", "stop", "start"], [False, True, False]],
        [[False, True, True]],
        [[False, True, True, False], "start"],
    ]


def test_a_board_that_boots_paused_measures_nothing(micropython):
    found = micropython(
        SENSORS
        + """
control.pause(0)
again = Control("data", "./")
it = make("good")
unknown = Clock()
async def main():
    tasks = [asyncio.create_task(it.run(again, clock)), asyncio.create_task(it.run(again, unknown))]
    await asyncio.sleep_ms(100)
asyncio.run(main())
print(json.dumps([taken, "start" in it.drivers[0].calls, it.paused_in(NOW * 1000, (NOW + 900) * 1000)]))
"""
    )
    assert found == [[], False, True]
