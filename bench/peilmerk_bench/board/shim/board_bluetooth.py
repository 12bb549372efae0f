"""The board's `bluetooth`: an observer of simulated advertisers. A real radio was never tried with it.

As on a board, a scan result is ``(addr_type, addr, adv_type, rssi, adv_data)``; addr and adv_data point into
the stack's own memory, valid during the call, which the next event overwrites and nobody clears.

What is in the air is not in a board's memory, so addresses cross the wire masked, as whole numbers, and
become bytes only in that buffer. The answer to `adverts` is
``{"adverts": [t, masked, rssi, …], "until": t}``: all of them after the moment asked about, complete up to
`until`.
"""

import bus
import worldtime

_SCAN_RESULT = 5
_SCAN_DONE = 6
_MASK = 0x5AA5C33C9669  # as in the supervisor


class BLE:
    _made = None

    def __new__(cls):
        if cls._made is None:
            cls._made = ble = super().__new__(cls)
            ble._active = False
            ble._handler = None
            ble._entry = None
            ble._addr = bytearray(6)
            ble._data = memoryview(bytearray(31))
            ble._view = memoryview(ble._addr)
        return cls._made

    def active(self, on=None):
        if on is not None:
            if not on:
                self._stop()
            self._active = bool(on)
        return self._active

    def config(self, *names, **values):
        self._checked()
        return (0, bytes(6)) if names == ("mac",) else None

    def irq(self, handler):
        self._handler = handler

    def gap_scan(self, duration_ms, interval_us=1280000, window_us=11250, active=False):
        self._checked()
        self._stop()
        if duration_ms is None:
            return
        self._share = window_us / interval_us
        self._end = worldtime.now() + duration_ms * 1000 if duration_ms else worldtime.NEVER
        self._fetch(worldtime.now())

    def _checked(self):
        if not self._active:
            raise OSError(19)

    def _stop(self):
        if self._entry is not None:
            worldtime.forget(self._entry)
            self._entry = None

    def _fetch(self, after):
        answer = bus.call("adverts", after, self._share)
        self._heard = answer["adverts"]
        self._index = 0
        self._until = answer["until"]
        self._plan()

    def _plan(self):
        ended = self._index >= len(self._heard)
        moment = self._until if ended else self._heard[self._index]
        if moment >= self._end:
            self._entry = worldtime.at(self._end, self._done, None)
        else:
            self._entry = worldtime.at(moment, self._fetch if ended else self._hear, moment)

    def _done(self, _):
        self._entry = None
        if self._handler:
            self._handler(_SCAN_DONE, ())

    def _hear(self, _):
        _, masked, rssi = self._heard[self._index : self._index + 3]
        self._index += 3
        for place in range(6):
            self._addr[place] = (masked ^ _MASK) >> 8 * (5 - place) & 255
        self._plan()
        if self._handler:
            self._handler(_SCAN_RESULT, (0, self._view, 0, rssi, self._data[:0]))
