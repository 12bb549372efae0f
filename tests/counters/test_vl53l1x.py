"""VL53L1X: the simulator's registers, then people through a doorway."""

from __future__ import annotations

import random

import pytest
from stepped_street import BEGIN, ROOT, Street

from peilmerk_bench.board import SensorSpec
from peilmerk_bench.sensors.device import Nack
from peilmerk_bench.sensors.vl53l1x import VL53L1X, result_block
from peilmerk_bench.world.movers import Mover, Movers

ENTRY = {"driver": "vl53l1x", "i2c": 0, "scl": 22, "sda": 21}
WINDOW_S = 60


def door(traffic: Movers, **options) -> SensorSpec:
    return SensorSpec("door", lambda name: VL53L1X(name, traffic=traffic, **options), i2c=0, scl=22, sda=21)


def visitors(seed: int, windows: int, every_s: float = 4.0) -> Movers:
    """People one after the other, 0.6 to 1.8 m/s, none at the very border of a window."""
    chance = random.Random(seed)
    found = []
    at = BEGIN + 2
    while at < BEGIN + windows * WINDOW_S - 3:
        if 1 < (at - BEGIN) % WINDOW_S < WINDOW_S - 1:
            found.append(Mover.walker(at, chance.choice(("in", "out")), chance.uniform(0.6, 1.8)))
        at += chance.uniform(0.75, 1.25) * every_s
    return Movers(found)


def true(traffic: Movers, windows: int) -> list[list[int]]:
    found = []
    for i in range(windows):
        counts = traffic.counts(BEGIN + i * WINDOW_S, BEGIN + (i + 1) * WINDOW_S)
        found.append([counts["pedestrian", "in"], counts["pedestrian", "out"]])
    return found


def in_order(windows: list[dict[int, int]]) -> list[list[int]]:
    return [[window[n] for n in sorted(window)] for window in windows]


def sensor(**options) -> VL53L1X:
    device = VL53L1X("door", **options)
    device.power(0.0, True)
    return device


def default() -> bytes:
    """The configuration that the driver writes."""
    text = (ROOT / "firmware/node/sensing/vl53l1x.py").read_text()
    block = text.partition("_DEFAULT = (")[2].partition("\n)")[0]
    return eval(f"({block})")


def ask(device: VL53L1X, at: float, register: int, size: int) -> bytes:
    return device.transfer(at, register.to_bytes(2, "big"), size)


def test_the_simulators_registers_have_sixteen_bit_addresses() -> None:
    device = sensor()
    with pytest.raises(Nack):
        device.write(0.001, b"\x01\x0f")
    assert ask(device, 1.0, 0x010F, 2) == b"\xea\xcc"
    assert ask(device, 1.0, 0x00E5, 1)[0] & 1
    device.write(1.0, b"\x00\x2d" + default())
    assert ask(device, 1.0, 0x007F, 2) == b"\xc7\xf7"
    assert len(default()) == 91


def test_a_result_is_valid_only_with_the_makers_configuration() -> None:
    device = sensor()
    device.write(1.0, b"\x00\x87\x40")
    assert ask(device, 1.2, 0x89, 1)[0] & 0x1F == 7
    device = sensor()
    device.write(1.0, b"\x00\x2d" + default())
    device.write(1.0, b"\x00\x86\x01\x40")
    assert not ask(device, 1.032, 0x31, 1)[0] & 1
    assert ask(device, 1.034, 0x31, 1)[0] & 1
    assert ask(device, 1.034, 0x89, 17) == result_block(9, 2200, 1)
    assert ask(device, 1.034, 0x96, 2) == bytes.fromhex("0898")
    device.write(1.04, b"\x00\x86\x01")
    assert not ask(device, 1.041, 0x31, 1)[0] & 1
    assert ask(device, 1.08, 0x31, 1)[0] & 1, "it measures on until it is stopped"


