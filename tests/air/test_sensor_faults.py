"""Sensors that fail in every way: each is told as such, reset, and back when it is; none stops another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from test_drivers import CASES, I2C, NAMES, climate, gas, weather
from world_of_air import BEGIN, Air, Sampled

from peilmerk_bench.board import SensorSpec
from peilmerk_bench.sensors.bme280 import BME280
from peilmerk_bench.sensors.dnms import DNMS
from peilmerk_bench.sensors.sds011 import SDS011
from peilmerk_bench.sensors.sht3x import SHT3x
from peilmerk_protocol import quantities as q

FROM, UNTIL = 400, 1300
"""A fault lasts so long: 15 cycles of a minute."""


def believed(found: Sampled, place: int, sensor: str) -> None:
    """Everything recorded is what the sensor served, and might be believed, just before."""
    for moment, sample in found.samples[place]:
        answer = [s for s in found.served(sensor) if s.at <= BEGIN + moment + 0.01][-1]
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


async def test_a_sensor_that_fails_every_other_time_is_not_reset(air: Air) -> None:
    spec, entry = CASES["sht3x"]
    faults = []
    for turn in range(14):
        # Samples are taken 20 s before each full minute of this test, or a little later.
        faults += [("sht3x", 120 * turn + 30, "silent", True), ("sht3x", 120 * turn + 90, "silent", False)]
    found = await air.sample(spec, entry | {"every_s": 60}, looks=(1680,), faults=tuple(faults))
    told = found.looks[0][0]
    assert told.faults >= 12
    assert told.good >= 12
    assert told.resets == 0


OUT_OF_RANGE = {
    "sds011": SensorSpec.sds011(lambda at: (5.0, 999.9)),
    "pmsx003": SensorSpec.pmsx003(lambda at: (5.0, 1001.0)),
    "sps30": SensorSpec.sps30(lambda at: (5.0, 1000.1)),
    "sps30_uart": SensorSpec.sps30_uart(lambda at: (5.0, float("nan"))),
    "sht3x": SensorSpec.sht3x(lambda at: (85.1, 50.0)),
    "scd4x": SensorSpec.scd4x(lambda at: 40001.0),
    "bme280": SensorSpec.bme280(lambda at: (1100.2, 20.0, 50.0)),
    "dnms": SensorSpec.dnms(lambda at: 131.0),
}


@pytest.mark.parametrize("name", OUT_OF_RANGE)
async def test_a_value_out_of_range_is_a_fault(air: Air, name: str) -> None:
    found = await air.sample(OUT_OF_RANGE[name], CASES[name][1] | {"every_s": 60}, looks=(900,))
    told = found.looks[0][0]
    if name == "sds011":
        # Its highest is just within.
        assert (told.faults, found.samples[0][0][1][q.PM10]) == (0, 9999)
        return
    assert not found.samples[0]
    assert told.good == 0
    assert told.faults >= 7


class Asked(DNMS):
    """Loud until it is asked for the first time."""

    asked: float | None = None

    def obey(self, at: float, command: int, arguments: list[int]) -> None:
        self.sound = lambda moment: 95.0 if self.asked is None or moment < self.asked else 50.0
        super().obey(at, command, arguments)
        if command == 0x0003 and self.asked is None:
            self.asked = at


async def test_the_first_interval_of_a_noise_sensor_is_thrown_away(air: Air) -> None:
    spec = replace(SensorSpec.dnms(), make=Asked)
    found = await air.sample(spec, {"driver": "dnms", **I2C}, looks=(300,))
    assert {value for _, sample in found.samples[0] for value in sample.values()} == {500}
    assert found.samples[0][0][0] <= 30


class Misread(BME280):
    """One bit of the calibration is lost on its way, once."""

    reads = 0

    def read(self, at: float, size: int) -> bytes:
        data = super().read(at, size)
        if size == 26:
            self.reads += 1
            if self.reads == 2:
                return bytes((data[0] ^ 0x10,)) + data[1:]
        return data


async def test_a_calibration_that_is_not_the_same_twice_is_read_again(air: Air) -> None:
    spec = replace(SensorSpec.bme280(), make=lambda name: Misread(name, weather=weather))
    found = await air.sample(spec, {"driver": "bme280", **I2C}, looks=(300,))
    told = found.looks[0][0]
    assert (told.faults, told.damaged, told.healthy) == (1, 1, True)
    assert told.good >= 9
    believed(found, 0, "bme280")


async def test_a_sensor_that_kept_another_mode_is_forced_into_ours(air: Air) -> None:
    spec = SensorSpec.sds011()

    def speaking(name: str) -> SDS011:
        sensor = spec.make(name)
        assert isinstance(sensor, SDS011)
        sensor.report_mode, sensor.period_min = 0, 5
        return sensor

    found = await air.sample(replace(spec, make=speaking), CASES["sds011"][1], looks=(300,))
    sensor = found.board.sensors["sds011"]
    assert (sensor.report_mode, sensor.period_min) == (1, 0)
    assert found.looks[0][0].faults == 0


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


async def test_sensors_with_a_fan_sleep_between_samples(air: Air) -> None:
    names = ("sds011", "pmsx003", "sps30")
    found = await air.sample(
        tuple(CASES[name][0] for name in names),
        *[CASES[name][1] | {"every_s": 300} for name in names],
        looks=(1400,),
        stop=False,
    )
    sensors = found.board.sensors
    assert sensors["sds011"].state == 0
    assert not sensors["pmsx003"].awake
    # It was spoken to in passive mode.
    assert not sensors["pmsx003"].active
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
    believed(found, 0, "sps30")
