"""Sensirion SHT3x: air temperature and relative humidity over I2C (data sheet SHT3x-DIS, section 4).

Single shots of high repeatability, every word's CRC checked, three attempts.

node.json: {"driver": "sht3x", "i2c": 0, "scl": 22, "sda": 21, "address": 68, "every_s": 30}.
"""

from micropython import const

from node.sensing import register, whole
from node.sensing.sampler import Sampler
from node.sensing.sensirion import Words
from peilmerk_protocol import quantities

_MEASURE = const(0x2400)
_RESET = const(0x30A2)


def celsius(word, full):
    """Temperature in 0.1 Cel of a word that counts to `full` for 175 degrees, from -45."""
    return (1750 * word + full // 2) // full - 450


def percent(word, full):
    """Relative humidity in 0.1 % of a word that counts to `full` for 100 %."""
    return (1000 * word + full // 2) // full


class Sht3x(Sampler):
    """The sensor of one entry of node.json."""

    measures = (quantities.TEMPERATURE, quantities.HUMIDITY)

    def __init__(self, spec):
        super().__init__(spec, 30)
        self._words = Words(self, spec, whole(spec, "address", 0x44, 0x45, 0x44))

    async def sample(self):
        # A measurement takes 15.5 ms at most.
        temperature, humidity = await self._words.ask(_MEASURE, 2)
        return celsius(temperature, 65535), percent(humidity, 65535)

    async def reset(self):
        await self._words.ask(_RESET)


register("sht3x", Sht3x)
