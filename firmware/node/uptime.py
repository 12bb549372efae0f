"""Milliseconds since this boot that never wrap: `time.ticks_ms` wraps after 12.4 days (2^30 ms) on a board.

Somebody must ask at least once in six days; the window loop asks every few seconds.
"""

from time import ticks_diff, ticks_ms

_last = ticks_ms()
_sum = 0


def resume(milliseconds):
    """This boot began so much earlier: deep sleep belongs to it."""
    global _sum
    _sum += milliseconds


def ms():
    """Milliseconds since the firmware started."""
    global _last, _sum
    now = ticks_ms()
    _sum += ticks_diff(now, _last)
    _last = now
    return _sum
