"""What a board says of itself: its health in each report, and its statements."""

from cycle_world import MIDNIGHT, PAUSED, SENSOR, days, reports, sets_of


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
