"""What a virtual board is made of: its flash, its memory and the sensors wired to it.

Wiring follows the boards that are deployed: beams A and B on GPIO 4 and 5, SDS011 on UART 1 (tx 17, rx 16),
other dust sensors on UART 2 (tx 26, rx 25), everything on I2C on bus 0 (scl 22, sda 21).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peilmerk_bench.sensors import radio
from peilmerk_bench.sensors.beam import BeamPair, Traffic
from peilmerk_bench.sensors.bme280 import BME280, Weather
from peilmerk_bench.sensors.device import Device
from peilmerk_bench.sensors.dnms import DNMS, Sound
from peilmerk_bench.sensors.ld2450 import LD2450
from peilmerk_bench.sensors.pmsx003 import PMSx003
from peilmerk_bench.sensors.pulses import PulseInputs
from peilmerk_bench.sensors.pulses import Traffic as Moving
from peilmerk_bench.sensors.scd4x import Gas, SCD4x
from peilmerk_bench.sensors.sds011 import SDS011, Air
from peilmerk_bench.sensors.sht3x import Climate as ClimateAt
from peilmerk_bench.sensors.sht3x import SHT3x
from peilmerk_bench.sensors.sps30 import SPS30, SPS30Uart
from peilmerk_bench.sensors.vl53l1x import VL53L1X
from peilmerk_bench.world import generated
from peilmerk_bench.world.air import Climate, Particles
from peilmerk_bench.world.movers import MoverReplay
from peilmerk_bench.world.passages import PassageReplay

FLASH_BYTES = 983_040
"""The file system of a 4 MB ESP32."""

BLOCK_BYTES = 4096
ROMFS_BYTES = 196_608
"""A partition for a ROM file system in which two firmwares find room, as docs/technician.md describes it."""

HEAP_KIB = 256
"""Objects are 64 bits wide here and 32 on an ESP32, so this is about what 128 KiB hold there."""


class BoardError(Exception):
    """A board that cannot be what was asked for: the text names what was found and what was wanted."""


@dataclass(frozen=True)
class SensorSpec:
    """One sensor and its wires. make: builds the simulator.

    uart: number of the UART, with tx and rx pins of the board; i2c: number of the bus, with scl and sda pins;
    a beam pair has neither, its pins are its own. A pin that is None is not checked. power: pin that switches
    the sensor's supply; None: it has supply whenever the board has.
    """

    name: str
    make: Callable[[str], Device]
    uart: int | None = None
    tx: int | None = None
    rx: int | None = None
    i2c: int | None = None
    scl: int | None = None
    sda: int | None = None
    power: int | None = None

    @classmethod
    def beam_pair(cls, traffic: Traffic | None = None, pins: tuple[int, int] = (4, 5)) -> SensorSpec:
        """Two beams; by default the recorded day of Münster passes."""
        replay = traffic or PassageReplay()
        return cls("beam_pair", lambda name: BeamPair(name, traffic=replay, pins=pins))

    @classmethod
    def pulses(cls, traffic: Moving | None = None, pins: tuple[int, ...] = (4,), **how: Any) -> SensorSpec:
        """A loop or a tube at one pin, or two of them at two; by default the recorded day's cyclists.

        how: as for `PulseInputs`; pulse_s=None makes a loop of a tube.
        """
        replay = traffic or MoverReplay()
        return cls("pulses", lambda name: PulseInputs(name, traffic=replay, pins=pins, **how))

    @classmethod
    def pulse_pair(cls, traffic: Moving | None = None, pins: tuple[int, int] = (4, 5)) -> SensorSpec:
        """Two tubes a metre apart; by default the recorded day's cyclists."""
        replay = traffic or MoverReplay()
        return cls("pulse_pair", lambda name: PulseInputs(name, traffic=replay, pins=pins))

    @classmethod
    def ld2450(
        cls, traffic: Moving | None = None, uart: int = 1, tx: int = 17, rx: int = 16, **how: Any
    ) -> SensorSpec:
        """A radar at a path; by default as many on foot as cycled on the recorded day.

        how: as for `LD2450`.
        """
        replay = traffic or MoverReplay(on_foot=True)
        make = lambda name: LD2450(name, traffic=replay, **how)  # noqa: E731
        return cls("ld2450", make, uart=uart, tx=tx, rx=rx)

    @classmethod
    def vl53l1x(
        cls, traffic: Moving | None = None, i2c: int = 0, scl: int = 22, sda: int = 21, **how: Any
    ) -> SensorSpec:
        """A sensor above a doorway; by default as many on foot as cycled on the recorded day."""
        replay = traffic or MoverReplay(on_foot=True)
        make = lambda name: VL53L1X(name, traffic=replay, **how)  # noqa: E731
        return cls("vl53l1x", make, i2c=i2c, scl=scl, sda=sda)

    @classmethod
    def air(cls, devices: list[radio.Advertiser] | None = None) -> SensorSpec:
        """What is in the air around the board's own radio; by default nothing."""
        return cls("air", lambda name: radio.Air(name, devices=devices or []))

    @classmethod
    def sds011(cls, air: Air | None = None, uart: int = 1, tx: int = 17, rx: int = 16) -> SensorSpec:
        """Particles; by default the recorded day of Aberdeen."""
        replay = air or Particles()
        return cls("sds011", lambda name: SDS011(name, air=replay), uart=uart, tx=tx, rx=rx)

    @classmethod
    def sht3x(
        cls, climate: ClimateAt | None = None, i2c: int = 0, scl: int = 22, sda: int = 21
    ) -> SensorSpec:
        """Temperature and humidity; by default the recorded day of Aberdeen."""
        replay = climate or Climate()
        return cls("sht3x", lambda name: SHT3x(name, climate=replay), i2c=i2c, scl=scl, sda=sda)

    @classmethod
    def pmsx003(
        cls,
        air: Air | None = None,
        climate: ClimateAt | None = None,
        model: str = "5003",
        uart: int = 2,
        tx: int = 26,
        rx: int = 25,
    ) -> SensorSpec:
        """Particles, with the models 5003t and 5003st climate; by default Aberdeen's recorded day."""
        dust, weather = _with_pm1(air), climate or Climate()
        return cls(
            "pmsx003",
            lambda name: PMSx003(name, air=dust, climate=weather, model=model),
            uart=uart,
            tx=tx,
            rx=rx,
        )

    @classmethod
    def sps30(cls, air: Air | None = None, i2c: int = 0, scl: int = 22, sda: int = 21) -> SensorSpec:
        """Particles on the bus; by default the recorded day of Aberdeen."""
        dust = _with_pm1(air)
        return cls("sps30", lambda name: SPS30(name, air=dust), i2c=i2c, scl=scl, sda=sda)

    @classmethod
    def sps30_uart(cls, air: Air | None = None, uart: int = 2, tx: int = 26, rx: int = 25) -> SensorSpec:
        """Particles on a serial line; by default the recorded day of Aberdeen."""
        dust = _with_pm1(air)
        return cls("sps30_uart", lambda name: SPS30Uart(name, air=dust), uart=uart, tx=tx, rx=rx)

    @classmethod
    def scd4x(
        cls,
        gas: Gas | None = None,
        climate: ClimateAt | None = None,
        i2c: int = 0,
        scl: int = 22,
        sda: int = 21,
    ) -> SensorSpec:
        """Carbon dioxide, made up, and the climate of the recorded day of Aberdeen."""
        breath, weather = gas or generated.carbon_dioxide, climate or Climate()
        return cls("scd4x", lambda name: SCD4x(name, gas=breath, climate=weather), i2c=i2c, scl=scl, sda=sda)

    @classmethod
    def bme280(cls, weather: Weather | None = None, i2c: int = 0, scl: int = 22, sda: int = 21) -> SensorSpec:
        """Pressure, made up, and the climate of the recorded day of Aberdeen."""
        climate = Climate()
        seen = weather or (lambda at: (generated.pressure(at), *climate(at)))
        return cls("bme280", lambda name: BME280(name, weather=seen), i2c=i2c, scl=scl, sda=sda)

    @classmethod
    def dnms(cls, sound: Sound | None = None, i2c: int = 0, scl: int = 22, sda: int = 21) -> SensorSpec:
        """Noise, made up."""
        heard = sound or generated.sound
        return cls("dnms", lambda name: DNMS(name, sound=heard), i2c=i2c, scl=scl, sda=sda)


