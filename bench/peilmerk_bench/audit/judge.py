"""Judges mutants: each is the shipped code with a few words changed, and must be told apart from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peilmerk_bench.audit import claims, integers, late, once
from peilmerk_bench.audit.device_side import Draw, Figures, draw
from peilmerk_bench.audit.divergence import chi_square_sigma, hockey_stick
from peilmerk_bench.audit.gateway_side import SOURCES, Publication, ask
from peilmerk_bench.audit.mutants import HARMLESS, MUTANTS, Mutant
from peilmerk_bench.audit.overlay import AuditError, changed_copy
from peilmerk_protocol import topics
from peilmerk_protocol.profile import STANDARD_COUNTER
from peilmerk_provisioning.bundle import firmware_folder


@dataclass(frozen=True)
class Verdict:
    """figure: the largest divergence, for a mutant that is found by it; found: what told it apart."""

    mutant: Mutant
    killed: bool
    found: str
    figure: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it for --json."""
        return {
            "name": self.mutant.name,
            "words": self.mutant.words,
            "found_by": self.mutant.found_by,
            "divergence": self.figure,
            "found": self.found,
            "killed": self.killed,
        }


def chosen(names: list[str] | None) -> list[Mutant]:
    """Return the mutants of these names, all without any. Raises AuditError for one there is not."""
    if not names:
        return [*MUTANTS, *HARMLESS]
    known = {mutant.name: mutant for mutant in (*MUTANTS, *HARMLESS)}
    for name in names:
        if name not in known:
            raise AuditError(f"found no mutant {name!r}, wanted one of {', '.join(known)}")
    return [known[name] for name in names]


def judge(mutant: Mutant, samples: int, folder: Path) -> Verdict:
    """Make a mutant below an empty folder and audit it. Raises AuditError when it fits no source."""
    firmware = gateway = None
    if mutant.firmware:
        firmware = changed_copy(firmware_folder(), mutant.firmware, folder / "firmware")
    if mutant.gateway:
        changed_copy(SOURCES, mutant.gateway, folder / "gateway" / "peilmerk_gateway")
        gateway = folder / "gateway"
    if mutant.found_by == "divergence":
        return _by_divergence(mutant, samples, firmware)
    if mutant.found_by == "noise":
        return _by_noise(mutant, samples, firmware)
    finder: dict[str, Callable[[], list[str]]] = {
        "integers": lambda: integers.found_in(firmware or firmware_folder()),
        "refusal": lambda: refusal(firmware),
        "once": lambda: once.run(firmware)["wrong"],
        "publication": lambda: publication(gateway),
        "ledger": lambda: ask("crash", gateway)["wrong"],
        "timing": lambda: late.wrong(firmware),
    }
    found = finder[mutant.found_by]()
    return Verdict(mutant, bool(found), found[0] if found else "nothing was found")


def _by_divergence(mutant: Mutant, samples: int, firmware: Path | None) -> Verdict:
    profile = STANDARD_COUNTER
    count = mutant.count if mutant.count >= 0 else profile.k + mutant.count
    here, there = (draw(Draw(profile, one, samples, mutant.what, firmware)) for one in (count, count + 1))
    figures = {
        release: hockey_stick(here[release], there[release], float(claims.claimed(profile, release)))
        for release in here
    }
    worst = max(figures, key=lambda release: figures[release])
    words = f"{worst}, {count} and {count + 1} passages"
    return Verdict(mutant, figures[worst] > claims.LIMIT, words, round(figures[worst], 4))


def _by_noise(mutant: Mutant, samples: int, firmware: Path | None) -> Verdict:
    noise = draw(Draw(STANDARD_COUNTER, 0, samples, "noise", firmware))["noise"]
    epsilon = float(claims.leaf(STANDARD_COUNTER))
    sigma = chi_square_sigma({int(z): times for z, times in noise.items()}, epsilon)
    return Verdict(mutant, sigma > claims.SIGMA, f"noise, {sigma:.1f} standard deviations")


def refusal(firmware: Path | None = None) -> list[str]:
    """Tell every figure that leaves a board whose entropy source is not true."""
    found = draw(Draw(STANDARD_COUNTER, 4, 100, "refused", firmware))
    left = {name: {z: n for z, n in figures.items() if z != "absent"} for name, figures in found.items()}
    return [f"{name}: {sum(n.values())} of 100 figures left without true randomness"
            for name, n in left.items() if n]  # fmt: skip


def publication(gateway: Path | None = None) -> list[str]:
    """Hold the publication path at its threshold against its rules."""
    figures: Figures = dict.fromkeys([*range(-3, STANDARD_COUNTER.k + 4), "absent"], 1)
    return [
        line
        for kind in (topics.REPORT, topics.DAY)
        for line in Publication(STANDARD_COUNTER, kind, figures, gateway).wrong()
    ]
