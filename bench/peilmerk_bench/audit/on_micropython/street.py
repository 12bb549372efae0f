"""A board's own loop of windows on a world that is given window by window, at the speed of the machine.

    street.py FOLDER < {"device_id", "key", "profile": [nine numbers], "began": s, "root": "...",
                        "windows": n, "counts": true | false}
                       [...]
                       ...

The first line tells of the board, each following one of a window from Unix second `began` on: how many pass
in each direction (counts), or [[quantity, value], ...] that is sampled halfway. The loop (node.cycle),
windows, noise, seal and outbox are the board's; waiting moves the tick counter on to the end of the window at
once, and what is sealed counts as acknowledged. Prints a line of JSON for everything that was sealed: kind,
seq, end, payload, and how long the board took for it from the end of its window, in microseconds of this
machine.
"""

import json
import sys
import time

import machine
from node import cycle, day, sensors, uptime
from node.health import Health
from node.outbox import Outbox
from node.sensing import Driver, register
from node.uplink import clock as clocks
from peilmerk_protocol import profile as profiles
from peilmerk_protocol import quantities

folder = sys.argv[1]
world = json.loads(sys.stdin.readline())
profile = profiles.from_fields(world["profile"])
window_ms = 1000 * profile.window_s
start_ms = 1000 * world["began"]
number = world["windows"]
tick = 0
# What happens in the window at hand, and which one that is. A whole year would not fit into the heap.
row: list = []
at = -1
woken_us = 0


class Over(BaseException):
    pass


class Sleep:
    """Where the loop would sleep, the window passes."""

    @staticmethod
    async def sleep_ms(ms):
        global tick, woken_us, row, at
        window = tick // window_ms
        if window >= number:
            raise Over()
        if window > at:
            row = json.loads(sys.stdin.readline())
            at = window
            if not world["counts"]:
                tick += window_ms // 2
                for quantity, value in row:
                    node.record(quantity, value)
        tick = (window + 1) * window_ms
        woken_us = time.ticks_us()

    @staticmethod
    async def sleep(s):
        await Sleep.sleep_ms(s * 1000)


class Turnstile(Driver):
    quantities = tuple(quantities.members(profile.set & quantities.COUNTS))

    def __init__(self, spec):
        super().__init__()

    def take(self, tally):
        if tally.index and world["counts"] and tally.index - world["began"] // profile.window_s == at:
            for quantity, events in zip(self.quantities, row):
                tally.count(quantity, events)


class Told(Outbox):
    """What is put on flash is printed, and counts as sent at once."""

    def append(self, kind, seq, window, payload):
        super().append(kind, seq, window, payload)
        took = time.ticks_diff(time.ticks_us(), woken_us)
        print(json.dumps({"kind": kind, "seq": seq, "end": window, "payload": payload.hex(), "us": took}))
        self.acknowledge(seq)


class Config:
    device_id = world["device_id"]
    key = bytes.fromhex(world["key"])
    next_profile = None
    sensors = [{"driver": "turnstile"}]
    profile = profile


class Link:
    def wake(self):
        pass


class Radio:
    def switch_on(self):
        pass


class Vigil:
    def done(self, name):
        pass


def quiet(text, *values):
    pass


register("turnstile", Turnstile)
cycle.asyncio = Sleep
cycle.say = day.say = quiet
for module in (cycle, uptime, sensors, clocks):
    module.ticks_ms = lambda: tick
uptime._last = uptime._sum = 0
machine.RTC.file = folder + "/clock"
outbox = Told(folder + "/outbox")
clock = clocks.Clock(0)
clock.set(start_ms, 0)
node = cycle.Cycle(Config, clock, outbox, Health(folder), Vigil(), world["root"])
tray = sensors.Sensors(Config.sensors, node.record)
node.attach(tray, Link(), Radio())
try:
    node.run().send(None)
except Over:
    pass
