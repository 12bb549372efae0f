"""The worlds that are published, by us and by the weak publisher: what really passed, and who was at home.

Seeded, so that every run has the same worlds; the noise on them is never the same.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from peilmerk_bench.world.traces import CLIMATE, PARTICLES, air_day, counting_day
from peilmerk_protocol import quantities

WINDOW_S = 900
DAY_S = 86_400
WINDOWS_A_DAY = DAY_S // WINDOW_S
BEGAN = 1_709_251_200
"""2024-03-01T00:00:00Z, when every world begins."""
BUSIER = 3
"""The recorded street is replayed so many times as busy: in its own nights there is nothing to suppress."""

LEAK = 0.003
"""The share of what is in a home's air that hangs at its front: 100 m3 leave the home in an hour, and wind of
1 m/s takes 36,000 m3 through the 10 m2 around the node."""
LOCAL, LOCAL_H = 0.15, 2.0
"""How far a place is from its background, as a share of it, and for how many hours it stays so."""

Counts = list[list[int]]
"""Window by window, how many passed in each of two directions."""


def recorded_days(days: int, seed: int = 1) -> Counts:
    """Give days like the recorded one: Poisson about what its quarters, smoothed over three, had."""
    hour = [[0.0] * WINDOWS_A_DAY for _ in range(2)]
    for crossing in counting_day():
        hour[crossing.direction == "out"][crossing.second // WINDOW_S] += BUSIER
    generator = random.Random(seed)
    smooth = [
        [(way[n - 1] + 2 * way[n] + way[(n + 1) % WINDOWS_A_DAY]) / 4 for n in range(WINDOWS_A_DAY)]
        for way in hour
    ]
    return [
        [_poisson(generator, way[n]) for way in smooth] for _ in range(days) for n in range(WINDOWS_A_DAY)
    ]


def quiet_quarters(days: int, below: int, seed: int = 2) -> Counts:
    """Give days of a busy street with one quarter a day in which fewer than `below` pass, either way."""
    generator = random.Random(seed)
    counts = []
    for _ in range(days):
        quiet = [generator.randrange(WINDOWS_A_DAY) for _ in range(2)]
        for n in range(WINDOWS_A_DAY):
            counts.append(
                [generator.randrange(below) if n == one else generator.randrange(60, 200) for one in quiet]
            )
    return counts


def hours(days: int, seed: int) -> Counts:
    """Give the hours of a quiet place."""
    generator = random.Random(seed)
    return [[generator.randrange(40) for _ in range(2)] for _ in range(days * 24)]


def border(days: int, k: int, seed: int = 5) -> Counts:
    """Give quarters in which k - 1 or k pass, by the toss of a coin: neighbours at a threshold."""
    generator = random.Random(seed)
    return [[k - generator.getrandbits(1) for _ in range(2)] for _ in range(days * WINDOWS_A_DAY)]


@dataclass(frozen=True)
class Home:
    """A home, quarter by quarter: what an air node in it samples, and one at its front ([quantity, value in
    wire units] each), and whether somebody was at home.
    """

    indoor: list[list[list[int]]]
    outdoor: list[list[list[int]]]
    occupied: list[int]

    def front(self, quarters: int = 4) -> list[list[list[int]]]:
        """Return what the node at the front samples in longer windows, of so many quarters."""
        rows = self.outdoor
        return [
            [sample for row in rows[first : first + quarters] for sample in row]
            for first in range(0, len(rows), quarters)
        ]

    def at(self, window_s: int) -> dict[float, int]:
        """Return whether somebody was at home for more than half of a window, by the moment of its end."""
        quarters = window_s // WINDOW_S
        return {
            float(BEGAN + (first + quarters) * WINDOW_S): int(
                2 * sum(self.occupied[first : first + quarters]) > quarters
            )
            for first in range(0, len(self.occupied), quarters)
        }


def home(days: int, seed: int = 3, leak: float = LEAK) -> Home:
    """Simulate a home with people who work, cook and sleep.

    Particles: the mass balance dC/dt = a (p C_out - C) - d C + E / V with an air exchange a of 0.5 an hour,
    penetration p 0.8, deposition d 0.2 an hour, a volume V of 200 m3, and E of 1.5 mg/min for the quarter in
    which is cooked. Warmth and vapour: 0.1 kW and 50 g/h a person, in the same way. Outdoors is the recorded
    day in Aberdeen, every day the same, as whoever attacks knows the background from other stations; this
    place is off by LOCAL of it. At the front hangs `leak` of what is more indoors than outdoors. Sensors' own
    noise: PM2.5 0.5 ug/m3, 0.2 K, 1 %.
    """
    generator = random.Random(seed)
    background = _outdoors()
    particles, warmth, vapour, here = 5.0, 0.0, 0.0, 0.0
    stays = math.exp(-0.25 / LOCAL_H)
    indoor, outdoor, occupied = [], [], []
    for day in range(days):
        leaves, returns = generator.uniform(7.5, 10), generator.uniform(15, 20)
        free, evening = generator.random() < 0.35, generator.random() < 0.4
        meals = [generator.uniform(7, 7.5), generator.uniform(12, 13), generator.uniform(18, 20.5)]
        for n in range(WINDOWS_A_DAY):
            hour = n / 4
            away = leaves <= hour < returns and not free
            away = away or (free and day % 2 == 0 and 10 <= hour < 14) or (evening and 20.5 <= hour < 23)
            people = 0 if away else 2
            cooking = people and any(meal <= hour < meal + 0.25 for meal in meals)
            fine, coarse, degrees, humidity = background[n]
            here = stays * here + generator.gauss(0, LOCAL * math.sqrt(1 - stays**2))
            fine, coarse = fine * math.exp(here), coarse * math.exp(here)
            particles += 0.25 * (0.5 * (0.8 * fine - particles) - 0.2 * particles)
            particles += 1.5 * 15 * 1000 / 200 if cooking else 0.0
            warmth += 0.25 * (0.9 * people - 0.5 * warmth)
            vapour += 0.25 * (2.5 * people - 0.5 * vapour) + (4 if cooking else 0)
            indoor.append(_samples(generator, particles, 1.2 * particles, 18 + warmth, 40 + vapour))
            more = leak * max(0.0, particles - 0.8 * fine)
            outdoor.append(
                _samples(
                    generator,
                    fine + more,
                    coarse + 1.2 * more,
                    degrees + leak * warmth,
                    humidity + leak * vapour,
                )
            )
            occupied.append(int(people > 0))
    return Home(indoor, outdoor, occupied)


def _samples(
    generator: random.Random, fine: float, coarse: float, degrees: float, humidity: float
) -> list[list[int]]:
    """Give what sensors say, with their own noise, in wire units."""
    return [
        [quantities.PM2_5, round(10 * max(0.0, fine + generator.gauss(0, 0.5)))],
        [quantities.PM10, round(10 * max(0.0, coarse + generator.gauss(0, 1)))],
        [quantities.TEMPERATURE, round(10 * (degrees + generator.gauss(0, 0.2)))],
        [quantities.HUMIDITY, round(10 * min(99.0, max(0.0, humidity + generator.gauss(0, 1))))],
    ]


def _outdoors() -> list[tuple[float, float, float, float]]:
    """Return the recorded day by the quarter: PM2.5, PM10, temperature, relative humidity."""
    found: list[list[float]] = [[0.0] * 4 for _ in range(WINDOWS_A_DAY)]
    for first, file, columns in ((0, PARTICLES, ("P2", "P1")), (2, CLIMATE, ("temperature", "humidity"))):
        for sample in air_day(file, columns):
            found[sample.second // WINDOW_S][first : first + 2] = sample.values
    return [(row[0], row[1], row[2], row[3]) for row in found]


def _poisson(generator: random.Random, mean: float) -> int:
    """Draw from the Poisson distribution by multiplying uniform numbers (Knuth)."""
    least, product, events = math.exp(-mean), generator.random(), 0
    while product > least:
        product *= generator.random()
        events += 1
    return events
