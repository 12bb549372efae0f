"""What the air is: a recorded day of samples, replayed every day; between two samples the earlier holds."""

from __future__ import annotations

import bisect

from peilmerk_bench.world.passages import DAY_S
from peilmerk_bench.world.traces import CLIMATE, PARTICLES, Sample, air_day


class AirReplay:
    """A recorded day. Calling it with a moment of world time gives the values then.

    samples: the day; shift_s: the same day moved by so many seconds, for another place.
    """

    def __init__(self, samples: tuple[Sample, ...], shift_s: int = 0) -> None:
        if not samples:
            raise ValueError("a day of air needs at least one sample")
        self._samples = sorted(((s.second + shift_s) % DAY_S, s.values) for s in samples)
        self._seconds = [second for second, _ in self._samples]

    def __call__(self, at: float) -> tuple[float, ...]:
        # before the day's first sample, the last one of the day before still holds
        return self._samples[bisect.bisect_right(self._seconds, at % DAY_S) - 1][1]


class Particles(AirReplay):
    """PM2.5 and PM10 in ug/m3; by default the shipped day of Aberdeen."""

    def __init__(self, samples: tuple[Sample, ...] | None = None, shift_s: int = 0) -> None:
        super().__init__(air_day(PARTICLES, ("P2", "P1")) if samples is None else samples, shift_s)

    def __call__(self, at: float) -> tuple[float, float]:
        pm2_5, pm10 = super().__call__(at)
        return pm2_5, pm10


class Climate(AirReplay):
    """Temperature in degrees Celsius and relative humidity in percent; by default Aberdeen's shipped day."""

    def __init__(self, samples: tuple[Sample, ...] | None = None, shift_s: int = 0) -> None:
        super().__init__(
            air_day(CLIMATE, ("temperature", "humidity")) if samples is None else samples, shift_s
        )

    def __call__(self, at: float) -> tuple[float, float]:
        celsius, percent = super().__call__(at)
        return celsius, percent
