"""The board's `time`: epoch 2000 as on ESP32, ticks that wrap at 2**30, all on world time."""

import utime
import worldtime

_PERIOD = 1 << 30
_MASK = _PERIOD - 1
_HALF = _PERIOD >> 1
_EPOCH_2000 = 946684800

rtc_offset = 0  # microseconds to add to world time to get what the real-time clock shows


def rtc_us():
    """What the real-time clock shows, in microseconds since 1970."""
    return worldtime.now() + rtc_offset


def time():
    return rtc_us() // 1000000 - _EPOCH_2000


def time_ns():
    return (rtc_us() - _EPOCH_2000 * 1000000) * 1000


def gmtime(seconds=None):
    return utime.gmtime((time() if seconds is None else seconds) + _EPOCH_2000)[:8]


localtime = gmtime


def mktime(fields):
    year, month, day, hour, minute, second = fields[:6]
    year += (month - 1) // 12
    month = (month - 1) % 12 + 1
    leaps = (year - (month < 3)) // 4 - (year - (month < 3)) // 100 + (year - (month < 3)) // 400 - 484
    days = (year - 2000) * 365 + leaps + _BEFORE[month - 1] + day - 1
    return ((days * 24 + hour) * 60 + minute) * 60 + second


_BEFORE = (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334)


def ticks_us():
    return worldtime.now() - worldtime.booted_at & _MASK


def ticks_ms():
    return (worldtime.now() - worldtime.booted_at) // 1000 & _MASK


ticks_cpu = ticks_us


def ticks_add(ticks, delta):
    if not -_HALF < delta < _HALF:
        raise OverflowError("ticks interval overflow")
    return ticks + delta & _MASK


def ticks_diff(end, start):
    return (end - start + _HALF & _MASK) - _HALF


def sleep_us(us):
    if us > 0:
        worldtime.sleep_until(worldtime.now() + int(us))


def sleep_ms(ms):
    sleep_us(ms * 1000)


def sleep(seconds):
    sleep_us(int(seconds * 1000000))
