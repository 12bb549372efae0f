"""What a board says of itself: its health in each report, and its statements."""

import pytest
from cycle_world import CLOCK, DAY_S, DROPPED, MIDNIGHT, PARTIAL, PAUSED, SAFE, SENSOR, days, reports, sets_of


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


def test_what_was_lost_is_told_once_and_over_resets(world):
    """By the ring before there is a time, and by a flash that refuses just before the power goes."""
    known = MIDNIGHT + 3 * 3600
    refused = known + 3600
    said, messages = world(
        f"""
boot(known=False)
at({known * 1000}, lambda: node._clock.set(unix(), tick))
run({(known + 1000) * 1000})
boot()
run({(refused - 100) * 1000})
append = node._outbox.append
def broken(kind, seq, window, payload):
    if window == {refused}:
        raise OSError(5)
    append(kind, seq, window, payload)
node._outbox.append = broken
run({(refused + 60) * 1000})
for _ in range(2):
    boot()
    run(unix() + 1800000)
done(lost=node._health.lost)
"""
    )
    told = [(r.window + 1) * 900 for r in reports(messages) if r.health & DROPPED]
    first = reports(messages)[0]
    assert first.health & CLOCK
    assert told == [(first.window + 1) * 900, refused + 900]
    assert len(reports(messages)) == 10
    assert said["lost"] == 9 + 1


@pytest.mark.parametrize("known", [True, False])
def test_a_statement_at_boot_and_once_a_day(world, known):
    _, messages = world(
        f"""
boot(known={known})
at({(MIDNIGHT + 600) * 1000}, lambda: node._clock.set(unix(), tick))
run({(MIDNIGHT + 2 * DAY_S + 1800) * 1000})
done()
"""
    )
    told = [message.uptime for kind, _, message in messages if kind == 2]
    assert told == [0, DAY_S + 2, 2 * DAY_S + 2]


@pytest.mark.parametrize("known", [True, False])
def test_a_board_in_safe_mode_states_asks_for_the_time_and_reports_what_it_is(world, known):
    """It asks again when no answer came, and then waits until that has left."""
    _, messages = world(
        f"""
from node import safe
safe.asyncio = Sleep
boot(known={known})
at({(MIDNIGHT + 100) * 1000}, lambda: node._outbox.acknowledge(1))
at({(MIDNIGHT + 1000) * 1000}, lambda: node._clock.set(unix(), tick))
run({(MIDNIGHT + 2710) * 1000}, safe.keep_silence(Config, node._clock, Vigil(), node))
done()
"""
    )
    kinds = [(kind, message.seq) for kind, _, message in messages]
    assert kinds == ([(1, 2), (1, 3), (1, 4)] if known else [(2, 2), (1, 3), (1, 4)])
    assert [message.uptime for kind, _, message in messages if kind == 2] == ([] if known else [150])
    assert [r.window - MIDNIGHT // 900 for r in reports(messages)] == ([0, 1, 2] if known else [1, 2])
    assert {(r.health, len(r.values)) for r in reports(messages)} == {(SAFE | PARTIAL | SENSOR, 0)}
