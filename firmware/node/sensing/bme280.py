"""Bosch BME280: air pressure, temperature and humidity over I2C (data sheet BST-BME280-DS001, section 4.2.3).

Forced mode: it measures once when told and sleeps. Its answers carry no checksum, so the calibration is read
twice and must be the same, and all values pass the range gates. The data sheet's integer formulas.

node.json: {"driver": "bme280", "i2c": 0, "scl": 22, "sda": 21, "address": 118, "every_s": 30}.
"""

import asyncio
from struct import unpack

from micropython import const

from node.sensing import SensorFault, register, whole
from node.sensing.i2c import bus
from node.sensing.sampler import Sampler
from peilmerk_protocol import quantities

_ID = const(0xD0)
_BME280 = const(0x60)
_RESET = const(0xE0)
_HUMIDITY_MODE = const(0xF2)
_STATUS = const(0xF3)
_COPYING = const(1)
_MEASURING = const(8)
_MODE = const(0xF4)
_DATA = const(0xF7)
_CALIBRATION = const(0x88)
_CALIBRATION_2 = const(0xE1)
_POLL_MS = const(10)
_POLLS = const(20)


def calibration(low, high):
    """T1..T3, P1..P9, H1..H6 of the 26 bytes from 0x88 and the 7 from 0xE1. Raises SensorFault."""
    found = unpack("<HhhHhhhhhhhh", low)
    h2, h3, h4, middle, h5, h6 = unpack("<hBbBbb", high)
    if not found[0] or not found[3]:
        raise SensorFault("found an empty calibration")
    return found + (low[25], h2, h3, h4 << 4 | middle & 15, h5 << 4 | middle >> 4, h6)


def temperature(c, raw):
    """(0.01 Cel, t_fine) of the 20 raw bits."""
    near = (raw >> 4) - c[0]
    t_fine = ((((raw >> 3) - (c[0] << 1)) * c[1]) >> 11) + ((((near * near) >> 12) * c[2]) >> 14)
    return (t_fine * 5 + 128) >> 8, t_fine


def pressure(c, t_fine, raw):
    """Pressure in 1/256 Pa of the 20 raw bits."""
    a = t_fine - 128000
    b = a * a * c[8] + ((a * c[7]) << 17) + (c[6] << 35)
    a = ((a * a * c[5]) >> 8) + ((a * c[4]) << 12)
    a = (((1 << 47) + a) * c[3]) >> 33
    if a <= 0:
        raise SensorFault("found a calibration that gives no pressure")
    p = (((1048576 - raw) << 31) - b) * 3125 // a
    return ((p + ((c[11] * (p >> 13) * (p >> 13)) >> 25) + ((c[10] * p) >> 19)) >> 8) + (c[9] << 4)


def humidity(c, t_fine, raw):
    """Relative humidity in 1/1024 % of the 16 raw bits."""
    v = t_fine - 76800
    slope = ((v * c[17]) >> 10) * (((v * c[14]) >> 11) + 32768)
    slope = (((slope >> 10) + 2097152) * c[13] + 8192) >> 14
    v = (((raw << 14) - (c[15] << 20) - c[16] * v + 16384) >> 15) * slope
    v -= (((v >> 15) * (v >> 15)) >> 7) * c[12] >> 4
    return min(max(v, 0), 419430400) >> 12


class Bme280(Sampler):
    """The sensor of one entry of node.json."""

    measures = (quantities.PRESSURE, quantities.TEMPERATURE, quantities.HUMIDITY)

    def __init__(self, spec):
        super().__init__(spec, 30)
        self._address = whole(spec, "address", 0x76, 0x77, 0x76)
        self._bus = bus(spec)
        self._calibration: tuple = ()

    async def setup(self):
        found = self._read(_ID, 1)[0]
        if found != _BME280:
            raise SensorFault("found chip %02x, wanted %02x" % (found, _BME280))
        await self._until_clear(_COPYING)
        twice = [(self._read(_CALIBRATION, 26), self._read(_CALIBRATION_2, 7)) for _ in (0, 1)]
        if twice[0] != twice[1]:
            self.damaged += 1
            raise SensorFault("found two calibrations, wanted the same twice")
        self._calibration = calibration(*twice[0])

    async def sample(self):
        self._write(_HUMIDITY_MODE, 1)
        # Temperature and pressure once each, forced.
        self._write(_MODE, 0x25)
        await self._until_clear(_MEASURING)
        data = self._read(_DATA, 8)
        raw = [data[at] << 12 | data[at + 1] << 4 | data[at + 2] >> 4 for at in (0, 3)]
        if 0x80000 in raw:
            raise SensorFault("found no measurement")
        c = self._calibration
        hundredths, t_fine = temperature(c, raw[1])
        return (
            (pressure(c, t_fine, raw[0]) + 1280) // 2560,
            (hundredths + 5) // 10,
            (humidity(c, t_fine, data[6] << 8 | data[7]) * 10 + 512) >> 10,
        )

    async def reset(self):
        self._write(_RESET, 0xB6)
        await asyncio.sleep_ms(_POLL_MS)

    async def _until_clear(self, bit):
        for _ in range(_POLLS):
            await asyncio.sleep_ms(_POLL_MS)
            if not self._read(_STATUS, 1)[0] & bit:
                return
        raise SensorFault("busy for %d ms" % (_POLLS * _POLL_MS))

    def _read(self, register, number):
        return self._bus.readfrom_mem(self._address, register, number)

    def _write(self, register, value):
        self._bus.writeto_mem(self._address, register, bytes((value,)))


register("bme280", Bme280)
