"""Frames on a serial line: found in whatever comes, asked for with a time-out and three attempts.

What a frame looks like is said by a function judge(buffer, held), which sees the first `held` bytes of
`buffer` and returns the length of the whole frame at its start, or PART, NOT or DAMAGED.
"""

import asyncio
from time import ticks_add, ticks_diff, ticks_ms

from machine import UART
from micropython import const

from node.sensing import SensorFault, whole

PART = 0
"""A frame may be coming: more bytes are wanted."""
NOT = -1
"""No frame begins with these bytes."""
DAMAGED = -2
"""A frame of the right shape with a wrong checksum."""

_ATTEMPTS = const(3)
_ANSWER_MS = const(1000)
_POLL_MS = const(50)


class Frames:
    """Finds whole frames of at most `longest` bytes; damaged ones are counted at `owner`.damaged."""

    def __init__(self, owner, longest, judge):
        self._owner = owner
        self._judge = judge
        self._buffer = bytearray(longest)
        self._held = 0

    def clear(self):
        """Forget a frame begun."""
        self._held = 0

    def feed(self, byte):
        """Take one byte; return the bytes of a frame when there is a whole one, or else None."""
        buffer = self._buffer
        buffer[self._held] = byte
        self._held += 1
        while self._held:
            found = self._judge(buffer, self._held)
            if found > 0:
                frame = bytes(buffer[:found])
                self._drop(found)
                return frame
            if found == PART and self._held < len(buffer):
                return None
            if found == DAMAGED:
                self._owner.damaged += 1
            # The true start may lie inside what looked like a frame.
            self._drop(1)
        return None

    def _drop(self, number):
        left = self._held - number
        self._buffer[:left] = self._buffer[number : self._held]
        self._held = left


class Line:
    """The UART of one entry of node.json, 8N1, and the frames on it."""

    def __init__(self, owner, spec, baud, longest, judge):
        self._name = spec["driver"]
        self._frames = Frames(owner, longest, judge)
        self._uart = UART(
            whole(spec, "uart", 0, 2),
            baudrate=baud,
            tx=whole(spec, "tx", 0, 48),
            rx=whole(spec, "rx", 0, 48),
        )

    def send(self, order):
        """Send bytes and wait for nothing."""
        self._uart.write(order)

    async def ask(self, order, wanted):
        """Send `order` and return the first frame that wanted(frame) says yes to. Raises SensorFault."""
        for _ in range(_ATTEMPTS):
            self._waiting()
            self._frames.clear()
            self._uart.write(order)
            deadline = ticks_add(ticks_ms(), _ANSWER_MS)
            while ticks_diff(deadline, ticks_ms()) > 0:
                await asyncio.sleep_ms(_POLL_MS)
                for byte in self._waiting():
                    frame = self._frames.feed(byte)
                    if frame is not None and wanted(frame):
                        return frame
        raise SensorFault("%s: no answer to %s in %d attempts" % (self._name, order.hex(), _ATTEMPTS))

    def _waiting(self):
        number = self._uart.any()
        return (self._uart.read(number) or b"") if number else b""
