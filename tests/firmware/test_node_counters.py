"""What runs in interrupts of the counters allocates nothing."""

import pytest

HEAP_LOCKED = """
import json, micropython
from utime import ticks_ms
from machine import Pin
from node.sensing import load
from node.window import Tally

driver = load(given)
driver.start()
driver.border(ticks_ms() + 100000)
pins = [Pin.made[number] for number in sorted(Pin.made)]
def cross():
    for pin in pins:
        pin.level = 0; pin.handler(pin)
    for pin in pins:
        pin.level = 1
        if given["driver"] == "beam_pair":
            pin.handler(pin)
def locked():
    micropython.heap_lock()
    try:
        for _ in range(50):
            cross()
    finally:
        micropython.heap_unlock()
cross()
locked()
tally = Tally(driver.quantities)
driver.take(tally)
print(json.dumps([tally.take_count(n) for n in driver.quantities]))
"""


@pytest.mark.parametrize(
    ("entry", "counts"),
    [
        ({"driver": "beam_pair", "pins": [4, 5], "dead_ms": 0}, [51, 0]),
        ({"driver": "pulse_pair", "pins": [4, 5], "dead_ms": 0}, [51, 0]),
        (
            {"driver": "pulse_pair", "pins": [4, 5], "dead_ms": 0, "class": "measured", "spacing_mm": 1000,
             "axles": 2},
            None,
        ),
    ],
)  # fmt: skip
def test_interrupt_handlers_allocate_nothing(micropython, entry, counts):
    counted = micropython(f"given = {entry!r}\n" + HEAP_LOCKED)
    assert counts is None or counted == counts


def test_the_debounced_input_allocates_nothing(micropython):
    source = HEAP_LOCKED.replace("cross()\nlocked()", "driver._dead_ms = 0\ncross()\nlocked()")
    assert micropython("given = {'driver': 'pulses', 'pin': 4, 'dead_ms': 1}\n" + source) == [51]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"driver": "beam_pair", "pins": [4, 4]}, "pins: found [4, 4], wanted two pin numbers"),
        ({"driver": "beam_pair", "pins": [4, "5"]}, "pins: found [4, '5'], wanted two pin numbers"),
        ({"driver": "pulses"}, "wanted the key pin"),
        ({"driver": "pulses", "pin": 99}, "pin: found 99, wanted 0 to 48"),
        ({"driver": "pulses", "pin": 4, "class": "measured"}, "class: found 'measured', wanted bicycle,"),
        ({"driver": "pulses", "pin": 4, "axles": 0}, "axles: found 0, wanted 1 to 8"),
        ({"driver": "pulse_pair", "pins": [4, 5], "class": "measured"}, "wanted the key spacing_mm"),
        ({"driver": "ld2450", "line": [0, 0, 0]}, "line: found [0, 0, 0], wanted [x, y, x, y] in mm"),
        ({"driver": "ld2450", "line": [0, 9, 0, 9]}, "line: found [0, 9, 0, 9], wanted"),
        ({"driver": "ld2450", "line": [0, 9000, 0, 9]}, "line: found [0, 9000, 0, 9], wanted"),
        ({"driver": "vl53l1x", "i2c": 0, "scl": 22, "sda": 21, "floor_percent": 99},
         "floor_percent: found 99, wanted 30 to 95"),
        ({"driver": "radio"}, "wanted the key from"),
        ({"driver": "radio", "from": 1}, "wanted the key until"),
        ({"driver": "radio", "from": 9, "until": 9}, "until: found 9, wanted 10 to "),
        ({"driver": "radio", "from": 0, "until": 40000000}, "until: found 40000000, wanted 1 to 31622400"),
        ({"driver": "radio", "from": 1, "until": 2}, "area: found None, wanted where it listens"),
        ({"driver": "radio", "from": 1, "until": 2, "area": "here"}, "area: found 'here', wanted where"),
        ({"driver": "pulse_pair", "pins": [4, 5], "class": "cow"},
         "class: found 'cow', wanted bicycle, pedestrian, vehicle, unclassified, measured"),
    ],
)  # fmt: skip
def test_a_wrong_entry_is_named(micropython, entry, said):
    found = micropython(
        f"""
        import json
        from node.sensing import SensingError, load
        try:
            load({entry!r})
            print(json.dumps("loaded"))
        except SensingError as fault:
            print(json.dumps(str(fault)))
        """
    )
    assert found.startswith("sensors: " + entry["driver"] + ": " + said)


def test_a_chip_without_a_pulse_counter_is_named_with_what_to_give(micropython):
    said = micropython(
        """
        import json
        from node.sensing import SensingError, load
        said = []
        for more in ({}, {"dead_ms": 1}):
            driver = load(dict(more, driver="pulses", pin=4))
            try:
                driver.start()
                said.append("started")
            except SensingError as fault:
                said.append(str(fault))
        print(json.dumps(said))
        """
    )
    assert said == ["sensors: pulses: found no pulse counter on this board, wanted dead_ms", "started"]


