"""Windows, release and what is left of a count afterwards."""


def test_borders_belong_to_the_next_window_and_partial_ones_say_so(micropython):
    seen = micropython(
        """
        import json
        from node.window import Windows
        w = Windows(900, (0, 2))
        start = 1893456000000
        seen = {"before": w.at(start) is None}
        w.start(start)
        seen["first"] = w.ended().partial
        seen["index"] = w.index()
        seen["end"] = w.end_ms() - start
        for t, v in ((start + 1, 10), (start + 899999, 20), (start + 900000, 1000), (start + 1800000, 7),
                     (start - 1, 7)):
            w.sample(t, 0, v)
        seen["mean"] = w.ended().mean(0)
        seen["samples"] = w.ended().samples(0)
        seen["other"] = w.ended().mean(2)
        w.advance(start + 900001)
        seen["next"] = [w.index(), w.ended().partial, w.ended().mean(0)]
        w.advance(start + 5 * 900000)
        seen["jumped"] = [w.index(), w.ended().partial, w.ended().samples(0)]
        seen["back"] = [w.before(start), w.before(start + 5 * 900000)]
        print(json.dumps(seen))
        """
    )
    assert seen == {
        "before": True,
        "first": True,
        "index": 2103840,
        "end": 900000,
        "mean": [15, 5],
        "samples": 2,
        "other": None,
        "next": [2103841, False, [1000, 0]],
        "jumped": [2103845, True, 0],
        "back": [True, False],
    }


def test_mean_and_spread_are_rounded_integers(micropython):
    import random
    import statistics

    generator = random.Random(5)
    series = [[generator.randint(-400, 850) for _ in range(n)] for n in (1, 2, 7, 30, 450)] + [
        [0, 0],
        [-1, -2],
    ]
    found = micropython(
        f"""
        import json
        from node.window import Tally
        found = []
        for values in {series!r}:
            t = Tally((2,))
            t.begin(1, False)
            for v in values:
                t.sample(2, v)
            found.append(t.mean(2))
        print(json.dumps(found))
        """
    )
    for values, (mean, spread) in zip(series, found, strict=True):
        assert abs(mean - statistics.fmean(values)) <= 0.5
        assert abs(spread - statistics.pstdev(values)) <= 0.5 + 0.5 / len(values)
    assert found[0][1] == 0


def test_release_overwrites_counts_and_noise_and_draws_in_rising_order(micropython):
    seen = micropython(
        """
        import json
        from node import pool
        from node.entropy import BitStream
        from node.laplace import discrete_laplace
        from node.release import release
        from node.window import Tally
        from peilmerk_protocol import profile
        data = bytes([(i * 37 + 11) & 255 for i in range(320)])
        def source():
            blocks = [data[i:i + 32] for i in range(0, 320, 32)]
            return BitStream(lambda n: blocks.pop(0))
        pool.BitStream = source
        ahead = pool.Pool(2, profile.STANDARD_COUNTER.epsilon_leaf)
        empty = [ahead.ready(), ahead.take()]
        ahead.fill()
        ahead.fill()
        ready = ahead.ready()
        noise = ahead.take()
        once = [ready, ahead.ready(), ahead.take()]
        stream = source()
        again = [discrete_laplace(stream.bits, 7, 10) for _ in range(2)]
        tally = Tally((5, 6))
        tally.begin(1, False)
        tally.count(5, 120)
        tally.count(6, 80)
        tally.count(9, 5)
        values, share = release(tally, noise)
        left = [tally.take_count(5), tally.take_count(6), noise, share]
        tally.count(5, 3)
        without, _ = release(tally, None)
        left.append(tally.take_count(5))
        tally.count(6, 10_000_000)
        edge = release(tally, [0, 0])[0][6]
        ahead.fill(3)
        held = list(ahead._sets)
        ahead.clear()
        print(json.dumps({"values": [values[5][0] - 120, values[6][0] - 80], "again": again, "left": left,
                          "without": without, "edge": edge, "empty": empty, "once": once, "held": held}))
        """
    )
    assert seen["values"] == seen["again"]
    assert seen["left"] == [0, 0, [0, 0], None, 0]
    # No true randomness, no count: neither exact nor otherwise.
    assert seen["without"] == {}
    assert seen["edge"] == [65535]
    assert (seen["empty"], seen["once"]) == ([False, None], [True, False, None])
    assert seen["held"] == [[0, 0]] * 3


def test_no_epsilon_is_no_noise_and_no_release(micropython):
    seen = micropython(
        """
        import json
        from node.pool import Pool
        try:
            Pool(1, (0, 1)).fill()
            print(json.dumps("drawn"))
        except ValueError as fault:
            print(json.dumps(str(fault)))
        """
    )
    assert seen == "found epsilon 0/1, wanted a positive fraction"


