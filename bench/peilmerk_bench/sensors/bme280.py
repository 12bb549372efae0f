"""BME280 pressure, temperature and humidity sensor on I2C at 0x76 or 0x77 (Bosch, BST-BME280-DS001).

Registers: D0 chip id 60, E0 reset (B6), F2 humidity oversampling, F3 status (bit 3 measuring, bit 0 copying
the calibration), F4 mode and oversampling (01 in the low bits: measure once), F7 to FE the raw values, 88 to
A1 and E1 to E7 the calibration. F2 takes effect with the next write to F4. There is no checksum.

The raw values of an air are found by turning the data sheet's floating-point formulas (section 8.1) round, so
that a driver with the integer formulas is held against something else than itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from peilmerk_bench.sensors.device import I2cDevice, Nack, Served

RESET_S = 0.002
MEASURE_S = 0.0093
SKIPPED = 0x80000

Weather = Callable[[float], tuple[float, float, float]]
"""Pressure in hPa, temperature in degrees Celsius and relative humidity in percent at a moment."""


@dataclass(frozen=True)
class Calibration:
    """T and P of Bosch's example; H of an ordinary sensor."""

    t: tuple[int, int, int] = (27504, 26435, -1000)
    p: tuple[int, ...] = (36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000)
    h: tuple[int, int, int, int, int, int] = (75, 355, 0, 340, 50, 30)

    def registers(self) -> dict[int, int]:
        """What the sensor's memory holds."""
        low = b"".join((value & 0xFFFF).to_bytes(2, "little") for value in (*self.t, *self.p))
        h1, h2, h3, h4, h5, h6 = self.h
        high = (h2 & 0xFFFF).to_bytes(2, "little") + bytes(
            (h3, h4 >> 4 & 0xFF, h4 & 15 | (h5 & 15) << 4, h5 >> 4 & 0xFF, h6 & 0xFF)
        )
        found = {0x88 + i: byte for i, byte in enumerate(low)}
        return found | {0xA1: h1} | {0xE1 + i: byte for i, byte in enumerate(high)}

    def fine(self, raw: int) -> float:
        """t_fine of the raw temperature."""
        t1, t2, t3 = self.t
        a = (raw / 16384 - t1 / 1024) * t2
        b = (raw / 131072 - t1 / 8192) ** 2 * t3
        return a + b

    def celsius(self, raw: int) -> float:
        return self.fine(raw) / 5120

    def pascal(self, raw: int, fine: float) -> float:
        p1, p2, p3, p4, p5, p6, p7, p8, p9 = self.p
        a = fine / 2 - 64000
        b = a * a * p6 / 32768 + a * p5 * 2
        b = b / 4 + p4 * 65536
        a = (p3 * a * a / 524288 + p2 * a) / 524288
        a = (1 + a / 32768) * p1
        pressure = (1048576 - raw - b / 4096) * 6250 / a
        return pressure + (p9 * pressure * pressure / 2147483648 + pressure * p8 / 32768 + p7) / 16

    def percent(self, raw: int, fine: float) -> float:
        h1, h2, h3, h4, h5, h6 = self.h
        h = fine - 76800
        h = (raw - (h4 * 64 + h5 / 16384 * h)) * (
            h2 / 65536 * (1 + h6 / 67108864 * h * (1 + h3 / 67108864 * h))
        )
        return min(max(h * (1 - h1 * h / 524288), 0.0), 100.0)


def raw_of(formula: Callable[[int], float], wanted: float, bits: int) -> int:
    """The raw value whose physical value comes nearest; `formula` rises or falls all the way."""
    low, high = 0, (1 << bits) - 1
    rises = formula(high) > formula(low)
    while high - low > 1:
        middle = (low + high) // 2
        if (formula(middle) < wanted) == rises:
            low = middle
        else:
            high = middle
    return min((low, high), key=lambda raw: abs(formula(raw) - wanted))


@dataclass
class BME280(I2cDevice):
    """The simulator. weather: what it would measure."""

    weather: Weather = lambda at: (1013.25, 20.0, 50.0)
    address: int = 0x76
    calibration: Calibration = field(default_factory=Calibration)
    _registers: dict[int, int] = field(default_factory=dict)
    _pointer: int = 0
    _busy_until: float = 0.0
    _humidity: bool = False
    _pending_reset: bool = False
    _measured: tuple[int, int, int] | None = None

    def power(self, at: float, on: bool) -> None:
        self._reset(at)

    def write(self, at: float, data: bytes) -> None:
        self.reachable()
        if not self._registers:
            self._reset(at)
        if not data:
            return
        self._pointer = data[0]
        for register, value in zip(data[::2], data[1::2], strict=False):
            self._set(at, register, value)

    def read(self, at: float, size: int) -> bytes:
        self.reachable()
        if not self._registers:
            raise Nack
        busy = at < self._busy_until
        self._registers[0xF3] = (1 if self._pending_reset else 8) if busy else 0
        if self._measured and not busy:
            self._hold(*self._measured)
            self._measured = None
        return bytes(self._registers.get((self._pointer + i) & 0xFF, 0) for i in range(size))

    def _set(self, at: float, register: int, value: int) -> None:
        if register == 0xE0 and value == 0xB6:
            self._reset(at)
        elif register == 0xF2:
            self._registers[0xF2] = value
        elif register == 0xF4:
            self._registers[0xF4] = value & 0xFC
            self._humidity = bool(self._registers[0xF2] & 7)
            if value & 3 in (1, 2):
                self._measure(at, bool(value >> 5), bool(value >> 2 & 7))
        elif register == 0xF5:
            self._registers[0xF5] = value

    def _measure(self, at: float, temperature: bool, pressure: bool) -> None:
        self._pending_reset = False
        self._busy_until = at + MEASURE_S
        hectopascal, celsius, percent = self.sees(self.weather, at)
        c = self.calibration
        t = raw_of(c.celsius, celsius, 20)
        fine = c.fine(t)
        p = raw_of(lambda raw: c.pascal(raw, fine), hectopascal * 100, 20) if pressure else SKIPPED
        h = raw_of(lambda raw: c.percent(raw, fine), percent, 16) if self._humidity else SKIPPED >> 4
        values = {
            "pressure": c.pascal(p, fine) / 100,
            "temperature": c.celsius(t),
            "humidity": c.percent(h, fine),
        }
        self.served.append(Served(at, self.name, values, temperature and pressure and self._humidity))
        self._measured = (p, t if temperature else SKIPPED, h)

    def _hold(self, p: int, t: int, h: int) -> None:
        data = (p << 4).to_bytes(3, "big") + (t << 4).to_bytes(3, "big") + h.to_bytes(2, "big")
        self._registers |= {0xF7 + i: byte for i, byte in enumerate(data)}

    def _reset(self, at: float) -> None:
        self._registers = {0xD0: 0x60, 0xF2: 0, 0xF4: 0, 0xF5: 0} | self.calibration.registers()
        self._hold(SKIPPED, SKIPPED, SKIPPED >> 4)
        self._measured = None
        self._busy_until = at + RESET_S
        self._pending_reset = True
