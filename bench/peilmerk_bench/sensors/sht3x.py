"""SHT30/31/35 humidity and temperature sensor on I2C (Sensirion, Datasheet SHT3x-DIS, version 6).

Commands are two bytes. Words come back with a CRC-8 each (polynomial 31, start FF). Temperature is
-45 + 175 w / 65535 in degrees Celsius, humidity 100 w / 65535 in percent. A single shot without clock
stretching takes up to 15.5, 6.5 or 4.5 ms by repeatability; until then, and when there is nothing to read,
the sensor does not acknowledge. A result is read once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from peilmerk_bench.sensors.device import BusHang, I2cDevice, Nack, Served

MEASURE_S = {0x2400: 0.0155, 0x240B: 0.0065, 0x2416: 0.0045}
RESET_S = 0.0015
STATUS_AFTER_RESET = 0x8010
CLEARED_BITS = 0x8C10
HEATER_BIT = 0x2000
COMMAND_FAILED_BIT = 0x0002

Climate = Callable[[float], tuple[float, float]]
"""Temperature in degrees Celsius and relative humidity in percent at a moment."""


def crc8(data: bytes) -> int:
    """Sensirion's CRC-8: polynomial 0x31, start 0xFF, nothing reflected, no final xor."""
    crc = 0xFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1) ^ 0x31 if crc & 0x80 else crc << 1
            crc &= 0xFF
    return crc


def words(*values: int) -> bytes:
    """16-bit words, big endian, each followed by its CRC."""
    out = bytearray()
    for value in values:
        pair = value.to_bytes(2, "big")
        out += pair + bytes((crc8(pair),))
    return bytes(out)


def temperature_word(celsius: float) -> int:
    return min(max(round((celsius + 45) / 175 * 65535), 0), 65535)


def humidity_word(percent: float) -> int:
    return min(max(round(percent / 100 * 65535), 0), 65535)


@dataclass
class SHT3x(I2cDevice):
    """The simulator. climate: what it would measure; hanging: holds the bus down."""

    climate: Climate = lambda at: (20.0, 50.0)
    address: int = 0x44
    serial: int = 0x0123ABCD
    _busy_until: float = 0.0
    _answer: bytes = b""
    _pending: tuple[float, float] | None = None
    _status: int = STATUS_AFTER_RESET

    def power(self, at: float, on: bool) -> None:
        if on:
            self._reset(at)

    def write(self, at: float, data: bytes) -> None:
        """A write of the host; b"" is a bare address, as a scan sends it. Raises Nack, BusHang."""
        self._reachable(at)
        if not data:
            return
        self._pending = None
        self._answer = b""
        command = int.from_bytes(data[:2], "big") if len(data) >= 2 else -1
        self._status &= ~COMMAND_FAILED_BIT
        if command in MEASURE_S:
            self._pending = self.climate(at)
            self._busy_until = at + MEASURE_S[command]
        elif command == 0xF32D:
            self._answer = words(self._status)
        elif command == 0x3041:
            self._status &= ~CLEARED_BITS
        elif command == 0x30A2:
            self._reset(at)
        elif command in (0x306D, 0x3066):
            self._status = self._status | HEATER_BIT if command == 0x306D else self._status & ~HEATER_BIT
        elif command in (0x3780, 0x3682):
            self._answer = words(self.serial >> 16, self.serial & 0xFFFF)
        else:
            self._status |= COMMAND_FAILED_BIT
            raise Nack

    def read(self, at: float, size: int) -> bytes:
        """What the last command left to read; the host may stop early, and reads FF beyond the end."""
        self._reachable(at)
        if self._pending is not None:
            celsius, percent = self._pending
            raw = temperature_word(celsius), humidity_word(percent)
            self._answer = words(*raw)
            self._pending = None
            values = {"temperature": -45 + 175 * raw[0] / 65535, "humidity": 100 * raw[1] / 65535}
            self.served.append(Served(at, self.name, values, not self.bad_checksums))
        if not self._answer:
            raise Nack
        answer = bytearray(self._answer)
        self._answer = b""
        if self.bad_checksums:
            answer[2::3] = bytes(byte ^ 0x55 for byte in answer[2::3])
        return bytes(answer[:size]) + b"\xff" * (size - len(answer))

    def _reachable(self, at: float) -> None:
        if self.hanging:
            raise BusHang
        if self.silent or at < self._busy_until:
            raise Nack

    def _reset(self, at: float) -> None:
        self._busy_until = at + RESET_S
        self._answer = b""
        self._pending = None
        self._status = STATUS_AFTER_RESET
