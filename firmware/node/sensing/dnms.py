"""DNMS, the noise sensor of sensor.community: A-weighted level over I2C (hbitter/DNMS, firmware 3 and later).

It listens without pause. Each question closes its interval and begins the next one, and what it answers is
the energetic mean (LAeq), lowest and highest level (125 ms, LAmin and LAmax) of the interval since the last
question. No sound ever leaves it. The first interval after a start or a fault began nobody knows when: it is
thrown away. Samples come at equal intervals, so that the LAeq of a window is the mean of their energies and
its LAmax their maximum; the window adds them up so (node.window).

node.json: {"driver": "dnms", "i2c": 0, "scl": 22, "sda": 21, "every_s": 30}.
"""

import asyncio

from micropython import const

from node.sensing import SensorFault, register
from node.sensing.sampler import Sampler
from node.sensing.sensirion import Words, tenths
from peilmerk_protocol import quantities

_ADDRESS = const(0x55)
_RESET = const(0x0001)
_CLOSE = const(0x0003)
_READY = const(0x0004)
_READ = const(0x0005)
_POLLS = const(10)
_POLL_MS = const(200)
# The microphone's own noise is about 29 dB, and it overloads at 120 dB.
_LOWEST = const(200)
_HIGHEST = const(1300)


class Dnms(Sampler):
    """The sensor of one entry of node.json."""

    measures = (quantities.LAEQ, quantities.LAMAX)

    def __init__(self, spec):
        super().__init__(spec, 30)
        self._words = Words(self, spec, _ADDRESS)

    async def setup(self):
        await self._words.ask(_CLOSE)
        return True

    async def sample(self):
        ask = self._words.ask
        await ask(_CLOSE)
        for _ in range(_POLLS):
            if (await ask(_READY, 1))[0]:
                break
            await asyncio.sleep_ms(_POLL_MS)
        else:
            raise SensorFault("no level in %d ms" % (_POLLS * _POLL_MS))
        words = await ask(_READ, 6)
        mean, low, high = [tenths(words[at], words[at + 1]) for at in (0, 2, 4)]
        if not _LOWEST <= low <= mean <= high <= _HIGHEST:
            raise SensorFault("found levels %d, %d, %d, wanted min, mean, max" % (low, mean, high))
        return mean, high

    async def reset(self):
        await self._words.ask(_RESET)


register("dnms", Dnms)
