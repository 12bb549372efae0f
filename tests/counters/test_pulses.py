"""Loops and tubes: the simulator against what it stands for, then the drivers against the recorded street."""

from __future__ import annotations

from itertools import pairwise

import pytest
from stepped_street import BEGIN, WINDOW_S, Street

from peilmerk_bench.board import SensorSpec
from peilmerk_bench.sensors.pulses import PulseInputs
from peilmerk_bench.world.movers import Mover, Movers, recorded
from peilmerk_protocol import quantities as q

HOUR = 12


def inputs(traffic: Movers, pins: tuple[int, ...] = (4,), **options) -> SensorSpec:
    return SensorSpec("pulses", lambda name: PulseInputs(name, traffic=traffic, pins=pins, **options))


def edges(traffic: list[Mover], **options) -> list[tuple[float, int, int]]:
    device = PulseInputs("pulses", traffic=Movers(traffic), **options)
    return [(round(at, 3), pin, level) for at, pin, level in device.edges(0.0, 100.0)]


def test_a_tube_feels_each_axle_and_its_contact_bounces() -> None:
    bicycle = Mover(10.0, "in", 2.1)
    assert edges([bicycle]) == [(10.0, 4, 0), (10.03, 4, 1), (10.5, 4, 0), (10.53, 4, 1)]
    bounced = edges([bicycle], bounces=1, active=1)
    assert bounced[:4] == [(10.0, 4, 1), (10.002, 4, 0), (10.004, 4, 1), (10.03, 4, 0)]


def test_a_pair_of_tubes_is_met_in_the_direction_of_travel() -> None:
    at = edges([Mover(10.0, "out", 2.1)], pins=(4, 5), spacing_m=2.1)
    assert [edge for edge in at if not edge[2]] == [(10.0, 5, 0), (10.5, 5, 0), (11.0, 4, 0), (11.5, 4, 0)]


def test_a_loop_is_active_while_a_body_is_over_it_and_two_bodies_are_one() -> None:
    at = edges([Mover(10.0, "in", 1.75), Mover(10.5, "in", 1.75)], pulse_s=None)
    assert at == [(10.0, 4, 0), (11.5, 4, 1)]


def test_the_recorded_street_keeps_its_speeds() -> None:
    street = recorded(BEGIN, BEGIN + HOUR * WINDOW_S)
    assert len(street.all) > 100
    assert {round(mover.speed_ms * 3.6) for mover in street.all} >= {16, 18, 20, 24}
    apart = recorded(BEGIN, BEGIN + HOUR * WINDOW_S, apart_s=2.0).all
    assert min(b.at - a.at for a, b in pairwise(apart)) >= 2.0


CLASSES = {"bicycle": q.BICYCLE_TOWARDS, "pedestrian": q.PEDESTRIAN_TOWARDS, "vehicle": q.VEHICLE_TOWARDS}


def totals(traffic: Movers, windows: int) -> list[int]:
    """True passages of each window."""
    return [len(traffic(BEGIN + i * WINDOW_S, BEGIN + (i + 1) * WINDOW_S)) for i in range(windows)]


def by_class(traffic: Movers, windows: int) -> list[dict[int, int]]:
    """True passages of each window, by class and direction."""
    found = []
    for i in range(windows):
        counts = traffic.counts(BEGIN + i * WINDOW_S, BEGIN + (i + 1) * WINDOW_S)
        found.append({
            number + way: counts[kind, direction]
            for kind, number in CLASSES.items()
            for way, direction in enumerate(("in", "out"))
        })  # fmt: skip
    return found


async def test_a_loop_at_the_pulse_counter_counts_every_body(street: Street) -> None:
    traffic = recorded(BEGIN - 15, BEGIN + HOUR * WINDOW_S, apart_s=2.0)
    entry = {"driver": "pulses", "pin": 4, "class": "bicycle"}
    counted = await street.count(inputs(traffic, pulse_s=None), entry, windows=HOUR, late_ms=1500)
    assert [window[q.BICYCLE] for window in counted.windows] == totals(traffic, HOUR)
    assert sum(totals(traffic, HOUR)) > 100
    assert counted.healthy == [[True]] * HOUR


