"""The port's `machine` with a counter's pins and an air node's two sensors on its wires.

Pins are moved and sensors answer as `rig.py` says; nothing here takes part in what is measured but by being
there.
"""

PWRON_RESET = 1


def reset_cause():
    return PWRON_RESET


def unique_id():
    return b"\1\2\3\4\5\6"


def reset():
    raise SystemExit


class Pin:
    IN = 0
    OUT = 1
    PULL_UP = 2
    PULL_DOWN = 1
    IRQ_FALLING = 2
    IRQ_RISING = 1
    made = {}

    def __new__(cls, number, mode=0, pull=0, value=None):
        pin = cls.made.get(number)
        if pin is None:
            pin = cls.made[number] = super().__new__(cls)
            pin.level = 1
            pin.handler = None
        return pin

    def __init__(self, *_, **__):
        pass

    def init(self, *_, **__):
        pass

    def value(self, level=None):
        if level is None:
            return self.level
        self.level = level

    __call__ = value

    def irq(self, handler=None, trigger=3):
        self.handler = handler


def _sds011_sum(frame):
    frame[8] = sum(frame[2:8]) & 0xFF
    return bytes(frame)


class UART:
    """An SDS011: answers orders and questions at once."""

    def __init__(self, *_, **__):
        self._waiting = b""

    def init(self, *_, **__):
        pass

    def any(self):
        return len(self._waiting)

    def read(self, size=-1):
        data, self._waiting = self._waiting, b""
        return data or None

    def readinto(self, buffer):
        data = self.read() or b""
        buffer[: len(data)] = data
        return len(data) or None

    def write(self, order):
        if order[2] == 4:
            frame = bytearray(b"\xaa\xc0\xd4\x04\x3a\x0a\xa1\x60\x00\xab")
        else:
            frame = bytearray(b"\xaa\xc5\x00\x00\x00\x00\xa1\x60\x00\xab")
            frame[2:5] = order[2:5]
        self._waiting = _sds011_sum(frame)
        return len(order)

    def deinit(self):
        pass


class I2C:
    """An SHT3x at 21.5 degrees and 55 %."""

    def __init__(self, *_, **__):
        pass

    def writeto(self, address, data, stop=True):
        return len(data)

    def readfrom(self, address, size, stop=True):
        return b"\x61\x47\x8a\x8c\xcc\x2c"[:size]

    def readfrom_into(self, address, buffer, stop=True):
        buffer[:] = self.readfrom(address, len(buffer))

    def scan(self):
        return [0x44]


class WDT:
    def __init__(self, id=0, timeout=5000):
        pass

    def feed(self):
        pass


class RTC:
    _kept = b""

    def datetime(self, fields=None):
        return (2026, 3, 2, 0, 8, 0, 0, 0)

    def memory(self, data=None):
        if data is None:
            return RTC._kept
        RTC._kept = bytes(data)


class Timer:
    def __init__(self, *_, **__):
        pass

    def init(self, *_, **__):
        pass

    def deinit(self):
        pass
