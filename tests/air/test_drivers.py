"""Each driver of an air node against its simulator, on real MicroPython: right values, faults, recovery."""

from __future__ import annotations

from typing import Any

import pytest
from world_of_air import BEGIN, Air

from peilmerk_bench.board import SensorSpec
from peilmerk_protocol import quantities as q

I2C = {"i2c": 0, "scl": 22, "sda": 21}
UART = {"uart": 2, "tx": 26, "rx": 25}

NAMES = {
    q.PM1: ("pm1", 10),
    q.PM2_5: ("pm2_5", 10),
    q.PM10: ("pm10", 10),
    q.TEMPERATURE: ("temperature", 10),
    q.HUMIDITY: ("humidity", 10),
    q.CO2: ("co2", 1),
    q.PRESSURE: ("pressure", 10),
    q.LAEQ: ("laeq", 10),
    q.LAMAX: ("lamax", 10),
}


def dust(at: float) -> tuple[float, float]:
    """Something else every minute."""
    return 7.0 + int(at / 60) % 50, 21.0 + int(at / 60) % 70


def climate(at: float) -> tuple[float, float]:
    return -7.3 + int(at / 60) % 40, 41.0 + int(at / 60) % 50


def weather(at: float) -> tuple[float, float, float]:
    celsius, percent = climate(at)
    return 987.3 + int(at / 60) % 40, celsius, percent


def sound(at: float) -> float:
    return 45.0 + 20.0 * (int(at) % 30 == 0) + int(at / 60) % 10


def gas(at: float) -> float:
    return 400.0 + int(at / 60) % 300


CASES: dict[str, tuple[SensorSpec, dict[str, Any]]] = {
    "sds011": (SensorSpec.sds011(dust), {"driver": "sds011", "uart": 1, "tx": 17, "rx": 16, "every_s": 60}),
    "sht3x": (SensorSpec.sht3x(climate), {"driver": "sht3x", **I2C}),
    "pmsx003": (SensorSpec.pmsx003(dust), {"driver": "pmsx003", **UART, "every_s": 60}),
    "pmsx003 3003": (
        SensorSpec.pmsx003(dust, model="3003"),
        {"driver": "pmsx003", **UART, "every_s": 60, "model": "3003"},
    ),
    "pmsx003 5003t": (
        SensorSpec.pmsx003(dust, climate, model="5003t"),
        {"driver": "pmsx003", **UART, "every_s": 60, "model": "5003t"},
    ),
    "pmsx003 5003st": (
        SensorSpec.pmsx003(dust, climate, model="5003st"),
        {"driver": "pmsx003", **UART, "every_s": 60, "model": "5003st"},
    ),
    "sps30": (SensorSpec.sps30(dust), {"driver": "sps30", **I2C, "every_s": 60}),
    "sps30_uart": (SensorSpec.sps30_uart(dust), {"driver": "sps30", **UART, "every_s": 60}),
    "scd4x": (SensorSpec.scd4x(gas, climate), {"driver": "scd4x", **I2C}),
    "bme280": (SensorSpec.bme280(weather), {"driver": "bme280", **I2C}),
    "dnms": (SensorSpec.dnms(sound), {"driver": "dnms", **I2C}),
}


def case(name: str) -> tuple[SensorSpec, dict[str, Any]]:
    return CASES[name]


@pytest.mark.parametrize("name", CASES)
async def test_a_driver_records_what_its_sensor_served(air: Air, name: str) -> None:
    spec, entry = CASES[name]
    found = await air.sample(spec, entry, looks=(900,))
    samples = found.samples[0]
    cycle = entry.get("every_s", 30)
    # One more or less at either end, and what the first setting up takes.
    assert 900 // cycle - 1 <= len(samples) <= 900 // cycle + 2, found.printed
    for moment, sample in samples:
        answer = [s for s in found.served(spec.name) if s.at <= BEGIN + moment + 0.01][-1]
        assert answer.at > BEGIN + moment - 1
        for quantity, value in sample.items():
            key, scale = NAMES[quantity]
            assert abs(value - scale * answer.values[key]) <= 0.51, (quantity, value, answer)
    assert len({tuple(sample.items()) for _, sample in samples}) > 5
    last = found.looks[0][0]
    assert (last.faults, last.damaged, last.resets, last.healthy) == (0, 0, 0, True)
    assert (last.good, last.expected) == (len(samples), 900 // cycle)
    assert not found.raised


async def test_a_driver_gives_only_what_it_is_to_give(air: Air) -> None:
    found = await air.sample(*CASES["bme280"], looks=(100,), only=(q.PRESSURE,))
    assert len(found.samples[0]) >= 3
    assert {tuple(sample) for _, sample in found.samples[0]} == {(q.PRESSURE,)}
