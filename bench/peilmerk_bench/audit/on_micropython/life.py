"""A board's own loop of windows for a while, on flash that refuses, until somebody kills it.

    life.py FOLDER START_S STOP_S EVERY_MS REFUSALS

From Unix second START_S somebody passes every EVERY_MS; at STOP_S the board stands still, says so, and waits
to be killed. Flash refuses the first REFUSALS attempts at each message. The loop (node.cycle), windows, noise
and outbox are the board's; waiting moves the tick counter on at once. Prints a line of JSON for everything
that was tried to be put on flash, and whether it came there.
"""

import json
import sys

import machine
from node import cycle, day, sensors, uptime
from node.health import Health
from node.outbox import Outbox
from node.sensing import Driver, register
from node.uplink import clock as clocks
from peilmerk_protocol import profile as profiles

folder = sys.argv[1]
start_ms, stop_ms, every_ms, refusals = [int(word) for word in sys.argv[2:6]]
start_ms *= 1000
stop_ms *= 1000
tick = 0


class Stop(BaseException):
    pass


class Sleep:
    """Where the loop would sleep, time goes on and people pass."""

    @staticmethod
    async def sleep_ms(ms):
        global tick
        turnstile.counts += (tick % every_ms + ms) // every_ms
        tick += ms
        if start_ms + tick >= stop_ms:
            raise Stop()

    @staticmethod
    async def sleep(s):
        await Sleep.sleep_ms(s * 1000)


class Turnstile(Driver):
    quantities = (5, 6)

    def __init__(self, spec):
        super().__init__()
        self.counts = 0

    def take(self, tally):
        if tally is not None:
            tally.count(5, self.counts)
            tally.count(6, self.counts)
        self.counts = 0


class Reluctant(Outbox):
    """Flash that refuses; what is tried is printed."""

    tried: dict = {}

    def append(self, kind, seq, window, payload):
        times = self.tried.get(seq, 0) + 1
        self.tried[seq] = times
        try:
            # As a write that fails does: whether these bytes are on flash, nobody knows.
            if times <= refusals:
                raise OSError(5)
            super().append(kind, seq, window, payload)
        except Exception as fault:
            tell(kind, seq, window, payload, repr(fault))
            raise
        tell(kind, seq, window, payload, None)


def tell(kind, seq, end, payload, fault):
    print(json.dumps({"kind": kind, "seq": seq, "end": end, "payload": payload.hex(), "fault": fault}))


class Config:
    device_id = "abcdefghijklmnop"
    key = bytes(32)
    next_profile = None
    sensors = [{"driver": "turnstile"}]
    profile = profiles.STANDARD_COUNTER


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
try:
    with open(machine.RTC.file, "rb") as file:
        machine.RTC.kept = file.read()
except OSError:
    pass
outbox = Reluctant(folder + "/outbox")
clock = clocks.Clock(0)
clock.set(start_ms, 0)
node = cycle.Cycle(Config, clock, outbox, Health(folder), Vigil(), folder + "/")
tray = sensors.Sensors(Config.sensors, node.record)
turnstile = tray.drivers[0]
node.attach(tray, Link(), Radio())
try:
    node.run().send(None)
except Stop:
    pass
oldest = outbox.oldest()
first = oldest.payload
for _ in range(10000):
    if outbox.oldest().payload != first:
        print(json.dumps({"changed": oldest.seq}))
print(json.dumps({"stands": first.hex()}))
sys.stdin.read()
