"""Just enough of `machine` for one module under test; the virtual board has the real simulators.

Pins are set by the test and call their handlers at once; a UART or an I2C bus answers through a function
that the test puts into `answers`.
"""

answers = {}


class Pin:
    IN = 0
    OUT = 1
    PULL_UP = 2
    IRQ_FALLING = 1
    IRQ_RISING = 2

    def __init__(self, number, mode=-1, pull=-1):
        self.number = number
        self.level = 1
        self.handler = None
        Pin.made[number] = self

    def value(self):
        return self.level

    def irq(self, handler=None, trigger=3):
        self.handler = handler

    def drive(self, level):
        if level != self.level:
            self.level = level
            if self.handler:
                self.handler(self)


Pin.made = {}


class UART:
    def __init__(self, number, **options):
        self.options = options
        self.waiting = b""

    def write(self, data):
        self.waiting += answers["uart"](bytes(data))
        return len(data)

    def any(self):
        return len(self.waiting)

    def read(self, count):
        taken, self.waiting = self.waiting[:count], self.waiting[count:]
        return taken or None


class I2C:
    def __init__(self, number, **options):
        self.options = options

    def writeto(self, address, data):
        answers["i2c_write"](address, bytes(data))
        return len(data)

    def readfrom(self, address, count):
        return answers["i2c_read"](address, count)


class RTC:
    written = None
    kept = b""

    def datetime(self, value=None):
        if value is not None:
            RTC.written = value
        return RTC.written

    def memory(self, data=None):
        if data is not None:
            RTC.kept = bytes(data)
        return RTC.kept


class WDT:
    fed = 0

    def __init__(self, timeout=5000):
        WDT.timeouts.append(timeout)

    def feed(self):
        WDT.fed += 1


WDT.timeouts = []


def reset_cause():
    return 1
