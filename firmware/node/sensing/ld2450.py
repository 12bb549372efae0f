"""HLK-LD2450 radar on a UART (256000 8N1): three targets ten times a second, counted as they cross a line.

A frame is AA FF 03 00, three times x, y, speed and resolution (16 bits, little endian), 55 CC; x and y are in
mm, sign and magnitude, the top bit set for positive; an empty place is eight zero bytes (Hi-Link, instruction
manual, chapter 6). There is no checksum: head, tail and the range of the coordinates must do.

A target is the same as in the frame before when it is nearest to where that was expected, within gate_mm (the
sum of both ways). Where somebody walked is kept for as long as the track lasts, at most a second after the
last sight, and never leaves this module. Who gets from the left of the line to its right, seen from its first
point to its second, is "towards", and margin_mm beyond it on both sides is nobody's land, so that a jitter on
the line counts nothing. It counts in the window in which the other side was reached.

The radar keeps its settings without power, and a phone can change them by its Bluetooth: so at every start,
and when it says nothing or nothing new for a minute, it is told to follow three targets anywhere and to leave
its Bluetooth off, and starts anew (communication protocol, chapter 2.2). An order has three attempts.

node.json: {"driver": "ld2450", "uart": 1, "tx": 17, "rx": 16, "class": "pedestrian",
"line": [-3000, 2500, 3000, 2500], "margin_mm": 150, "gate_mm": 1000}
"""

import asyncio
from array import array
from time import ticks_add, ticks_diff, ticks_ms

from machine import UART
from micropython import const

from node.sensing import SensingError, SensorFault, register, whole
from node.sensing.passages import AWAY, TOWARDS, Passages, both_ways, class_of

_FRAME = const(30)
_FRAME_MS = const(100)
_HEAD = b"\xaa\xff\x03\x00"
_TARGETS = const(3)
_TRACKS = const(6)
# Further than the radar sees: no product of two coordinates leaves the small integers of the chip.
_FAR_MM = const(8000)
# Frames without sight until a track ends.
_LOST = const(10)
_WIDEST = const(3)
_FREE = const(255)
# Frames that are the same byte for byte, with somebody in them: a radar's noise never does that.
_SAME = const(20)
_CHECK_MS = const(5000)
# Looks in a row that brought nothing, or nothing new, until it is made to start anew.
_DUMB = const(12)
_OPEN = b"\xfd\xfc\xfb\xfa"
_CLOSE = b"\x04\x03\x02\x01"
_ORDERS = (
    b"\x04\x00\xff\x00\x01\x00",  # take settings
    b"\x02\x00\x90\x00",  # three targets
    b"\x1c\x00\xc2\x00" + bytes(26),  # no region is left out
    b"\x04\x00\xa4\x00\x00\x00",  # Bluetooth off
    b"\x02\x00\xa3\x00",  # start anew
)
_ATTEMPTS = const(3)
_ANSWER_MS = const(200)
_START_MS = const(1500)


