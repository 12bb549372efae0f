"""What no shipped trace holds, made up so that it is the same in every run: pressure, carbon dioxide, sound.

All are functions of world time alone, without randomness, and of a size that a Dutch street has.
"""

from __future__ import annotations

import math

from peilmerk_bench.world.passages import DAY_S


def _wave(at: float, period_s: float, phase: float = 0.0) -> float:
    return math.sin(2 * math.pi * (at / period_s + phase))


def pressure(at: float) -> float:
    """Air pressure in hPa: highs and lows some days apart, and the day's two small tides."""
    return (
        1013.0
        + 12.0 * _wave(at, 5.3 * DAY_S)
        + 4.0 * _wave(at, 2.1 * DAY_S, 0.3)
        + 0.5 * _wave(at, DAY_S / 2)
    )


def carbon_dioxide(at: float) -> float:
    """CO2 in ppm: the background, the night's breath of plants, and two rush hours."""
    hour = at % DAY_S / 3600
    rush = sum(math.exp(-(((hour - peak) / 1.2) ** 2)) for peak in (8.3, 17.5))
    return 424.0 + 18.0 * (1 + math.cos(2 * math.pi * (hour - 4) / 24)) + 35.0 * rush


def sound(at: float) -> float:
    """A-weighted level in dB of the 125 ms at a moment: quiet nights, busy days, something that passes."""
    hour = at % DAY_S / 3600
    ground = 50.0 - 9.0 * math.cos(2 * math.pi * (hour - 3) / 24)
    passing = max(0.0, _wave(at, 47.0)) ** 8 * 18.0 + max(0.0, _wave(at, 613.0, 0.2)) ** 64 * 25.0
    return ground + 2.0 * _wave(at, 1.7) + passing
