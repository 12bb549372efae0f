"""Time: UTC in unix milliseconds, kept by the tick counter and set by SNTP (RFC 4330) or by the gateway.

The board's own clock (`machine.RTC`) counts whole seconds from 2000 on some ports and from 1970 on others;
it is set for the sake of certificate checks and survives a warm reset, but windows run on `Clock.unix_ms`.
Until a server has answered, the gateway's beacon came, or a kept clock was plausible after a warm reset,
there is no time, and no window opens.

Where no server can be reached, the board's own clock is put at a moment that is known to be past (`guess`),
so that TLS can be tried and the gateway asked. What that proves: the certificate descends from our
authority, carries the right name and had begun by then. What it cannot prove: that it has not ended since.
As soon as the time is known the link connects anew, and then it can.

Unix milliseconds are more than a small integer holds (30 bits), so they allocate: never ask for them in an
interrupt handler, where `time.ticks_ms` is what there is. MicroPython's calendar ends with 2099, NTP's
second era (from 2036) with 2104.

Servers sign nothing, so no number of them may lead the board far: a window that closes years ahead is a
bound on flash (`Outbox.last_window`), and until it has passed the true time would be refused and no window
drawn. They are believed within a day: of the newest window on flash while the time is not known (so a power
cut of less needs nobody), of the clock itself while it runs, where all steps ahead since the gateway's last
word count together. What is further away, and any time on the first boot, is only tried: the board's own
clock shows it, unvouched, for the next connection, in turn with the moment that is known to be past. A lie
beyond the certificate's life fails there. What stands lets the statement out that waits in the outbox, and
the gateway's beacon answers it: sealed, counted and asked for, it stands above servers and flash alike. Only
where the gateway keeps silent, the servers are believed for what its certificate held under. Until then the
windows wait in their ring (`node.early`).

What remains: a lie of less than a day, or one within the certificate's life while the gateway is silent, may
close windows. Their reports leave as they are, and the gateway refuses and counts what is ahead of its own
clock (`WINDOW_AHEAD`), so no figure is published at that time; windows of the true time begin again where the
false ones end, because a window that was on flash is never drawn again. A clock that ran on in deep sleep is
led by an eighth of the time since it was set, at most: its oscillator may be off by a twentieth.

One synchronisation asks every server several times. Each answer bounds the true time from both sides (it
cannot have been later at the server than when the answer came, nor earlier than when the question left);
the bounds of one server are intersected, and the server with the narrowest bounds wins, unless most of the
others contradict it.
"""

import asyncio
import os
import socket
import struct
import time
from time import ticks_diff, ticks_ms

from micropython import const

from node import rtc
from node.uplink.resolve import resolve

# Seconds from 1900 to 1970, and what `time` counts from, which differs by port.
_NTP_TO_UNIX = const(2208988800)
_EPOCH = 946684800 if time.gmtime(0)[0] == 2000 else 0
_ASKS = const(6)
# Re-based well before a 30-bit tick counter can be misread.
_REBASE_MS = const(1 << 28)
# So far servers may be from what is known.
_DAY_MS = const(86400000)
# So long the gateway has to answer a statement before servers are believed under its certificate; a
# thirty-second of its patience where that is less.
_WORD_MS = const(5000)
# So far the gateway's clock and ours may differ before its word counts.
_LEEWAY_MS = const(60000)
# Bounds may miss each other by this much through rounding and drift.
_SLACK_MS = const(4)
# So long a known time needs no beacon.
_STALE_S = const(43200)
# In the memory of the board's own clock.
_TAG = "time"


class ClockError(Exception):
    """No server gave a usable time; the message says what came instead."""