def test_its_reset_register_holds_it_and_forgets_what_it_was_told() -> None:
    device = sensor()
    device.write(1.0, b"\x00\x2d" + default())
    device.write(1.0, b"\x00\x00\x00")
    device.write(1.0, b"\x00\x87\x40")
    assert not ask(device, 1.2, 0x31, 1)[0] & 1
    device.write(1.3, b"\x00\x00\x01")
    with pytest.raises(Nack):
        ask(device, 1.301, 0x010F, 2)
    assert ask(device, 1.302, 0x010F, 2) == b"\xea\xcc"
    assert ask(device, 1.302, 0x007F, 2) == bytes(2)
    assert device.resets == 1


async def test_a_sensor_that_measures_no_more_is_reset(street: Street) -> None:
    class Halts(VL53L1X):
        def _measure(self, at: float) -> None:
            if at < BEGIN + 3 or self.resets > 1:
                super()._measure(at)

    traffic = Movers([Mover.walker(BEGIN + 40, "in")])
    spec = SensorSpec("door", lambda name: Halts(name, traffic=traffic), i2c=0, scl=22, sda=21)
    told = "print('RESETS', drivers[0].resets)"
    counted = await street.count(spec, ENTRY, windows=2, window_s=30, quiet=False, after=told)
    assert "register 0031 did not say ready in 200 ms" in counted.printed
    assert "RESETS 1" in counted.printed
    assert counted.healthy == [[False], [True]]
    assert in_order(counted.windows) == [[0, 0], [1, 0]]


def test_a_body_is_seen_by_the_zones_in_the_order_of_its_way() -> None:
    device = sensor(traffic=Movers([Mover.walker(10.0, "in", 1.0), Mover.walker(20.0, "out", 1.0)]))
    seen = [device.distance_mm(at, centre) for at in (9.9, 10.3) for centre in (167, 231)]
    assert seen == [700, 2200, 700, 700]
    assert [device.distance_mm(10.6, centre) for centre in (167, 231)] == [2200, 700]
    assert [device.distance_mm(19.9, centre) for centre in (167, 231)] == [2200, 700]


async def test_visitors_are_counted_exactly_by_direction(street: Street) -> None:
    traffic = visitors(1, 2, 2.5)
    counted = await street.count(door(traffic), ENTRY, windows=2, window_s=WINDOW_S)
    assert in_order(counted.windows) == true(traffic, 2)
    assert len(traffic.all) > 40
    assert counted.healthy == [[True]] * 2


async def test_noise_and_invalid_measurements_cost_at_most_three_percent(street: Street) -> None:
    """A noise of 4 cm and every seventh measurement without a valid distance."""
    traffic = visitors(2, 3, 2.5)
    counted = await street.count(
        door(traffic, noise_mm=40, invalid=0.15), ENTRY, windows=3, window_s=WINDOW_S
    )
    pairs = zip(in_order(counted.windows), true(traffic, 3), strict=True)
    wrong = sum(abs(a - b) for got, want in pairs for a, b in zip(got, want, strict=True))
    assert wrong <= 0.03 * len(traffic.all), (wrong, len(traffic.all))


async def test_who_turns_round_counts_nothing_and_who_lingers_counts_when_through(street: Street) -> None:
    class Turning(VL53L1X):
        def distance_mm(self, at: float, centre: int) -> int:
            since = at - BEGIN
            if 5 < since < 6:  # up to the middle and back
                return 700 if centre == 167 or 5.3 < since < 5.6 else 2200
            if 10 < since < 75:  # in the doorway for a minute, over the border of two windows, then through
                return 700 if (centre == 167 and since < 74) or (centre == 231 and since > 10.4) else 2200
            return 2200

    spec = SensorSpec("door", lambda name: Turning(name), i2c=0, scl=22, sda=21)
    counted = await street.count(spec, ENTRY, windows=2, window_s=WINDOW_S)
    assert in_order(counted.windows) == [[0, 0], [1, 0]]