def _with_pm1(air: Air | None) -> Callable[[float], tuple[float, float, float]]:
    """PM1, PM2.5 and PM10 where PM2.5 and PM10 are known: of fine dust, 7 parts in 10 are finer still."""
    dust = air or Particles()

    def seen(at: float) -> tuple[float, float, float]:
        pm2_5, pm10 = dust(at)
        return 0.7 * pm2_5, pm2_5, pm10

    return seen


def counter_sensors(traffic: Traffic | None = None) -> tuple[SensorSpec, ...]:
    """What a bicycle counter carries."""
    return (SensorSpec.beam_pair(traffic),)


def air_sensors(air: Air | None = None, climate: ClimateAt | None = None) -> tuple[SensorSpec, ...]:
    """What an air node carries."""
    return SensorSpec.sds011(air), SensorSpec.sht3x(climate)


@dataclass(frozen=True)
class WifiNetwork:
    """A wireless network within reach of a board."""

    ssid: str
    password: str


@dataclass(frozen=True)
class BoardSpec:
    """One board.

    name: also makes its unique id; kind: "counter", "air" or whatever the caller wants to remember;
    flash: image file, made blank if it is not there; romfs_bytes: size of the partition for a ROM file
    system, which lies beside the image with .romfs behind its name, 0 for a MicroPython without one;
    heap_kib: heap for the board's own code, the simulation's comes on top; entropy_seed: None for the
    system's randomness, else os.urandom is a reproducible stream and every hand-out is logged; wifi: networks
    within reach, empty for "any network takes anybody"; run_main: whether main.py is run after boot.py;
    power_cut_at_write: cut the power at the n-th flash write (programs and erases counted from the first
    time the power comes); stepped: the board's code takes no time and its waits no host time, for simulations
    of sensors alone (no network, no watchdog); rtc_drift: share by which the board's clock runs fast in deep
    sleep.
    """

    name: str
    kind: str
    flash: Path
    heap_kib: int = HEAP_KIB
    sensors: tuple[SensorSpec, ...] = ()
    entropy_seed: int | bytes | None = None
    wifi: tuple[WifiNetwork, ...] = field(default=())
    run_main: bool = True
    flash_bytes: int = FLASH_BYTES
    romfs_bytes: int = 0
    power_cut_at_write: int | None = None
    rtc_drift: float = 0.0
    stepped: bool = False

    def __post_init__(self) -> None:
        if self.flash_bytes % BLOCK_BYTES or self.flash_bytes < 2 * BLOCK_BYTES:
            raise BoardError(
                f"flash of {self.flash_bytes} bytes: wanted a multiple of {BLOCK_BYTES}, at least two"
            )
        if self.romfs_bytes % BLOCK_BYTES or self.romfs_bytes < 0:
            raise BoardError(f"romfs of {self.romfs_bytes} bytes: wanted a multiple of {BLOCK_BYTES}")
        if self.heap_kib < 32:
            raise BoardError(f"heap of {self.heap_kib} KiB: wanted at least 32")
        names = [sensor.name for sensor in self.sensors]
        if len(set(names)) != len(names):
            raise BoardError(f"sensors {names}: every name may be there once")
        lines = [sensor.uart for sensor in self.sensors if sensor.uart is not None]
        for number in set(lines):
            if lines.count(number) > 1:
                both = [sensor.name for sensor in self.sensors if sensor.uart == number]
                raise BoardError(f"sensors {both}: all on UART {number}, wanted one there")