class Clock:
    """UTC for the whole board. `not_before` is a unix second known to be past (the last window on flash)."""

    def __init__(self, not_before=0):
        self.known = False
        self.moved_ms = 0
        self.on_moved = None
        # Below 0 nobody was asked.
        self._patience_ms = -1
        # What is only tried: 1 the board's own clock shows it, 2 the gateway's certificate held under it.
        self._tried = 0
        self._ahead_ms = _DAY_MS
        self._not_before_ms = not_before * 1000
        self._base_ms = 0
        self._asked = self._base_tick = ticks_ms()
        self._synchronised_ms = 0

    def unix_ms(self):
        """Unix milliseconds now; meaningless unless `known`."""
        elapsed = ticks_diff(ticks_ms(), self._base_tick)
        if elapsed > _REBASE_MS:
            self._base_ms += elapsed
            self._base_tick = time.ticks_add(self._base_tick, elapsed)
            elapsed = 0
        return self._base_ms + elapsed

    def tick_of(self, unix_ms):
        """The value of time.ticks_ms at `unix_ms`, which may lie up to three days ahead."""
        now = self.unix_ms()
        return time.ticks_add(ticks_ms(), unix_ms - now)

    def keep(self):
        """After a warm reset: trust the board's own clock when flash does not prove it wrong. Returns
        `known`.
        """
        if self._not_before_ms and _vouched():
            self.resume(0)
            self.known = self.unix_ms() >= self._not_before_ms
        return self.known

    def resume(self, synchronised_s):
        """After deep sleep: the board's own clock ran on; the network set it last at `synchronised_s`."""
        self._base_tick = ticks_ms()
        self._base_ms = time.time_ns() // 1000000 + _EPOCH * 1000
        self._synchronised_ms = synchronised_s * 1000
        self._ahead_ms = min(_DAY_MS, (self._base_ms - self._synchronised_ms) >> 3)
        self.known = True

    def synchronised_s(self):
        """Unix second of the last synchronisation, 0 when there was none."""
        return self._synchronised_ms // 1000

    def set(self, unix_ms, tick):
        """It was `unix_ms` when ticks_ms read `tick`; `moved_ms` then tells how far a known clock was off."""
        self.moved_ms = unix_ms - (self._base_ms + ticks_diff(tick, self._base_tick)) if self.known else 0
        self._base_ms = unix_ms
        self._base_tick = tick
        self._synchronised_ms = unix_ms
        known, self.known = self.known, True
        _set_rtc(self.unix_ms() // 1000)
        if known and self.on_moved is not None:
            self.on_moved(self.moved_ms)

    def guess(self, begun_s):
        """Unless the time is known, put the board's own clock at the latest moment that is known to be past
        (`begun_s` or what flash proves), or every other time at what servers told, when that is later.
        Returns whether there is anything to check certificates against.
        """
        if self.known:
            return True
        past_s = max(begun_s, self._not_before_ms // 1000)
        told_s = self.unix_ms() // 1000
        if self._tried < 2:
            self._tried = int(not self._tried and told_s > past_s)
        if self._tried:
            past_s = told_s
        if past_s:
            _set_rtc(past_s, False)
        return past_s > 0

    def asked(self, patience_s):
        """A statement goes out, so TLS stands: for so long, a beacon that answers it may set the clock."""
        self._asked = ticks_ms()
        self._patience_ms = patience_s * 1000
        self._tried = self._tried and 2

    def beacon(self, unix_s):
        """The gateway answers our statement: it was `unix_s` there, at some time since we asked.

        Returns True when the clock was set, or needs no setting; False for a beacon that nobody asked for or
        that came too late.
        """
        elapsed = ticks_diff(ticks_ms(), self._asked)
        patience_ms, self._patience_ms = self._patience_ms, -1
        agreed = self.known and self.age_s() < _STALE_S
        if not 0 <= elapsed <= patience_ms:
            return agreed
        # Told in whole seconds, at some time between the question and now.
        unix_ms = unix_s * 1000 + 500 + elapsed // 2
        self._not_before_ms = unix_s * 1000
        self._ahead_ms = _DAY_MS
        if not agreed or abs(unix_ms - self.unix_ms()) > elapsed // 2 + _LEEWAY_MS:
            self.set(unix_ms, ticks_ms())
        return True

    def age_s(self):
        """Seconds since the last synchronisation; very large when there was none."""
        if not self._synchronised_ms:
            return 1 << 30
        return (self.unix_ms() - self._synchronised_ms) // 1000

    async def synchronise(self, servers, timeout_s):
        """Set the clock from `servers`, a list of (host, port). Returns the uncertainty in ms; raises
        ClockError.
        """
        bounds: list = []
        reason = "no server is configured"
        for host, port in servers:
            try:
                bounds.append(await _ask_server(host, port, timeout_s))
            except (OSError, ClockError, asyncio.TimeoutError) as fault:
                reason = "%s: %s" % (host, str(fault) or "no answer in %d s" % timeout_s)
        if not bounds:
            raise ClockError("found no time, wanted an answer from an NTP server (%s)" % reason)
        low, high, tick = choose(bounds)
        self.told((low + high) // 2, tick)
        return (high - low + 1) // 2

    def told(self, unix_ms, tick):
        """Servers say that it was `unix_ms` at the tick: set the clock when that may be, or raise
        ClockError.
        """
        ahead_ms = unix_ms - self.unix_ms()
        believed = ahead_ms <= self._ahead_ms
        if not self.known:
            if abs(ahead_ms) > _DAY_MS:
                self._tried = 0  # not what they said before
            believed = unix_ms <= self._not_before_ms + _DAY_MS or (
                self._tried > 1
                and ticks_diff(ticks_ms(), self._asked) > min(_WORD_MS, self._patience_ms >> 5)
            )
            self._base_ms = unix_ms
            self._base_tick = tick
        if not believed or unix_ms + _DAY_MS < self._not_before_ms:
            raise ClockError("found %d, wanted a likely time or the gateway's word" % (unix_ms // 1000))
        self.set(unix_ms, tick)
        self._ahead_ms -= self.moved_ms


def choose(bounds):
    """The best of several (low, high, tick): the narrowest that at most half of the others contradict.

    low and high bound unix milliseconds at the tick. Without such a majority, the narrowest.
    """
    narrowest = sorted(bounds, key=lambda bound: bound[1] - bound[0])
    for low, high, tick in narrowest:
        against = 0
        for other_low, other_high, other_tick in bounds:
            shift = ticks_diff(tick, other_tick)
            if other_low + shift > high + _SLACK_MS or other_high + shift < low - _SLACK_MS:
                against += 1
        if 2 * against < len(bounds):
            return low, high, tick
    return narrowest[0]


def parse(answer):
    """(received, sent) in unix ms by the server, of a 48-byte answer; ClockError.

    Refused: what is no server, and a server that is not synchronised or sends a kiss of death.
    """
    if answer[0] & 7 != 4:
        raise ClockError("found mode %d, wanted 4 (server)" % (answer[0] & 7))
    if answer[0] >> 6 == 3 or not 1 <= answer[1] <= 15:
        raise ClockError("found a server that is not synchronised (stratum %d)" % answer[1])
    received = _unix_ms(answer, 32)
    sent = _unix_ms(answer, 40)
    if sent < received:
        raise ClockError("found an answer sent before the question came")
    return received, sent


def _unix_ms(packet, at):
    seconds, fraction = struct.unpack_from(">II", packet, at)
    if not seconds:
        raise ClockError("found no time in the answer")
    # Era 1 begins in 2036: a clear top bit means it (RFC 4330, section 3).
    if not seconds & 0x80000000:
        seconds += 1 << 32
    return (seconds - _NTP_TO_UNIX) * 1000 + (fraction * 1000 >> 32)


async def _ask_server(host, port, timeout_s):
    """(low, high, tick): bounds of unix ms at the tick, by one server."""
    address = await resolve(host, port, socket.SOCK_DGRAM, timeout_s)
    line = socket.socket(address[0], socket.SOCK_DGRAM)
    best = None
    try:
        line.setblocking(False)
        line.connect(address[-1])
        stream = asyncio.StreamReader(line)
        for _ in range(_ASKS):
            try:
                bounds: tuple = await asyncio.wait_for(_ask_once(line, stream), timeout_s)
            except (OSError, ClockError, asyncio.TimeoutError):
                if best is None:
                    raise  # a server that is away must not cost all the attempts
                continue
            best = bounds if best is None else _intersect(best, bounds)
    finally:
        line.close()
    return best


async def _ask_once(line, stream):
    # Our transmit time is a random number: the server returns it, and it tells nobody what our clock reads.
    cookie = os.urandom(8)
    question = bytearray(48)
    question[0] = 0x23
    question[40:48] = cookie
    left = ticks_ms()
    line.send(question)
    while True:
        answer = await stream.read(48)
        came = ticks_ms()
        # An answer to an earlier question is late, not wrong: read on until the time-out.
        if len(answer) == 48 and answer[24:32] == cookie:
            break
    received, sent = parse(answer)
    # Sent, and at least the way back ago; received, and at least the way there later.
    return sent, max(received + ticks_diff(came, left), sent), came


def _intersect(one, other):
    shift = ticks_diff(other[2], one[2])
    low = max(one[0] + shift, other[0])
    high = min(one[1] + shift, other[1])
    if low <= high:
        return low, high, other[2]
    # They contradict each other (the server's clock moved): the shorter way decides.
    return other if other[1] - other[0] < one[1] - one[0] else one


def begins(certificate):
    """Unix seconds from which a certificate (DER) holds (RFC 5280, 4.1.2.5.1: UTCTime); 0 when none is found.

    Whoever made it knew the time: a lower bound for a board that never had any.
    """
    at = certificate.find(b"\x17\x0d")
    while at >= 0:
        try:
            year, month, day, hour, minute, second = [
                int(certificate[n : n + 2]) for n in range(at + 2, at + 14, 2)
            ]
            return time.mktime((2000 + year, month, day, hour, minute, second, 0, 0)) + _EPOCH
        except ValueError:
            at = certificate.find(b"\x17\x0d", at + 1)
    return 0


def _set_rtc(unix_s, vouched=True):
    try:
        from machine import RTC
    except ImportError:
        return  # a port without a clock of its own to set
    year, month, day, hour, minute, second, weekday, _ = time.gmtime(unix_s - _EPOCH)[:8]
    RTC().datetime((year, month, day, weekday, hour, minute, second, 0))
    if vouched != _vouched():
        rtc.save(_TAG, b"\1" if vouched else b"")


def board_s():
    """Unix seconds by the board's own clock; None unless it shows what was a known time, and no guess."""
    return time.time() + _EPOCH if _vouched() else None


def _vouched():
    """Whether what the board's own clock shows was once a known time, and no guess."""
    return bool(rtc.load(_TAG))
