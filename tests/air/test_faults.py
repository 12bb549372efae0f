"""Sensors that fail in every way: each is told as such, reset, and back when it is; none stops another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from test_drivers import CASES, I2C, NAMES, climate, gas, weather
from world_of_air import BEGIN, Air, Sampled

from peilmerk_bench.board import SensorSpec
from peilmerk_bench.sensors.sht3x import SHT3x
from peilmerk_protocol import quantities as q

FROM, UNTIL = 400, 1300
"""A fault lasts so long: 15 cycles of a minute."""


def believed(found: Sampled, place: int, sensor: str) -> None:
    """Everything recorded is what the sensor served, and might be believed, just before."""
    for moment, sample in found.samples[place]:
        answer = [s for s in found.served(sensor) if s.at <= BEGIN + moment][-1]
        assert answer.at > BEGIN + moment - 2
        for quantity, value in sample.items():
            key, scale = NAMES[quantity]
            assert abs(value - scale * answer.values[key]) <= 0.51


def kinds() -> list[tuple[str, str]]:
    found = []
    for name, (_, entry) in CASES.items():
        on_bus = "i2c" in entry
        for fault in ("silent", "bad_checksums", "babbling", "hanging"):
            if (fault == "hanging" and not on_bus) or (fault == "bad_checksums" and name == "bme280"):
                continue
            if " " not in name or fault == "babbling":
                found.append((name, fault))
    return found


@pytest.mark.parametrize(("name", "fault"), kinds())
async def test_a_fault_is_told_met_and_forgotten(air: Air, name: str, fault: str) -> None:
    spec, entry = CASES[name]
    entry = entry | {"every_s": 60}
    found = await air.sample(
        spec,
        entry,
        looks=(FROM - 10, UNTIL - 10, UNTIL + 600),
        faults=((spec.name, FROM, fault, True), (spec.name, UNTIL, fault, False)),
    )
    before, during, after = [look[0] for look in found.looks]
    assert (before.faults, before.damaged, before.resets, before.healthy) == (0, 0, 0, True)
    assert before.good >= 5
    assert not during.healthy
    # DNMS throws the first interval after each fault away; there, a reading that fails takes two cycles.
    both = name == "dnms" and fault in ("bad_checksums", "babbling")
    assert 14 <= during.faults * (2 if both else 1) <= 17
    assert during.resets == during.faults // 10
    assert (during.damaged > 20) or fault != "bad_checksums"
    assert after.healthy
    assert after.faults <= during.faults + 2
    assert after.good >= before.good + 8
    # Nothing is recorded between, but for a cycle that was under way at the beginning.
    assert not [moment for moment, _ in found.samples[0] if FROM + 60 < moment < UNTIL]
    believed(found, 0, spec.name)
    assert not found.raised


class EverySecond(SHT3x):
    """Every second answer is damaged on its way."""

    turn = False

    def read(self, at: float, size: int) -> bytes:
        self.turn = not self.turn
        self.bad_checksums = self.turn
        return super().read(at, size)


async def test_a_second_attempt_is_no_fault(air: Air) -> None:
    spec = replace(SensorSpec.sht3x(climate), make=lambda name: EverySecond(name, climate=climate))
    found = await air.sample(spec, {"driver": "sht3x", **I2C}, looks=(600,))
    told = found.looks[0][0]
    assert told.damaged == told.good >= 19
    assert (told.faults, told.resets, told.healthy) == (0, 0, True)
    believed(found, 0, "sht3x")


@pytest.mark.parametrize("name", ["sds011", "pmsx003", "sps30_uart", "sht3x", "scd4x", "bme280", "dnms"])
async def test_a_wedged_sensor_comes_back_when_its_supply_was_cut(air: Air, name: str) -> None:
    spec, entry = CASES[name]
    found = await air.sample(
        replace(spec, power=13),
        entry | {"every_s": 60, "power": 13},
        looks=(300, 700, 1500),
        faults=((spec.name, 310, "wedged", True),),
    )
    before, during, after = [look[0] for look in found.looks]
    assert before.healthy
    assert before.faults == 0
    assert (during.healthy, during.resets) == (False, 0)
    assert (after.healthy, after.faults, after.resets) == (True, 10, 1)
    assert after.good > during.good + 5
    # Switched on at start, off and on at the reset, off when the drivers are stopped.
    assert [level for _, pin, level in found.board.pins_set if pin == 13] == [1, 0, 1, 0]


async def test_without_its_supply_a_wedged_sensor_stays_wedged(air: Air) -> None:
    spec, entry = CASES["sds011"]
    found = await air.sample(spec, entry, looks=(2400,), faults=((spec.name, 310, "wedged", True),))
    told = found.looks[0][0]
    assert not told.healthy
    assert told.resets >= 3


async def test_one_sensor_in_trouble_stops_no_other(air: Air) -> None:
    names = ("sds011", "pmsx003", "sht3x", "scd4x", "bme280", "dnms")
    entries = [CASES[name][1] | {"every_s": 60} for name in names]
    found = await air.sample(
        tuple(CASES[name][0] for name in names),
        *entries,
        looks=(1800,),
        faults=(
            ("sds011", 100, "silent", True),
            ("sht3x", 100, "hanging", True),
            ("scd4x", 100, "babbling", True),
            ("dnms", 100, "bad_checksums", True),
        ),
    )
    told = dict(zip(names, found.looks[0], strict=True))
    for name in ("pmsx003", "bme280"):
        assert (told[name].healthy, told[name].faults) == (True, 0)
        assert told[name].good >= 29
        believed(found, names.index(name), name)
    for name in ("sds011", "sht3x", "scd4x", "dnms"):
        assert not told[name].healthy
        assert told[name].resets >= 1
    assert not found.raised


async def test_a_stuck_sensor_shows_what_it_saw(air: Air) -> None:
    spec, entry = CASES["sht3x"]
    found = await air.sample(spec, entry, looks=(900,), faults=((spec.name, 300, "stuck", True),))
    assert len({tuple(s.items()) for moment, s in found.samples[0] if moment > 330}) == 1
    assert len({tuple(s.items()) for moment, s in found.samples[0] if moment < 300}) >= 4


async def test_a_barometer_tells_the_carbon_dioxide_sensor_its_pressure(air: Air) -> None:
    sensors = (SensorSpec.scd4x(gas, climate), SensorSpec.bme280(weather))
    entries: list[dict[str, Any]] = [
        {"driver": "scd4x", **I2C, "altitude_m": 12},
        {"driver": "bme280", **I2C},
    ]
    found = await air.sample(sensors, *entries, looks=(600,))
    told = found.board.sensors["scd4x"]
    pressure = found.samples[1][-1][1][q.PRESSURE]
    assert abs(told.told_pressure - pressure // 10) <= 1
    assert told.told_pressure != 1013
    assert told.altitude_m == 12
    alone = await air.sample(sensors[:1], entries[0], looks=(100,))
    assert alone.board.sensors["scd4x"].told_pressure == 1013


async def test_low_power_measures_every_half_minute(air: Air) -> None:
    seen = []

    def noted(at: float) -> float:
        seen.append(at)
        return gas(at)

    spec = SensorSpec.scd4x(noted, climate)
    found = await air.sample(spec, {"driver": "scd4x", **I2C, "low_power": 1}, looks=(600,))
    assert 18 <= found.looks[0][0].good <= 21
    assert found.looks[0][0].faults == 0


async def test_sensors_with_a_fan_sleep_between_samples_and_after_the_end(air: Air) -> None:
    names = ("sds011", "pmsx003", "sps30")
    found = await air.sample(
        tuple(CASES[name][0] for name in names),
        *[CASES[name][1] | {"every_s": 300} for name in names],
        looks=(1500,),
    )
    sensors = found.board.sensors
    assert sensors["sds011"].state == 0
    assert not sensors["pmsx003"].awake
    assert sensors["sps30"].dust.measuring is None


async def test_stopping_in_the_middle_of_a_sample_puts_every_sensor_to_rest(air: Air) -> None:
    names = ("sds011", "pmsx003", "sps30", "scd4x")
    found = await air.sample(
        tuple(CASES[name][0] for name in names),
        *[CASES[name][1] | {"every_s": 60} for name in names],
        looks=(0,),
    )
    sensors = found.board.sensors
    # Commands still on their way arrive.
    for sensor in sensors.values():
        sensor.silent = False
    assert sensors["sds011"].state == 0
    assert not sensors["pmsx003"].awake
    assert sensors["sps30"].dust.measuring is None
    assert sensors["scd4x"].interval_s is None


async def test_the_fan_is_cleaned_about_once_a_week(air: Air) -> None:
    spec, entry = CASES["sps30"]
    found = await air.sample(spec, entry | {"every_s": 3600}, looks=(28 * 86400,))
    told = found.looks[0][0]
    assert (told.faults, told.healthy) == (0, True)
    # By chance, and the same chance in each run.
    assert 2 <= found.board.sensors["sps30"].dust.cleanings <= 8
