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
seen.append(pair.healthy)
pair.stop()
seen.append(Pin.made[4].handler is None and Pin.made[5].handler is None)
print(json.dumps(seen))
"""
    )
    assert seen == [[2, 0], [0, 1], True, [False, 1], True, True]


def test_sds011_commands_are_those_of_the_data_sheet(micropython):
    frames = micropython(
        """
        import json
        from node.sensing.sds011 import command
        print(json.dumps([command(*c).hex() for c in ((6, 1, 0), (6, 1, 1), (4, 0, 0), (8, 1, 0))]))
        """
    )
    assert frames == [
        "aab406010000000000000000000000ffff05ab",
        "aab406010100000000000000000000ffff06ab",
        "aab404000000000000000000000000ffff02ab",
        "aab408010000000000000000000000ffff07ab",
    ]


def test_sds011_frames_are_found_in_garbage(micropython):
    seen = micropython(
        """
        import json
        from node.sensing import SensorFault
        from node.sensing.sds011 import Frames, parse
        good = bytes.fromhex("aac0d4043a0aa1601dab")
        frames = Frames()
        def feed(data):
            return [f.hex() for f in [frames.feed(b) for b in data] if f]
        seen = [parse(good), len(feed(good))]
        seen.append(len(feed(b"\\x00\\xff\\xaa" + good + b"\\xaa\\xc0" + good + good[:4])))
        frames.clear()
        bad = bytearray(good); bad[3] ^= 1
        seen.append([feed(bytes(bad) + good), frames.damaged])
        seen.append(feed(good[:6] + good))
        high = bytearray(good); high[2:4] = b"\\x10\\x27"; high[8] = sum(high[2:8]) & 255
        try:
            parse(feed(high) and bytes(high))
        except SensorFault as fault:
            seen.append(str(fault))
        print(json.dumps(seen))
        """
    )
    good = "aac0d4043a0aa1601dab"
    assert seen == [
        [1236, 2618],
        1,
        2,
        [[good], 2],
        [good],
        "sds011: found 10000 and 2618, wanted at most 9999",
    ]


SDS011 = """
import json, asyncio, machine
from node.sensing import SensorFault, load

orders = []
mute = 0
def sensor(frame):
    global mute
    orders.append(frame[2:5].hex())
    if mute:
        mute -= 1
        return b""
    body = bytes((0xd4, 0x04, 0x3a, 0x0a, 0xa1, 0x60)) if frame[2] == 4 else frame[2:5] + b"\\0\\xa1\\x60"
    kind = 0xC0 if frame[2] == 4 else 0xC5
    return b"\\xaa" + bytes((kind,)) + body + bytes((sum(body) & 255, 0xab))
machine.answers["uart"] = sensor
driver = load({"driver": "sds011", "uart": 1, "tx": 17, "rx": 16, "warm_up_s": 1, "cycle_s": 2})
"""


def test_sds011_is_forced_at_start_and_sleeps_between_samples(micropython):
    seen = micropython(
        SDS011
        + """
async def main():
    first = await driver.sample()
    forced = orders[:]
    del orders[:]
    await driver.sample()
    return [first, forced, orders, driver._uart.options]
print(json.dumps(asyncio.run(main())))
"""
    )
    assert seen == [
        [1236, 2618],
        ["060101", "020101", "080100", "040000", "060100"],
        ["060101", "040000", "060100"],
        {"baudrate": 9600, "tx": 17, "rx": 16},
    ]


def test_sds011_tries_again_and_then_says_so(micropython):
    seen = micropython(
        SDS011
        + """
async def main():
    global mute
    recorded = []
    mute = 2
    task = asyncio.create_task(driver.run(lambda q, v: recorded.append([q, v])))
    while not recorded:
        await asyncio.sleep_ms(50)
    healthy = driver.healthy
    mute = 3
    while driver.faults == 0:
        await asyncio.sleep_ms(50)
    del orders[:]
    count = len(recorded)
    while len(recorded) == count:
        await asyncio.sleep_ms(50)
    task.cancel()
    return [recorded[:2], healthy, driver.faults, driver.good, orders[:4], driver.healthy]
print(json.dumps(asyncio.run(main())))
"""
    )
    assert seen[0] == [[0, 1236], [1, 2618]]
    assert seen[1:4] == [True, 1, 2]
    assert seen[4][1:] == ["020101", "080100", "040000"] or seen[4] == [
        "060101",
        "020101",
        "080100",
        "040000",
    ]
    assert seen[5] is True


def test_sht3x_vectors_crc_and_range(micropython):
    seen = micropython(
        """
        import json
        from node.sensing import SensorFault
        from node.sensing.sht3x import crc8, parse
        seen = [[crc8(bytes.fromhex(w)) for w in ("beef", "0300", "0500", "0000")]]
        seen.append(parse(bytes.fromhex("61478a8ccc2c")))
        def word(n):
            return bytes((n >> 8, n & 255, crc8(bytes((n >> 8, n & 255)))))
        seen.append([parse(word(t) + word(h)) for t, h in ((1873, 0), (46811, 65535))])
        bad = [bytes.fromhex("61478b8ccc2c"), bytes.fromhex("61478a8ccc2d")]
        for answer in [b""] + bad + [word(65535) + word(0), word(0) + word(0)]:
            try:
                seen.append(parse(answer))
            except SensorFault as fault:
                seen.append(str(fault))
        print(json.dumps(seen))
        """
    )
    assert seen == [
        [0x92, 0xAC, 0xF6, 0x81],
        [215, 550],
        [[-400, 0], [800, 1000]],
        "sht3x: found 0 bytes, wanted 6",
        "sht3x: found CRC 8b, wanted 8a",
        "sht3x: found CRC 2d, wanted 2c",
        "sht3x: found 1300, wanted a temperature within -40 to 85 Cel",
        "sht3x: found -450, wanted a temperature within -40 to 85 Cel",
    ]


def test_sht3x_measures_retries_and_resets(micropython):
    seen = micropython(
        """
        import json, asyncio, machine
        from node.sensing import load
        log = []
        faults = [OSError(5), None, OSError(19), OSError(19), OSError(19)]
        def write(address, data):
            log.append([address, data.hex()])
            if data == b"\\x24\\x00" and faults:
                fault = faults.pop(0)
                if fault:
                    raise fault
        machine.answers["i2c_write"] = write
        machine.answers["i2c_read"] = lambda address, count: bytes.fromhex("61478a8ccc2c")
        driver = load({"driver": "sht3x", "i2c": 0, "scl": 22, "sda": 21, "address": 68, "every_s": 1})
        async def main():
            recorded = []
            task = asyncio.create_task(driver.run(lambda q, v: recorded.append([q, v])))
            while len(recorded) < 4:
                await asyncio.sleep_ms(20)
            task.cancel()
            return [log, recorded, driver.good, driver.faults]
        print(json.dumps(asyncio.run(main())))
        """
    )
    measure, reset = [68, "2400"], [68, "30a2"]
    assert seen[0] == [reset, measure, measure, measure, measure, measure, reset, measure]
    assert seen[1] == [[2, 215], [3, 550]] * 2
    assert seen[2:] == [2, 1]


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
