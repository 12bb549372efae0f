"""The port's `time` on a clock that stands still until everybody sleeps, and then jumps."""

from utime import gmtime, localtime, mktime, ticks_add, ticks_diff

START = 1772438400
"""2 March 2026, 08:00 UTC."""
now_ms = 0


def jump(to):
    global now_ms
    now_ms = to


def ticks_ms():
    return now_ms


def ticks_us():
    return now_ms * 1000


def time():
    return START + now_ms // 1000


def sleep_ms(ms):
    jump(now_ms + ms)


def sleep(s):
    jump(now_ms + int(s * 1000))


def sleep_us(us):
    jump(now_ms + us // 1000)
