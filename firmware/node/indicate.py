"""Shows how the board is doing by one light or buzzer, for whoever stands before it.

A pattern is a row of lengths in units of 50 ms, alternately on and off, repeated; docs/citizen.md has the
table in words, and a test holds the two together. One small task drives it. Loaded only where there is a
light.
"""

import asyncio

from machine import Pin
from micropython import const

START = const(0)
SETUP = const(1)
JOINING = const(2)
CONNECTING = const(3)
WORKING = const(4)
FAULT = const(5)
PAUSED = const(6)
IDENTIFY = const(7)
UPDATING = const(8)
SAFE = const(9)

UNIT_MS = const(50)
# The state is asked for every so many units.
_ASK = const(10)
# By state; a light that works hardly ever shines, so that nobody is kept awake.
PATTERNS = (
    b"\x02\x02",  # START: a fast flicker
    b"\x14\x14",  # SETUP: a second on, a second off
    b"\x04\x04\x04\x1c",  # JOINING: two flashes every two seconds
    b"\x04\x04\x04\x04\x04\x1c",  # CONNECTING: three flashes
    b"\x01\xc7",  # WORKING: one short flash every ten seconds
    b"\x04\x04\x04\x04\x04\x04\x04\x1c",  # FAULT: four flashes
    b"\x28\x50",  # PAUSED: two seconds on, four off
    b"\x01\x01",  # IDENTIFY: as fast as can be seen
    b"\x0a\x02",  # UPDATING: on, with short gaps
    b"\x04\x04\x04\x04\x04\x04\x04\x04\x04\x1c",  # SAFE: five flashes
)


class Indicator:
    """`spec` is node.json's "indicator": {"pin": number, "active": 0 or 1}."""

    def __init__(self, spec):
        self.state = START
        self._active = spec.get("active", 1)
        self._pin = Pin(spec["pin"], Pin.OUT, value=1 - self._active)

    async def run(self, doing):
        """Work for ever, asking doing() for the state twice a second."""
        pin = self._pin
        since = 0
        while True:
            shown = self.state
            level = self._active
            for units in PATTERNS[shown]:
                pin.value(level)
                level ^= 1
                # In short steps, so that a new state shows soon.
                for _ in range(units):
                    await asyncio.sleep_ms(UNIT_MS)
                    since += 1
                    if since >= _ASK:
                        since = 0
                        self.state = doing()
                    if self.state != shown:
                        break
                if self.state != shown:
                    break
