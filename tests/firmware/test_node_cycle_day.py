"""Windows and the total of their day: each event once in both, under the profile that holds."""

import pytest
from cycle_world import DAY_S, MIDNIGHT, PARTIAL, REBOOT, days, reports, sets_of, true_counts


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
    assert [kind for kind, _, _ in messages][-4:] == [1, 1, 5, 2]
    (total,) = days(messages)
    assert (total.revision, total.window) == (1, MIDNIGHT // DAY_S)
    true = true_counts(said, MIDNIGHT, MIDNIGHT + DAY_S)
    noise = sets_of(said, 3, 10)[0][1]
    assert (total.values[5][0], total.values[6][0]) == tuple(map(sum, zip(true, noise, strict=True)))
