"""Nova SDS011: particulate matter PM2.5 and PM10 over UART (Laser Dust Sensor Control Protocol V1.3).

The sensor keeps its mode through our resets, so work, query mode and continuous period are forced at start
and after every fault. Between samples it sleeps: its laser and fan last 8,000 hours. A cycle is wake, 15 s
warm-up, one query, sleep. Checksums and ranges are checked; every command has a time-out and three
attempts.

node.json: {"driver": "sds011", "uart": 1, "tx": 17, "rx": 16, "every_s": 145, "warm_up_s": 15}.
"""

import asyncio

from micropython import const

from node.sensing import SensorFault, register, whole
from node.sensing.frames import DAMAGED, NOT, PART, Line
from node.sensing.sampler import Sampler
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


def command(number, write, value):
    """The 19 bytes of a command to all sensors on the line: `write` 1 sets `value`, 0 asks."""
    frame = bytearray(19)
    frame[0:5] = bytes((0xAA, 0xB4, number, write, value))
    frame[15] = frame[16] = 0xFF
    frame[17] = sum(frame[2:17]) & 0xFF
    frame[18] = 0xAB
    return bytes(frame)


def judge(frame, held):
    """10 for AA C0 or AA C5, six bytes, their sum, AB at the start of `frame`; see node.sensing.frames."""
    if frame[0] != 0xAA or (held > 1 and frame[1] not in (_DATA, _REPLY)):
        return NOT
    if held < _FRAME:
        return PART
    return _FRAME if frame[9] == 0xAB and sum(frame[2:8]) & 0xFF == frame[8] else DAMAGED


def parse(frame):
    """(PM2.5, PM10) in 0.1 ug/m3 of a data frame."""
    return frame[2] | frame[3] << 8, frame[4] | frame[5] << 8


class Sds011(Sampler):
    """The sensor of one entry of node.json."""

    measures = (quantities.PM2_5, quantities.PM10)

    def __init__(self, spec):
        self._warm_up_s = whole(spec, "warm_up_s", 1, 60, 15)
        super().__init__(spec, 145, self._warm_up_s + 1)
        self._line = Line(self, spec, 9600, _FRAME, judge)

    def rest(self):
        self._line.send(command(_WORK, _SET, 0))

    async def setup(self):
        await self._order(_WORK, 1)
        await self._order(_REPORT_MODE, 1)
        await self._order(_PERIOD, 0)

    async def sample(self):
        await self._order(_WORK, 1)
        await asyncio.sleep(self._warm_up_s)
        values = parse(await self._line.ask(command(_QUERY, _GET, 0), lambda frame: frame[1] == _DATA))
        try:
            await self._order(_WORK, 0)
        except SensorFault:
            # The sample is good all the same; only the laser stays on.
            self.faults += 1
        return values

    async def reset(self):
        await self._order(_WORK, 0)

    async def _order(self, number, value):
        echo = bytes((_REPLY, number, _SET, value))
        await self._line.ask(command(number, _SET, value), lambda frame: frame[1:5] == echo)


register("sds011", Sds011)
