"""SDS011 particle sensor on a UART, 9600 8N1 (Nova Fitness, Laser Dust Sensor Control Protocol V1.3).

Frames to the host are 10 bytes: AA C0 PM2.5 (u16 LE, 0.1 ug/m3) PM10 (u16 LE) ID1 ID2 checksum AB, and AA
C5 in answer to a command. Commands are 19 bytes: AA B4 d0..d14 checksum AB with d0 the command, d1 0 to ask
and 1 to set, d13 d14 the id or FF FF for any. The checksum is the sum of the bytes between the second and
itself.

Report mode, period and id are kept without power; whether it sleeps is not. A reset of the host changes
nothing. Asleep, only the command that wakes it is answered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from peilmerk_bench.sensors.device import Served, UartDevice

BYTE_S = 10 / 9600
FRAME_S = 10 * BYTE_S
ANSWER_DELAY_S = 0.005
INTERVAL_S = 1.0
WORK_S = 30.0
"""With a period of n minutes: works this long, reports, and sleeps for the rest of the n minutes."""

ACTIVE, QUERY = 0, 1
SLEEP, WORK = 0, 1
FIRMWARE = (18, 11, 16)

Air = Callable[[float], tuple[float, float]]
"""PM2.5 and PM10 in ug/m3 at a moment."""


def checksum(payload: bytes) -> int:
    """The low byte of the sum."""
    return sum(payload) & 0xFF


def data_frame(pm2_5: int, pm10: int, identity: bytes) -> bytes:
    """A report of PM2.5 and PM10 in tenths of ug/m3."""
    payload = pm2_5.to_bytes(2, "little") + pm10.to_bytes(2, "little") + identity
    return b"\xaa\xc0" + payload + bytes((checksum(payload), 0xAB))


def answer_frame(payload: bytes, identity: bytes) -> bytes:
    """The answer to a command: four bytes that depend on it, and the id."""
    body = payload + identity
    return b"\xaa\xc5" + body + bytes((checksum(body), 0xAB))


@dataclass
class SDS011(UartDevice):
    """The simulator.

    air: what it would measure; warm_up_s: for so long after it starts to work it shows too little (the fan
    has not filled the chamber); a driver that does not wait is wrong by up to 70 %.
    """

    air: Air = lambda at: (0.0, 0.0)
    identity: bytes = b"\xa1\x60"
    warm_up_s: float = 15.0
    report_mode: int = ACTIVE
    period_min: int = 0
    state: int = WORK
    powered: bool = True
    _since: float | None = None
    _next: float | None = None
    _inbox: bytearray = field(default_factory=bytearray)

    def power(self, at: float, on: bool) -> None:
        self.powered = on
        self._line.clear()
        self._inbox.clear()
        self._next = None
        if on:
            self.state = WORK
            self._start(at)

    def receive(self, at: float, data: bytes) -> None:
        """Bytes from the host, sent from `at` on; commands with another's id or a wrong checksum are
        ignored.
        """
        self.advance(at)
        self._inbox += data
        done = at + len(data) * BYTE_S
        while (start := self._inbox.find(b"\xaa")) >= 0 and len(self._inbox) - start >= 19:
            command = bytes(self._inbox[start : start + 19])
            if command[1] == 0xB4 and command[18] == 0xAB and checksum(command[2:17]) == command[17]:
                del self._inbox[: start + 19]
                if command[15:17] in (b"\xff\xff", self.identity):
                    self._obey(done, command[2:17])
            else:
                del self._inbox[: start + 1]
        if len(self._inbox) > 64:
            del self._inbox[:-18]

    def next_at(self, at: float) -> float | None:
        """When the frame that is on the line, or else the next one, will be complete; None: not by itself."""
        on_the_line = super().next_at(at)
        if on_the_line is not None:
            return on_the_line
        if self._next is None or self.silent:
            return None
        return self._next + FRAME_S

    def _start(self, at: float) -> None:
        self._since = at
        self._next = None
        if self.report_mode == ACTIVE:
            self._next = at + (WORK_S if self.period_min else INTERVAL_S)

    def advance(self, at: float) -> None:
        if self._since is None:
            self._start(at)
        while self._next is not None and self._next <= at:
            began = self._next
            self._next = began + (self.period_min * 60 if self.period_min else INTERVAL_S)
            if len(self._line) < 4096:
                self._report(began)

    def _fresh(self, at: float) -> float:
        """How long it has been working at `at`: since it woke, or since this period's fan start."""
        assert self._since is not None
        elapsed = at - self._since
        if self.period_min:
            return min(elapsed % (self.period_min * 60) or WORK_S, WORK_S)
        return elapsed

    def _report(self, at: float) -> None:
        pm2_5, pm10 = self.sees(self.air, at)
        fresh = self._fresh(at)
        settled = fresh >= self.warm_up_s
        share = 1.0 if settled else 0.3 + 0.7 * fresh / self.warm_up_s
        wire = [min(max(round(value * share * 10), 0), 9999) for value in (pm2_5, pm10)]
        frame = data_frame(wire[0], wire[1], self.identity)
        if self._send(at, frame):
            values = {"pm2_5": wire[0] / 10, "pm10": wire[1] / 10}
            self.served.append(Served(at, self.name, values, settled and not self.bad_checksums))

    def _send(self, at: float, frame: bytes) -> bool:
        if self.silent or not self.powered:
            return False
        if self.bad_checksums:
            frame = frame[:8] + bytes((frame[8] ^ 0x55,)) + frame[9:]
        self.put(at, frame)
        return True

    def _obey(self, at: float, command: bytes) -> None:
        number, setting, value = command[0], command[1], command[2]
        if not self.powered or (self.state == SLEEP and not (number == 6 and setting and value)):
            return
        answered = at + ANSWER_DELAY_S
        if number == 4:
            self._report(answered)
            return
        if number == 2:
            if setting and value != self.report_mode:
                self.report_mode = value & 1
                self._restart(at)
            payload = bytes((2, setting, self.report_mode, 0))
        elif number == 5:
            self.identity = command[11:13]
            payload = b"\x05\0\0\0"
        elif number == 6:
            if setting and value & 1 != self.state:
                self.state = value & 1
                self._next = None
                if self.state == WORK:
                    self._start(at)
            payload = bytes((6, setting, self.state, 0))
        elif number == 7:
            payload = bytes((7, *FIRMWARE))
        elif number == 8:
            if setting and value != self.period_min:
                self.period_min = min(value, 30)
                self._restart(at)
            payload = bytes((8, setting, self.period_min, 0))
        else:
            return
        self._send(answered, answer_frame(payload, self.identity))

    def _restart(self, at: float) -> None:
        """A new mode or period counts from now; the fan has been running on."""
        since = self._since
        self._start(at)
        if not self.period_min:
            self._since = since
