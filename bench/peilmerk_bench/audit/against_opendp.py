"""Our sampler beside OpenDP's discrete Laplace, on the same grid, in one run: and the test's own power."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

from peilmerk_bench.audit import claims
from peilmerk_bench.audit.device_side import Draw
from peilmerk_bench.audit.divergence import (
    chi_square_sigma,
    expected_variation,
    total_variation,
    two_sample_sigma,
    variation_sigma,
)
from peilmerk_bench.audit.overlay import AuditError
from peilmerk_protocol.profile import STANDARD_COUNTER, Profile

Noise = dict[int, int]


def profile_of(epsilon: Fraction) -> Profile:
    """Return a profile whose windows have this epsilon."""
    return Profile(1, 900, STANDARD_COUNTER.set, epsilon.as_integer_ratio(), (3, 10), 10, 4)


def off_scale(epsilon: Fraction) -> Fraction:
    """Return the epsilon that the statistical test must tell from this one."""
    return epsilon * Fraction(claims.POWER_FACTOR).limit_denominator(1000)


def draws(epsilons: list[Fraction], samples: int, firmware: Path | None = None) -> list[Draw]:
    """Return the runs that `compare` wants: the noise of each epsilon, then of the one off its scale."""
    wanted = [*epsilons, *map(off_scale, epsilons)]
    return [Draw(profile_of(epsilon), 0, samples, "noise", firmware) for epsilon in wanted]


def opendp_noise(epsilon: Fraction, samples: int) -> Counter[int]:
    """Draw from OpenDP's own sampler on the integers. Raises AuditError when OpenDP is not there."""
    try:
        import opendp.prelude as dp
    except ModuleNotFoundError:
        raise AuditError("found no opendp, wanted it: pip install 'peilmerk[bench]'") from None
    dp.enable_features("contrib")
    space = dp.vector_domain(dp.atom_domain(T=int)), dp.l1_distance(T=int)
    measurement = dp.m.make_laplace(*space, scale=float(1 / epsilon))
    return Counter(measurement([0] * samples))


def compare(epsilon: Fraction, ours: Noise, off: Noise) -> dict[str, Any]:
    """Hold our noise against the distribution and against OpenDP's; `off` is noise off the scale.

    Figures in standard deviations above the expectation of a chi-square statistic, and total variation.
    """
    size = sum(ours.values())
    theirs = opendp_noise(epsilon, size)
    exact = float(epsilon)
    variation = total_variation(ours, theirs)
    return {
        "epsilon": str(epsilon),
        "samples": size,
        "ours_sigma": round(chi_square_sigma(ours, exact), 2),
        "opendp_sigma": round(chi_square_sigma(theirs, exact), 2),
        "between_sigma": round(two_sample_sigma(ours, theirs), 2),
        "total_variation": round(variation, 4),
        "variation_sigma": round(variation_sigma(variation, exact, size), 2),
        "expected_variation": round(expected_variation(exact, size), 4),
        "off_scale_sigma": round(chi_square_sigma(off, exact), 2),
    }


def above(row: dict[str, Any]) -> list[str]:
    """Tell what of a comparison is beyond its limit."""
    found = [
        f"noise of epsilon {row['epsilon']}: {name} {row[name]} > {claims.SIGMA}"
        for name in ("ours_sigma", "opendp_sigma", "between_sigma", "variation_sigma")
        if row[name] > claims.SIGMA
    ]
    if row["off_scale_sigma"] <= claims.SIGMA:
        found.append(
            f"noise of epsilon {row['epsilon']}: the test does not notice {claims.POWER_FACTOR} times as "
            f"much, {row['off_scale_sigma']} <= {claims.SIGMA}"
        )
    return found
