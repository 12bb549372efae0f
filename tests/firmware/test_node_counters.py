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
