"""HLK-LD2450: the simulator against the manual's frame, then tracks and crossings of simulated people."""

from __future__ import annotations

import random

import pytest
from stepped_street import BEGIN, Street

from peilmerk_bench.board import SensorSpec
from peilmerk_bench.sensors.ld2450 import LD2450, frame, order, target
from peilmerk_bench.world.movers import Mover, Movers, recorded
from peilmerk_protocol import quantities as q

MANUAL = bytes.fromhex("aaff03000e03b186100040010000000000000000000000000000000055cc")
ENTRY = {"driver": "ld2450", "uart": 1, "tx": 17, "rx": 16, "line": [-3000, 2500, 3000, 2500]}
WINDOW_S = 60


def radar(traffic: Movers, **options) -> SensorSpec:
    return SensorSpec("radar", lambda name: LD2450(name, traffic=traffic, **options), uart=1, tx=17, rx=16)


def away_from_borders(movers: list[Mover]) -> Movers:
    """A crossing counts when the other side is reached, up to a second after the line."""
    return Movers(m for m in movers if (m.at - BEGIN) % WINDOW_S < WINDOW_S - 1.2)


def walkers(seed: int, windows: int, every_s: float = 4.0) -> Movers:
    """People one after the other, 3 to 6 km/h, anywhere on the path."""
    chance = random.Random(seed)
    found = []
    at = BEGIN + 1
    while at < BEGIN + windows * WINDOW_S:
        found.append(
            Mover.walker(
                at, chance.choice(("in", "out")), chance.uniform(0.8, 1.7), chance.uniform(-1.5, 1.5)
            )
        )
        at += chance.uniform(0.75, 1.25) * every_s
    return away_from_borders(found)


def true(traffic: Movers, windows: int, kind: str = "pedestrian") -> list[list[int]]:
    """[towards, away] of each window."""
    found = []
    for i in range(windows):
        counts = traffic.counts(BEGIN + i * WINDOW_S, BEGIN + (i + 1) * WINDOW_S)
        found.append([counts[kind, "in"], counts[kind, "out"]])
    return found


async def counts(street: Street, spec: SensorSpec, windows: int, **more) -> list[list[int]]:
    counted = await street.count(spec, {**ENTRY, **more}, windows=windows, window_s=WINDOW_S)
    return [[w[n] for n in sorted(w)] for w in counted.windows]


def test_a_frame_is_the_manuals() -> None:
    assert frame(target(-782, 1713, -16, 320)) == MANUAL
    assert target(0, 0, 0, 0) == bytes.fromhex("0080008000800000")
    assert len(frame()) == 30


def test_the_simulator_sends_ten_frames_a_second_of_who_is_within_reach() -> None:
    device = LD2450("radar", traffic=Movers([Mover.walker(10.0, "in", 1.0, aside_m=-0.782)]))
    device.power(0.0, True)
    device.read(9.95)
    assert device.next_at(9.95) == pytest.approx(10.0 + 30 / 25600)
    data = device.read(10.01)
    assert data == frame(target(-782, 2500, -96))
    assert device.read(30.0)[-30:] == frame(), "nobody is left within reach"
    device.swapping, device.cut, device.lost = True, 0.2, 0.2
    got = device.read(40.0)
    assert 0.6 * 3000 < len(got) < 0.95 * 3000
    assert len(got) % 30


def test_the_simulator_obeys_and_answers_byte_for_byte_as_the_protocol_says() -> None:
    device = LD2450("radar")
    device.power(0.0, True)

    def say(at: float, text: str) -> str:
        device.receive(at, bytes.fromhex(text))
        return device.read(at + 0.05).hex()

    assert say(0.02, "fdfcfbfa0200a30004030201") == "", "nothing before settings are taken"
    assert (
        say(0.2, "fdfcfbfa0400ff00010004030201") == frame().hex() * 2 + "fdfcfbfa0800ff0100000100400004030201"
    )
    assert say(1.0, "fdfcfbfa0200800004030201") == "fdfcfbfa04008001000004030201"
    assert say(1.1, "fdfcfbfa0400a400000004030201") == "fdfcfbfa0400a401000004030201"
    assert (device.multi, device.bluetooth, device.radiating) == (False, False, True)
    device.receive(1.2, bytes.fromhex("fdfcfbfa0200"))
    assert say(1.21, "900004030201") == "fdfcfbfa04009001000004030201"
    assert device.multi, "in two pieces"
    assert say(1.3, order(0xC2, bytes(25) + b"\1").hex()) == "fdfcfbfa0400c201000004030201"
    assert say(1.4, "fdfcfbfa0200a30004030200") == "", "the tail is wrong"
    assert say(1.5, "fdfcfbfa0200a30004030201") == "fdfcfbfa0400a301000004030201"
    assert (device.restarts, device.radiating) == (1, False)
    assert device.read(2.4) == b""
    assert device.read(2.65) == frame() * 2
    device.power(3.0, False)
    device.power(4.0, True)
    assert (device.bluetooth, device.region[-1]) == (False, 1), "kept without power"


