"""SCD40/41 carbon dioxide sensor on I2C at 0x62 (Sensirion, Datasheet SCD4x, version 1.4).

21B1 measures every 5 s, 21AC every 30 s, 3F86 stops (500 ms, until then nothing is acknowledged). While it
measures only reading, the ready flag, the stop and the ambient pressure are taken. E4B8: data are ready when
the lower 11 bits are not 0. EC05 reads CO2 in ppm, temperature -45 + 175 w / 65536 and humidity
100 w / 65536, once. 2427 altitude in m, E000 pressure in hPa, 3646 reinit, 3682 serial number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from peilmerk_bench.sensors.device import Nack, Served
from peilmerk_bench.sensors.sensirion import SensirionI2c, words

SEA_LEVEL = 1013
INTERVAL_S = {0x21B1: 5.0, 0x21AC: 30.0}
BUSY_S = {0x3F86: 0.5, 0x2427: 0.001, 0xE000: 0.001, 0x3646: 0.03, 0x3632: 1.2}
BOOT_S = 1.0
NOT_READY = 0x8000
READY = 0x8006
SERIAL = (0xF896, 0x9F07, 0x3B3C)

Gas = Callable[[float], float]
"""CO2 in ppm at a moment."""
Climate = Callable[[float], tuple[float, float]]
"""Temperature in degrees Celsius and relative humidity in percent at a moment."""


def temperature_word(celsius: float) -> int:
    return min(max(round((celsius + 45) * 65536 / 175), 0), 65535)


def humidity_word(percent: float) -> int:
    return min(max(round(percent * 65536 / 100), 0), 65535)


@dataclass
class SCD4x(SensirionI2c):
    """The simulator. gas, climate: what it would measure; told_pressure, altitude_m: what it was told;
    interval_s: how often it measures, None at rest.
    """

    BUSY_S = BUSY_S

    gas: Gas = lambda at: 420.0
    climate: Climate = lambda at: (20.0, 50.0)
    address: int = 0x62
    told_pressure: int = SEA_LEVEL
    altitude_m: int = 0
    interval_s: float | None = None
    _due: float = 0.0

    def power(self, at: float, on: bool) -> None:
        self.interval_s = None
        self.told_pressure = SEA_LEVEL
        self.forget()
        self.busy(at, BOOT_S if on else float("inf"))

    def obey(self, at: float, command: int, arguments: list[int]) -> None:
        if self.interval_s is not None and command not in (0xEC05, 0xE4B8, 0x3F86, 0xE000):
            raise Nack
        if command in INTERVAL_S:
            self.interval_s = INTERVAL_S[command]
            self._due = at + self.interval_s
        elif command == 0x3F86:
            self.interval_s = None
        elif command == 0xE4B8:
            self.leave(READY if self._ready(at) else NOT_READY)
        elif command == 0xEC05:
            if not self._ready(at):
                raise Nack
            self.leave_later(self._measured)
        elif command == 0x2427 and len(arguments) == 1:
            self.altitude_m = arguments[0]
        elif command == 0xE000 and len(arguments) == 1:
            self.told_pressure = arguments[0]
        elif command == 0x3682:
            self.leave(*SERIAL)
        elif command not in (0x3646, 0x3632):
            raise Nack

    def _ready(self, at: float) -> bool:
        return self.interval_s is not None and at >= self._due

    def _measured(self, at: float) -> bytes:
        assert self.interval_s is not None
        self._due += self.interval_s * (1 + int((at - self._due) / self.interval_s))
        raw = self.sees(self._raw, at)
        values = {
            "co2": float(raw[0]),
            "temperature": -45 + 175 * raw[1] / 65536,
            "humidity": 100 * raw[2] / 65536,
        }
        self.served.append(Served(at, self.name, values, not self.bad_checksums))
        return words(*raw)

    def _raw(self, at: float) -> tuple[int, int, int]:
        celsius, percent = self.climate(at)
        return round(self.gas(at)), temperature_word(celsius), humidity_word(percent)
