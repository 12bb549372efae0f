"""Sensirion SHT3x: air temperature and relative humidity over I2C (data sheet SHT3x-DIS, section 4).

Single shots of high repeatability; every word's CRC-8 (polynomial 0x31, start 0xFF) is checked; values out
of range are refused. Three attempts a sample, a soft reset after a sample that failed.

node.json: {"driver": "sht3x", "i2c": 0, "scl": 22, "sda": 21, "address": 68, "every_s": 30}.
"""

import asyncio

from machine import I2C, Pin
from micropython import const

from node.sensing import Driver, SensorFault, register, whole
from peilmerk_protocol import quantities

_MEASURE = b"\x24\x00"
_RESET = b"\x30\xa2"
# The data sheet's longest measurement is 15.5 ms; a soft reset takes 1.5 ms.
_MEASURE_MS = const(20)
_RESET_MS = const(5)
_ATTEMPTS = const(3)


def crc8(data):
    """The CRC-8 of Sensirion over bytes: 0xBE 0xEF gives 0x92."""
    crc = 0xFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = ((crc << 1) ^ 0x31 if crc & 0x80 else crc << 1) & 0xFF
    return crc


def parse(answer):
    """(temperature in 0.1 Cel, humidity in 0.1 %) of a 6-byte answer. Raises SensorFault."""
    if len(answer) != 6:
        raise SensorFault("sht3x: found %d bytes, wanted 6" % len(answer))
    for at in (0, 3):
        if crc8(answer[at : at + 2]) != answer[at + 2]:
            raise SensorFault(
                "sht3x: found CRC %02x, wanted %02x" % (answer[at + 2], crc8(answer[at : at + 2]))
            )
    temperature = (1750 * (answer[0] << 8 | answer[1]) + 32767) // 65535 - 450
    humidity = (1000 * (answer[3] << 8 | answer[4]) + 32767) // 65535
    if not quantities.fits(quantities.TEMPERATURE, (temperature, 0)):
        raise SensorFault("sht3x: found %d, wanted a temperature within -40 to 85 Cel" % temperature)
    return temperature, humidity


class Sht3x(Driver):
    """The sensor of one entry of node.json."""

    quantities = (quantities.TEMPERATURE, quantities.HUMIDITY)

    def __init__(self, spec):
        super().__init__()
        self._address = whole(spec, "address", 0x44, 0x45, 0x44)
        self._every_s = whole(spec, "every_s", 1, 3600, 30)
        self._bus = I2C(
            whole(spec, "i2c", 0, 1),
            scl=Pin(whole(spec, "scl", 0, 48)),
            sda=Pin(whole(spec, "sda", 0, 48)),
            freq=100000,
        )

    async def run(self, record):
        await self._reset()
        while True:
            try:
                temperature, humidity = await self.sample()
            except SensorFault:
                self.failed()
                await self._reset()
            else:
                self.succeeded()
                record(quantities.TEMPERATURE, temperature)
                record(quantities.HUMIDITY, humidity)
            await asyncio.sleep(self._every_s)

    async def sample(self):
        """One checked (temperature, humidity) in wire units. Raises SensorFault after three attempts."""
        reason = None
        for _ in range(_ATTEMPTS):
            try:
                self._bus.writeto(self._address, _MEASURE)
                await asyncio.sleep_ms(_MEASURE_MS)
                return parse(self._bus.readfrom(self._address, 6))
            except (OSError, SensorFault) as fault:
                reason = fault
            await asyncio.sleep_ms(_MEASURE_MS)
        raise SensorFault("sht3x: no sample in %d attempts: %s" % (_ATTEMPTS, reason))

    async def _reset(self):
        try:
            self._bus.writeto(self._address, _RESET)
        except OSError:
            pass  # it does not acknowledge while it is wedged: the next sample tells
        await asyncio.sleep_ms(_RESET_MS)


register("sht3x", Sht3x)