async def test_a_radar_that_was_set_otherwise_is_told_what_it_is_here_for(street: Street) -> None:
    """By a phone, say: one target only, a region left out, its Bluetooth on."""
    both = [Mover.walker(BEGIN + 5 + 6 * n, w, 1.2, a) for n in range(8) for w, a in (("in", -1), ("out", 1))]
    traffic = Movers(both)
    spec = radar(traffic, multi=False, region=bytes(24) + b"\2\0")
    board = await street.board(spec)
    device = board.sensors["radar"]
    assert device.radiating
    counted = await street.count(spec, ENTRY, board=board, windows=1, window_s=WINDOW_S)
    assert [[w[n] for n in sorted(w)] for w in counted.windows] == [[8, 8]]
    assert (device.multi, device.region, device.radiating) == (True, bytes(26), False)
    assert device.restarts == 1


async def test_a_radar_that_hangs_is_started_anew(street: Street) -> None:
    """It answers orders and sends no frame, or for ever the same, until it is told to start anew."""
    for same in (False, True):

        class Hangs(LD2450):
            def next_frame(self, at: float, same: bool = same) -> bytes:
                if at < BEGIN or self.restarts > 1:
                    return super().next_frame(at)
                return frame(target(100, 4000, 0)) if same else b""

        traffic = Movers([Mover.walker(BEGIN + 170, "in")])
        spec = SensorSpec(
            "radar", lambda name, of=Hangs, who=traffic: of(name, traffic=who), uart=1, tx=17, rx=16
        )
        told = "print('RESETS', drivers[0].resets)"
        counted = await street.count(spec, ENTRY, windows=3, window_s=60, quiet=False, after=told)
        assert "ld2450: found nothing new in 12 looks" in counted.printed
        assert "RESETS 1" in counted.printed
        assert [healthy for (healthy,) in counted.healthy][1:] == [False, True]
        assert counted.windows[2][q.PEDESTRIAN_TOWARDS] == 1


async def test_walkers_are_counted_exactly_by_direction(street: Street) -> None:
    traffic = walkers(1, 6)
    assert await counts(street, radar(traffic), 6) == true(traffic, 6)
    assert len(traffic.all) > 60


async def test_the_line_may_lie_anywhere_and_its_points_make_the_direction(street: Street) -> None:
    traffic = walkers(2, 2)
    spec = radar(traffic, across=True, line_m=3.0)
    towards_right = [0, 500, 0, 6000]
    assert await counts(street, spec, 2, line=towards_right) == true(traffic, 2)
    turned = [list(reversed(window)) for window in true(traffic, 2)]
    assert await counts(street, spec, 2, line=[0, 6000, 0, 500]) == turned
    assert await counts(street, spec, 2, line=[0, 500, 0, 1000]) == [[0, 0], [0, 0]], "past the line's end"


async def test_recorded_cyclists_at_their_speeds(street: Street) -> None:
    traffic = away_from_borders(recorded(BEGIN, BEGIN + 10 * WINDOW_S, apart_s=2.0).all)
    seen = await counts(street, radar(traffic), 10, **{"class": "bicycle"})
    assert seen == true(traffic, 10, "bicycle")
    assert len(traffic.all) >= 10


@pytest.mark.parametrize("across", [False, True])
async def test_the_fast_are_followed_over_lost_frames(street: Street, across: bool) -> None:
    """26 km/h is 0.7 m from frame to frame; every fourth frame is lost."""
    traffic = away_from_borders([
        Mover(BEGIN + 2 + 3 * n, "in" if n % 3 else "out", 7.2 - n % 2) for n in range(38)
    ])  # fmt: skip
    spec = radar(traffic, across=across, line_m=3.0, lost=0.25, seed=5)
    line = [0, 500, 0, 6000] if across else [-3000, 3000, 3000, 3000]
    seen = await counts(street, spec, 2, line=line)
    wrong = sum(
        abs(a - b)
        for got, want in zip(seen, true(traffic, 2, "bicycle"), strict=True)
        for a, b in zip(got, want, strict=True)
    )
    assert wrong <= 2, "of 38; five seeds gave 0 to 2"


