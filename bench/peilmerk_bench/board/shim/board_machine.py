# ruff: noqa: F401, I001, RET503, RUF012
"""The board's `machine`, as on ESP32, over the world that the supervisor simulates."""

import sys
import board_time
import bus
import pins
import uselect
import worldtime
from counter import Counter
from serial import UART
from twowire import I2C, SoftI2C
from umachine import Signal, idle, mem8, mem16, mem32, soft_reset

PWRON_RESET = 1
HARD_RESET = 2
WDT_RESET = 3
DEEPSLEEP_RESET = 4
SOFT_RESET = 5

_greeting = {}


def begin(hello):
    _greeting.update(cause=hello["reset_cause"], id=bytes.fromhex(hello["unique_id"]))
    board_time.rtc_offset = hello["rtc_offset"]


def reset_cause():
    return _greeting["cause"]


def unique_id():
    return _greeting["id"]


def freq(hertz=None):
    return 240000000


def reset():
    """Restart as the reset button does: the supervisor ends this process and starts the next."""
    bus.post("reset")
    _stand_still()


def deepsleep(ms=None):
    """Sleep without memory; only RTC().memory() is there afterwards."""
    bus.post("deepsleep", worldtime.now(), -1 if ms is None else ms * 1000)
    _stand_still()


def lightsleep(ms=None):
    if ms is None:
        _stand_still()
    us = ms * 1000
    if bus.call("lightsleep", us):
        worldtime.skip(us)
    else:
        board_time.sleep_ms(ms)


def _stand_still():
    uselect.poll().poll()


def disable_irq():
    return worldtime.mask(True)


def enable_irq(state=False):
    worldtime.mask(state)


class Pin:
    IN = 1
    OUT = 3
    OPEN_DRAIN = 7
    PULL_DOWN = 1
    PULL_UP = 2
    IRQ_RISING = 1
    IRQ_FALLING = 2

    _made = {}

    def __new__(cls, number, *arguments, **options):
        if isinstance(number, Pin):
            return number
        if not 0 <= number < 49:
            raise ValueError("invalid pin")
        pin = cls._made.get(number)
        if pin is None:
            cls._made[number] = pin = super().__new__(cls)
            pin._number = number
            pin._out = 0
            pin._mode = Pin.IN
            pin._handler = None
            pin._trigger = 3
        return pin

    def __init__(self, number, mode=-1, pull=-1, *, value=None, drive=None, hold=None):
        if mode != -1 or value is not None:
            self.init(mode, pull, value=value)

    def init(self, mode=-1, pull=-1, *, value=None, drive=None, hold=None):
        if mode != -1:
            self._mode = mode
        if value is not None:
            self.value(value)

    def __repr__(self):
        return "Pin(%d)" % self._number

    def value(self, level=None):
        if level is None:
            if self._mode != Pin.OUT and pins.simulated(self._number):
                return pins.level(self._number)
            return self._out
        self._out = 1 if level else 0
        bus.post("pin", worldtime.now(), self._number, self._out)

    __call__ = value

    def on(self):
        self.value(1)

    def off(self):
        self.value(0)

    def irq(self, handler=None, trigger=3, *, hard=False, wake=None):
        self._handler = handler
        self._trigger = trigger
        pins.listen(self._number, handler and self._edge)
        return self

    def _edge(self, level):
        if self._trigger & (Pin.IRQ_RISING if level else Pin.IRQ_FALLING):
            self._handler(self)


class Timer:
    ONE_SHOT = 0
    PERIODIC = 1

    def __init__(self, number=-1, **options):
        self._entry = None
        if options:
            self.init(**options)

    def init(self, *, mode=PERIODIC, period=-1, freq=None, callback=None, hard=False, tick_hz=1000):
        self.deinit()
        self._period = int(1000000 / freq) if freq else period * 1000000 // tick_hz
        if self._period <= 0:
            raise ValueError("a timer needs a period or a frequency")
        self._repeat = mode
        self._callback = callback
        self._due = worldtime.now() + self._period
        self._entry = worldtime.at(self._due, self._run, None)

    def deinit(self):
        if self._entry is not None:
            worldtime.forget(self._entry)
            self._entry = None

    def _run(self, _):
        self._entry = None
        if self._repeat:
            self._due += self._period
            self._entry = worldtime.at(self._due, self._run, None)
        if self._callback:
            self._callback(self)


class RTC:
    """Shows 2000-01-01 after power comes; kept through every reset; microseconds of world time underneath."""

    def datetime(self, fields=None):
        if fields is None:
            us = board_time.rtc_us()
            year, month, day, hour, minute, second, weekday, _ = board_time.gmtime(board_time.time())
            return year, month, day, weekday, hour, minute, second, us % 1000000
        year, month, day, _, hour, minute, second, us = fields
        self._set((year, month, day, hour, minute, second), us)

    def init(self, fields):
        year, month, day, hour, minute, second, us, _ = fields
        self._set((year, month, day, hour, minute, second), us)

    def _set(self, fields, us):
        moment = (board_time.mktime(fields) + 946684800) * 1000000 + us
        board_time.rtc_offset = moment - worldtime.now()
        bus.post("rtc", board_time.rtc_offset)

    def memory(self, data=None):
        if data is None:
            return bytes.fromhex(bus.call("memory"))
        if len(data) > 2048:
            raise ValueError("buffer too long")
        bus.call("remember", bytes(data).hex())


class WDT:
    """Resets the board when it is not fed for `timeout` milliseconds of world time; cannot be stopped."""

    def __init__(self, id=0, timeout=5000):
        if id != 0:
            raise ValueError("WDT id must be 0")
        if timeout < 1:
            raise ValueError("WDT timeout too short")
        bus.post("watchdog", timeout * 1000)

    def feed(self):
        bus.post("feed")
