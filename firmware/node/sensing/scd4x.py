"""Sensirion SCD4x: carbon dioxide, with the temperature and humidity it needs itself, over I2C (data sheet
SCD4x, section 3).

It measures by itself every 5 s, or every 30 s in low-power mode; settings are taken only while it rests, so
each start is a stop first. The air's pressure goes to it from a barometer on the same board, or else its
altitude is told once.

node.json: {"driver": "scd4x", "i2c": 0, "scl": 22, "sda": 21, "low_power": 0, "altitude_m": 0,
"every_s": 30}.
"""

import asyncio

from micropython import const

from node.sensing import SensorFault, register, whole
from node.sensing.sampler import Sampler, latest
from node.sensing.sensirion import Words
from node.sensing.sht3x import celsius, percent
from peilmerk_protocol import quantities

_ADDRESS = const(0x62)
_PERIODIC = const(0x21B1)
_LOW_POWER = const(0x21AC)
_STOP = const(0x3F86)
_STOP_MS = const(500)
_ALTITUDE = const(0x2427)
_PRESSURE = const(0xE000)
_READY = const(0xE4B8)
_READY_BITS = const(0x07FF)
_READ = const(0xEC05)
_REINIT = const(0x3646)


class Scd4x(Sampler):
    """The sensor of one entry of node.json."""

    measures = (quantities.CO2, quantities.TEMPERATURE, quantities.HUMIDITY)

    def __init__(self, spec):
        low_power = whole(spec, "low_power", 0, 1, 0)
        self._cycle_s = 30 if low_power else 5
        super().__init__(spec, 30, self._cycle_s)
        self._altitude = whole(spec, "altitude_m", 0, 3000, 0)
        self._words = Words(self, spec, _ADDRESS)
        self._pressure = 0

    def rest(self):
        self._words.send(_STOP)

    async def setup(self):
        ask = self._words.ask
        await ask(_STOP, wait_ms=_STOP_MS)
        await ask(_ALTITUDE, 0, self._altitude)
        await ask(_LOW_POWER if self._cycle_s == 30 else _PERIODIC)
        self._pressure = 0

    async def sample(self):
        ask = self._words.ask
        pressure = latest.get(quantities.PRESSURE, 0) // 10
        if pressure != self._pressure and 700 <= pressure <= 1200:
            await ask(_PRESSURE, 0, pressure)
            self._pressure = pressure
        for _ in range(self._cycle_s + 5):
            if (await ask(_READY, 1))[0] & _READY_BITS:
                break
            await asyncio.sleep_ms(1000)
        else:
            raise SensorFault("no sample in %d s" % (self._cycle_s + 5))
        co2, temperature, humidity = await ask(_READ, 3)
        return co2, celsius(temperature, 65536), percent(humidity, 65536)

    async def reset(self):
        await self._words.ask(_STOP, wait_ms=_STOP_MS)
        await self._words.ask(_REINIT)


register("scd4x", Scd4x)
