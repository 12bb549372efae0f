"""What was seen before the time was known: kept by ticks in a ring of bins, placed when there is a time.

A bin is as long as a fifteenth of a window, at least one second; 45 of them are kept, which is three windows.
What is older is lost. The figures of a bin take 16 bytes for a counter of two directions and 160 for four
means; with what its list and tuples take, a full ring is 3 KB or 9 KB of an ESP32's heap, all of it
free again before the first TLS connection, which needs a time. Times here are milliseconds since boot.
"""

from micropython import const

from node.window import Tally

_BINS_A_WINDOW = const(15)
_MOST_BINS = const(45)


class Early:
    """The ring for windows of `window_s` with the quantities `members`; `open` is the Tally that fills."""

    def __init__(self, window_s, members):
        self.bin_ms = max(window_s * 1000 // _BINS_A_WINDOW, 1000)
        self.open = Tally(members)
        self.lost = 0
        self._began = 0
        # (middle in ms since boot, figures or None when nothing was seen)
        self._bins: list = []

    def begin(self, now_ms):
        """The first bin begins."""
        self._began = now_ms

    def left_ms(self, now_ms):
        """How long the open bin still lasts."""
        return self._began + self.bin_ms - now_ms

    def close(self, now_ms):
        """The open bin ends here and the next one begins."""
        self._bins.append(((self._began + now_ms) >> 1, self.open.figures()))
        self.open.wipe()
        self._began = now_ms
        if len(self._bins) > _MOST_BINS:
            _, figures = self._bins.pop(0)
            for place in range(len(figures or ())):
                figures[place] = 0
            self.lost += 1

    def next_ms(self):
        """The middle of the oldest bin, None when all are placed."""
        return self._bins[0][0] if self._bins else None

    def place(self, tally):
        """Move the oldest bin into `tally`, the window that holds its middle."""
        _, figures = self._bins.pop(0)
        tally.partial = tally.placed = True
        if figures is not None:
            tally.add(figures)
