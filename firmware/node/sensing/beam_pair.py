"""Two break-beams a little apart: count passages by direction, and keep nothing about any of them.

Beam A (first pin) broken first is "towards", B first is "away". Idle is high, broken is low. The interrupt
handler allocates nothing and stores one thing of a passage: which beam broke first, and when, until the
other beam breaks or `pair_ms` is over. A passage belongs to the window in which its first beam broke.

node.json: {"driver": "beam_pair", "pins": [A, B], "class": "bicycle", "pair_ms": 2000, "dead_ms": 10}.
"""

from time import ticks_diff, ticks_ms

from machine import Pin
from micropython import const

from node.sensing import register, whole
from node.sensing.passages import Passages, both_ways, class_of, pin_pair

_A = const(0)
_B = const(1)
# No beam has broken yet; both have, and the passage is counted but not yet through.
_IDLE = const(2)
_COUNTED = const(3)


class BeamPair(Passages):
    """The pair of beams of one entry of node.json."""

    def __init__(self, spec):
        pins = pin_pair(spec)
        super().__init__(both_ways(class_of(spec, "bicycle")))
        self._pair_ms = whole(spec, "pair_ms", 50, 5000, 2000)
        self._dead_ms = whole(spec, "dead_ms", 0, 1000, 10)
        self.settle_ms = self._pair_ms
        self._pins = (Pin(pins[_A], Pin.IN, Pin.PULL_UP), Pin(pins[_B], Pin.IN, Pin.PULL_UP))
        self._broken = 0
        self._first = _IDLE
        self._half = 0
        self._since = 0
        self._clear_at = ticks_ms() - self._dead_ms
        # Bound once: binding a method inside an interrupt would allocate.
        self._on_a = self._edge_a
        self._on_b = self._edge_b

    def start(self):
        self._broken = 0
        self._first = _IDLE
        trigger = Pin.IRQ_FALLING | Pin.IRQ_RISING
        self._pins[_A].irq(handler=self._on_a, trigger=trigger)
        self._pins[_B].irq(handler=self._on_b, trigger=trigger)

    def stop(self):
        for pin in self._pins:
            pin.irq(handler=None)

    def active(self):
        """Whether a beam is broken; when none is, this heals a lost edge."""
        if self._levels():
            return True
        self._broken = 0
        if self._first == _COUNTED:
            self._first = _IDLE
        return False

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
            self._half = self.half(now)
        elif first != beam:
            self._first = _COUNTED
            self.counts[self._half + first] += 1


register("beam_pair", BeamPair)
