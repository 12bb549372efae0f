"""The policy simulator: its probabilities against plain sums over all that can be seen."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product
from pathlib import Path

import pytest
from all_that_is_seen import REACH, TRACE, best_guess, drawn, seen
from hypothesis import given
from hypothesis import strategies as st

from peilmerk_bench.policy import attackers, panels
from peilmerk_bench.policy.noise import Noise
from peilmerk_bench.policy.simulate import Policy, choices, outcome
from peilmerk_bench.policy.street import Street
from peilmerk_bench.world.traces import TraceError, counting_days
from peilmerk_gateway.web.language import languages

EPSILONS = st.fractions(Fraction(1, 4), 3, max_denominator=20)


@given(EPSILONS, st.integers(-30, 30))
def test_noise_is_what_its_sums_say(epsilon: Fraction, z: int) -> None:
    noise = Noise(epsilon)
    values = {y: drawn(epsilon, y) for y in range(-REACH, REACH + 1)}
    assert noise.probability(z) == pytest.approx(values[z])
    assert noise.at_least(z) == pytest.approx(sum(p for y, p in values.items() if y >= z), abs=1e-9)
    assert noise.error_at_least(z) == pytest.approx(
        sum(abs(y) * p for y, p in values.items() if y >= z), abs=1e-9
    )
    assert noise.error == pytest.approx(sum(abs(y) * p for y, p in values.items()))
    assert noise.sd == pytest.approx(math.sqrt(sum(y * y * p for y, p in values.items())))
    assert drawn(epsilon, noise.reach + 1) < 1e-11


def test_without_noise_nothing_is_off() -> None:
    exact = Noise(None)
    assert (exact.sd, exact.error, exact.reach) == (0.0, 0.0, 0)
    assert [exact.at_least(z) for z in (-1, 0, 1)] == [1.0, 1.0, 0.0]
    with pytest.raises(ValueError, match=r"found epsilon 0, wanted more than 0"):
        Noise(Fraction(0))


@given(EPSILONS, st.integers(0, 12), st.integers(1, 4), st.one_of(st.none(), st.integers(0, 12)))
def test_the_best_guess_of_presence_is_the_sum_over_all_that_can_be_seen(
    epsilon: Fraction, count: int, shift: int, k: int | None
) -> None:
    # `count` has the passages of the person in it.
    floor = None if k is None else k - count
    fast = attackers.presence(attackers.release(Noise(epsilon), shift, floor))
    slow = best_guess([seen(epsilon, count, k)], [seen(epsilon, count - shift, k)])
    assert fast == pytest.approx(slow, abs=1e-9)


@pytest.mark.parametrize(
    ("leaf", "day"),
    [(Fraction(7, 10), Fraction(3, 10)), (Fraction(1, 2), Fraction(1, 2)), (Fraction(3), Fraction(1))],
)
def test_window_and_day_together_tell_what_both_tell(leaf: Fraction, day: Fraction) -> None:
    fast = attackers.presence(attackers.release(Noise(leaf), 1, 8), attackers.release(Noise(day), 1))
    slow = best_guess([seen(leaf, 2, 10), seen(day, 40, None)], [seen(leaf, 1, 10), seen(day, 39, None)])
    assert fast == pytest.approx(slow, abs=1e-9)
    # Neyman and Pearson's bound for pure differential privacy.
    assert fast <= 1 / (1 + math.exp(-(leaf + day))) + 1e-9


@pytest.mark.parametrize("times", [1, 2, 3])
def test_passages_in_windows_of_their_own_tell_what_each_tells(times: int) -> None:
    leaf = Fraction(7, 10)
    right = Noise(leaf).at_least(0)
    advantage = 0.0
    for signs in product((True, False), repeat=times):
        here = math.prod(right if sign else 1 - right for sign in signs)
        there = math.prod(1 - right if sign else right for sign in signs)
        advantage += max(0.0, here - there)
    assert attackers.presence(attackers.windows_apart(Noise(leaf), times)) == pytest.approx(
        0.5 + advantage / 2
    )
    one = attackers.presence(attackers.release(Noise(leaf), 1))
    assert attackers.presence(attackers.windows_apart(Noise(leaf), 1)) == pytest.approx(one)


def test_a_guesser_of_counts_uses_what_is_withheld_and_what_is_usual() -> None:
    histogram, epsilon, k = {0: 5, 3: 3, 12: 2}, Fraction(7, 10), 5
    right = 0.0
    for shown in range(-REACH, REACH + 13):
        if shown >= k:
            right += max(n / 10 * drawn(epsilon, shown - count) for count, n in histogram.items())
    right += max(
        n / 10 * sum(drawn(epsilon, z) for z in range(-REACH, REACH + 1) if count + z < k)
        for count, n in histogram.items()
    )
    found, blind = attackers.reading(histogram, Noise(epsilon), k)
    assert found == pytest.approx(right, abs=1e-9)
    assert blind == 0.5
    assert attackers.reading(histogram, Noise(None), 0) == (1.0, 0.5)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    file = tmp_path / "street.csv"
    file.write_text(TRACE)
    return file


def test_a_trace_of_two_days_has_two_days(trace: Path) -> None:
    assert {str(day): len(found) for day, found in counting_days(trace).items()} == {
        "2024-02-26": 3,
        "2024-02-27": 1,
    }
    street = Street.of(trace)
    assert (street.days, street.total, sorted(street.totals)) == (2, 4, [0, 1, 1, 2])
    # Two days of two directions: 4 x 96 quarters, of which three have passages.
    assert street.histogram(900) == {0: 381, 1: 2, 2: 1}
    assert street.histogram(86_400) == {0: 1, 1: 2, 2: 1}
    trace.write_text("timestamp;direction;speed\n")
    with pytest.raises(TraceError, match="no passages"):
        counting_days(trace)


def test_an_exact_policy_is_worked_out_by_hand(trace: Path) -> None:
    found = outcome(Street.of(trace), Policy(None, Fraction(0), 2, 900, 4))
    assert found.passages_mean == 2.0
    assert found.error == found.error_share == 0.0
    assert found.withheld_windows == pytest.approx(383 / 384)
    assert found.withheld_passages == pytest.approx(0.5)
    assert found.day_sd is found.epsilon_person is found.withheld_days is None
    # One of two: who passed alone is withheld with everybody else; of two, everybody is told.
    assert found.passage == pytest.approx((2 * 0.5 + 2 * 1.0) / 4)
    assert found.person_together == 1.0


def test_more_noise_is_more_error_and_less_to_guess() -> None:
    street = Street.of()
    agreed = Policy(Fraction(7, 10), Fraction(3, 10), 10, 900, 4)
    row = [
        outcome(street, agreed.with_epsilon(epsilon))
        for epsilon in (Fraction(1, 2), Fraction(1), Fraction(4), None)
    ]
    errors = [found.error for found in row]
    assert errors == sorted(errors, reverse=True)
    for attack in ("passage", "passage_most", "person_apart", "person_together", "reading"):
        guessed = [getattr(found, attack) for found in row]
        assert guessed == sorted(guessed), attack
    assert row[1].policy == agreed
    assert row[1].epsilon_person == 4
    half = row[0].policy
    assert (half.epsilon_leaf, half.epsilon_day) == (Fraction(7, 20), Fraction(3, 20))


def test_choices_have_the_agreed_one_and_no_noise_among_them() -> None:
    agreed = Policy(Fraction(7, 10), Fraction(3, 10), 10, 900, 4)
    found = list(choices(agreed, [Fraction(2)], [5], [3600]))
    assert len(found) == len(set(found)) == 3 * 2 * 2
    assert agreed in found
    assert sum(policy.epsilon is None for policy in found) == 4


def test_guesses_begin_where_nothing_is_published() -> None:
    street = Street.of()
    agreed = Policy(Fraction(7, 10), Fraction(3, 10), 10, 900, 4)
    found = [outcome(street, policy) for policy in choices(agreed, [Fraction(2)], [], [300])]
    error, withheld, person, reading = panels.panels(found, agreed, languages()["en"])
    for panel in (person, reading):
        assert panel.choices == ("nothing", "1", "2", "no noise")
    assert {line.values[0] for line in person.lines} == {50.0}
    assert (person.marks[0], person.note) == (50.0, "begins at 50 %: as good as a coin")
    blind = {o.policy.window_s: 100 * o.reading_blind for o in found}
    assert [line.values[0] for line in reading.lines] == [blind[300], blind[900]]
    # The ring is on the record's own choice all the same.
    assert [(line.values[1], line.chosen) for line in reading.lines][1] == (
        100 * next(o.reading for o in found if o.policy == agreed),
        1,
    )
    assert error.choices == ("1", "2", "no noise"), "of what is not published nothing is off"
    assert (error.marks[-1], error.cap) == (50.0, "ends at 50 %: what is above is not drawn")
    assert withheld.note is withheld.cap is None
