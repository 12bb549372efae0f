"""One draw a window and a day, and nothing exact beside it: whatever flash, randomness and power do."""

import random

from cycle_world import DAY_S, DROPPED, MIDNIGHT, PARTIAL, SENSOR, days, reports, sets_of, true_counts


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
