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


def test_release_overwrites_the_counts_and_draws_in_rising_order(micropython):
    seen = micropython(
        """
        import json
        from node.entropy import BitStream
        from node.laplace import discrete_laplace
        from node.release import release, ReleaseRefused
        from node.window import Tally
        from peilmerk_protocol import profile
        data = bytes([(i * 37 + 11) & 255 for i in range(320)])
        def source():
            blocks = [data[i:i + 32] for i in range(0, 320, 32)]
            return BitStream(lambda n: blocks.pop(0))
        tally = Tally((5, 6))
        tally.begin(1, False)
        tally.count(5, 120)
        tally.count(6, 80)
        tally.count(9, 5)
        values = release(tally, profile.STANDARD_COUNTER, source)
        stream = source()
        noise = [discrete_laplace(stream.bits, 7, 10) for _ in range(2)]
        left = [tally.take_count(5), tally.take_count(6)]
        tally.count(5, 3)
        class Quiet:
            epsilon_leaf = (0, 1)
        try:
            release(tally, Quiet())
            refused = ""
        except ReleaseRefused as fault:
            refused = str(fault)
        tally.count(6, 10_000_000)
        edge = release(tally, profile.STANDARD_COUNTER)[6]
        print(json.dumps({"values": [values[5][0] - 120, values[6][0] - 80], "noise": noise, "left": left,
                          "refused": refused, "edge": edge}))
        """
    )
    assert seen["values"] == seen["noise"]
    assert seen["left"] == [0, 0]
    assert seen["refused"] == "found epsilon 0/1 for a count, wanted a positive fraction"
    assert seen["edge"] == [65535]


def test_air_leaves_out_what_was_not_measured(micropython):
    seen = micropython(
        """
        import json
        from node.release import release
        from node.window import Tally
        from peilmerk_protocol import profile
        def no_bits():
            raise RuntimeError("air needs no noise")
        tally = Tally((0, 1, 2, 3, 4))
        tally.begin(1, False)
        empty = release(tally, profile.AIR, no_bits)
        for v in (100, 110, 120):
            tally.sample(0, v)
            tally.sample(1, 2 * v)
        tally.sample(2, -5)
        some = release(tally, profile.AIR, no_bits)
        print(json.dumps([sorted(empty.items()), sorted(some.items())]))
        """
    )
    assert seen[0] == [[4, [0]]]
    assert seen[1] == [[0, [110, 8]], [1, [220, 16]], [2, [-5, 0]], [4, [1]]]


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