@pytest.mark.parametrize("dead_ms", [0, 20])
async def test_pulses_at_the_border_are_neither_lost_nor_doubled(street: Street, dead_ms: int) -> None:
    # a pulse every 250 ms right through the borders, which the reader learns of a second late
    traffic = Movers(Mover(BEGIN + 0.125 + i / 4, "in", axle_m=0.0) for i in range(200))
    entry = {"driver": "pulses", "pin": 4, "class": "vehicle", "dead_ms": dead_ms}
    counted = await street.count(inputs(traffic), entry, windows=5, window_s=10, late_ms=1000)
    assert [window[q.VEHICLE] for window in counted.windows] == [40] * 5


async def test_a_bouncing_air_switch_wants_dead_time_and_two_axles_are_one_passage(street: Street) -> None:
    traffic = recorded(BEGIN, BEGIN + HOUR * WINDOW_S, apart_s=2.0)
    entry = {"driver": "pulses", "pin": 4, "class": "bicycle", "axles": 2, "dead_ms": 40}
    counted = await street.count(inputs(traffic, bounces=3), entry, windows=HOUR)
    assert [window[q.BICYCLE] for window in counted.windows] == totals(traffic, HOUR)
    undamped = {**entry, "dead_ms": 0}
    counted = await street.count(inputs(traffic, bounces=3), undamped, windows=1)
    assert counted.windows[0][q.BICYCLE] == 4 * totals(traffic, 1)[0], "the pulse counter stops no bounce"


async def test_the_axle_left_over_at_a_border_is_not_lost(street: Street) -> None:
    # the second axle of the first passage comes after the border
    traffic = Movers([Mover(BEGIN + 9.9, "in", 4.2), Mover(BEGIN + 15, "in", 4.2)])
    entry = {"driver": "pulses", "pin": 4, "axles": 2}
    counted = await street.count(inputs(traffic), entry, windows=2, window_s=10)
    assert [window[q.UNCLASSIFIED] for window in counted.windows] == [0, 2]


async def test_a_pair_of_tubes_sorts_the_recorded_cyclists_and_cars_by_axles(street: Street) -> None:
    cyclists = recorded(BEGIN, BEGIN + HOUR * WINDOW_S, apart_s=2.5).all
    cars = [
        Mover.car(mover.at + 1.2, "out" if nth % 3 else "in", 4.0 + nth % 10)
        for nth, (mover, after) in enumerate(pairwise(cyclists))
        if after.at - mover.at > 4 and mover.speed_ms > 2
    ]
    traffic = Movers([*cyclists, *cars])
    entry = {"driver": "pulse_pair", "pins": [4, 5], "class": "measured", "axles": 2, "spacing_mm": 1000}
    counted = await street.count(
        inputs(traffic, (4, 5), bounces=2), {**entry, "dead_ms": 40}, windows=HOUR, late_ms=500
    )
    assert counted.windows == by_class(traffic, HOUR)
    assert sum(window[q.VEHICLE_AWAY] for window in counted.windows) > 50


async def test_a_pair_sorts_by_speed_where_there_are_no_axles(street: Street) -> None:
    """Every fifth walks. The recorded speeds cross 10 km/h for 1.3 % of the cyclists: those walk too."""
    riders = recorded(BEGIN, BEGIN + HOUR * WINDOW_S, apart_s=3.0).all
    traffic = Movers(
        Mover.walker(mover.at, mover.direction, 1.0 + nth % 3 * 0.4) if nth % 5 == 0 else mover
        for nth, mover in enumerate(riders)
    )
    slow = sum(mover.kind == "bicycle" and mover.speed_ms * 3.6 < 10 for mover in traffic.all)
    entry = {"driver": "pulse_pair", "pins": [4, 5], "class": "measured", "spacing_mm": 500}
    counted = await street.count(inputs(traffic, (4, 5), spacing_m=0.5, pulse_s=None), entry, windows=HOUR)
    true = by_class(traffic, HOUR)
    wrong = sum(
        abs(window[n] - want[n]) for window, want in zip(counted.windows, true, strict=True) for n in want
    )
    assert wrong == 2 * slow
    assert slow <= 0.03 * len(riders)