def test_hashing_an_address_allocates_nothing_and_its_words_stay_small(micropython):
    """Small integers of an ESP32 have 31 bits: a larger one would lie on the heap, address and all."""
    seen = micropython(
        """
        import json, micropython
        from array import array
        from node.sensing import load, radio
        driver = load({"driver": "radio", "from": 1, "until": 2, "area": "a square, its north side"})
        words = array("I", (0x020100, 0x0A0908, 0x121110, 0x1A1918))
        radio.expand(words, driver._keys)
        driver._border = None
        def hear(number):
            addr[3] = number
            driver._event(5, data)
        addr = bytearray(bytes.fromhex("73206d746869"))
        data = (0, addr, 0, -60, b"")
        def all_twice():
            micropython.heap_lock()
            try:
                for number in range(200):
                    hear(number // 2 + 128)
            finally:
                micropython.heap_unlock()
        hear(0x74)
        all_twice()
        found = [hex(w) for w in driver._set if w]
        want = [hex(0x735E10 ^ 0x6D2073), hex(0xB6445D ^ 0x696874)]
        print(json.dumps([driver._number, all(w in found for w in want), len(found)]))
        """
    )
    assert seen == [101, True, 202]


RADAR = """
import json, machine
from node.sensing import load
from node.window import Tally
waiting = bytearray()
class Uart(machine.UART):
    def any(self):
        return len(waiting)
    def readinto(self, buffer):
        global waiting
        buffer[:] = waiting[:len(buffer)]
        waiting = waiting[len(buffer):]
machine.UART = Uart
def word(value):
    return (abs(value) | (0x8000 if value >= 0 else 0)).to_bytes(2, "little")
def frame(*targets):
    body = b"".join([word(x) + word(y) + word(-140) + b"\\x40\\x01" for x, y in targets])
    return bytearray(b"\\xaa\\xff\\x03\\x00" + body + bytes(24 - len(body)) + b"\\x55\\xcc")
radar = load({"driver": "ld2450", "uart": 1, "tx": 17, "rx": 16, "line": [-3000, 2500, 3000, 2500]})
def taken():
    tally = Tally(radar.quantities)
    radar.take(tally)
    return [tally.take_count(n) for n in radar.quantities]
"""


def test_a_radars_frame_is_read_as_its_manual_says_and_what_it_cannot_see_is_left_out(micropython):
    seen = micropython(
        RADAR
        + """
manual = bytearray(bytes.fromhex("aaff03000e03b18610004001" + "00" * 16 + "55cc"))
seen = [[radar._parse(manual), list(radar._targets[:2]), radar.damaged]]
far = frame((9000, 3000), (1200, -700), (-8000, 8000))
seen.append([radar._parse(far), list(radar._targets[:2]), radar.damaged])
print(json.dumps(seen))
"""
    )
    assert seen == [[1, [-782, 1713], 0], [1, [-8000, 8000], 2]]


def test_frames_that_waited_count_when_they_came_not_when_they_were_read(micropython):
    seen = micropython(
        RADAR
        + """
for y in (3000, 2900, 2800, 2300, 2200, 2100, 2000):
    waiting += frame((0, y))
# The last came now, the fourth, which crosses the line, 300 ms before: the border lies between.
radar.border(10_000 - 250)
radar.read(10_000)
seen = [taken(), taken()]
for y in (3000, 2900, 2300, 2200):
    waiting += frame((2000, y))
radar.border(20_000 - 250)
radar.read(20_000)
print(json.dumps(seen + [taken(), taken()]))
"""
    )
    assert seen == [[1, 0], [0, 0], [0, 0], [1, 0]]


def test_both_beams_that_bounce_after_a_passage_are_no_second_one(micropython):
    seen = micropython(
        """
        import json
        from machine import Pin
        from node.sensing import beam_pair
        from node.window import Tally
        now = 0
        beam_pair.ticks_ms = lambda: now
        def at(t, pin, level):
            global now
            now = t
            Pin.made[pin].drive(level)
        counts = []
        for dead_ms in (10, 0):
            now = 0
            pair = beam_pair.BeamPair({"driver": "beam_pair", "pins": [4, 5], "dead_ms": dead_ms})
            pair.start()
            for t, pin, level in ((100, 4, 0), (150, 5, 0), (200, 4, 1), (250, 5, 1),
                                  (254, 4, 0), (255, 5, 0), (257, 4, 1), (258, 5, 1)):
                at(t, pin, level)
            counts.append(list(pair.counts[:2]))
        print(json.dumps(counts))
        """
    )
    assert seen == [[1, 0], [2, 0]]


def test_the_salt_is_overwritten_where_the_source_left_it_and_with_the_window(micropython):
    seen = micropython(
        """
        import json
        from node.sensing import load, radio
        class Source:
            given = bytes(range(1, 13))
            @staticmethod
            def urandom(size):
                return Source.given
        radio.os = Source
        driver = load({"driver": "radio", "from": 1, "until": 2, "area": "a square, its north side"})
        driver._salt()
        seen = [Source.given.hex(), any(driver._keys)]
        driver._end()
        print(json.dumps(seen + [any(driver._keys)]))
        """
    )
    assert seen == ["00" * 12, True, False]
