"""Drivers against the vectors of their data sheets, and an interrupt handler that allocates nothing."""

import pytest

BEAMS = """
import json, micropython, time
from machine import Pin
from node.sensing import beam_pair
from node.window import Tally

now = 1000
beam_pair.ticks_ms = lambda: now

def at(t, *changes):
    global now
    now = t
    for pin, level in changes:
        Pin.made[pin].drive(level)

def passage(t, first=4, second=5, gap=60, hold=100):
    at(t, (first, 0))
    at(t + gap, (second, 0))
    at(t + hold, (first, 1))
    at(t + gap + hold, (second, 1))

pair = beam_pair.BeamPair({"driver": "beam_pair", "pins": [4, 5]})
pair.start()

def taken():
    tally = Tally((5, 6))
    tally.begin(1, False)
    pair.take(tally)
    return [tally.take_count(5), tally.take_count(6)]
"""


def test_direction_is_which_beam_breaks_first(micropython):
    counts = micropython(
        BEAMS
        + """
for turn in range(7):
    passage(10000 + turn * 1000)
for turn in range(4):
    passage(20500 + turn * 400, 5, 4)
print(json.dumps([taken(), taken()]))
"""
    )
    assert counts == [[7, 4], [0, 0]]


def test_half_passages_bounces_and_stragglers_count_nothing(micropython):
    counts = micropython(
        BEAMS
        + """
seen = []
at(5000, (4, 0)); at(5100, (4, 1))             # turned back before the second beam
at(7200, (5, 0)); at(7300, (5, 1))             # 2.2 s later: not the same passage
seen.append(taken())
at(10000, (4, 0)); at(10050, (5, 0))           # both broken, A again before all is clear
at(10060, (4, 1)); at(10070, (4, 0)); at(10080, (4, 1)); at(10100, (5, 1))
at(10109, (5, 0)); at(10112, (5, 1))           # 9 ms after: the beam bounces
seen.append(taken())
at(20000, (4, 0)); at(20010, (4, 1)); at(20020, (4, 0)); at(20100, (5, 0)); at(20200, (4, 1), (5, 1))
seen.append(taken())                           # a thin wheel breaks A twice
at(30000, (4, 0)); at(32001, (5, 0)); at(32050, (4, 1), (5, 1))
seen.append(taken())                           # the pair's time is over: B began something new
print(json.dumps(seen))
"""
    )
    assert counts == [[0, 0], [1, 0], [1, 0], [0, 0]]


def test_a_passage_belongs_to_the_window_in_which_it_began(micropython):
    counts = micropython(
        BEAMS
        + """
seen = []
pair.border(50000)
passage(49000)
at(49980, (4, 0)); at(50040, (5, 0)); at(50100, (4, 1), (5, 1))    # began before the border
passage(50200); passage(51000, 5, 4)                               # the next window's
seen.append(taken())
passage(53000)                                                     # no border told yet: still open
pair.border(60000)
at(60000, (5, 0)); at(60060, (4, 0)); at(60100, (4, 1), (5, 1))    # exactly at the border: the next one's
seen.append(taken())
seen.append(taken())
print(json.dumps(seen))
"""
    )
    assert counts == [[2, 0], [2, 1], [0, 1]]


def test_the_interrupt_handler_allocates_nothing(micropython):
    counted = micropython(
        BEAMS
        + """
from utime import ticks_ms
beam_pair.ticks_ms = ticks_ms
pair._dead_ms = 0
pair.border(ticks_ms() + 100000)
a, b = Pin.made[4], Pin.made[5]
def cross():
    a.level = 0; pair._on_a(a)
    b.level = 0; pair._on_b(b)
    a.level = 1; pair._on_a(a)
    b.level = 1; pair._on_b(b)
def locked():
    micropython.heap_lock()
    try:
        for _ in range(50):
            cross()
    finally:
        micropython.heap_unlock()
cross()
locked()
print(json.dumps(taken()))
"""
    )
    assert counted == [51, 0]


