"""The privacy audit: its estimator against exact figures, the shipped code, and mutants that it must kill."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest
from typer.testing import CliRunner

from peilmerk_bench.audit import against_opendp, claims, integers, once
from peilmerk_bench.audit.auditor import PARTS, Plan, audit
from peilmerk_bench.audit.cli import app
from peilmerk_bench.audit.device_side import Draw, draw_all
from peilmerk_bench.audit.divergence import (
    chi_square_sigma,
    expected_variation,
    hockey_stick,
    laplace,
    laplace_divergence,
    total_variation,
    two_sample_sigma,
    variation_sigma,
)
from peilmerk_bench.audit.gateway_side import SOURCES
from peilmerk_bench.audit.judge import chosen, judge, publication
from peilmerk_bench.audit.mutants import HARMLESS, MUTANTS
from peilmerk_bench.audit.overlay import AuditError, Change, changed_copy
from peilmerk_protocol.profile import STANDARD_COUNTER
from peilmerk_provisioning.bundle import firmware_folder

SAMPLES = 20_000
RUNNER = CliRunner()


def sampled(epsilon: float, size: int, shift: int = 0, seed: int = 1) -> Counter[int]:
    """Discrete Laplace as the difference of two geometric numbers; reproducible, for statistics only."""
    generator = random.Random(seed)

    def geometric() -> int:
        return int(math.log(1 - generator.random()) / -epsilon)

    return Counter(shift + geometric() - geometric() for _ in range(size))


def exactly(epsilon: float, size: int, shift: int = 0) -> Counter[int]:
    """A histogram with exactly the frequencies of the distribution."""
    return Counter({z + shift: round(size * laplace(epsilon, z)) for z in range(-40, 41)})


@pytest.mark.parametrize(("spent", "claimed"), [(0.9, 0.7), (1.4, 0.7), (0.386, 0.3), (3.0, 0.5)])
def test_the_estimate_is_the_analytic_divergence(spent: float, claimed: float) -> None:
    exact = laplace_divergence(spent, claimed)
    p, q = (lambda z: laplace(spent, z)), (lambda z: laplace(spent, z - 1))
    assert exact == pytest.approx(sum(max(0.0, p(z) - math.exp(claimed) * q(z)) for z in range(-200, 200)))
    # A great many samples: only the frequencies are left, not their errors.
    many = 10**7
    assert hockey_stick(exactly(spent, many), exactly(spent, many, 1), claimed) == pytest.approx(
        exact, abs=2e-3
    )


def test_the_estimate_from_samples_is_near_the_exact_one() -> None:
    found = hockey_stick(sampled(0.9, 60_000), sampled(0.9, 60_000, shift=1, seed=2), 0.7)
    assert found == pytest.approx(laplace_divergence(0.9, 0.7), abs=0.012)


def test_what_keeps_its_epsilon_is_not_accused() -> None:
    for seed in range(3):
        here, there = sampled(0.7, 60_000, seed=seed), sampled(0.7, 60_000, shift=1, seed=seed + 100)
        assert hockey_stick(here, there, 0.7) < claims.LIMIT
    assert laplace_divergence(0.5, 0.7) == 0.0


def test_the_worst_set_of_outcomes_is_found_in_either_direction() -> None:
    assert hockey_stick(Counter({"absent": 1000}), Counter({3: 1000}), 5.0) == 1.0
    always, sometimes = Counter({3: 100_000}), Counter({3: 70_000, "absent": 30_000})
    # Only what one of the two does in excess counts: the other way it is 1 - 0.7 e^0.7 < 0.
    for here, there in ((always, sometimes), (sometimes, always)):
        assert hockey_stick(here, there, 0.7) == pytest.approx(0.3, abs=0.01)
    # 1 is likelier here than there, but not e^0.7 times: it is not in the set.
    here, there = Counter({0: 50_000, 1: 30_000, 2: 20_000}), Counter({0: 10_000, 1: 25_000, 2: 65_000})
    assert hockey_stick(here, there, 0.7) == pytest.approx(0.5 - 0.1 * math.exp(0.7), abs=0.01)


def test_chi_square_accepts_the_distribution_and_rejects_another_scale() -> None:
    for epsilon in (0.15, 0.7):
        assert chi_square_sigma(sampled(epsilon, 60_000), epsilon) < 4
        assert chi_square_sigma(sampled(epsilon * claims.POWER_FACTOR, 60_000), epsilon) > claims.SIGMA
    one, other = sampled(0.7, 60_000), sampled(0.7, 60_000, seed=2)
    assert two_sample_sigma(one, other) < 4
    assert two_sample_sigma(one, sampled(0.77, 60_000, seed=2)) > claims.SIGMA
    assert total_variation(one, other) == pytest.approx(expected_variation(0.7, 60_000), rel=0.4)
    assert abs(variation_sigma(total_variation(one, other), 0.7, 60_000)) < 3
    other_scale = total_variation(one, sampled(0.77, 60_000, seed=2))
    assert variation_sigma(other_scale, 0.7, 60_000) > claims.SIGMA
    assert total_variation(Counter({0: 5}), Counter({1: 7})) == 1.0


def test_the_shipped_firmware_keeps_to_its_claims() -> None:
    here, there = draw_all([Draw(STANDARD_COUNTER, count, SAMPLES) for count in (4, 5)])
    for release in ("window", "day"):
        assert sum(here[release].values()) == SAMPLES
        assert "absent" not in here[release]
        assert (
            hockey_stick(here[release], there[release], float(claims.claimed(STANDARD_COUNTER, release)))
            < 0.03
        )
    # With less claimed than is spent the same figures are too much: the figures are not just of anything.
    assert hockey_stick(here["window"], there["window"], 0.5) > 0.08


def test_our_noise_is_opendps_noise() -> None:
    epsilon = Fraction(7, 10)
    ours, off = draw_all(against_opendp.draws([epsilon], SAMPLES))
    row = against_opendp.compare(epsilon, ours["noise"], off["noise"])  # type: ignore[arg-type]
    assert against_opendp.above(row) == []
    assert against_opendp.above(
        {**row, "off_scale_sigma": 2.0, "variation_sigma": 6.5, "ours_sigma": 7.0}
    ) == [
        "noise of epsilon 7/10: ours_sigma 7.0 > 6.0",
        "noise of epsilon 7/10: variation_sigma 6.5 > 6.0",
        "noise of epsilon 7/10: the test does not notice 1.1 times as much, 2.0 <= 6.0",
    ]


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [("true-threshold", 1.0, 1.0), ("one-sided", 0.25, 0.43), ("set-used-again", 1.0, 1.0)],
)
def test_mutants_are_killed_by_their_divergence(name: str, least: float, most: float, tmp_path: Path) -> None:
    (mutant,) = chosen([name])
    verdict = judge(mutant, 5_000, tmp_path)
    assert verdict.killed
    assert verdict.figure is not None
    assert least <= verdict.figure <= most


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("float-noise", "laplace:9: math"),
        ("exact-when-refused", "window: 100 of 100 figures left without true randomness"),
        ("memo-only-in-memory", "window that ended at 1893539700 was released 2 times"),
        ("drawn-again-on-retry", "tried as"),
        ("day-released-again", "day that ended at 1893542400 was released 3 times"),
        ("withheld-digest-kept", "figures below k = 10 leave 13 different traces, wanted one"),
    ],
)
def test_mutants_are_killed_by_what_they_do(name: str, found: str, tmp_path: Path) -> None:
    (mutant,) = chosen([name])
    verdict = judge(mutant, SAMPLES, tmp_path)
    assert verdict.killed
    # How many of three draws for two directions differ is chance.
    assert verdict.found == found or (name == "drawn-again-on-retry" and found in verdict.found)


def test_what_is_shipped_is_not_accused_of_what_mutants_do() -> None:
    assert integers.found_in(firmware_folder()) == []
    assert publication() == []
    assert once.run() == {"windows": 7, "days": 1, "lives": 3, "wrong": []}


def test_every_mutant_fits_the_sources(tmp_path: Path) -> None:
    rooms = {"firmware": firmware_folder(), "gateway": SOURCES}
    for mutant in (*MUTANTS, *HARMLESS):
        for room, changes in (("firmware", mutant.firmware), ("gateway", mutant.gateway)):
            for path in {change.path for change in changes}:
                text = (rooms[room] / path).read_text("utf-8")
                for change in changes:
                    if change.path == path:
                        assert text.count(change.old) == 1, (mutant.name, change)
                        text = text.replace(change.old, change.new)
                compile(text, path, "exec")
    assert len({mutant.name for mutant in (*MUTANTS, *HARMLESS)}) == len(MUTANTS) + len(HARMLESS)
    room = tmp_path / "room"
    room.mkdir()
    (room / "one.py").write_text("a = 1\n")
    with pytest.raises(AuditError, match=r"one\.py: found 0 of 'b', wanted one"):
        changed_copy(room, (Change("one.py", "b", "c"),), tmp_path / "copy")


def test_exit_codes_and_json(tmp_path: Path) -> None:
    parts = ["--part", "integers", "--part", "refusal", "--part", "once", "--json"]
    well = RUNNER.invoke(app, parts)
    assert well.exit_code == 0, well.output
    result = json.loads(well.stdout)
    assert (result["name"], result["ok"], result["above"]) == ("audit privacy", True, [])
    assert result["limits"]["divergence"] == 0.03
    assert list(result["figures"]["checks"]) == ["once", "refusal", "integers"]
    assert result["figures"]["audited"]["complete"] is False
    (mutant,) = chosen(["unchecked-source"])
    changed_copy(firmware_folder(), mutant.firmware, tmp_path / "mine")
    ill = RUNNER.invoke(app, [*parts, "--firmware", str(tmp_path / "mine")])
    assert ill.exit_code == 1
    said = [json.loads(one.stdout)["figures"]["audited"]["firmware"] for one in (well, ill)]
    assert [one["shipped"] for one in said] == [True, False]
    assert said[0]["sha256"] != said[1]["sha256"]
    assert json.loads(ill.stdout)["above"] == [
        f"refusal: {name}: 100 of 100 figures left without true randomness" for name in ("window", "day")
    ]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--samples", "100"], "found 100 samples, wanted at least 20000"),
        (["--profile", "loose"], "found no profile 'loose', wanted one of standard, strict, crowd"),
        (["--mutant", "none"], "found no mutant 'none', wanted one of true-threshold, "),
        (["--part", "nothing"], f"found no part 'nothing', wanted one of {', '.join(PARTS)}"),
        (["--firmware", "/nowhere"], "found no node/release.py in /nowhere, wanted the firmware's sources"),
    ],
)
def test_bad_input(words: list[str], error: str) -> None:
    done = RUNNER.invoke(app, words)
    assert done.exit_code == 2
    assert error in done.output


def test_a_mutant_that_lives_fails_the_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the limit out of reach nothing is killed by its divergence."""
    monkeypatch.setattr(claims, "LIMIT", 1.0)
    result = audit(Plan(5_000, (), tuple(chosen(["one-sided"])), ("mutants",)))
    assert (result["ok"], result["above"]) == (False, ["mutant one-sided lives"])


def test_people_read_what_was_left_out() -> None:
    done = RUNNER.invoke(app, ["--part", "integers"])
    assert done.exit_code == 0
    said = " ".join(done.output.split())
    assert "not the whole audit of this release, without: part releases, part noise, " in said
    assert said.endswith(" and 1 more")
