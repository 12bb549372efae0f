"""What must not happen in five years: a heap that grows, and one sensor that stops the others."""

import json
import os

import pytest
from mqtt_broker import certificate, der
from test_node_on_board import write_flash

from peilmerk_bench.board.chip import PWRON_RESET, WDT_RESET
from peilmerk_bench.board.spec import BoardSpec
from peilmerk_bench.board.virtual_board import VirtualBoard
from peilmerk_bench.world.clock import WorldClock
from peilmerk_provisioning import bundle, kinds

# Ten thousand windows of a quarter are 104 days; the longer campaign is for `make soak`.
WINDOWS = 100_000 if os.environ.get("HYPOTHESIS_PROFILE") == "soak" else 10_000

ENDLESS = """
import asyncio, gc, json, os, sys, time
from node.control import Control
from node.cycle import Cycle
from node.health import Health, Vigil
from node.outbox import Outbox
from node.sensing import Driver, register
from node.sensors import Sensors
from node.uplink.clock import Clock
from peilmerk_protocol import keys, profile, quantities, topics

kind, number = sys.argv[1], int(sys.argv[2])

class Settings:
    device_id = "fbcdefghijklmnop"
    key = keys.derive(bytes(range(32)), keys.UP)
    profile = issued_profile = profile.STANDARD_COUNTER if kind == "counter" else profile.AIR
    next_profile = None
    every_s = 0
    sensors = [{"driver": "steady"}]

class Steady(Driver):
    quantities = tuple(quantities.members(Settings.profile.set))

    def __init__(self, spec):
        super().__init__()
        self.counted = 0

    def take(self, tally):
        for quantity in self.quantities:
            if quantities.is_count(quantity):
                tally.count(quantity, self.counted)

register("steady", Steady)

class Link:
    woken = 0

    def wake(self):
        self.woken += 1

class Radio:
    def switch_on(self):
        pass

settings = Settings()
clock = Clock()
window_s = settings.profile.window_s
now_s = 1_900_000_000 // 86400 * 86400
clock.set(now_s * 1000, time.ticks_ms())
outbox = Outbox("data/outbox")
vigil = Vigil({"windows": 60}, 0)
cycle = Cycle(settings, clock, outbox, Health("data"), vigil, "/nowhere/")
link = Link()
sensors = Sensors(settings.sensors, cycle.record)
cycle.attach(sensors, link, Radio())
driver = sensors.drivers[0]
figures = []
sent = 0

async def main():
    global now_s, sent
    # Nobody writes while the heap is looked at.
    say = print
    cycle.windows.start(now_s * 1000)
    for window in range(number):
        driver.counted = window % 1000
        for at in (100, 400, 700):
            clock.set((now_s + at) * 1000, time.ticks_ms())
            for quantity in driver.quantities:
                if quantities.kind(quantity) == quantities.KIND_MEAN:
                    cycle.record(quantity, 50 + (window * 7 + at) % 300)
        now_s += window_s
        clock.set(now_s * 1000 + 50, time.ticks_ms())
        await cycle.close(False)
        entry = outbox.oldest()
        # Every fourth hour the link is away for an hour.
        while entry is not None and window // 4 % 4:
            sent += 1
            assert outbox.acknowledge(entry.seq)
            entry = outbox.oldest()
        if window % (number // 10) == number // 10 - 1:
            gc.collect()
            figures.append(gc.mem_alloc())

import node.console
from node import cycle as cycle_module
cycle_module.say = lambda *_: None
asyncio.run(main())
print(json.dumps([figures, sent, outbox.sealed(), outbox.waiting(), outbox.dropped()]))
"""


@pytest.mark.parametrize("kind", ["counter", "air"])
def test_the_heap_does_not_grow_over_ten_thousand_windows(micropython, kind):
    figures, sent, sealed, waiting, dropped = micropython(ENDLESS, kind, WINDOWS, heap="256K", timeout=600)
    print(f"{kind}: heap in use after each tenth of {WINDOWS} windows: {figures}")
    assert sealed == WINDOWS
    assert sent + waiting >= WINDOWS
    assert dropped == 0
    # From the second tenth on nothing may be kept of a window; what breathes is allowed for.
    assert max(figures[2:]) - min(figures[2:]) <= 512, figures
    assert figures[-1] - figures[2] <= 256, figures


HANGS = b"""
import time
from node.sensing import Driver, register

class Hangs(Driver):
    def __init__(self, spec):
        super().__init__()

    async def run(self, record):
        while True:
            time.sleep(1)

register("hangs", Hangs)
"""


async def test_code_that_never_returns_ends_in_a_reset_that_is_told(tmp_path):
    settings = kinds.node_settings("counter")
    settings["sensors"] = [{"driver": "hangs"}]
    # Two minutes of the world are two seconds of the host, which is what a busy one is given at least.
    settings["watchdog_s"] = 120
    settings["link"] = {"host": "127.0.0.1", "port": 1, "server_name": "nowhere", "ntp": [["127.0.0.1", 9]]}
    identity = {"device_id": "hbcdefghijklmnop", "mqtt_password": "secret", "root_key": bytes(32).hex()}
    files = bundle.build().placed()
    files["a/node/sensing/hangs.py"] = HANGS
    files["node.json"] = json.dumps(settings).encode()
    files["identity.json"] = json.dumps(identity).encode()
    files["trust.der"] = der(certificate("Test authority", authority=True))
    write_flash(tmp_path / "flash.img", files)
    spec = BoardSpec("hangs", "counter", tmp_path / "flash.img")
    board = VirtualBoard(spec, WorldClock.starting(1_893_456_000, 60), tmp_path)
    try:
        await board.start()
        await board.console_shows("hbcdefghijklmnop, boot 2, 1 sensors")
        assert [cause for _, cause in board.resets[:2]] == [PWRON_RESET, WDT_RESET]
    finally:
        await board.stop()
