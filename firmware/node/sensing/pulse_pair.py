"""Two inductive loops or pneumatic tubes a known distance apart: passages by direction, and by class.

The pin whose pulse comes first tells the side: A (first pin) first is "towards". A passage is complete when
both pins had `axles` pulses within pair_ms and belongs to the window of its first pulse; anything less counts
nothing. The interrupt handler allocates nothing.

node.json: {"driver": "pulse_pair", "pins": [4, 5], "class": "measured", "active": 0, "axles": 2,
"dead_ms": 10, "pair_ms": 2000, "spacing_mm": 1000, "walk_kmh": 10, "ride_kmh": 45, "car_mm": 1700}

class "measured" sorts by what is measured, and no speed leaves the device. With two axles, by their distance:
from car_mm on a vehicle, else a bicycle (two-wheelers have less, the shortest cars about 1.8 m). With one
pulse a passage, by speed: below walk_kmh a pedestrian, from ride_kmh on a vehicle, else a bicycle. Speeds
after FHWA-HRT-04-103, table 12: 85 % of pedestrians, runners among them, below 10 km/h, 85 % of bicycles
above 11. Speed alone does not tell a bicycle from a car that drives as slowly: use tubes and two axles there.
"""

from time import ticks_diff, ticks_ms

from machine import Pin
from micropython import const

from node.sensing import register, whole
from node.sensing.passages import Passages, both_ways, class_of, pin_pair

_MEASURED = const(-1)
# Places in the counts of the classes bicycle (0), pedestrian and vehicle.
_PEDESTRIAN = const(2)
_VEHICLE = const(4)
# No first pulse yet.
_IDLE = const(2)
# Faster is a fault of the wiring, not traffic: both pins hear the same pulse.
_FASTEST_KMH = const(150)


class PulsePair(Passages):
    """The pair of inputs of one entry of node.json."""

    def __init__(self, spec):
        pins = pin_pair(spec)
        place = class_of(spec, "unclassified", ("measured",))
        super().__init__(
            both_ways(0) + both_ways(1) + both_ways(2) if place == _MEASURED else both_ways(place)
        )
        self._measured = place == _MEASURED
        self._level = whole(spec, "active", 0, 1, 0)
        self._axles = whole(spec, "axles", 1, 2, 1)
        self._dead_ms = whole(spec, "dead_ms", 0, 1000, 10)
        self._pair_ms = whole(spec, "pair_ms", 50, 5000, 2000)
        # Needed for a speed only.
        self._spacing_mm = whole(spec, "spacing_mm", 200, 10000, None if self._measured else 200)
        self._walk_kmh = whole(spec, "walk_kmh", 0, 60, 10)
        self._ride_kmh = whole(spec, "ride_kmh", 1, 150, 45)
        self._car_mm = whole(spec, "car_mm", 500, 5000, 1700)
        self.settle_ms = self._pair_ms
        self._pins = (Pin(pins[0], Pin.IN, Pin.PULL_UP), Pin(pins[1], Pin.IN, Pin.PULL_UP))
        self._last = [ticks_ms() - self._dead_ms, ticks_ms() - self._dead_ms]
        self._seen = [0, 0]
        self._first = _IDLE
        self._half = 0
        self._began = 0
        self._gap_ms = 0
        self._axle_ms = 0
        self._on_a = self._pulse_a
        self._on_b = self._pulse_b

    def start(self):
        self._first = _IDLE
        trigger = Pin.IRQ_RISING if self._level else Pin.IRQ_FALLING
        self._pins[0].irq(handler=self._on_a, trigger=trigger)
        self._pins[1].irq(handler=self._on_b, trigger=trigger)

    def stop(self):
        for pin in self._pins:
            pin.irq(handler=None)

    def active(self):
        return self._pins[0].value() == self._level or self._pins[1].value() == self._level

    def _pulse_a(self, _pin):
        self._pulse(0, ticks_ms())

    def _pulse_b(self, _pin):
        self._pulse(1, ticks_ms())

    def _pulse(self, side, now):
        if ticks_diff(now, self._last[side]) < self._dead_ms:
            return
        self._last[side] = now
        seen = self._seen
        since = ticks_diff(now, self._began)
        if self._first == _IDLE or since > self._pair_ms:
            self._first = side
            self._began = now
            self._half = self.half(now)
            seen[side] = 1
            seen[1 - side] = 0
            return
        seen[side] += 1
        if side != self._first:
            if seen[side] == 1:
                self._gap_ms = since
        elif seen[side] == 2:
            self._axle_ms = since
        if seen[0] >= self._axles and seen[1] >= self._axles:
            self._complete()

    def _complete(self):
        first = self._first
        self._first = _IDLE
        # mm per ms times 3.6 is km/h.
        way = self._spacing_mm * 18
        gap = self._gap_ms * 5
        if way > gap * _FASTEST_KMH and self._measured:
            return
        place = 0
        if self._measured:
            if self._axles == 2:
                if self._spacing_mm * self._axle_ms >= self._car_mm * self._gap_ms:
                    place = _VEHICLE
            elif way < gap * self._walk_kmh:
                place = _PEDESTRIAN
            elif way >= gap * self._ride_kmh:
                place = _VEHICLE
        self.counts[self._half + place + first] += 1


register("pulse_pair", PulsePair)