def test_air_leaves_out_what_was_not_measured(micropython):
    seen = micropython(
        """
        import json
        from node.release import release
        from node.window import Tally
        tally = Tally((0, 1, 2, 3, 4, 24, 25, 26, 27, 28))
        tally.begin(1, False)
        expected = lambda quantity: {0: 6, 1: 6, 2: 0, 3: 30}[quantity]
        empty = release(tally, None, None, expected)
        for v in (100, 110, 120):
            tally.sample(0, v)
            tally.sample(1, 2 * v)
        for v in (-5, 11, -7):
            tally.sample(2, v)
        for _ in range(29):
            tally.sample(3, 745)
        some = release(tally, None, None, expected)
        for _ in range(9):
            tally.sample(0, 100)
            tally.sample(1, 100)
            tally.sample(3, 745)
        full = release(tally, None, None, expected)
        nobody = release(tally, None, None, lambda quantity: 0)
        print(json.dumps([[sorted(values.items()), share] for values, share in (empty, some, full)]
                         + [24 in nobody[0], nobody[1]]))
        """
    )
    assert seen[0] == [[[4, [0]], [24, [0]]], 0]
    assert seen[1] == [
        [
            [0, [110, 8]],
            [1, [220, 16]],
            [2, [0, 8]],
            [3, [745, 0]],
            [4, [3]],
            [24, [50]],
            [25, [100, 120]],
            [26, [200, 240]],
            [27, [-7, 11]],
            [28, [745, 745]],
        ],
        50,
    ]
    # More samples than expected are not more than all.
    assert dict(seen[2][0])[24] == [100]
    assert seen[3:] == [False, None]


def test_sound_is_added_up_as_energy(micropython):
    import math
    import random

    generator = random.Random(3)
    series = [[generator.randint(300, 1100) for _ in range(n)] for n in (1, 2, 10, 900)]
    series += [[0], [1200] * 900, [1500] * 200, [600, 900], [0, 1500], [452] * 3]
    found = micropython(
        f"""
        import json
        from node.window import Tally
        found = []
        for levels in {series!r}:
            t = Tally((21, 22))
            t.begin(1, False)
            first = Tally((21, 22))
            for level in levels[::2]:
                first.sample(21, level)
                first.sample(22, level)
            for level in levels[1::2]:
                t.sample(21, level)
                t.sample(22, level)
            t.add(first.figures())
            found.append([t.level(21), t.level(22), t.samples(21)])
        empty = Tally((21, 22))
        found.append([empty.level(21), empty.level(22)])
        print(json.dumps(found))
        """
    )
    for levels, ((mean,), (highest,), number) in zip(series, found[:-1], strict=True):
        true = 100 * math.log10(sum(10 ** (level / 100) for level in levels) / len(levels))
        assert abs(mean - true) <= 1 + (true < 50) * 4, (levels[:5], mean, true)
        assert (highest, number) == (max(levels), len(levels))
    assert found[-1] == [None, None]


def test_tallies_add_up_and_leave_nothing_behind(micropython):
    seen = micropython(
        """
        import json
        from node.window import Tally
        one = Tally((0, 5, 6))
        two = Tally((0, 5, 6))
        nothing = one.figures()
        one.count(5, 3)
        two.count(5, 4)
        two.count(6, 1)
        for value in (5, 9):
            one.sample(0, value)
        figures = one.figures()
        two.add(figures)
        one.wipe()
        third = Tally((0, 5, 6))
        third.sample(0, 2)
        two.add(third.figures())
        print(json.dumps([nothing, list(figures), one.figures(), two.mean(0), two.extremes(0), two.samples(0),
                          two.take_count(5), two.take_count(6)]))
        """
    )
    assert seen == [None, [0] * 7, None, [5, 3], [2, 9], 3, 7, 1]


def test_a_moved_clock_marks_both_windows(micropython):
    seen = micropython(
        """
        import json
        from node.window import Windows
        w = Windows(900, (0,))
        start = 1893456000000
        w.start(start)
        w.advance(start + 900000)
        fresh = w.ended().partial
        w.disturb()
        now = [fresh, w.ended().partial]
        w.advance(start + 1800000)
        now.append(w.ended().partial)
        w.advance(start + 2700000)
        now.append(w.ended().partial)
        print(json.dumps(now))
        """
    )
    assert seen == [False, True, True, False]


def test_the_watchdog_is_fed_by_all_the_work_or_not_at_all(micropython):
    seen = micropython(
        """
        import json
        from machine import WDT
        from node import health
        now = 0
        health.ticks_ms = lambda: now
        v = health.Vigil({"windows": 60, "link": 300}, 300)
        fed = []
        def at(seconds, name):
            global now
            now = seconds * 1000
            v.done(name)
            fed.append(WDT.fed)
        at(10, "windows"); at(60, "windows"); at(120, "link"); at(121, "windows"); at(180, "link")
        at(181, "windows"); at(400, "windows"); at(480, "windows"); at(481, "windows"); at(482, "link")
        idle = health.Vigil({"windows": 60}, 0)
        idle.done("windows"); idle.rest()
        print(json.dumps([fed, WDT.timeouts]))
        """
    )
    assert seen == [[1, 2, 3, 4, 5, 6, 7, 8, 8, 9], [300000]]
