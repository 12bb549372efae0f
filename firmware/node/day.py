"""The day's running total of every count, with noise of its own, released once when the UTC day is over.

The noise (the profile's epsilon for the day) is drawn when the day begins and is the total's starting value:
from its first moment on the total is a noisy figure, and no sum of exact counts exists anywhere. It lives
in RAM and in the memory of the board's clock (node.rtc), which a warm reset leaves alone, so that the one
draw of the day and what was counted survive it. It is never on flash: flash keeps old copies in its worn
blocks, and two running totals with the same noise give the exact counts between them away by subtraction.
With a power cut total and noise are gone together; the rest of the day gets another draw, and nothing of the
first one has left the board to be compared with it. Such a day is PARTIAL, as it is when any window was.
"""

import struct
from binascii import crc32

from node import rtc
from node.console import say
from node.pool import Pool
from node.release import bounded, wipe
from peilmerk_protocol import profile as profiles
from peilmerk_protocol import quantities, report, topics

DAY_S = profiles.DAY_S
_TAG = "day"
# CRC-32 of the profile, the day, windows added up, and whether noise is in it and whether all were whole.
_HEAD = "<IHHBB"


class Day:
    """The totals of one day under `profile`. `index` is the day (Unix seconds // 86400), 0 before the first.

    Without counts, or without an epsilon for the day, `index` stays 0 and nothing is ever released.
    """

    def __init__(self, profile):
        self.index = 0
        self.noisy = False
        self._revision = profile.revision
        self.quantities = (
            quantities.members(profile.set & quantities.COUNTS) if profile.epsilon_day[0] else []
        )
        self._pool = Pool(len(self.quantities), profile.epsilon_day)
        self._totals = [0] * len(self.quantities)
        self._windows = 0
        self._whole = False
        self._windows_a_day = DAY_S // profile.window_s
        self._check = crc32(profiles.encode(profile))
        self._recall()

    def begin(self, index):
        """Forget the totals and begin those of day `index`; noise is still to be drawn."""
        wipe(self._totals)
        self.noisy = False
        self._windows = 0
        self._whole = True
        self.index = index if self.quantities else 0

    async def turn(self, index, outbox, put):
        """It is day `index`: release the totals of the day before, begin its own unless these were released.
        put(kind, end, body) seals and keeps a message (`Cycle.put`).
        """
        if self.index != index:
            if self.noisy and self.index < index and not outbox.has_day((self.index + 1) * DAY_S):
                await self._release(put)
            self.begin(0 if outbox.has_day((index + 1) * DAY_S) else index)

    async def _release(self, put):
        values = {quantity: bounded(quantity, total) for quantity, total in self.totals()}
        bits = 0 if self.whole() else report.HEALTH_PARTIAL

        def body(seq):
            return report.encode(seq, self.index, self._revision, bits, values)

        if await put(topics.DAY, (self.index + 1) * DAY_S, body):
            say("day %d: total released", self.index)

    def draw(self):
        """Put the day's noise in, unless it is there. Raises entropy.EntropyRefused."""
        if self.index and not self.noisy:
            self._pool.fill()
            noise = self._pool.take()
            for place in range(len(noise)):
                self._totals[place] += noise[place]
            wipe(noise)
            self.noisy = True
            self._save()

    def add(self, place, events):
        """Add the events of the count at `place` among the profile's counts."""
        if self.index:
            self._totals[place] += events

    def close(self, whole):
        """One more window was added up; `whole` when it was watched from border to border."""
        if self.index:
            self._windows += 1
            self._whole = self._whole and whole
            self._save()

    def whole(self):
        """Whether every window of the day was added up whole."""
        return self._whole and self._windows == self._windows_a_day

    def totals(self):
        """[(quantity, noisy total)]; only after `draw`."""
        return [(self.quantities[place], self._totals[place]) for place in range(len(self._totals))]

    def _save(self):
        if self.noisy:
            head = struct.pack(_HEAD, self._check, self.index, self._windows, 1, self._whole)
            rtc.save(_TAG, head + struct.pack("<%di" % len(self._totals), *self._totals))

    def _recall(self):
        kept = rtc.load(_TAG)
        size = struct.calcsize(_HEAD)
        if kept and len(kept) == size + 4 * len(self._totals):
            check, index, windows, noisy, whole = struct.unpack_from(_HEAD, kept)
            if check == self._check:
                self.index = index
                self.noisy = bool(noisy)
                self._windows = windows
                self._whole = bool(whole)
                self._totals = list(struct.unpack_from("<%di" % len(self._totals), kept, size))
