"""What a battery node knows of its sensors outlives deep sleep, on MicroPython."""

LIVES = """
import asyncio, json, machine, time
from node.control import Control
from node.cycle import Cycle
from node.health import DEEPSLEEP, Health, Vigil
from node.outbox import Outbox
from node.power import Battery
from node.sensing import Driver, register
from node.sensors import Sensors
from node.uplink.clock import Clock
from peilmerk_protocol import cose, keys, quantities, report
from peilmerk_protocol.profile import AIR

class Settings:
    device_id = "kbcdefghijklmnop"
    key = keys.derive(bytes(range(32)), keys.UP)
    profile = issued_profile = AIR
    next_profile = None
    every_s = 300
    send_s = 900
    reachable_s = 0
    sensors = [{"driver": "steady", "of": number} for number in quantities.members(AIR.set)]

class Steady(Driver):
    def __init__(self, spec):
        super().__init__()
        self.quantities = (spec["of"],)

register("steady", Steady)

class Link:
    def wake(self):
        pass

class Radio:
    def switch_on(self):
        pass

settings = Settings()
window_s = settings.profile.window_s
start_s = 1_900_000_000 // window_s * window_s

def life(cause):
    clock = Clock(start_s)
    outbox = Outbox("data/outbox")
    health = Health("data")
    health.reset_cause = cause
    vigil = Vigil({}, 0)
    cycle = Cycle(settings, clock, outbox, health, vigil, "/nowhere/")
    sensors = Sensors(settings.sensors, cycle.record)
    cycle.attach(sensors, Link(), Radio())
    battery = Battery(
        settings, clock, cycle, sensors, Link(), None, Control("data"), outbox, health, Radio(), vigil
    )
    return clock, outbox, cycle, sensors, battery

seen = []
# The power comes, every sensor gives its sample, and then those at FAULTY fail.
clock, outbox, cycle, sensors, battery = life(1)
clock.set(start_s * 1000, time.ticks_ms())
cycle.windows.start(start_s * 1000)
for driver in sensors.drivers:
    cycle.record(driver.quantities[0], 100)
    driver.succeeded()
for place in FAULTY:
    sensors.drivers[place].failed()
seen.append(sensors.faulty())
battery._keep(300000)
# It wakes, and the window ends before anything is sampled again.
clock, outbox, cycle, sensors, battery = life(DEEPSLEEP)
seen.append(sensors.faulty())
clock.set((start_s + window_s) * 1000, time.ticks_ms())
asyncio.run(cycle.close())
newest = outbox.oldest()
told = report.decode(cose.open_sealed(settings.key, newest.kind, settings.device_id, newest.payload))
seen += [len(told.values) == len(sensors.drivers), bool(told.health & report.HEALTH_SENSOR)]
# A sensor that works again says so after one good sample, and sleep does not bring its fault back.
for driver in sensors.drivers:
    driver.succeeded()
battery._keep(300000)
seen.append(life(DEEPSLEEP)[3].faulty())
print(json.dumps(seen))
"""


def test_a_faulty_sensor_is_told_as_such_after_deep_sleep(micropython):
    """The window has every value, from before the fault: only what the clock's memory kept can tell."""
    assert micropython(LIVES.replace("FAULTY", "(1, 2)")) == [0b110, 0b110, True, True, 0]


def test_a_node_whose_sensors_are_well_wakes_with_all_of_them_well(micropython):
    assert micropython(LIVES.replace("FAULTY", "()")) == [0, 0, True, False, 0]


JOINS = """
import asyncio, json
from node.uplink import wifi

seen = []

class Station:
    on = joined = False

    def active(self, on=None):
        if on is None:
            return self.on
        self.on = on

    def disconnect(self):
        seen.append("disconnect")

    def connect(self, name, password):
        seen.append("connect")
        self.joined = name == "there"

    def isconnected(self):
        return self.joined

    def status(self):
        return 201

class Waits:
    @staticmethod
    async def sleep(s):
        seen.append(s)

    @staticmethod
    async def sleep_ms(ms):
        pass

wifi.asyncio = Waits
wifi._find_station = Station
radio = wifi.Wifi([])
for name in ("elsewhere", "there"):
    asyncio.run(radio.attempt(name, "a password", 30))
print(json.dumps(seen))
"""


def test_only_who_was_on_an_access_point_waits_before_joining_one(micropython):
    """A radio that was off, as after sleep, asks at once: a second awake for each report."""
    assert micropython(JOINS) == ["connect", "disconnect", "disconnect", 1, "connect"]
