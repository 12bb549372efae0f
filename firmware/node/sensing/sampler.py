"""What all drivers that sample share: the cycle, the range gates, and what is done about trouble.

A sample is asked for every `every_s` seconds. It counts when all its values lie within the ranges of their
quantities; otherwise, and when the sensor does not answer, that is a fault, and the sensor is brought into
its known state again before the next one. After 10 faults in a row the sensor is reset: its supply is cut for
a second when node.json says which pin switches it ("power"), then its own reset follows. So again after every
10 more.

node.json, every driver: "every_s", and "power": a pin, high while the sensor is to have its supply.
"""

import asyncio
from time import ticks_add, ticks_diff, ticks_ms

from machine import Pin
from micropython import const

from node.console import say
from node.sensing import Driver, SensorFault, whole
from peilmerk_protocol import quantities

_RESET_AFTER = const(10)
_OFF_MS = const(1000)
# After power-on; the slowest is the SCD4x, which answers after 1 s.
_ON_MS = const(1200)
# A sensor in trouble is left alone for so long at least.
_PAUSE_MS = const(1000)

latest: dict = {}
"""The last good value of each quantity on this board, in wire units, for drivers that correct by another."""


class Sampler(Driver):
    """A sensor that is asked. A driver says what it `measures`, and overrides `sample` and what it needs.

    measures: quantity numbers in the order of a sample's values; `quantities` may be fewer of them.
    """

    measures: "tuple[int, ...]" = ()

    def __init__(self, spec, every_s, least_s=1):
        super().__init__()
        self.name = spec["driver"]
        self.quantities = self.measures
        self.every_s = whole(spec, "every_s", least_s, 3600, every_s)
        self._power = Pin(whole(spec, "power", 0, 48), Pin.OUT) if "power" in spec else None
        self._row = 0

    def start(self):
        if self._power:
            self._power.value(1)

    def stop(self):
        try:
            self.rest()
        except OSError:
            pass
        if self._power:
            self._power.value(0)

    def rest(self):
        """Send the sensor to sleep without waiting for an answer: nothing is measured any more."""

    def expected(self, window_s):
        return window_s // self.every_s

    async def setup(self):
        """Bring the sensor into its known state; True when the first sample is to be had a cycle later."""

    async def sample(self):
        """One value for each of `measures`, in wire units. Raises SensorFault or OSError."""
        raise NotImplementedError

    async def reset(self):
        """The sensor's own reset. Raises SensorFault or OSError."""

    async def run(self, record):
        ready = False
        if self._power:
            await asyncio.sleep_ms(_ON_MS)
        due = ticks_ms()
        while True:
            try:
                later = False
                if not ready:
                    later = await self.setup()
                    ready = True
                if not later:
                    values = await self.sample()
                    self._judge(values)
                    self._row = 0
                    self.succeeded()
                    for place in range(len(values)):
                        quantity = self.measures[place]
                        latest[quantity] = values[place]
                        if quantity in self.quantities:
                            record(quantity, values[place])
            except (SensorFault, OSError) as fault:
                ready = False
                await self._trouble(fault)
            due = ticks_add(due, self.every_s * 1000)
            left = ticks_diff(due, ticks_ms())
            if left < 0:
                due = ticks_ms()
            await asyncio.sleep_ms(max(left, _PAUSE_MS if not ready else 0))

    def _judge(self, values):
        for place in range(len(values)):
            lowest, highest = quantities.value_range(self.measures[place])
            if not lowest <= values[place] <= highest:
                raise SensorFault(
                    "quantity %d: found %d, wanted %d to %d"
                    % (self.measures[place], values[place], lowest, highest)
                )

    async def _trouble(self, fault):
        if self.healthy:
            # The first of a row only: a console is no log.
            say("sensing: %s: %s", self.name, fault)
        self.failed()
        self._row += 1
        if self._row < _RESET_AFTER:
            return
        self._row = 0
        self.resets += 1
        if self._power:
            self._power.value(0)
            await asyncio.sleep_ms(_OFF_MS)
            self._power.value(1)
            await asyncio.sleep_ms(_ON_MS)
        try:
            await self.reset()
        except (SensorFault, OSError):
            pass  # what it is worth, the next sample tells
