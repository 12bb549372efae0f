"""The cycle of windows and days on real MicroPython, with the hours in between left out.

The parts are the board's own: cycle, sensors, windows, noise, clock and an outbox on files. Only the tick
counter and asyncio's sleep belong to the test: sleeping moves the ticks on at once, and lets happen what
happens meanwhile.
"""

import random

import pytest

from node.outbox import Outbox
from peilmerk_protocol import cose, keys, report, statement

DEVICE = "dbcdefghijklmnop"
KEY = keys.derive(bytes(32), keys.UP)
PARTIAL, SENSOR, DROPPED, CLOCK, REBOOT, PAUSED = 1, 2, 4, 8, 16, 32
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


@pytest.fixture
def world(micropython, tmp_path):
    """run(script, true_s): what the script said with `done`, and what lies in the outbox, opened."""

    def run(script, true_s=MIDNIGHT, **options):
        folder = tmp_path / "data"
        folder.mkdir(exist_ok=True)
        head = WORLD.replace("TRUE_MS", str(true_s * 1000)).replace("KEY_HEX", KEY.hex())
        said = micropython(head + script, folder, **{"heap": "4M", "timeout": 240, **options})
        return said, sealed(folder)

    return run


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


def test_a_day_of_windows_and_the_days_own_total(world):
    said, messages = world(
        f"""
boot()
passages({MIDNIGHT * 1000}, {(MIDNIGHT + 2 * DAY_S) * 1000}, 97003)
for half in (1, 3):
    at({MIDNIGHT * 1000} + half * {DAY_S * 500}, lambda: node._clock.set(unix(), tick))
run({(MIDNIGHT + 2 * DAY_S + 60) * 1000})
done()
"""
    )
    assert [kind for kind, _, _ in messages] == [2] + [1] * 96 + [5, 2] + [1] * 96 + [5, 2]
    leaf = {when // 900_000: noise for when, noise in sets_of(said, 7, 10)}
    assert len(leaf) == len(sets_of(said, 7, 10))
    # One set a window, drawn when it begins; the first of the board with it.
    assert sorted(leaf) == list(range(MIDNIGHT // 900, MIDNIGHT // 900 + 193))
    assert all(when % 900_000 < 5000 for when, _ in sets_of(said, 7, 10))
    for number, r in enumerate(reports(messages)):
        assert r.window == MIDNIGHT // 900 + number
        assert r.health == (PARTIAL | REBOOT if not number else 0)
        true = true_counts(said, r.window * 900, r.window * 900 + 900)
        assert (r.values[5][0], r.values[6][0]) == tuple(map(sum, zip(true, leaf[r.window], strict=True)))
    first, second = days(messages)
    day = {when // 1000 // DAY_S: noise for when, noise in sets_of(said, 3, 10)}
    assert sorted(day) == [MIDNIGHT // DAY_S + number for number in range(3)]
    for total, health in ((first, PARTIAL), (second, 0)):
        assert total.health == health
        true = true_counts(said, total.window * DAY_S, (total.window + 1) * DAY_S)
        assert (total.values[5][0], total.values[6][0]) == tuple(
            map(sum, zip(true, day[total.window], strict=True))
        )
    assert [end for kind, end, _ in messages if kind == 5] == [MIDNIGHT + DAY_S, MIDNIGHT + 2 * DAY_S]
    # The window before is the newest report: a day is sent at the slot of its last window.
    assert second.seq == reports(messages)[-1].seq + 1


@pytest.mark.parametrize("warm", [False, True])
def test_what_a_reset_leaves_of_a_day(world, warm):
    """Reset at noon: after a warm one the day's total goes on with the noise it began with."""
    noon = MIDNIGHT + DAY_S // 2
    said, messages = world(
        f"""
boot()
passages({MIDNIGHT * 1000}, {noon * 1000}, 61007)
run({(noon + 450) * 1000})
boot(warm={warm})
passages({(noon + 460) * 1000}, {(MIDNIGHT + DAY_S) * 1000}, 53003)
run({(MIDNIGHT + DAY_S + 60) * 1000})
done()
"""
    )
    (total,) = days(messages)
    assert total.health == PARTIAL
    noises = [noise for when, noise in sets_of(said, 3, 10) if when < (MIDNIGHT + DAY_S) * 1000]
    assert len(noises) == (1 if warm else 2)
    true = true_counts(said, MIDNIGHT if warm else noon + 450, MIDNIGHT + DAY_S)
    assert (total.values[5][0], total.values[6][0]) == tuple(map(sum, zip(true, noises[-1], strict=True)))
    assert len({r.window for r in reports(messages)}) == len(reports(messages)) == 96


@pytest.mark.parametrize("how", ["reset", "leap"])
def test_a_days_total_is_released_once(world, how):
    """A reset before the clock's memory knew of the release, and a clock set back over midnight."""
    midnight = MIDNIGHT + DAY_S
    upset = {
        "reset": f"""
run({(midnight - 1) * 1000})
before = machine.RTC.kept
run({(midnight + 60) * 1000}, node.run())
machine.RTC.kept = before
boot(warm=True)
""",
        "leap": f"""
def leap():
    node._clock.set(unix() - 3600000, tick)
    node.moved(node._clock.moved_ms)
at({(midnight + 600) * 1000}, leap)
""",
    }[how]
    said, messages = world(
        f"""
boot()
passages({MIDNIGHT * 1000}, {midnight * 1000}, 61007)
{upset}
run({(midnight + 3 * 3600) * 1000})
done(day=node._day.index)
"""
    )
    assert [day.window for day in days(messages)] == [MIDNIGHT // DAY_S]
    assert said["day"] == midnight // DAY_S


def test_no_exact_count_lies_in_the_clocks_memory(world):
    """At no moment: not a window's, and of the day only the noisy total."""
    said, messages = world(
        f"""
boot()
passages({MIDNIGHT * 1000}, {(MIDNIGHT + 3600) * 1000}, 1009)
kept = []
save = day.rtc.save
def watch(tag, data):
    save(tag, data)
    kept.append(list(__import__("struct").unpack_from("<2i", data, 10)))
day.rtc.save = watch
run({(MIDNIGHT + 3660) * 1000})
done(kept=kept)
"""
    )
    noise = sets_of(said, 3, 10)[0][1]
    sums = [true_counts(said, MIDNIGHT, MIDNIGHT + 900 * number) for number in range(5)]
    assert said["kept"] == [list(map(sum, zip(noise, true, strict=True))) for true in sums]
    assert len(messages) == 5


def test_when_a_report_is_made_tells_nothing_about_its_noise(world):
    """Drawing takes time, and more of it for more noise: so it is over before the window closes."""
    said, messages = world(
        f"""
boot()
passages({MIDNIGHT * 1000}, {(MIDNIGHT + DAY_S) * 1000}, 61007)
def slow(bits, p, q):
    noise = draw_logged(bits, p, q)
    advance(100 + 40 * abs(noise))
    return noise
pool.discrete_laplace = slow
made = []
append = node._outbox.append
def timed(kind, seq, window, payload):
    if kind == 1:
        made.append(unix() - window * 1000)
    append(kind, seq, window, payload)
node._outbox.append = timed
run({(MIDNIGHT + DAY_S + 60) * 1000})
done(made=made)
"""
    )
    assert len(said["made"]) == len(reports(messages)) == 96
    assert set(said["made"]) == {2000}
    assert len({sum(map(abs, noise)) for _, noise in sets_of(said, 7, 10)}) > 4


def test_a_flash_that_refuses_gets_the_same_bytes_again_and_no_second_draw(world):
    said, messages = world(
        f"""
boot()
passages({MIDNIGHT * 1000}, {(MIDNIGHT + 4500) * 1000}, 10007)
tried = []
append = node._outbox.append
def broken(kind, seq, window, payload):
    tried.append([kind, seq, window, payload.hex()])
    if kind == 1 and window == {MIDNIGHT + 1800} and sum([t[2] == window for t in tried]) < 4:
        raise OSError(28)
    if kind == 1 and window == {MIDNIGHT + 2700}:
        # Written, and then refused all the same.
        append(kind, seq, window, payload)
        node._outbox._seq -= 1
        node._outbox._failed = 0
        raise OSError(5)
    append(kind, seq, window, payload)
node._outbox.append = broken
run({(MIDNIGHT + 4560) * 1000})
done(tried=tried)
"""
    )
    tried = [row for row in said["tried"] if row[0] == 1]
    for end in (MIDNIGHT + 1800, MIDNIGHT + 2700):
        assert len({tuple(row) for row in tried if row[2] == end}) == 1
    assert [row[2] for row in tried].count(MIDNIGHT + 1800) == 4
    # Given up, as far as the board knows; its number is spent, so that no other message ever bears it.
    given_up = next(row for row in tried if row[2] == MIDNIGHT + 2700)
    later = [row[1] for row in tried if row[2] > MIDNIGHT + 2700]
    assert min(later) > given_up[1]
    assert [when // 900_000 for when, _ in sets_of(said, 7, 10)] == list(
        range(MIDNIGHT // 900, MIDNIGHT // 900 + 6)
    )
    after = next(r for r in reports(messages) if r.window == MIDNIGHT // 900 + 3)
    assert after.health & DROPPED


def test_without_true_randomness_no_count_leaves_and_it_is_tried_again(world):
    said, messages = world(
        f"""
from node.entropy import EntropyRefused
boot()
passages({MIDNIGHT * 1000}, {(MIDNIGHT + 5400) * 1000}, 10007)
real = pool.BitStream
def refused():
    if {(MIDNIGHT + 1000) * 1000} <= unix() < {(MIDNIGHT + 2750) * 1000}:
        raise EntropyRefused("the radio is off")
    return real()
pool.BitStream = refused
run({(MIDNIGHT + 4530) * 1000})
done()
"""
    )
    found = {r.window - MIDNIGHT // 900: r for r in reports(messages)}
    assert sorted(found) == [0, 1, 2, 3, 4]
    # Window 1 had its noise before; 2 has none and says so; 3 got it late, but before its end.
    assert [len(found[number].values) for number in range(5)] == [2, 2, 0, 2, 2]
    assert [found[number].health & SENSOR for number in range(5)] == [0, 0, SENSOR, 0, 0]
    assert said["switched"] > 3
    assert said["lines"].count("release: the radio is off") <= 2
    late = {when // 900_000 - MIDNIGHT // 900: when % 900_000 for when, _ in sets_of(said, 7, 10)}
    assert sorted(late) == [0, 1, 3, 4, 5]
    assert 50_000 <= late[3] < 60_000


def test_what_comes_before_the_time_is_known_is_placed(world):
    """Forty minutes without a time: three windows of bins are kept, each in the window of its middle."""
    start = MIDNIGHT + 37 * 60
    known = start + 40 * 60
    said, messages = world(
        f"""
boot(known=False)
passages({start * 1000}, {(known + 1800) * 1000}, 7001)
def learn():
    node._clock.set(unix(), tick)
at({known * 1000}, learn)
run({(known + 1800) * 1000})
done(lost=node._health.lost)
""",
        true_s=start,
    )
    got = reports(messages)
    first = start // 900
    assert [r.window for r in got] == list(range(first, first + len(got)))
    noise = sets_of(said, 7, 10)
    released = 0
    for r, (_, drawn) in zip(got, noise, strict=False):
        true = true_counts(said, r.window * 900, r.window * 900 + 900)
        placed = r.window <= known // 900
        assert r.health & (PARTIAL | CLOCK) == (PARTIAL | CLOCK if placed else 0)
        for way in (0, 1):
            # A bin of a minute lies wholly in the window that holds its middle: at most 9 passages astray.
            assert abs(r.values[5 + way][0] - drawn[way] - true[way]) <= (9 if placed else 0)
            released += r.values[5 + way][0] - drawn[way]
    assert released == sum(true_counts(said, start, got[-1].window * 900 + 900))
    assert said["lost"] == 0
    assert not any(r.health & PARTIAL for r in got if r.window > known // 900)


def test_the_ring_is_bounded_and_what_it_loses_is_counted(world):
    """Three hours without a time: the last three quarters of an hour are kept."""
    known = MIDNIGHT + 3 * 3600 + 100
    said, messages = world(
        f"""
boot(known=False)
passages({MIDNIGHT * 1000}, {known * 1000}, 5003)
most = []
def learn():
    most.append(len(node._early._bins))
    node._clock.set(unix(), tick)
at({known * 1000}, learn)
run({(known + 900) * 1000})
done(lost=node._health.lost, most=most, early=node._early is None)
"""
    )
    got = reports(messages)
    assert said["most"] == [45]
    assert said["early"] is True
    assert [r.window - MIDNIGHT // 900 for r in got] == [9, 10, 11, 12]
    # 181 bins of a minute, of which 45 and the open one are kept: nine windows and a bit.
    assert 8 <= said["lost"] <= 10


@pytest.mark.parametrize(
    ("by_s", "windows"),
    [
        (5400, [0, 1, 2, 8, 9, 10, 11]),  # on: the window at hand is cut, those leapt over never were
        (-2700, [0, 1, 2]),  # back into windows that were released before: nothing twice
        (1, [0, 1, 2, 3, 4, 5]),  # a second is no leap
    ],
)
def test_a_clock_that_leaps(world, by_s, windows):
    said, messages = world(
        f"""
boot()
passages({MIDNIGHT * 1000}, {(MIDNIGHT + 4500) * 1000}, 10007)
def leap():
    node._clock.set(unix() + {by_s * 1000}, tick)
    node.moved(node._clock.moved_ms)
at({(MIDNIGHT + 2000) * 1000}, leap)
run({(MIDNIGHT + 5430) * 1000})
done()
"""
    )
    assert [r.window - MIDNIGHT // 900 for r in reports(messages)] == windows
    for r in reports(messages):
        disturbed = by_s > 2 and r.window - MIDNIGHT // 900 in (2, 8)
        assert bool(r.health & PARTIAL) == (disturbed or r.window == MIDNIGHT // 900)
    released = sum("released before" in line for line in said["lines"])
    assert released == (3 if by_s < 0 else 0)


@pytest.mark.parametrize("border", [2**31, 2**32 - 60 * 900], ids=["2038", "2106"])
def test_the_ends_of_time(world, border):
    """Signed 32-bit seconds end in 2038, unsigned ones in 2106: windows and days go through."""
    start = border // DAY_S * DAY_S - DAY_S
    said, messages = world(
        f"""
boot()
passages({start * 1000}, {(start + 2 * DAY_S) * 1000}, 61007)
run({min(start + 2 * DAY_S + 60, 2**32 - 1) * 1000})
boot()
done(last=node._outbox.last_window(), refused=node._outbox.has_window({start + DAY_S}))
""",
        true_s=start,
    )
    got = reports(messages)
    assert [r.window for r in got] == list(range(start // 900, start // 900 + len(got)))
    assert len(got) >= 96 + 30
    assert said["last"] == (got[-1].window + 1) * 900
    assert said["refused"] is True
    assert days(messages)[0].window == start // DAY_S


def test_a_pause_empties_its_windows_and_breaks_the_day(world):
    said, messages = world(
        f"""
boot()
passages({MIDNIGHT * 1000}, {(MIDNIGHT + 4500) * 1000}, 10007)
tray = node._sensors
def pause():
    tray._pause_from, tray._pause_end = unix(), -1
def resume():
    tray._pause_end = unix()
at({(MIDNIGHT + 1000) * 1000}, pause)
at({(MIDNIGHT + 2000) * 1000}, resume)
run({(MIDNIGHT + 4530) * 1000})
done(whole=node._day.whole(), windows=node._day._windows)
"""
    )
    got = reports(messages)
    assert [r.health & PAUSED for r in got] == [0, PAUSED, PAUSED, 0, 0]
    assert [len(r.values) for r in got] == [2, 0, 0, 2, 2]
    assert [r.health & SENSOR for r in got] == [0] * 5
    # Noise that was drawn for a paused window is not kept for another one.
    assert [when // 900_000 - MIDNIGHT // 900 for when, _ in sets_of(said, 7, 10)] == [0, 1, 2, 3, 4, 5]
    assert said["windows"] == 5
    assert said["whole"] is False


def test_too_few_samples_are_a_sensors_fault(world):
    """75 % of what a sensor should give is enough, less is not; a window that began late is not judged."""
    said, messages = world(
        f"""
Config.sensors = [{{"driver": "thermometer"}}]
Config.profile = profiles.Profile(1, 900, 1 << 2 | 1 << 4 | 1 << 24 | 1 << 27, (0, 1), (0, 1), 0, 0)
boot()
for window, samples in ((0, 3), (1, 15), (2, 12), (3, 11), (4, 0)):
    for number in range(samples):
        when = {MIDNIGHT * 1000} + window * 900000 + number * 60000 + 30000
        at(when, lambda number=number: node.record(2, 200 + number))
run({(MIDNIGHT + 4530) * 1000})
done()
"""
    )
    got = reports(messages)
    assert [r.values.get(24) for r in got] == [(20,), (100,), (80,), (73,), (0,)]
    assert [r.values[4] for r in got] == [(3,), (15,), (12,), (11,), (0,)]
    assert [r.values.get(27) for r in got] == [(200, 202), (200, 214), (200, 211), (200, 210), None]
    assert [r.health & SENSOR for r in got] == [0, 0, 0, SENSOR, SENSOR]
    assert not said["drawn"]
    assert not days(messages)


def test_a_cycle_that_failed_before_there_was_a_time_goes_on_with_windows(world):
    _, messages = world(
        f"""
Config.sensors = [{{"driver": "thermometer"}}]
Config.profile = profiles.Profile(1, 900, 1 << 2 | 1 << 4, (0, 1), (0, 1), 0, 0)
boot(known=False)
whole = node._end_bin
def fails(early):
    raise MemoryError("no room")
node._end_bin = fails
try:
    run({(MIDNIGHT + 300) * 1000})
except MemoryError:
    pass
node._end_bin = whole
node._clock.set(unix(), tick)
for number in range(30):
    at({(MIDNIGHT + 360) * 1000} + number * 60000, lambda: node.record(2, 200))
run({(MIDNIGHT + 1860) * 1000})
done()
"""
    )
    assert [r.values[4] for r in reports(messages)] == [(9,), (15,)]


def test_an_agreed_profile_begins_its_own_day(world):
    said, messages = world(
        f"""
boot()
passages({MIDNIGHT * 1000}, {(MIDNIGHT + DAY_S) * 1000}, 61007)
def agree():
    Config.next_profile = profiles.Profile(2, 3600, 3 << 5, (7, 20), (3, 20), 10, 4)
at({(MIDNIGHT + 3000) * 1000}, agree)
run({(MIDNIGHT + DAY_S + 60) * 1000})
done()
"""
    )
    assert [r.revision for r in reports(messages)][:6] == [1, 1, 1, 1, 2, 2]
    assert [m.revision for kind, _, m in messages if kind == 2][:2] == [1, 2]
    (total,) = days(messages)
    assert (total.revision, total.health) == (2, PARTIAL)
    true = true_counts(said, MIDNIGHT + 3600, MIDNIGHT + DAY_S)
    noise = sets_of(said, 3, 20)[0][1]
    assert (total.values[5][0], total.values[6][0]) == tuple(map(sum, zip(true, noise, strict=True)))


def test_a_profile_agreed_for_midnight_leaves_the_day_its_total(world):
    said, messages = world(
        f"""
boot()
passages({(MIDNIGHT + 70000) * 1000}, {(MIDNIGHT + DAY_S) * 1000}, 61007)
def agree():
    Config.next_profile = profiles.Profile(2, 3600, 3 << 5, (7, 20), (3, 20), 10, 4)
at({(MIDNIGHT + DAY_S - 100) * 1000}, agree)
run({(MIDNIGHT + DAY_S + 60) * 1000})
done()
""",
        true_s=MIDNIGHT + 70000,
    )
    assert [kind for kind, _, _ in messages][-4:] == [1, 5, 2, 2]
    (total,) = days(messages)
    assert (total.revision, total.window) == (1, MIDNIGHT // DAY_S)
    true = true_counts(said, MIDNIGHT, MIDNIGHT + DAY_S)
    noise = sets_of(said, 3, 10)[0][1]
    assert (total.values[5][0], total.values[6][0]) == tuple(map(sum, zip(true, noise, strict=True)))


def test_resets_at_any_moment_release_no_window_and_no_day_twice(world):
    """Warm and cold, hundreds of them through three days: one report a window, one total a day."""
    generator = random.Random(11)
    moments = sorted(generator.randrange(3 * DAY_S * 1000) for _ in range(120))
    # Some of them within a second of a border, where everything happens.
    moments += [
        generator.randrange(1, 288) * 900_000 + 2000 + generator.choice((-1, 0, 1, 40, 900))
        for _ in range(60)
    ]
    resets = [(MIDNIGHT * 1000 + moment, generator.random() < 0.5) for moment in sorted(set(moments))]
    said, messages = world(
        f"""
import gc
boot()
for moment, warm in {resets!r}:
    passages(unix() + 500, moment, 60007)
    run(moment)
    gc.collect()
    boot(warm=warm)
run({(MIDNIGHT + 3 * DAY_S + 60) * 1000})
done()
""",
    )
    windows = [r.window for r in reports(messages)]
    # A reset between a window's end and its release costs that window.
    assert len(windows) == len(set(windows)) >= 240
    totals = [day.window for day in days(messages)]
    assert totals == [MIDNIGHT // DAY_S + number for number in range(3)]
    assert all(day.health == PARTIAL for day in days(messages))
    # Every figure has a draw of its own, made while its window was open.
    sets = sets_of(said, 7, 10)
    assert len(sets) >= len(windows)
    for r in reports(messages):
        near = [noise for when, noise in sets if r.window * 900_000 <= when < r.window * 900_000 + 900_000]
        assert near, r