class LD2450(Passages):
    """The radar of one entry of node.json."""

    settle_ms = 500

    def __init__(self, spec):
        super().__init__(both_ways(class_of(spec, "pedestrian")))
        line = spec["line"]
        if (
            not isinstance(line, list)
            or len(line) != 4
            or not all(isinstance(n, int) and -_FAR_MM <= n <= _FAR_MM for n in line)
            or line[:2] == line[2:]
        ):
            raise SensingError("sensors: ld2450: line: found %r, wanted [x, y, x, y] in mm" % (line,))
        self._x, self._y = line[:2]
        self._dx = line[2] - line[0]
        self._dy = line[3] - line[1]
        self._square = self._dx * self._dx + self._dy * self._dy
        # Compared with the distance from the line times its length.
        self._margin = int(whole(spec, "margin_mm", 0, 1000, 150) * self._square**0.5)
        self._gate = whole(spec, "gate_mm", 100, 3000, 1000)
        self._uart = UART(
            whole(spec, "uart", 0, 2),
            baudrate=256000,
            tx=whole(spec, "tx", 0, 48),
            rx=whole(spec, "rx", 0, 48),
            rxbuf=1024,
        )
        # Two frames in turn, so that one can be compared with the one before.
        self._frames = (bytearray(_FRAME), bytearray(_FRAME))
        self._turn = 0
        self._have = 0
        self._last = 0
        self._heard = 0
        self._same = 0
        self._dumb = 0
        self._targets = array("h", [0] * (2 * _TARGETS))
        # x, y and the way expected until the next frame, of each track.
        self._tracks = array("i", [0] * (4 * _TRACKS))
        self._sides = array("b", [0] * _TRACKS)
        self._missed = array("B", [_FREE] * _TRACKS)

    def start(self):
        self._have = 0
        for track in range(_TRACKS):
            self._missed[track] = _FREE

    async def run(self, record):
        for order in _ORDERS:
            await self._order(order)
        await asyncio.sleep_ms(_START_MS)
        looked = ticks_ms()
        while True:
            await asyncio.sleep_ms(_FRAME_MS)
            now = ticks_ms()
            self.read(now)
            passed = ticks_diff(now, looked)
            if passed >= _CHECK_MS:
                looked = now
                self.check(passed // 1000)

    def check(self, seconds):
        if self._heard:
            super().check(seconds)
        elif self._well:
            self.failed()
        self._dumb = 0 if self._heard and not self.active() else self._dumb + 1
        self._heard = 0
        if self._dumb > _DUMB:
            self._dumb = 0
            self.resets += 1
            raise SensorFault("ld2450: found nothing new in %d looks" % _DUMB)

    async def _order(self, order):
        """Have it carry out one order: length, command and value. Raises SensorFault."""
        for _ in range(_ATTEMPTS):
            self._uart.read(self._uart.any())
            self._uart.write(_OPEN + order + _CLOSE)
            await asyncio.sleep_ms(_ANSWER_MS)
            answer = self._uart.read(self._uart.any()) or b""
            at = answer.find(_OPEN)
            if at >= 0 and answer[at + 6 : at + 10] == order[2:3] + b"\x01\x00\x00":
                return
        raise SensorFault("ld2450: no answer to %s in %d attempts" % (order[:4].hex(), _ATTEMPTS))

    def active(self):
        return self._same >= _SAME

    def read(self, now):
        """Take what has arrived up to the tick `now`."""
        # No more than the buffer holds, so that babble cannot keep us here.
        for _ in range(40):
            waiting = self._uart.any()
            if waiting < _FRAME - self._have:
                return
            frame = self._frames[self._turn]
            if self._have:
                self._uart.readinto(memoryview(frame)[self._have :])
            else:
                self._uart.readinto(frame)
            if (
                frame[0] == 0xAA
                and frame[1] == 0xFF
                and frame[2] == 3
                and frame[3] == 0
                and frame[28] == 0x55
                and frame[29] == 0xCC
            ):
                waiting = (waiting + self._have) // _FRAME - 1
                self._have = 0
                self._heard += 1
                # Those behind it came a tenth of a second apart each.
                self._step(frame, ticks_add(now, -waiting * _FRAME_MS))
                self._turn ^= 1
            else:
                self._search(frame)

    def _search(self, frame):
        """Bring the next head, or what may be the beginning of one, to the front."""
        self.damaged += 1
        at = frame.find(_HEAD, 1)
        if at < 0:
            at = frame.find(b"\xaa", _FRAME - 3)
            if at < 0:
                at = _FRAME
        self._have = _FRAME - at
        frame[: self._have] = frame[at:]

    def _step(self, frame, tick):
        """One frame, at its tick. Allocates nothing."""
        found = self._parse(frame)
        if found and frame == self._frames[self._turn ^ 1]:
            self._same += 1
        else:
            self._same = 0
        tracks = self._tracks
        missed = self._missed
        targets = self._targets
        # Frames since the last one, lost ones too; then where everybody is expected now.
        since = (ticks_diff(tick, self._last) + _FRAME_MS // 2) // _FRAME_MS
        since = 1 if since < 1 else since if since <= _LOST else _LOST + 1
        self._last = tick
        for track in range(_TRACKS):
            if missed[track] != _FREE:
                at = 4 * track
                tracks[at] += tracks[at + 2] * since
                tracks[at + 1] += tracks[at + 3] * since
                missed[track] += since
        taken = 0
        while taken != (1 << found) - 1:
            # The nearest pair first; a track that has its target has missed nothing.
            best = _WIDEST * _FAR_MM
            to = -1
            one = 0
            for target in range(found):
                if taken >> target & 1:
                    continue
                x = targets[2 * target]
                y = targets[2 * target + 1]
                for track in range(_TRACKS):
                    if 0 < missed[track] != _FREE:
                        away = abs(tracks[4 * track] - x) + abs(tracks[4 * track + 1] - y)
                        # Who was not seen for some frames may be as much further off.
                        since = missed[track]
                        if away < best and away <= self._gate * (since if since < _WIDEST else _WIDEST):
                            best = away
                            to = track
                            one = target
            if to < 0:
                break
            taken |= 1 << one
            self._follow(to, targets[2 * one], targets[2 * one + 1], tick)
        for target in range(found):
            if not taken >> target & 1:
                self._begin(targets[2 * target], targets[2 * target + 1])
        for track in range(_TRACKS):
            if missed[track] > _LOST:
                missed[track] = _FREE

    def _parse(self, frame):
        """How many targets are in the frame; those out of range are left out."""
        found = 0
        for at in range(4, 28, 8):
            x = frame[at] | frame[at + 1] << 8
            y = frame[at + 2] | frame[at + 3] << 8
            if not x and not y:
                continue
            x = x - 0x8000 if x & 0x8000 else -x
            y = y - 0x8000 if y & 0x8000 else -y
            if -_FAR_MM <= x <= _FAR_MM and 0 <= y <= _FAR_MM:
                self._targets[2 * found] = x
                self._targets[2 * found + 1] = y
                found += 1
            else:
                self.damaged += 1
        return found

    def _follow(self, track, x, y, tick):
        at = 4 * track
        tracks = self._tracks
        share = 2 * self._missed[track]
        tracks[at + 2] += (x - tracks[at]) // share
        tracks[at + 3] += (y - tracks[at + 1]) // share
        tracks[at] = x
        tracks[at + 1] = y
        self._missed[track] = 0
        side = self._side(x, y)
        before = self._sides[track]
        if side and side != before:
            self._sides[track] = side
            # Not beside the ends of the line.
            along = (x - self._x) * self._dx + (y - self._y) * self._dy
            if before and 0 <= along <= self._square:
                self.counts[self.half(tick) + (TOWARDS if before > 0 else AWAY)] += 1

    def _begin(self, x, y):
        longest = 0
        for track in range(_TRACKS):
            if self._missed[track] > self._missed[longest]:
                longest = track
        at = 4 * longest
        tracks = self._tracks
        tracks[at] = x
        tracks[at + 1] = y
        tracks[at + 2] = 0
        tracks[at + 3] = 0
        self._missed[longest] = 0
        self._sides[longest] = self._side(x, y)

    def _side(self, x, y):
        """1 on the left of the line, -1 on its right, 0 too near to tell."""
        beside = self._dx * (y - self._y) - self._dy * (x - self._x)
        return 1 if beside > self._margin else -1 if beside < -self._margin else 0


register("ld2450", LD2450)