async def test_a_short_passage_belongs_to_the_window_in_which_it_began(street: Street) -> None:
    traffic = Movers([Mover.walker(BEGIN + 15.1, "out", 0.8)])  # reaches zone B before the border
    counted = await street.count(door(traffic), ENTRY, windows=2, window_s=15)
    assert in_order(counted.windows) == [[0, 1], [0, 0]]


async def test_the_floor_is_learned_while_nobody_is_there(street: Street) -> None:
    # somebody walks through while it learns, and a small child later
    traffic = Movers([Mover.walker(BEGIN - 19.4, "in"), Mover.walker(BEGIN + 10, "out")])

    class Small(VL53L1X):
        def distance_mm(self, at: float, centre: int) -> int:
            self.over_mm = 700 if at < BEGIN else 1400
            return super().distance_mm(at, centre)

    spec = SensorSpec("door", lambda name: Small(name, traffic=traffic, noise_mm=10), i2c=0, scl=22, sda=21)
    counted = await street.count(spec, ENTRY, windows=1, window_s=15)
    assert in_order(counted.windows) == [[0, 1]]


async def test_a_disturbed_transfer_is_no_reason_to_learn_the_floor_anew(street: Street) -> None:
    class Disturbed(VL53L1X):
        def reachable(self) -> None:
            super().reachable()
            self.asked = getattr(self, "asked", 0) + 1
            if self.asked > 1000 and self.asked % 301 < 3:
                raise Nack

    traffic = Movers([Mover.walker(BEGIN + 4 * n, "in") for n in range(1, 7)])
    spec = SensorSpec("door", lambda name: Disturbed(name, traffic=traffic), i2c=0, scl=22, sda=21)
    counted = await street.count(spec, ENTRY, windows=1, window_s=30)
    assert in_order(counted.windows) == [[6, 0]]
    assert counted.healthy == [[True]]


async def test_what_cannot_be_a_doorway_is_a_fault(street: Street) -> None:
    def broken(**state) -> SensorSpec:
        def make(name: str) -> VL53L1X:
            device = VL53L1X(
                name, **{k: v for k, v in state.items() if k not in ("silent", "hanging", "babbling")}
            )
            for fault in ("silent", "hanging", "babbling"):
                if fault in state:
                    setattr(device, fault, True)
            return device

        return SensorSpec("door", make, i2c=0, scl=22, sda=21)

    said = {
        "OSError": broken(silent=True),
        "ETIMEDOUT": broken(hanging=True),
        "found model 1234, wanted eacc": broken(model=b"\x12\x34"),
        "found no floor that keeps still": broken(floor_mm=4500),
        "SensorFault": broken(babbling=True),
    }
    for text, spec in said.items():
        counted = await street.count(spec, ENTRY, windows=1, window_s=15, quiet=False)
        assert counted.healthy == [[False]], text
        assert text in counted.printed
        assert sum(counted.windows[0].values()) == 0


async def test_a_box_below_it_is_a_fault_and_one_that_was_learned_is_unlearned(street: Street) -> None:
    class Box(VL53L1X):
        def distance_mm(self, at: float, centre: int) -> int:
            return 1200 if 3 < at - BEGIN < 75 else 2200

    spec = SensorSpec("door", lambda name: Box(name), i2c=0, scl=22, sda=21)
    counted = await street.count(spec, ENTRY, windows=2, window_s=40)
    assert counted.healthy == [[True], [False]]

    class Removed(VL53L1X):
        def distance_mm(self, at: float, centre: int) -> int:
            return 1000 if at < BEGIN - 12 else super().distance_mm(at, centre)

    traffic = Movers([Mover.walker(BEGIN + 32, "in")])
    tall = lambda name: Removed(name, traffic=traffic, over_mm=1100)  # noqa: E731
    spec = SensorSpec("door", tall, i2c=0, scl=22, sda=21)
    counted = await street.count(spec, ENTRY, windows=1, window_s=40, quiet=False)
    assert "found the floor at 2200 mm, wanted 1000" in counted.printed
    assert in_order(counted.windows) == [[1, 0]]
    assert counted.healthy == [[False]], "it was wrong in a part of this window"
