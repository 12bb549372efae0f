# ruff: noqa: RUF012
"""The board's `machine.Counter`, as MicroPython documents it for ESP32: a pulse counter with a glitch filter.

Facts (MicroPython 1.26 and later, library/machine.Counter and esp32.PCNT): one object a unit; arguments
beside the id initialise it anew and set it to zero; `value(x)` returns what was counted and sets x, without
losing a pulse; the filter is given in nanoseconds, counted in periods of 12.5 ns and cut off at 1023 of them,
which is 12.8 microseconds: it stops glitches, never the bounce of a contact.
"""

import pins
import worldtime

_UNITS = 8  # of an ESP32
_CYCLE_NS_OF_80 = 80
_LONGEST = 1023


class Counter:
    RISING = 1
    FALLING = 2
    UP = 1
    DOWN = 2

    _made = {}

    def __new__(cls, id, *arguments, **options):
        if not 0 <= id < _UNITS:
            raise ValueError("invalid unit")
        unit = cls._made.get(id)
        if unit is None:
            cls._made[id] = unit = super().__new__(cls)
            unit._unit = id
            unit._pin = None
        return unit

    def __init__(self, id, *arguments, **options):
        if self._pin is None or arguments or options:
            self.init(*arguments, **options)

    def init(self, src, edge=RISING, direction=UP, *, filter_ns=0):
        self.deinit()
        self._pin = src._number
        self._edge = edge
        self._step = 1 if direction == Counter.UP else -1
        self._count = 0
        # whole microseconds, as all of the world's time: what is stable for less is not seen
        self._filter_us = (min(max(0, filter_ns * _CYCLE_NS_OF_80 // 1000), _LONGEST) * 25 // 2 + 999) // 1000
        self._level = pins.level(self._pin)
        self._unsure = None
        pins.count(self._unit, self._pin, self._changed)

    def deinit(self):
        if self._pin is not None:
            pins.count(self._unit, self._pin, None)
            self._pin = None

    def value(self, value=None):
        if self._pin is None:
            raise RuntimeError("not initialised")
        worldtime.now()  # every pulse up to now is in
        counted = self._count
        if value is not None:
            self._count = value
        return counted

    def _changed(self, level):
        if not self._filter_us:
            self._settled(level)
            return
        if self._unsure is not None:
            worldtime.forget(self._unsure)
        self._unsure = worldtime.at(worldtime.now() + self._filter_us, self._settled, level)

    def _settled(self, level):
        self._unsure = None
        if level != self._level:
            self._level = level
            if self._edge & (Counter.RISING if level else Counter.FALLING):
                self._count += self._step