@pytest.mark.parametrize("across", [False, True])
async def test_riders_close_behind_each_other_are_told_apart(street: Street, across: bool) -> None:
    """1.4 m apart, two frames' way: after a lost frame the next one is where somebody was."""
    riders = [
        Mover(BEGIN + 2 + 3 * n + m / 5, "in" if n % 2 else "out", 7.2) for n in range(18) for m in (0, 1)
    ]
    traffic = away_from_borders(riders)
    spec = radar(traffic, across=across, line_m=3.0, lost=0.1, seed=6)
    line = [0, 500, 0, 6000] if across else [-3000, 3000, 3000, 3000]
    seen = await counts(street, spec, 1, line=line)
    wrong = sum(abs(a - b) for a, b in zip(seen[0], true(traffic, 1, "bicycle")[0], strict=True))
    assert wrong <= 5, "of 36: less than half of what is wrong when nobody's way is expected"


async def test_two_who_meet_and_swap_places_in_the_frame_keep_their_directions(street: Street) -> None:
    meetings = []
    for i in range(8):
        at = BEGIN + 3 + 7 * i
        meetings += [Mover.walker(at, "in", 1.4, -0.5), Mover.walker(at + 0.1 * i, "out", 1.2, 0.5)]
    traffic = Movers(meetings)
    assert await counts(street, radar(traffic, swapping=True), 1) == [[8, 8]]


async def test_standing_on_the_line_counts_nothing(street: Street) -> None:
    traffic = Movers([Mover.walker(BEGIN + 30, "in", 0.0001)])
    assert await counts(street, radar(traffic, jitter_mm=40), 1) == [[0, 0]]


async def test_jitter_misses_and_broken_frames_cost_at_most_one_percent(street: Street) -> None:
    """Jitter of 5 cm, every tenth target missed, every twentieth frame lost, every fiftieth cut off."""
    wrong = total = 0
    for seed in (3, 4):
        traffic = walkers(seed, 4, 3.0)
        spec = radar(traffic, jitter_mm=50, missed=0.1, lost=0.05, cut=0.02, swapping=True, seed=seed)
        seen = await counts(street, spec, 4)
        wrong += sum(
            abs(a - b)
            for got, want in zip(seen, true(traffic, 4), strict=True)
            for a, b in zip(got, want, strict=True)
        )
        total += len(traffic.all)
    assert wrong <= 0.01 * total, (wrong, total)


async def test_a_silent_a_babbling_and_a_frozen_radar_are_faults(street: Street) -> None:
    for fault in ("silent", "babbling", "stuck"):
        traffic = Movers([Mover.walker(BEGIN - 10, "in", 0.02)])

        def make(name: str, fault: str = fault, traffic: Movers = traffic) -> LD2450:
            device = LD2450(name, traffic=traffic, jitter_mm=0.0 if fault == "stuck" else 30.0)
            setattr(device, fault, True)
            return device

        spec = SensorSpec("radar", make, uart=1, tx=17, rx=16)
        counted = await street.count(spec, ENTRY, windows=1, window_s=70, quiet=False)
        assert counted.healthy == [[False]], fault
        assert ("no answer to 0400ff00 in 3 attempts" in counted.printed) == (fault != "stuck")
        assert sum(sum(window.values()) for window in counted.windows) == 0


async def test_a_radar_that_comes_back_is_healthy_again(street: Street) -> None:
    class Returning(LD2450):
        def next_frame(self, at: float) -> bytes:
            return b"" if at < BEGIN + 20 else super().next_frame(at)

    traffic = Movers([Mover.walker(BEGIN + 40, "out")])
    spec = SensorSpec("radar", lambda name: Returning(name, traffic=traffic), uart=1, tx=17, rx=16)
    counted = await street.count(spec, ENTRY, windows=2, window_s=60)
    assert counted.healthy == [[False], [True]]
    assert counted.windows[0][q.PEDESTRIAN_AWAY] == 1
