"""What Sensirion's I2C sensors, and those that speak like them, have in common.

Commands are two bytes, arguments and answers are 16-bit words, each followed by a CRC-8 (polynomial 31, start
FF). While a command is carried out, and when there is nothing to read, the sensor does not acknowledge. What
a command leaves to read is read once; whoever reads on gets FF.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from peilmerk_bench.sensors.device import I2cDevice, Nack


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


def float_words(*values: float) -> bytes:
    """Single-precision numbers, big endian, as two words each."""
    raw = struct.pack(f">{len(values)}f", *values)
    return words(*struct.unpack(f">{2 * len(values)}H", raw))


@dataclass
class SensirionI2c(I2cDevice):
    """A sensor that is spoken to in words. BUSY_S: how long each command keeps it busy; not there is 0."""

    BUSY_S: ClassVar[dict[int, float]] = {}
    _busy_until: float = 0.0
    _answer: bytes = b""
    _prepare: Callable[[float], bytes] | None = None

    def obey(self, at: float, command: int, arguments: list[int]) -> None:
        """Carry out a command; `leave` or `leave_later` what there is to read. Raises Nack."""
        raise NotImplementedError

    def leave(self, *values: int) -> None:
        """These words are there to be read."""
        self._answer = words(*values)

    def leave_later(self, prepare: Callable[[float], bytes]) -> None:
        """What is to be read is made at the moment of the reading; b"" is nothing."""
        self._prepare = prepare

    def busy(self, at: float, seconds: float) -> None:
        """Acknowledge nothing for so long."""
        self._busy_until = at + seconds

    def forget(self) -> None:
        """There is nothing to read any more."""
        self._answer = b""
        self._prepare = None

    def write(self, at: float, data: bytes) -> None:
        self._reachable_at(at)
        if not data:
            return
        self.forget()
        arguments = data[2:]
        if len(data) < 2 or len(arguments) % 3:
            raise Nack
        given = [int.from_bytes(arguments[i : i + 2], "big") for i in range(0, len(arguments), 3)]
        if words(*given) != arguments:
            raise Nack
        command = int.from_bytes(data[:2], "big")
        self.obey(at, command, given)
        self.busy(at, max(self._busy_until - at, self.BUSY_S.get(command, 0.0)))

    def read(self, at: float, size: int) -> bytes:
        self._reachable_at(at)
        answer = bytearray(self._prepare(at) if self._prepare else self._answer)
        self.forget()
        if not answer:
            raise Nack
        if self.bad_checksums:
            answer[2::3] = bytes(byte ^ 0x55 for byte in answer[2::3])
        return bytes(answer[:size]) + b"\xff" * (size - len(answer))

    def _reachable_at(self, at: float) -> None:
        self.reachable()
        if at < self._busy_until:
            raise Nack
