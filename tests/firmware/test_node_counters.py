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
