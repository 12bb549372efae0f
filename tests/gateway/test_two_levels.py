"""Two levels: a day's total weighed with its windows is nearer to the count, and gives nothing away."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sealed_street import DAY, Street
from stores import StorePlace, new_place

from peilmerk_gateway.ingest import Delivery
from peilmerk_gateway.two_levels import precision, weigh
from peilmerk_protocol import topics

LEAF, OF_DAY = Fraction(7, 10), Fraction(3, 10)
KEY = "street/fietspad-0/bicycle_towards"


def variance(epsilon: float) -> float:
    q = math.exp(-epsilon)
    return 2 * q / (1 - q) ** 2


@pytest.mark.parametrize(
    "epsilon", [Fraction(1, 100), Fraction(3, 20), OF_DAY, LEAF, Fraction(1), Fraction(4)]
)
def test_precision_is_one_over_the_variance_of_discrete_laplace(epsilon: Fraction) -> None:
    assert float(precision(epsilon)) == pytest.approx(1 / variance(float(epsilon)), rel=1e-12)
    # As a sum over the distribution itself.
    scale = math.tanh(float(epsilon) / 2)
    summed = sum(z * z * scale * math.exp(-float(epsilon) * abs(z)) for z in range(-6_000, 6_001))
    assert float(1 / precision(epsilon)) == pytest.approx(summed, rel=1e-9)


def test_without_epsilon_there_is_no_precision() -> None:
    with pytest.raises(ValueError, match="found epsilon 0, wanted more than 0"):
        precision(Fraction(0))


@pytest.mark.parametrize(
    ("windows", "epsilons", "leaf", "day", "both"),
    [
        (96, (LEAF, OF_DAY), 1.979, 4.696, 4.574),
        (24, (LEAF / 2, OF_DAY / 2), 4.020, 9.419, 8.502),
        (288, (LEAF, OF_DAY), 1.979, 4.696, 4.660),
    ],
    ids=["standard", "strict", "crowd"],
)
def test_the_stated_deviation(
    windows: int, epsilons: tuple[Fraction, Fraction], leaf: float, day: float, both: float
) -> None:
    epsilon_leaf, epsilon_day = epsilons
    assert math.sqrt(1 / precision(epsilon_leaf)) == pytest.approx(leaf, abs=1e-3)
    assert math.sqrt(1 / precision(epsilon_day)) == pytest.approx(day, abs=1e-3)
    weighed = weigh(1_000, 1_000, windows, epsilon_leaf, epsilon_day)
    assert weighed.deviation == pytest.approx(both, abs=1e-3)
    assert weighed.deviation < day < math.sqrt(windows / precision(epsilon_leaf))


def noises(epsilon: float, size: int, seed: int) -> list[int]:
    """Discrete Laplace as the difference of two geometric numbers; reproducible, for statistics only."""
    generator = random.Random(seed)

    def geometric() -> int:
        return int(math.log(1 - generator.random()) / -epsilon)

    return [geometric() - geometric() for _ in range(size)]


@pytest.mark.parametrize(("windows", "epsilon_leaf", "epsilon_day"), [(24, 0.35, 0.15), (4, 0.7, 0.3)])
def test_measured_the_weighed_total_is_nearer_than_either(
    windows: int, epsilon_leaf: float, epsilon_day: float
) -> None:
    days, count = 8_000, 500 * windows
    of_day = [count + z for z in noises(epsilon_day, days, 1)]
    leaves = noises(epsilon_leaf, days * windows, 2)
    sums = [count + sum(leaves[n * windows : (n + 1) * windows]) for n in range(days)]
    terms = Fraction(str(epsilon_leaf)), Fraction(str(epsilon_day))
    weighed = [weigh(day, total, windows, *terms) for day, total in zip(of_day, sums, strict=True)]
    results = [one.result for one in weighed]
    stated = weighed[0].deviation
    # Of a standard deviation of `days` figures with a kurtosis of at most 6.
    error = stated * math.sqrt(5 / (4 * days))
    assert statistics.pstdev(results) == pytest.approx(stated, abs=5 * error)
    assert statistics.fmean(results) == pytest.approx(count, abs=5 * stated / math.sqrt(days))
    for other in (of_day, sums):
        assert statistics.pstdev(results) < statistics.pstdev(other) - 5 * error


def test_at_the_standard_profile_it_is_nearer_too() -> None:
    """Three of a hundred: pairs of the same draws tell it, not their deviations."""
    days, windows = 3_000, 96
    of_day = noises(0.3, days, 3)
    leaves = noises(0.7, days * windows, 4)
    sums = [sum(leaves[n * windows : (n + 1) * windows]) for n in range(days)]
    gain = [
        day**2 - weigh(day, total, windows, LEAF, OF_DAY).result ** 2
        for day, total in zip(of_day, sums, strict=True)
    ]
    assert statistics.fmean(gain) > 5 * statistics.stdev(gain) / math.sqrt(days)


def test_where_rounding_costs_more_than_weighing_gains_the_total_stays() -> None:
    weighed = weigh(77, 9_999, 1_440, Fraction(1, 10), Fraction(3))
    assert (weighed.result, weighed.variance) == (77, 1 / precision(Fraction(3)))


@given(
    day=st.integers(-70_000, 2**40),
    total=st.integers(-70_000, 2**40),
    windows=st.sampled_from([24, 96, 288]),
    leaf=st.fractions(Fraction(1, 100), Fraction(2)),
    of_day=st.fractions(Fraction(1, 100), Fraction(2)),
)
def test_the_weighed_total_is_whole_and_lies_between(
    day: int, total: int, windows: int, leaf: Fraction, of_day: Fraction
) -> None:
    weighed = weigh(day, total, windows, leaf, of_day)
    assert isinstance(weighed.result, int)
    assert min(day, total) <= weighed.result <= max(day, total)
    assert weighed.variance <= 1 / precision(of_day)


@pytest.fixture
def street(tmp_path: Path, store_place: StorePlace) -> Iterator[Street]:
    made = Street(tmp_path, counters=2, place=store_place)
    yield made
    made.registry.close()


def windows_of(street: Street, figures: list[int], *, first: int = 2) -> list[Delivery]:
    """The reports of a whole day; away always 50 a window."""
    board = street.counters[0]
    return [
        board.report(first + n, DAY * 96 + n, {5: (figure,), 6: (50,)}) for n, figure in enumerate(figures)
    ]


def day_rows(street: Street) -> list[tuple[int, float]]:
    with street.place.raw() as db:
        return db.execute(
            "SELECT result, noise_scale FROM observation WHERE datastream = ?", (KEY + "/day",)
        ).fetchall()


async def test_a_day_of_which_every_window_is_kept_is_weighed(street: Street) -> None:
    board = street.counters[0]
    async with await street.open() as store:
        await street.flow(store).store(
            [
                board.statement(1),
                board.day(200, values={5: (1_000,), 6: (4_800,)}),
                *windows_of(street, [12] * 96),
            ]
        )
        await store.claim("city", 500, 1e12)
        verdict = await store.check_trail()
        assert verdict.ok, verdict.faults
        (window,) = await store.latest(KEY + "/day", 5)
    ((result, deviation),) = day_rows(street)
    wanted = weigh(1_000, 96 * 12, 96, LEAF, OF_DAY)
    assert (result, deviation) == (wanted.result, wanted.deviation)
    assert (result, window.result) == (1_008, 1_008)
    assert deviation == pytest.approx(4.574, abs=1e-3)
    # One draw, one price, and one figure of the day: the board's own is nowhere.
    assert street.rows("ledger", "sum(epsilon_micro)") == [(2 * (96 * 700_000 + 300_000),)]
    with street.place.raw() as db:
        assert db.execute("SELECT count(*) FROM observation WHERE result = 1000").fetchone() == (0,)
        assert db.execute("SELECT count(*) FROM publish_outbox").fetchone() == (2 * 97,)


async def test_a_withheld_window_has_no_part_in_the_total_of_its_day(
    tmp_path: Path, store_place: StorePlace
) -> None:
    """Whatever its noisy figure was, the same is written down: nothing is left to subtract."""
    written = []
    for hidden in (9, 3, -4):
        folder = tmp_path / str(hidden)
        folder.mkdir()
        street = Street(folder, place=new_place(folder, store_place.server))
        board = street.counters[0]
        async with await street.open() as store:
            flow = street.flow(store)
            await flow.store([board.statement(1), *windows_of(street, [hidden, *[12] * 95])])
            await flow.store([board.day(200, values={5: (1_000,), 6: (4_800,)})])
        ((result, deviation),) = day_rows(street)
        assert (result, round(deviation, 3)) == (1_000, 4.696)
        tables = {
            "observation": "datastream, window_start, result, noise_scale",
            "withheld": "datastream, window_start, reason",
            "report": "seq, window_start, health, digest IS NULL",
            "ledger": "quantity, kind, window_start, epsilon_micro",
            "publish_outbox": "observation_id, state",
            "tally": "name, n",
        }
        written.append({table: street.rows(table, columns) for table, columns in tables.items()})
        street.registry.close()
    assert len(written[0]["observation"]) == 95 + 96 + 2
    # Nor is there a digest of the report to try figures against.
    assert [row for row in written[0]["report"] if row[3]] == [(2, DAY * 86_400, 0, 1)]
    assert written[0] == written[1] == written[2]


async def test_a_window_that_is_missing_or_late_leaves_the_total_as_it_is(street: Street) -> None:
    board = street.counters[0]
    *most, last = windows_of(street, [12] * 96)
    async with await street.open() as store:
        flow = street.flow(store)
        await flow.store([board.statement(1), *most])
        # The neighbours of the day are not of it.
        await flow.store([board.report(150, DAY * 96 - 1), board.report(151, DAY * 96 + 96)])
        await flow.store([board.day(200, values={5: (1_000,), 6: (4_800,)})])
        assert [result for result, _ in day_rows(street)] == [1_000]
        await flow.store([last])
    assert [result for result, _ in day_rows(street)] == [1_000]


async def test_windows_of_another_epsilon_or_board_or_length_are_not_weighed_in(street: Street) -> None:
    board = street.counters[0]
    first = f"quantity = 5 AND window_start = {DAY * 86_400}"
    others = [
        (("ledger", "epsilon_micro", 350_000),),
        (("observation", "device_id", "z" * 16), ("ledger", "device_id", "z" * 16)),
        (("observation", "window_s", 300),),
    ]
    async with await street.open() as store:
        flow = street.flow(store)
        await flow.store([board.statement(1), *windows_of(street, [12] * 96)])
        for changes in others:
            with street.place.raw() as db:
                before = [
                    db.execute(f"SELECT {column} FROM {table} WHERE {first}").fetchone()[0]
                    for table, column, _ in changes
                ]
                for table, column, value in changes:
                    db.execute(f"UPDATE {table} SET {column} = ? WHERE {first}", (value,))
            await flow.store([board.day(200, values={5: (1_000,), 6: (4_800,)})])
            assert [result for result, _ in day_rows(street)] == [1_000], changes
            with street.place.raw() as db:
                for (table, column, _), value in zip(changes, before, strict=True):
                    db.execute(f"UPDATE {table} SET {column} = ? WHERE {first}", (value,))
                db.execute("DELETE FROM publish_outbox")
                db.execute("DELETE FROM observation WHERE datastream LIKE '%/day'")
                for table in ("report", "ledger"):
                    db.execute(f"DELETE FROM {table} WHERE kind = ?", (topics.DAY,))
        await flow.store([board.day(200, values={5: (1_000,), 6: (4_800,)})])
    assert [result for result, _ in day_rows(street)] == [1_008]


async def test_published_windows_are_disjoint(street: Street) -> None:
    """No two figures of a datastream are about the same moment, whatever is sent."""
    board, other = street.counters
    async with await street.open() as store:
        flow = street.flow(store)
        await flow.store(
            [board.statement(1), other.statement(1), board.day(200), *windows_of(street, [12] * 96)]
        )
        await flow.store(
            [other.report(2, DAY * 96), other.report(3, DAY * 96), board.report(300, DAY * 96 + 3)]
        )
        await flow.store([board.day(201), board.day(202, DAY - 1)])
    spans: dict[str, list[tuple[int, int]]] = {}
    for datastream, start, length in street.rows("observation", "datastream, window_start, window_s"):
        spans.setdefault(datastream, []).append((start, start + length))
    assert len(spans) == 6
    for found in spans.values():
        assert all(end <= start for (_, end), (start, _) in pairwise(sorted(found)))
