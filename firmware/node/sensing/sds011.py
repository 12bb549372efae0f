"""Nova SDS011: particulate matter PM2.5 and PM10 over UART (Laser Dust Sensor Control Protocol V1.3).

The sensor keeps its mode through our resets, so work, query mode and continuous period are forced at start
and after every fault. Between samples it sleeps: its laser and fan last 8,000 hours. A cycle is wake, 15 s
warm-up, one query, sleep. Checksums and ranges are checked; every command has a time-out and three
attempts.

node.json: {"driver": "sds011", "uart": 1, "tx": 17, "rx": 16, "cycle_s": 145, "warm_up_s": 15}.
"""

import asyncio
from time import ticks_add, ticks_diff, ticks_ms

from machine import UART
from micropython import const

from node.sensing import Driver, SensorFault, register, whole
from peilmerk_protocol import quantities

_FRAME = const(10)
_DATA = const(0xC0)
_REPLY = const(0xC5)
_REPORT_MODE = const(2)
_QUERY = const(4)
_WORK = const(6)
_PERIOD = const(8)
_GET = const(0)
_SET = const(1)

_ATTEMPTS = const(3)
_ANSWER_MS = const(1000)
_POLL_MS = const(50)
# The sensor's own upper limit, 999.9 ug/m3.
_HIGHEST = const(9999)


def command(number, write, value):
    """The 19 bytes of a command to all sensors on the line: `write` 1 sets `value`, 0 asks."""
    frame = bytearray(19)
    frame[0:5] = bytes((0xAA, 0xB4, number, write, value))
    frame[15] = frame[16] = 0xFF
    frame[17] = sum(frame[2:17]) & 0xFF
    frame[18] = 0xAB
    return bytes(frame)


class Frames:
    """Finds whole frames in what the line brings; garbage and wrong checksums are skipped and counted."""

    def __init__(self):
        self._buffer = bytearray(_FRAME)
        self._held = 0
        self.damaged = 0

    def clear(self):
        """Forget a frame begun."""
        self._held = 0

    def feed(self, byte):
        """Take one byte; return the 10 bytes of a frame (AA C0 or AA C5 … checksum AB) when it completes
        one.
        """
        self._buffer[self._held] = byte
        self._held += 1
        if self._held < _FRAME:
            if self._buffer[0] != 0xAA or (self._held > 1 and self._buffer[1] not in (_DATA, _REPLY)):
                self._resume()
            return None
        frame = bytes(self._buffer)
        if frame[9] == 0xAB and sum(frame[2:8]) & 0xFF == frame[8]:
            self._held = 0
            return frame
        self.damaged += 1
        self._resume()
        return None

    def _resume(self):
        # The true start may lie inside what looked like a frame.
        held = bytes(self._buffer[1 : self._held])
        self._held = 0
        for byte in held:
            self.feed(byte)


def parse(frame):
    """(PM2.5, PM10) in 0.1 ug/m3 of a data frame. Raises SensorFault when out of the sensor's range."""
    fine = frame[2] | frame[3] << 8
    coarse = frame[4] | frame[5] << 8
    if fine > _HIGHEST or coarse > _HIGHEST:
        raise SensorFault("sds011: found %d and %d, wanted at most %d" % (fine, coarse, _HIGHEST))
    return fine, coarse


class Sds011(Driver):
    """The sensor of one entry of node.json."""

    quantities = (quantities.PM2_5, quantities.PM10)

    def __init__(self, spec):
        super().__init__()
        self._warm_up_s = whole(spec, "warm_up_s", 1, 60, 15)
        self._cycle_s = whole(spec, "cycle_s", 1, 3600, 145)
        self._uart = UART(
            whole(spec, "uart", 0, 2),
            baudrate=9600,
            tx=whole(spec, "tx", 0, 48),
            rx=whole(spec, "rx", 0, 48),
        )
        self._frames = Frames()
        self._forced = False

    def start(self):
        self._forced = False

    async def run(self, record):
        while True:
            began = ticks_ms()
            try:
                fine, coarse = await self.sample()
            except (SensorFault, OSError):
                self.failed()
                self._forced = False
            else:
                self.succeeded()
                record(quantities.PM2_5, fine)
                record(quantities.PM10, coarse)
            rest = self._cycle_s * 1000 - ticks_diff(ticks_ms(), began)
            await asyncio.sleep_ms(max(rest, 1000))

    async def sample(self):
        """One cycle: wake, warm up, ask, sleep. Returns (PM2.5, PM10) in wire units; raises SensorFault."""
        await self._order(_WORK, 1)
        if not self._forced:
            await self._order(_REPORT_MODE, 1)
            await self._order(_PERIOD, 0)
            self._forced = True
        await asyncio.sleep(self._warm_up_s)
        values = parse(await self._ask(command(_QUERY, _GET, 0), _DATA, None))
        try:
            await self._order(_WORK, 0)
        except SensorFault:
            # The sample is good all the same; only the laser stays on.
            self.faults += 1
            self._forced = False
        return values

    def damaged(self):
        """How many frames came with a wrong checksum."""
        return self._frames.damaged

    async def _order(self, number, value):
        await self._ask(command(number, _SET, value), _REPLY, bytes((number, _SET, value)))

    async def _ask(self, order, kind, echo):
        for _ in range(_ATTEMPTS):
            while self._uart.any():
                self._uart.read(self._uart.any())
            self._frames.clear()
            self._uart.write(order)
            deadline = ticks_add(ticks_ms(), _ANSWER_MS)
            while ticks_diff(deadline, ticks_ms()) > 0:
                await asyncio.sleep_ms(_POLL_MS)
                frame = self._received(kind, echo)
                if frame is not None:
                    return frame
        raise SensorFault("sds011: no answer to command %d in %d attempts" % (order[2], _ATTEMPTS))

    def _received(self, kind, echo):
        waiting = self._uart.any()
        found = None
        for byte in (self._uart.read(waiting) or b"") if waiting else b"":
            frame = self._frames.feed(byte)
            if frame is not None and frame[1] == kind and (echo is None or frame[2:5] == echo):
                found = frame
        return found


register("sds011", Sds011)
