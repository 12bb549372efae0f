"""Windows while the time is not known, when it leaps, and where counters of seconds end."""

import pytest
from cycle_world import CLOCK, DAY_S, DROPPED, MIDNIGHT, PARTIAL, days, reports, sets_of, true_counts


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
passages({MIDNIGHT * 1000}, {(MIDNIGHT + 1990) * 1000}, 10007)
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
        # Nobody passed in the windows that were thrown away: told all the same, or it would tell of that.
        assert bool(r.health & DROPPED) == (by_s < 0 and r.window - MIDNIGHT // 900 == 2)
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