async def test_a_crowded_pair_of_loops_stays_within_its_stated_error(street: Street) -> None:
    """Everybody, also those side by side: two bodies over one loop are one. At most 5 % are missed."""
    traffic = recorded(BEGIN, BEGIN + HOUR * WINDOW_S)
    entry = {"driver": "pulse_pair", "pins": [4, 5], "class": "bicycle"}
    counted = await street.count(inputs(traffic, (4, 5), pulse_s=None), entry, windows=HOUR)
    seen = sum(sum(window.values()) for window in counted.windows)
    assert 0.95 * len(traffic.all) <= seen <= len(traffic.all)


async def test_what_is_no_whole_passage_counts_nothing(street: Street) -> None:
    # a foot on one tube, and one pulse that both inputs hear
    stamp = Mover(BEGIN + 5, "in", 1e6, axle_m=0.0)
    traffic = Movers([stamp, Mover(BEGIN + 10, "in", 4.2), Mover(BEGIN + 20, "out", 1e6, axle_m=0.0)])
    entry = {"driver": "pulse_pair", "pins": [4, 5], "class": "measured", "spacing_mm": 1000}
    both = await street.count(
        inputs(traffic, (4, 5)), {**entry, "axles": 1, "dead_ms": 400}, windows=1, window_s=30
    )
    assert sum(both.windows[0].values()) == 1
    both = await street.count(inputs(traffic, (4, 5)), {**entry, "axles": 2}, windows=1, window_s=30)
    assert both.windows[0][q.BICYCLE_TOWARDS] == 1
    assert sum(both.windows[0].values()) == 1


@pytest.mark.parametrize(
    "entry",
    [
        {"driver": "pulses", "pin": 4},
        {"driver": "pulse_pair", "pins": [4, 5]},
        {"driver": "beam_pair", "pins": [4, 5]},
    ],
)
async def test_what_no_path_has_is_told_as_a_fault(street: Street, entry: dict[str, object]) -> None:
    """A parked bicycle for two minutes, then quiet, then a contact that flutters 20 times a second."""
    parked = Mover(BEGIN + 30, "in", 0.0125, length_m=1.5)  # on the first loop for 120 s
    flutter = [Mover(BEGIN + 330 + i / 20, "in", 1000.0, axle_m=0.0) for i in range(400)]
    spec = inputs(Movers([parked]), (4, 5), pulse_s=None, spacing_m=0.001)
    counted = await street.count(spec, entry, windows=2, window_s=100)
    assert counted.healthy == [[False], [False]], "the window in which it healed is told as well"
    assert counted.faults[-1] == [1]
    spec = inputs(Movers(flutter), (4, 5), pulse_s=0.03, spacing_m=10.0)
    counted = await street.count(spec, entry, windows=5, window_s=100)
    assert [healthy[0] for healthy in counted.healthy] == [True, True, True, False, True]


async def test_zeros_of_a_profile_that_has_nothing_of_the_sensor_are_told(street: Street) -> None:
    traffic = Movers([Mover(BEGIN + 5, "in")])
    entry = {"driver": "pulse_pair", "pins": [4, 5], "class": "vehicle"}
    bicycles = (q.BICYCLE_TOWARDS, q.BICYCLE_AWAY)
    counted = await street.count(inputs(traffic, (4, 5)), entry, windows=1, window_s=20, members=bicycles)
    assert counted.windows == [dict.fromkeys(bicycles, 0)]
    assert counted.healthy == [[False]]


PAUSE = """
import time
from node import sensing
from node.window import Tally
driver = sensing.load({"driver": "pulses", "pin": 4, "dead_ms": given})
tally = Tally(driver.quantities)
driver.start()
for turn in range(3):
    time.sleep(10)
    driver.start() if turn == 1 else driver.stop()
driver.take(tally)
counted = tally.take_count(driver.quantities[0])
driver.take(Tally(()))
print(counted, driver.healthy)
"""


@pytest.mark.parametrize("dead_ms", [0, 5])
async def test_a_pause_keeps_what_was_counted_before_it(street: Street, dead_ms: int) -> None:
    # the board starts 20 s before BEGIN: ten pulses in each ten seconds, the second ten of them in a pause
    traffic = Movers(Mover(BEGIN - 20 + 0.5 + n, "in", axle_m=0.0) for n in range(60))
    board = await street.board(inputs(traffic))
    assert await street.run(board, f"given = {dead_ms}\n" + PAUSE) == "20 True\n"
