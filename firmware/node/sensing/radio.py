"""Bluetooth occupancy: how many devices were heard advertising in a window. Never there unless a deployment
asks for it, with a dated period and the area in words; no kind of node carries it by itself.

An address is hashed as soon as the stack hands it over, with a salt that is drawn anew for each window, into
a set of fixed size in memory; it is not kept. When the window closes, the set is counted, and it, the salt
and the stack's own copy of the last address are overwritten. No sketch of the set exists and none could
leave. The hash is Speck48/96 (Beaulieu et al., IACR ePrint 2013/404), whose 48-bit block is just an address,
with the address added to the outcome (Davies-Meyer), so that the salt alone does not turn it round. All its
words have 24 bits and stay small integers: hashing leaves nothing on the heap. What the stack's own queue
holds of its last few events when it is switched off is out of reach from here.

What is counted is devices, of no class and without direction: some people carry none, some several, and a
device that changes its address meanwhile counts twice. Only a window that was listened to from border to
border counts; for any other, and when the set is full, `healthy` is False.

node.json: {"driver": "radio", "from": 1772438400, "until": 1772697600, "area": "Market square, north side",
"most": 512, "least_dbm": -100}; from and until in Unix seconds, at most a year apart.
"""

import asyncio
import os
from array import array
from time import ticks_diff, ticks_ms

import uctypes
from micropython import const

from node.sensing import Driver, SensingError, register, whole
from node.uplink import clock
from peilmerk_protocol import quantities

_SCAN_RESULT = const(5)
_ROUNDS = const(23)
_WORD = const(0xFFFFFF)
_SALT = const(12)
_NO_AREA = const(20)
_LONGEST_S = const(31622400)
_LATEST = (1 << 32) - 1
_CHECK_S = const(5)
_AT_ONCE_MS = const(2000)
# The radio falls silent at most so late after the period.
_SOON_MS = const(100)
# A tenth of the time: the radio is shared with Wi-Fi.
_INTERVAL_US = const(300000)
_WINDOW_US = const(30000)


class Radio(Driver):
    """The listener of one entry of node.json."""

    quantities = (quantities.UNCLASSIFIED,)

    def __init__(self, spec):
        super().__init__()
        self._from = whole(spec, "from", 0, _LATEST)
        self._until = whole(spec, "until", self._from + 1, min(self._from + _LONGEST_S, _LATEST))
        area = spec.get("area")
        if not isinstance(area, str) or len(area) < _NO_AREA:
            raise SensingError("sensors: radio: area: found %r, wanted where it listens, in words" % (area,))
        self._most = whole(spec, "most", 64, 1024, 512)
        self._least = whole(spec, "least_dbm", -127, 0, -100)
        places = 128
        while places < 2 * self._most:
            places *= 2
        self._mask = places - 1
        # Two words of 24 bits for each place; an empty place is two zeros.
        self._set = array("I", bytes(8 * places))
        self._keys = array("I", bytes(4 * _ROUNDS))
        self._number = 0
        self._whole = False
        self._ble = None
        self._addr = None
        self._border = None
        # When the period ended, if it ended in this window.
        self._ended = None
        self._on_event = self._event

    def stop(self):
        self._end()

    def border(self, tick_ms):
        self._border = tick_ms
        if self._ble is None and self._ended is None and self._due():
            # In the middle of a window: the next one is the first that counts.
            self._begin(False)

    def take(self, tally):
        # The period may end with the window, not within it.
        ended = self._ended
        border = self._border
        heard = self._whole and (
            ended is None or (border is not None and ticks_diff(border, ended) < _AT_ONCE_MS)
        )
        # A tally of nothing is for throwing away.
        if tally.quantities:
            full = self._number >= self._most
            self.healthy = heard and not full and quantities.UNCLASSIFIED in tally.quantities
        if heard:
            tally.count(quantities.UNCLASSIFIED, self._number)
        self._end()
        if self._due():
            self._begin(True)

    async def run(self, record):
        while True:
            now = clock.board_s()
            soon = now is not None and self._until - now <= _CHECK_S
            await asyncio.sleep_ms(_SOON_MS if soon else _CHECK_S * 1000)
            if self._ble is not None:
                if self._due():
                    self.good += 1
                else:
                    self._silence()

    def _due(self):
        now = clock.board_s()
        return now is not None and self._from <= now < self._until

    def _begin(self, whole_window):
        from bluetooth import BLE

        self._border = None
        self._salt()
        self._whole = whole_window
        self._ble = ble = BLE()
        ble.active(True)
        ble.irq(self._on_event)
        ble.gap_scan(0, _INTERVAL_US, _WINDOW_US, False)

    def _silence(self):
        """Switch the radio off and overwrite what it heard last."""
        ble = self._ble
        if ble is None:
            return
        self._ble = None
        self._ended = ticks_ms()
        ble.gap_scan(None)
        ble.irq(None)
        if self._addr is not None:
            _wipe(self._addr)
            self._addr = None
        ble.active(False)

    def _end(self):
        """Switch the radio off and overwrite all that is known of this window."""
        self._silence()
        self._ended = None
        for words in (self._set, self._keys):
            for place in range(len(words)):
                words[place] = 0
        self._number = 0
        self._whole = False

    def _salt(self):
        """Draw the window's salt and make the round keys of it."""
        salt = os.urandom(_SALT)
        keys = self._keys
        words = array("I", (0, 0, 0, 0))
        for place in range(4):
            words[place] = salt[3 * place] | salt[3 * place + 1] << 8 | salt[3 * place + 2] << 16
        _wipe(salt)
        expand(words, keys)
        _wipe(words)

    def _event(self, event, data):
        """An advertisement was heard. Allocates nothing and keeps no address."""
        if event != _SCAN_RESULT or data[3] < self._least:
            return
        border = self._border
        if border is not None and ticks_diff(ticks_ms(), border) >= 0:
            return  # the next window's: it will be heard again
        self._addr = addr = data[1]
        x = addr[0] | addr[1] << 8 | addr[2] << 16
        y = addr[3] | addr[4] << 8 | addr[5] << 16
        a = x
        b = y
        for key in self._keys:
            x = ((x >> 8 | (x & 255) << 16) + y & _WORD) ^ key
            y = (y << 3 & _WORD | y >> 21) ^ x
        x ^= a
        y ^= b
        a = b = 0
        if not x | y:
            x = 1
        words = self._set
        at = x & self._mask
        while words[2 * at] | words[2 * at + 1]:
            if words[2 * at] == x and words[2 * at + 1] == y:
                return
            at = at + 1 & self._mask
        if self._number < self._most:
            words[2 * at] = x
            words[2 * at + 1] = y
            self._number += 1


def expand(words, keys):
    """The round keys of Speck48/96 into `keys`, from 4 words of 24 bits, lowest first; uses `words` up."""
    for turn in range(_ROUNDS):
        low = words[0]
        keys[turn] = low
        place = 1 + turn % 3
        high = words[place]
        high = ((high >> 8 | (high & 255) << 16) + low & _WORD) ^ turn
        words[place] = high
        words[0] = (low << 3 & _WORD | low >> 21) ^ high


def _wipe(data):
    """Overwrite bytes where they lie, also those that are for reading only."""
    size = len(data) * (4 if isinstance(data, array) else 1)
    view = uctypes.bytearray_at(uctypes.addressof(data), size)
    for place in range(size):
        view[place] = 0


register("radio", Radio)
