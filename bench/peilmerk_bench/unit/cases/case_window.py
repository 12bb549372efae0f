"""Windows: sums, means and spreads, and their borders."""

from peilmerk_protocol import quantities
from unit import same


def test_a_mean_and_its_spread_are_rounded_to_the_nearest():
    from node.window import Tally

    tally = Tally((quantities.PM2_5, quantities.TEMPERATURE))
    tally.begin(7, False)
    for value in (1, 2, 4):
        tally.sample(quantities.PM2_5, value)
    for value in (-5, -6):
        tally.sample(quantities.TEMPERATURE, value)
    same(tuple(tally.mean(quantities.PM2_5))[:2], (2, 1), "7/3 and 1.25")
    same(tuple(tally.mean(quantities.TEMPERATURE))[:2], (-5, 1), "-5.5 upwards, 0.5")


def test_an_exact_count_is_read_once():
    from node.window import Tally

    tally = Tally((quantities.BICYCLE_TOWARDS,))
    tally.begin(7, False)
    tally.count(quantities.BICYCLE_TOWARDS, 41)
    tally.count(quantities.BICYCLE_AWAY, 3)
    same(tally.take_count(quantities.BICYCLE_TOWARDS), 41)
    same(tally.take_count(quantities.BICYCLE_TOWARDS), 0)


def test_square_roots_are_exact():
    from node.window import isqrt

    for number in (0, 1, 2, 3, 4, 15, 16, 17, 10**6, 10**12, 10**18 - 1, (1 << 62) - 1):
        root = isqrt(number)
        assert root * root <= number < (root + 1) * (root + 1), number
