"""SHT30/31/35 humidity and temperature sensor on I2C (Sensirion, Datasheet SHT3x-DIS, version 6).

Temperature is -45 + 175 w / 65535 in degrees Celsius, humidity 100 w / 65535 in percent. A single shot
without clock stretching takes up to 15.5, 6.5 or 4.5 ms by repeatability; until then, and when there is
nothing to read, the sensor does not acknowledge. A result is read once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from peilmerk_bench.sensors.device import Nack, Served
from peilmerk_bench.sensors.sensirion import SensirionI2c, words

MEASURE_S = {0x2400: 0.0155, 0x240B: 0.0065, 0x2416: 0.0045}
RESET_S = 0.0015
STATUS_AFTER_RESET = 0x8010
CLEARED_BITS = 0x8C10
HEATER_BIT = 0x2000
COMMAND_FAILED_BIT = 0x0002

Climate = Callable[[float], tuple[float, float]]
"""Temperature in degrees Celsius and relative humidity in percent at a moment."""


def temperature_word(celsius: float) -> int:
    return min(max(round((celsius + 45) / 175 * 65535), 0), 65535)


def humidity_word(percent: float) -> int:
    return min(max(round(percent / 100 * 65535), 0), 65535)


@dataclass
class SHT3x(SensirionI2c):
    """The simulator. climate: what it would measure."""

    BUSY_S = MEASURE_S

    climate: Climate = lambda at: (20.0, 50.0)
    address: int = 0x44
    serial: int = 0x0123ABCD
    _status: int = STATUS_AFTER_RESET

    def power(self, at: float, on: bool) -> None:
        if on:
            self._reset(at)

    def obey(self, at: float, command: int, arguments: list[int]) -> None:
        self._status &= ~COMMAND_FAILED_BIT
        if command in MEASURE_S:
            raw = self.sees(self._raw, at)
            self.leave_later(lambda read_at: self._measured(read_at, raw))
        elif command == 0xF32D:
            self.leave(self._status)
        elif command == 0x3041:
            self._status &= ~CLEARED_BITS
        elif command == 0x30A2:
            self._reset(at)
        elif command in (0x306D, 0x3066):
            self._status = self._status | HEATER_BIT if command == 0x306D else self._status & ~HEATER_BIT
        elif command in (0x3780, 0x3682):
            self.leave(self.serial >> 16, self.serial & 0xFFFF)
        else:
            self._status |= COMMAND_FAILED_BIT
            raise Nack

    def _raw(self, at: float) -> tuple[int, int]:
        celsius, percent = self.climate(at)
        return temperature_word(celsius), humidity_word(percent)

    def _measured(self, at: float, raw: tuple[int, int]) -> bytes:
        values = {"temperature": -45 + 175 * raw[0] / 65535, "humidity": 100 * raw[1] / 65535}
        self.served.append(Served(at, self.name, values, not self.bad_checksums))
        return words(*raw)

    def _reset(self, at: float) -> None:
        self.busy(at, RESET_S)
        self.forget()
        self._status = STATUS_AFTER_RESET
