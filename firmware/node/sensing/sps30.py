"""Sensirion SPS30: particulate matter PM1, PM2.5 and PM10 over I2C, or over UART (data sheet SPS30, sections
4 and 6).

Between samples it rests with its fan off. A cycle is start, 30 s until its figures are steady, read, stop.
Its own weekly cleaning counts only while it measures, so the driver has it clean itself, once a week on
average: by chance, because a node that sleeps between samples remembers nothing.

node.json: {"driver": "sps30", "i2c": 0, "scl": 22, "sda": 21, "every_s": 120, "warm_up_s": 30}, or with
"uart", "tx" and "rx" in place of the bus.
"""

import asyncio
from random import getrandbits

from micropython import const

from node.sensing import SensorFault, register, whole
from node.sensing.sampler import Sampler
from node.sensing.sensirion import Words, tenths
from peilmerk_protocol import quantities

_ADDRESS = const(0x69)
_START = const(0x0010)
_STOP = const(0x0104)
_READ = const(0x0300)
_CLEAN = const(0x5607)
_RESET = const(0xD304)
_CLEAN_EVERY_S = const(604800)
_CLEAN_S = const(12)


def _port(owner, spec):
    if "uart" not in spec:
        return Words(owner, spec, _ADDRESS)
    from node.sensing.shdlc import Shdlc

    return Shdlc(owner, spec)


class Sps30(Sampler):
    """The sensor of one entry of node.json."""

    measures = (quantities.PM1, quantities.PM2_5, quantities.PM10)

    def __init__(self, spec):
        self._warm_up_s = whole(spec, "warm_up_s", 8, 60, 30)
        super().__init__(spec, 120, self._warm_up_s + _CLEAN_S + 1)
        self._port = _port(self, spec)

    def rest(self):
        self._port.send(_STOP)

    async def setup(self):
        # It may still measure, from before our reset: start is refused then.
        try:
            await self._port.ask(_STOP)
        except SensorFault:
            pass

    async def sample(self):
        ask = self._port.ask
        await ask(_START, 0, self._port.START)
        if getrandbits(30) % _CLEAN_EVERY_S < self.every_s:
            await ask(_CLEAN)
            await asyncio.sleep(_CLEAN_S)
        await asyncio.sleep(self._warm_up_s)
        # Mass of PM1, PM2.5, PM4 and PM10, then numbers and size: floats of two words.
        # New ones come every second: so long at least from one attempt to the next.
        words = await ask(_READ, 20, wait_ms=600)
        await ask(_STOP)
        return [tenths(words[at], words[at + 1]) for at in (0, 2, 6)]

    async def reset(self):
        await self._port.ask(_RESET)


register("sps30", Sps30)
