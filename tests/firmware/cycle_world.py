"""The cycle of windows and days on real MicroPython, with the hours in between left out.

The parts are the board's own: cycle, sensors, windows, noise, clock and an outbox on files. Only the tick
counter and asyncio's sleep belong to the test: sleeping moves the ticks on at once, and lets happen what
happens meanwhile. A test asks for it by the fixture `world`.
"""

from node.outbox import Outbox
from peilmerk_protocol import cose, keys, report, statement

DEVICE = "dbcdefghijklmnop"
KEY = keys.derive(bytes(32), keys.UP)
PARTIAL, SENSOR, DROPPED, CLOCK, REBOOT, PAUSED, SAFE = 1, 2, 4, 8, 16, 32, 64
DAY_S = 86400
# A midnight.
MIDNIGHT = 1_893_456_000

WORLD = """
import json, sys
from array import array
import machine
from node import cycle, day, entropy, laplace, pool, sensors, uptime
from node.health import Health
from node.outbox import Outbox
from node.sensing import Driver, register
from node.uplink import clock as clocks
from peilmerk_protocol import profile as profiles

tick = 0
started_at = TRUE_MS  # unix ms at tick 0
stop_at = 0
events = []
stream = [0, 0, 0, 0]
drawn = []
passed = array("q")  # unix ms x 2 + way
lines = []


class Stop(BaseException):
    pass


def ticks():
    return tick


def unix():
    return started_at + tick


def advance(ms):
    global tick
    target = min(tick + ms, stop_at)
    while True:
        passes = stream[0] - started_at if stream[0] < stream[2] else target + 1
        if events and events[0][0] <= min(passes, target):
            when, what = events.pop(0)
            tick = max(tick, when)
            what()
        elif passes <= target:
            tick = max(tick, passes)
            stream[0] += stream[1]
            stream[3] += 1
            turnstile.passes(stream[3] % 3 and 1)
        else:
            break
    tick = max(tick, target)
    if tick >= stop_at:
        raise Stop()


def at(unix_ms, what):
    # To be called in order of time.
    events.append((unix_ms - started_at, what))


class Sleep:
    @staticmethod
    async def sleep_ms(ms):
        advance(ms)

    @staticmethod
    async def sleep(s):
        advance(s * 1000)


def draw_logged(bits, p, q):
    noise = laplace.discrete_laplace(bits, p, q)
    drawn.append([unix(), p, q, noise])
    return noise


def say(text, *values):
    lines.append(text % values)


cycle.asyncio = Sleep
cycle.say = say
pool.discrete_laplace = draw_logged
for module in (cycle, uptime, sensors, clocks):
    module.ticks_ms = ticks


class Turnstile(Driver):
    # Counts like the beams do: what passes after the border belongs to the next window.
    quantities = (5, 6)
    settle_ms = 2000

    def __init__(self, spec):
        super().__init__()
        self.counts = [0, 0, 0, 0]
        self.open = 0
        self.at = None

    def passes(self, way):
        half = self.open
        if self.at is not None and tick >= self.at:
            half ^= 2
        self.counts[half + way] += 1
        passed.append(unix() * 2 + way)

    def border(self, tick_ms):
        self.at = tick_ms

    def take(self, tally):
        for way in (0, 1):
            tally.count(5 + way, self.counts[self.open + way])
            self.counts[self.open + way] = 0
        self.open ^= 2
        self.at = None


class Thermometer(Driver):
    quantities = (2,)

    def __init__(self, spec):
        super().__init__()

    def expected(self, window_s):
        return window_s // 60


register("turnstile", Turnstile)
register("thermometer", Thermometer)


class Config:
    timeout_s = 30
    device_id = "dbcdefghijklmnop"
    key = bytes.fromhex("KEY_HEX")
    next_profile = None
    sensors = [{"driver": "turnstile"}]
    profile = profiles.STANDARD_COUNTER


class Link:
    def wake(self):
        pass


class Radio:
    on = 0

    def switch_on(self):
        Radio.on += 1


class Vigil:
    def done(self, name):
        pass


def boot(known=True, warm=False):
    # A board starts: what is in RAM is new; what a warm reset keeps is kept.
    global tick, started_at, node, turnstile
    started_at += tick
    del events[:]
    stream[2] = 0
    tick = 0
    uptime._last = uptime._sum = 0
    if not warm:
        machine.RTC.kept = b""
    outbox = Outbox(sys.argv[1] + "/outbox")
    clock = clocks.Clock(outbox.last_window())
    if known:
        clock.set(unix(), 0)
    node = cycle.Cycle(Config, clock, outbox, Health(sys.argv[1]), Vigil(), sys.argv[1] + "/")
    tray = sensors.Sensors(Config.sensors, node.record)
    turnstile = tray.drivers[0]
    node.attach(tray, Link(), Radio())
    return node


def run(until_unix_ms, work=None):
    global stop_at
    stop_at = until_unix_ms - started_at
    try:
        (work or node.run()).send(None)
    except Stop:
        pass


def passages(start_ms, end_ms, every_ms):
    # Somebody passes so often: two away, one towards.
    stream[:] = [start_ms, every_ms, end_ms, 0]


def done(**more):
    more.update({"drawn": drawn, "passed": list(passed), "lines": lines, "switched": Radio.on,
                 "rtc": machine.RTC.kept.hex(), "unix": unix()})
    print(json.dumps(more))
"""


def sealed(folder):
    """[(kind, end in Unix seconds, Report or Statement)] of an outbox, in order; numbers rise."""
    outbox = Outbox(str(folder / "outbox"))
    found = []
    while (entry := outbox.oldest()) is not None:
        read = {1: report.decode, 2: statement.decode, 5: report.decode_day}[entry.kind]
        message = read(cose.open_sealed(KEY, entry.kind, DEVICE, entry.payload))
        assert message.seq == entry.seq
        assert not found or message.seq > found[-1][2].seq
        found.append((entry.kind, entry.window, message))
        outbox.acknowledge(entry.seq)
    return found


def reports(messages):
    return [message for kind, _, message in messages if kind == 1]


def days(messages):
    return [message for kind, _, message in messages if kind == 5]


def true_counts(said, start_s, end_s):
    """(towards, away) that passed in start_s <= t < end_s."""
    ways = [when & 1 for when in said["passed"] if start_s * 1000 <= when >> 1 < end_s * 1000]
    return ways.count(0), ways.count(1)


def sets_of(said, p, q):
    """[(unix ms, (noise towards, noise away))] drawn with epsilon p/q, in order."""
    drawn = [(when, noise) for when, its_p, its_q, noise in said["drawn"] if (its_p, its_q) == (p, q)]
    return [(one[0], (one[1], two[1])) for one, two in zip(drawn[::2], drawn[1::2], strict=True)]