def test_lost_edges_heal_and_a_blocked_beam_is_a_fault(micropython):
    seen = micropython(
        BEAMS
        + """
seen = []
at(10000, (4, 0)); at(10050, (5, 0))
for pin in (4, 5):
    Pin.made[pin].level = 1                    # both edges back were lost
pair.check(5)
passage(12000)
seen.append(taken())
Pin.made[4].level = Pin.made[5].level = 0      # both broke before the first interrupt was served
now = 14000
Pin.made[5].handler(Pin.made[5])
Pin.made[4].handler(Pin.made[4])
at(14100, (4, 1), (5, 1))
seen.append(taken())
at(20000, (4, 0))
for _ in range(11):
    pair.check(5)
seen.append(pair.healthy)
pair.check(5)
seen.append([pair.healthy, pair.faults])
at(90000, (4, 1))
pair.check(5)
for _ in range(2):                             # the window in which it healed was not whole; the next one is
    taken()
    seen.append(pair.healthy)
pair.stop()
seen.append(Pin.made[4].handler is None and Pin.made[5].handler is None)
print(json.dumps(seen))
"""
    )
    assert seen == [[2, 0], [0, 1], True, [False, 1], False, True, True]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"driver": "lidar"}, "sensors: found driver 'lidar', wanted one that is on this board"),
        ({"driver": "../config"}, "sensors: found driver '../config', wanted the name of a driver"),
        ({}, "sensors: found driver None, wanted the name of a driver"),
        ({"driver": "beam_pair"}, "sensors: beam_pair: wanted the key pins"),
        ({"driver": "beam_pair", "pins": [4]}, "sensors: beam_pair: pins: found [4], wanted two pin numbers"),
        (
            {"driver": "beam_pair", "pins": [4, 5], "class": "horse"},
            "sensors: beam_pair: class: found 'horse', wanted ",
        ),
        ({"driver": "sds011", "uart": 9, "tx": 1, "rx": 2}, "sensors: sds011: uart: found 9, wanted 0 to 2"),
        ({"driver": "sht3x", "i2c": 0}, "sensors: sht3x: wanted the key scl"),
        ({"driver": "sampler"}, "sensors: found driver 'sampler', wanted one that is on this board"),
        (
            {"driver": "sds011", "uart": 1, "tx": 1, "rx": 2, "every_s": 15},
            "sensors: sds011: every_s: found 15, wanted 16 to 3600",
        ),
        (
            {"driver": "pmsx003", "uart": 1, "tx": 1, "rx": 2, "model": "7"},
            "sensors: pmsx003: model: found '7', wanted ",
        ),
        (
            {"driver": "sht3x", "i2c": 0, "scl": 1, "sda": 2, "power": 99},
            "sensors: sht3x: power: found 99, wanted 0 to 48",
        ),
    ],
)
def test_a_wrong_sensor_entry_is_named(micropython, spec, said):
    found = micropython(
        f"""
        import json
        from node.sensing import SensingError, load
        try:
            load({spec!r})
            print(json.dumps("loaded"))
        except SensingError as fault:
            print(json.dumps(str(fault)))
        """
    )
    assert found.startswith(said)


def test_sensors_share_a_bus_and_the_first_gives_what_two_measure(micropython):
    seen = micropython(
        """
        import json
        from node.sensing import SensingError, load
        from node.sensors import Sensors
        i2c = {"i2c": 0, "scl": 22, "sda": 21}
        names = ("bme280", "scd4x", "sht3x", "dnms")
        specs = [dict(i2c, driver=name) for name in names]
        specs += [{"driver": "beam_pair", "pins": [a, a + 1]} for a in (4, 12)]
        sensors = Sensors(specs, None)
        seen = [list(driver.quantities) for driver in sensors.drivers]
        try:
            load({"driver": "sht3x", "i2c": 0, "scl": 21, "sda": 22})
        except SensingError as fault:
            seen.append(str(fault))
        print(json.dumps(seen))
        """
    )
    assert seen == [
        [20, 2, 3],
        [18],
        [],
        [21, 22],
        [5, 6],
        [5, 6],
        "sensors: sht3x: found scl and sda (21, 22), wanted (22, 21) as for the others on i2c 0",
    ]
