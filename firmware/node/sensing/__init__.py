"""The drivers' registry and what every driver promises.

One module a driver, named as in node.json; the module registers its class when it is imported, and only the
drivers that node.json names are imported.
"""

_NAME = "abcdefghijklmnopqrstuvwxyz0123456789_"
_drivers: dict = {}


class SensingError(Exception):
    """A sensor that cannot be set up as node.json asks; the message says what was found and what was
    wanted.
    """


class SensorFault(Exception):
    """A sensor that did not answer, or not sensibly, after the permitted attempts."""


class Driver:
    """One sensor. A driver overrides what it needs; the rest stands for a sensor that is sampled.

    quantities: tuple of quantity numbers it gives. settle_ms: how long after a window's end an event of that
    window may still be under way. Health since boot: good samples, faults (samples that failed), damaged
    (answers with a wrong checksum, also those that a second attempt made good) and resets of the sensor.
    """

    quantities: tuple = ()
    settle_ms = 0

    def __init__(self):
        self.good = 0
        self.faults = 0
        self.damaged = 0
        self.resets = 0
        self.healthy = True

    def start(self):
        """Bring the hardware to its known state. Raises SensorFault, OSError or SensingError."""

    def stop(self):
        """Let go of the hardware: no interrupt comes any more."""

    def border(self, tick_ms):
        """A window ends at `tick_ms` (time.ticks_ms): what comes then belongs to the next one."""

    def take(self, tally):
        """Move what was counted in the window that ended at the last border into `tally`, and forget it."""

    def expected(self, window_s):
        """How many samples a window of `window_s` should have of each quantity; 0 for what is counted."""
        return 0

    async def run(self, record):
        """Sample for ever, calling record(quantity, value in wire units). An exception restarts it."""

    def succeeded(self):
        """Note one good sample."""
        self.good += 1
        self.healthy = True

    def failed(self):
        """Note one fault."""
        self.faults += 1
        self.healthy = False


def register(name, driver):
    """Make a driver class known under the name that node.json uses."""
    _drivers[name] = driver


def load(spec):
    """Make the driver of one entry of node.json's "sensors". Raises SensingError."""
    name = spec.get("driver")
    if not isinstance(name, str) or not name or not all(c in _NAME for c in name):
        raise SensingError("sensors: found driver %r, wanted the name of a driver" % (name,))
    if name not in _drivers:
        try:
            __import__("node.sensing." + name)
        except ImportError:
            pass
    if name not in _drivers:
        raise SensingError("sensors: found driver %r, wanted one that is on this board" % (name,))
    try:
        return _drivers[name](spec)
    except KeyError as missing:
        raise SensingError("sensors: %s: wanted the key %s" % (name, missing))


def whole(spec, key, lowest, highest, default=None):
    """spec[key] as an integer within bounds; `default` when absent. Raises SensingError or KeyError."""
    value = spec.get(key, default)
    if value is None:
        raise KeyError(key)
    if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
        raise SensingError(
            "sensors: %s: %s: found %r, wanted %d to %d" % (spec["driver"], key, value, lowest, highest)
        )
    return value
