"""Two break-beams a little apart: count passages by direction, and keep nothing about any of them.

Beam A (first pin) broken first is "towards", B first is "away". Idle is high, broken is low. The interrupt
handler allocates nothing and stores one thing of a passage: which beam broke first, and when, until the
other beam breaks or `pair_ms` is over. A passage belongs to the window in which its first beam broke; the
counts of two windows are kept apart by the tick of the border, so that a late reader changes nothing.

node.json: {"driver": "beam_pair", "pins": [A, B], "class": "bicycle", "pair_ms": 2000, "dead_ms": 10}.
"""

import asyncio
from array import array
from time import ticks_diff, ticks_ms

from machine import Pin
from micropython import const

from node.sensing import Driver, SensingError, register, whole
from peilmerk_protocol import quantities

_A = const(0)
_B = const(1)
# No beam has broken yet; both have, and the passage is counted but not yet through.
_IDLE = const(2)
_COUNTED = const(3)

_CHECK_S = const(5)
# A beam that stays broken so long is a fault (or a parked bicycle), not traffic.
_STUCK_S = const(60)

_CLASSES = {
    "bicycle": (quantities.BICYCLE_TOWARDS, quantities.BICYCLE_AWAY),
    "pedestrian": (quantities.PEDESTRIAN_TOWARDS, quantities.PEDESTRIAN_AWAY),
    "vehicle": (quantities.VEHICLE_TOWARDS, quantities.VEHICLE_AWAY),
    "unclassified": (quantities.UNCLASSIFIED_TOWARDS, quantities.UNCLASSIFIED_AWAY),
}


class BeamPair(Driver):
    """The pair of beams of one entry of node.json."""

    def __init__(self, spec):
        super().__init__()
        pins = spec["pins"]
        if not isinstance(pins, list) or len(pins) != 2:
            raise SensingError("sensors: beam_pair: pins: found %r, wanted two pin numbers" % (pins,))
        name = spec.get("class", "bicycle")
        if name not in _CLASSES:
            raise SensingError("sensors: beam_pair: class: found %r, wanted %s" % (name, ", ".join(_CLASSES)))
        self.quantities = _CLASSES[name]
        self._pair_ms = whole(spec, "pair_ms", 50, 5000, 2000)
        self._dead_ms = whole(spec, "dead_ms", 0, 1000, 10)
        self.settle_ms = self._pair_ms
        self._pins = (Pin(pins[_A], Pin.IN, Pin.PULL_UP), Pin(pins[_B], Pin.IN, Pin.PULL_UP))
        # Towards and away of the open window and of the one after it; which half is the open one is `_open`.
        self._counts = array("I", (0, 0, 0, 0))
        self._open = 0
        self._border = 0
        self._bordered = False
        self._broken = 0
        self._first = _IDLE
        self._half = 0
        self._since = 0
        self._clear_at = ticks_ms() - self._dead_ms
        # Bound once: binding a method inside an interrupt would allocate.
        self._on_a = self._edge_a
        self._on_b = self._edge_b
        self._stuck_s = 0

    def start(self):
        self._broken = 0
        self._first = _IDLE
        trigger = Pin.IRQ_FALLING | Pin.IRQ_RISING
        self._pins[_A].irq(handler=self._on_a, trigger=trigger)
        self._pins[_B].irq(handler=self._on_b, trigger=trigger)

    def stop(self):
        for pin in self._pins:
            pin.irq(handler=None)

    def border(self, tick_ms):
        self._border = tick_ms
        self._bordered = True

    def take(self, tally):
        closed = self._open
        # From here on the handler counts into the other half, wherever this function is interrupted.
        self._bordered = False
        self._open = closed ^ 2
        for direction in (0, 1):
            tally.count(self.quantities[direction], self._counts[closed + direction])
            self._counts[closed + direction] = 0

    async def run(self, record):
        while True:
            await asyncio.sleep(_CHECK_S)
            self.check(_CHECK_S)

    def check(self, seconds):
        """Look at the beams themselves, `seconds` after the last look: heals a lost edge, finds a blocked
        beam.
        """
        broken = self._levels()
        if broken:
            self._stuck_s += seconds
            if self._stuck_s >= _STUCK_S and self.healthy:
                self.failed()
            return
        self._stuck_s = 0
        self.healthy = True
        self._broken = 0
        if self._first == _COUNTED:
            self._first = _IDLE

    def _levels(self):
        return (1 if self._pins[0].value() == 0 else 0) | (2 if self._pins[1].value() == 0 else 0)

    def _edge_a(self, _pin):
        self._edge(_A)

    def _edge_b(self, _pin):
        self._edge(_B)

    def _edge(self, beam):
        now = ticks_ms()
        broken = self._levels()
        fresh = broken & ~self._broken
        self._broken = broken
        # Both may have broken before the first interrupt was served: the one that called came first.
        if fresh & (1 << beam):
            self._break(beam, now)
        if fresh & (2 >> beam):
            self._break(1 - beam, now)
        if not broken and self._first == _COUNTED:
            self._first = _IDLE
            self._clear_at = now

    def _break(self, beam, now):
        first = self._first
        if first == _COUNTED:
            return
        if first != _IDLE and ticks_diff(now, self._since) > self._pair_ms:
            first = _IDLE
        if first == _IDLE:
            if ticks_diff(now, self._clear_at) < self._dead_ms:
                return
            self._first = beam
            self._since = now
            self._half = self._open
            if self._bordered and ticks_diff(now, self._border) >= 0:
                self._half ^= 2
        elif first != beam:
            self._first = _COUNTED
            self._counts[self._half + first] += 1


register("beam_pair", BeamPair)
