"""SPS30 particle sensor (Sensirion, Datasheet SPS30, version 1.0) on I2C at 0x69 or on a UART, 115200 8N1.

On I2C: 0010 with 0300 starts measuring in floats, 0104 stops, 0202 asks for the ready flag, 0300 reads ten
floats, 5607 cleans the fan, D304 resets, D033 gives the serial number. Over UART the same in SHDLC frames,
whose command is the high byte of that code (but 01 03 for floats): 7E, address 0, command, length, data,
checksum, 7E; answers have a state after the command. State 43: not allowed now.

Mass of PM1, PM2.5, PM4 and PM10 in ug/m3, numbers above 0.5, 1, 2.5, 4 and 10 um in 1/cm3, typical size in
um. A result comes every second.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from peilmerk_bench.sensors.device import Device, Nack, Served, UartDevice
from peilmerk_bench.sensors.sensirion import SensirionI2c, float_words

STABLE_S = 30.0
CLEAN_S = 10.0
INTERVAL_S = 1.0
ANSWER_DELAY_S = 0.005
NOT_ALLOWED = 0x43
WRONG_LENGTH = 0x01
UNKNOWN = 0x02
BUSY_S = {0x0010: 0.02, 0x0104: 0.02, 0x5607: 0.005, 0xD304: 0.1}
SERIAL = b"PEILMERK00000001"

Air = Callable[[float], tuple[float, float, float]]
"""PM1, PM2.5 and PM10 in ug/m3 at a moment."""


class NotAllowed(Exception):
    """The command does not fit the state the sensor is in."""


@dataclass
class Dust:
    """The sensor behind both interfaces."""

    device: Device
    air: Air
    measuring: float | None = None
    """Since when; None at rest."""
    cleaning_until: float = 0.0
    cleanings: int = 0
    read_at: float = 0.0

    def start(self, at: float) -> None:
        if self.measuring is not None:
            raise NotAllowed
        self.measuring = self.read_at = at

    def stop(self, at: float) -> None:
        self.measuring = None

    def clean(self, at: float) -> None:
        if self.measuring is None:
            raise NotAllowed
        self.cleaning_until = at + CLEAN_S
        self.cleanings += 1

    def ready(self, at: float) -> bool:
        return self.measuring is not None and at >= self.read_at + INTERVAL_S

    def result(self, at: float, good: bool) -> list[float]:
        """The ten figures. While it settles, or cleans itself, they are wrong."""
        assert self.measuring is not None
        self.read_at = at
        air = self.device.sees(self.air, at)
        settled = at - max(self.measuring, self.cleaning_until) >= STABLE_S
        share = 1.0 if settled else 0.4
        pm1, pm2_5, pm10 = (struct.unpack(">f", struct.pack(">f", value * share))[0] for value in air)
        values = {"pm1": pm1, "pm2_5": pm2_5, "pm10": pm10}
        self.device.served.append(Served(at, self.device.name, values, settled and good))
        numbers = [6.2 * pm2_5, 7.1 * pm2_5, 7.2 * pm2_5, 7.25 * pm2_5, 7.3 * pm2_5]
        return [pm1, pm2_5, (pm2_5 + pm10) / 2, pm10, *numbers, 0.54]


@dataclass
class SPS30(SensirionI2c):
    """The simulator on I2C. air: what it would measure."""

    BUSY_S = BUSY_S

    air: Air = lambda at: (0.0, 0.0, 0.0)
    address: int = 0x69
    dust: Dust = field(init=False)

    def __post_init__(self) -> None:
        self.dust = Dust(self, self.air)

    def power(self, at: float, on: bool) -> None:
        self.dust.stop(at)

    def obey(self, at: float, command: int, arguments: list[int]) -> None:
        try:
            if (command, arguments) == (0x0010, [0x0300]):
                self.dust.start(at)
            elif command == 0x0104:
                self.dust.stop(at)
            elif command == 0x0202:
                self.leave(int(self.dust.ready(at)))
            elif command == 0x0300:
                self.leave_later(self._result)
            elif command == 0x5607:
                self.dust.clean(at)
            elif command == 0xD304:
                self.dust.stop(at)
            elif command == 0xD033:
                self.leave(*struct.unpack(">16H", SERIAL.ljust(32, b"\0")))
            else:
                raise Nack
        except NotAllowed:
            raise Nack from None

    def _result(self, at: float) -> bytes:
        if not self.dust.ready(at):
            return b""
        return float_words(*self.dust.result(at, not self.bad_checksums))


def stuffed(content: bytes) -> bytes:
    """An SHDLC frame of address, command (and state), length and data: checksum, stuffing, flags."""
    out = bytearray(b"\x7e")
    for byte in content + bytes((~sum(content) & 0xFF,)):
        out += bytes((0x7D, byte ^ 0x20)) if byte in (0x7E, 0x7D, 0x11, 0x13) else bytes((byte,))
    return bytes(out + b"\x7e")


def unstuffed(frame: bytes) -> bytes | None:
    """What is between the flags, without its checksum; None when that is wrong."""
    content, turned = bytearray(), False
    for byte in frame.strip(b"\x7e"):
        if byte == 0x7D:
            turned = True
        else:
            content.append(byte ^ 0x20 if turned else byte)
            turned = False
    if len(content) < 4 or sum(content) & 0xFF != 0xFF:
        return None
    return bytes(content[:-1])


@dataclass
class SPS30Uart(UartDevice):
    """The simulator on a UART. air: what it would measure."""

    air: Air = lambda at: (0.0, 0.0, 0.0)
    baud: int = 115200
    dust: Dust = field(init=False)
    _inbox: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        self.dust = Dust(self, self.air)

    def power(self, at: float, on: bool) -> None:
        self.dust.stop(at)
        self._line.clear()
        self._inbox.clear()

    def receive(self, at: float, data: bytes) -> None:
        self._inbox += data
        done = at + len(data) * self.byte_s
        while (start := self._inbox.find(b"\x7e")) >= 0:
            end = self._inbox.find(b"\x7e", start + 1)
            if end < 0:
                break
            content = unstuffed(bytes(self._inbox[start : end + 1]))
            # A flag may end one frame and begin the next.
            del self._inbox[: end + 1 if content is not None else end]
            if content is not None:
                self._obey(done, content)
        del self._inbox[:-256]

    def _obey(self, at: float, content: bytes) -> None:
        command, data = content[1], content[3:]
        answered = at + ANSWER_DELAY_S
        state, answer = 0, b""
        try:
            if content[0] != 0 or self.silent:
                return
            if content[2] != len(data):
                state = WRONG_LENGTH
            elif command == 0x00 and data == b"\x01\x03":
                self.dust.start(at)
            elif command == 0x01:
                if self.dust.measuring is None:
                    raise NotAllowed
                self.dust.stop(at)
            elif command == 0x03:
                if self.dust.measuring is None:
                    raise NotAllowed
                if self.dust.ready(answered):
                    answer = struct.pack(">10f", *self.dust.result(answered, not self.bad_checksums))
            elif command == 0x56:
                self.dust.clean(at)
            elif command == 0xD0 and data == b"\x03":
                answer = SERIAL + b"\0"
            elif command == 0xD3:
                self.dust.stop(at)
            elif command == 0x11:
                raise NotAllowed  # it cannot wake: it never sleeps here
            else:
                state = UNKNOWN
        except NotAllowed:
            state = NOT_ALLOWED
        frame = stuffed(bytes((0, command, state, len(answer))) + answer)
        if self.bad_checksums:
            frame = frame[:-2] + bytes((frame[-2] ^ 0x08,)) + frame[-1:]
        self.put(answered, frame)
