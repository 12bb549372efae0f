"""Plantower PMS3003, PMS5003, PMS5003T and PMS5003ST particle sensors on a UART, 9600 8N1 (maker's manuals).

Data frames are 42 4D, the length of what follows (u16, all words big endian), data words and the sum of all
bytes before it. Words 1 to 3 are PM1, PM2.5 and PM10 in ug/m3 with the factory's factor, 4 to 6 the same for
the atmosphere, then particles above 0.3 to 10 um in 0.1 l. On the 5003T words 11 and 12 are temperature and
humidity in tenths; the 5003ST has formaldehyde, temperature and humidity in words 13 to 15. The last word is
version and error code.

Commands are 7 bytes: 42 4D, command, two bytes of data, sum. E1 sets passive (0) or active (1) mode, E2 asks
for a frame in passive mode, E4 sends to sleep (0) or wakes (1). E1 and E4 are answered by 42 4D 00 04,
command, data, sum. It wakes, and starts with power, in active mode.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from peilmerk_bench.sensors.device import Served, UartDevice

ANSWER_DELAY_S = 0.02
INTERVAL_S = 1.0
VERSION = 0x97

WORDS = {"3003": 9, "5003": 13, "5003t": 13, "5003st": 17}
"""How many data words each model's frame has."""

Air = Callable[[float], tuple[float, float, float]]
"""PM1, PM2.5 and PM10 in ug/m3 at a moment."""
Climate = Callable[[float], tuple[float, float]]
"""Temperature in degrees Celsius and relative humidity in percent at a moment."""


def data_frame(words: list[int]) -> bytes:
    """The frame of these data words."""
    head = b"\x42\x4d" + (2 * len(words) + 2).to_bytes(2, "big")
    body = head + b"".join(word.to_bytes(2, "big") for word in words)
    return body + (sum(body) & 0xFFFF).to_bytes(2, "big")


def command_frame(number: int, value: int) -> bytes:
    """The seven bytes of a command."""
    body = bytes((0x42, 0x4D, number, value >> 8, value & 0xFF))
    return body + sum(body).to_bytes(2, "big")


def answer_frame(number: int, value: int) -> bytes:
    """The answer to a command that sets something."""
    body = bytes((0x42, 0x4D, 0, 4, number, value))
    return body + sum(body).to_bytes(2, "big")


@dataclass
class PMSx003(UartDevice):
    """The simulator. air, climate: what it would measure; stable_s: for so long after waking it shows too
    little.
    """

    air: Air = lambda at: (0.0, 0.0, 0.0)
    climate: Climate = lambda at: (20.0, 50.0)
    model: str = "5003"
    stable_s: float = 30.0
    active: bool = True
    awake: bool = True
    powered: bool = True
    _since: float | None = None
    _next: float = 0.0
    _inbox: bytearray = field(default_factory=bytearray)

    def power(self, at: float, on: bool) -> None:
        self.powered = on
        self._line.clear()
        self._inbox.clear()
        self.awake = on
        if on:
            self._wake(at)

    def receive(self, at: float, data: bytes) -> None:
        """Bytes from the host; what is no command with the right sum is ignored."""
        self.advance(at)
        self._inbox += data
        done = at + len(data) * self.byte_s
        while (start := self._inbox.find(b"\x42")) >= 0 and len(self._inbox) - start >= 7:
            order = bytes(self._inbox[start : start + 7])
            if order == command_frame(order[2], order[3] << 8 | order[4]):
                del self._inbox[: start + 7]
                self._obey(done, order[2], order[4])
            else:
                del self._inbox[: start + 1]

    def advance(self, at: float) -> None:
        if self._since is None:
            self._wake(at)
        while self.powered and self.awake and self.active and self._next <= at:
            began = self._next
            self._next = began + INTERVAL_S
            if len(self._line) < 4096:
                self._report(began)

    def next_at(self, at: float) -> float | None:
        on_the_line = super().next_at(at)
        if on_the_line is not None:
            return on_the_line
        if not (self.powered and self.awake and self.active) or self.silent:
            return None
        return self._next + (2 * WORDS[self.model] + 6) * self.byte_s

    def _wake(self, at: float) -> None:
        self.awake = self.active = True
        self._since = at
        self._next = at + INTERVAL_S

    def _obey(self, at: float, number: int, value: int) -> None:
        if not self.powered or not (self.awake or (number == 0xE4 and value)):
            return
        answered = at + ANSWER_DELAY_S
        if number == 0xE1:
            self.active = bool(value)
            self._next = at + INTERVAL_S
            self._send(answered, answer_frame(number, value))
        elif number == 0xE2 and not self.active:
            self._report(answered)
        elif number == 0xE4:
            if value and not self.awake:
                self._wake(at)
            elif not value:
                self.awake = False
            self._send(answered, answer_frame(number, value))

    def _report(self, at: float) -> None:
        assert self._since is not None
        settled = at - self._since >= self.stable_s
        share = 1.0 if settled else 0.2 + 0.8 * (at - self._since) / self.stable_s
        air = self.sees(self.air, at, "air")
        atmosphere = [min(max(round(value * share), 0), 0xFFFF) for value in air]
        factory = [value if value <= 30 else min(value * 3 // 2, 0xFFFF) for value in atmosphere]
        counts = [900 * atmosphere[1], 270 * atmosphere[1], 40 * atmosphere[1], 6 * atmosphere[2], 2, 0]
        words = factory + atmosphere + [min(count, 0xFFFF) for count in counts]
        values = dict(zip(("pm1", "pm2_5", "pm10"), map(float, atmosphere), strict=True))
        if self.model == "3003":
            words = [*words[:6], 0, 0, 0]
        else:
            words.append(VERSION << 8)
        if self.model in ("5003t", "5003st"):
            tenths = [round(10 * value) for value in self.sees(self.climate, at, "climate")]
            if self.model == "5003t":
                words[10:12] = [tenths[0] & 0xFFFF, tenths[1]]
            else:
                words[12:] = [12, tenths[0] & 0xFFFF, tenths[1], 0, VERSION << 8]
            values |= {"temperature": tenths[0] / 10, "humidity": tenths[1] / 10}
        if self._send(at, data_frame(words)):
            self.served.append(Served(at, self.name, values, settled and not self.bad_checksums))

    def _send(self, at: float, frame: bytes) -> bool:
        if self.silent or not self.powered:
            return False
        if self.bad_checksums:
            frame = frame[:-1] + bytes((frame[-1] ^ 0x55,))
        self.put(at, frame)
        return True
