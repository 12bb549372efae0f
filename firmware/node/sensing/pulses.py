"""An inductive loop or a pneumatic tube at one pin: passages without direction, `axles` pulses each.

With dead_ms 0 the chip's pulse counter counts (machine.Counter, unit `unit`), and timer `unit` reads it and
sets it to zero, in one, when a window ends. The counter's filter ends at 12.8 microseconds and stops no
bounce of a contact: an air switch wants dead_ms, the shortest time between two pulses, and an interrupt then
counts. So it does on chips without a pulse counter (ESP32-C3) and with a MicroPython that has no Counter.

node.json: {"driver": "pulses", "pin": 4, "class": "unclassified", "active": 0, "axles": 1, "dead_ms": 0,
"unit": 0}
"""

from time import ticks_diff, ticks_ms

from machine import Pin

from node.sensing import SensingError, register, whole
from node.sensing.passages import Passages, class_of
from peilmerk_protocol import quantities


class Pulses(Passages):
    """The input of one entry of node.json."""

    def __init__(self, spec):
        super().__init__((quantities.BICYCLE + class_of(spec, "unclassified"),))
        self._pin = Pin(whole(spec, "pin", 0, 48), Pin.IN, Pin.PULL_UP)
        self._level = whole(spec, "active", 0, 1, 0)
        self._axles = whole(spec, "axles", 1, 8, 1)
        self._dead_ms = whole(spec, "dead_ms", 0, 1000, 0)
        self._unit = whole(spec, "unit", 0, 3, 0)
        self._counter = None
        self._timer = None
        # The open window's pulses are in `counts`: the counter holds the next window's.
        self._closed = False
        self._tick = None
        self._last = ticks_ms() - self._dead_ms
        # Pulses of a passage that was not complete at the last border.
        self._rest = 0
        self._on_pulse = self._pulse

    def start(self):
        if self._dead_ms:
            trigger = Pin.IRQ_RISING if self._level else Pin.IRQ_FALLING
            self._pin.irq(handler=self._on_pulse, trigger=trigger)
        elif self._counter is None:
            try:
                from machine import Counter, Timer
            except ImportError:
                raise SensingError("sensors: pulses: found no pulse counter on this board, wanted dead_ms")

            edge = Counter.RISING if self._level else Counter.FALLING
            self._counter = Counter(self._unit, self._pin, edge=edge, filter_ns=12787)
            self._timer = Timer(self._unit)

    def stop(self):
        if self._counter is None:
            self._pin.irq(handler=None)
        else:
            # A pause keeps what was counted before it.
            self.counts[self.half(ticks_ms())] += self._counter.value(0)
            self._timer.deinit()  # type: ignore[union-attr]
            self._counter.deinit()
            self._counter = None

    def border(self, tick_ms):
        super().border(tick_ms)
        if self._counter is None or self._closed or tick_ms == self._tick:
            return
        self._tick = tick_ms
        left = ticks_diff(tick_ms, ticks_ms())
        if left > 0:
            self._timer.init(mode=self._timer.ONE_SHOT, period=left, callback=self._close)  # type: ignore[union-attr]
        else:
            self._close(None)

    def take(self, tally):
        if self._counter is not None:
            self._close(None)
            self._timer.deinit()  # type: ignore[union-attr]
        closed = self._window[0]
        pulses = self.counts[closed] + self._rest
        self._rest = pulses % self._axles
        self.counts[closed] = pulses // self._axles
        super().take(tally)
        self._tick = None
        self._closed = False

    def total(self):
        return sum(self.counts) + (self._counter.value() if self._counter else 0)

    def active(self):
        return self._pin.value() == self._level

    def _close(self, _timer):
        if not self._closed:
            self._closed = True
            self.counts[self._window[0]] += self._counter.value(0)  # type: ignore[union-attr]

    def _pulse(self, _pin):
        now = ticks_ms()
        if ticks_diff(now, self._last) >= self._dead_ms:
            self._last = now
            self.counts[self.half(now)] += 1


register("pulses", Pulses)
