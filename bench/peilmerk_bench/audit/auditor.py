"""The privacy audit: the code that is shipped within its limits, and every mutant of it killed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

from peilmerk_bench.audit import against_opendp, claims, integers, once
from peilmerk_bench.audit.audited import Sources, audited
from peilmerk_bench.audit.device_side import Draw, Figures, draw_all
from peilmerk_bench.audit.divergence import hockey_stick
from peilmerk_bench.audit.gateway_side import Publication, ask
from peilmerk_bench.audit.judge import Verdict, chosen, judge, publication, refusal
from peilmerk_bench.audit.mutants import HARMLESS, MUTANTS, Mutant
from peilmerk_bench.audit.overlay import AuditError
from peilmerk_protocol import topics
from peilmerk_protocol.profile import Profile
from peilmerk_provisioning.bundle import firmware_folder

JOINT_COUNT = 4
CHECKS = ("once", "ledger", "publication", "refusal", "integers")
PARTS = ("releases", "noise", *CHECKS, "mutants")

Step = Callable[[str], None]


@dataclass(frozen=True)
class Divergence:
    """The estimate for one release between `count` and one passage more. `published`: of what the gateway
    writes down of it, None for a difference of two releases.
    """

    profile: str
    release: str
    epsilon: float
    count: int
    device: float
    published: float | None

    @property
    def above(self) -> bool:
        """Whether it exceeds the limit anywhere."""
        return max(self.device, self.published or 0.0) > claims.LIMIT


@dataclass(frozen=True)
class Plan:
    """What an audit does. profiles: by their names in claims.PROFILES; parts: of PARTS; firmware: the folder
    of its sources, None for those that are shipped.
    """

    samples: int
    profiles: tuple[str, ...]
    mutants: tuple[Mutant, ...]
    parts: tuple[str, ...]
    firmware: Path | None = None

    @classmethod
    def of(
        cls,
        samples: int = claims.SAMPLES,
        profiles: Sequence[str] = (),
        mutants: Sequence[str] = (),
        parts: Sequence[str] = (),
        firmware: Path | None = None,
    ) -> Plan:
        """Check what was asked for; nothing is all of it. Raises AuditError."""
        if samples < claims.LEAST_SAMPLES:
            raise AuditError(f"found {samples} samples, wanted at least {claims.LEAST_SAMPLES}")
        for name in profiles:
            if name not in claims.PROFILES:
                raise AuditError(f"found no profile {name!r}, wanted one of {', '.join(claims.PROFILES)}")
        for part in parts:
            if part not in PARTS:
                raise AuditError(f"found no part {part!r}, wanted one of {', '.join(PARTS)}")
        if firmware is not None and not (firmware / "node" / "release.py").is_file():
            raise AuditError(f"found no node/release.py in {firmware}, wanted the firmware's sources")
        judged = chosen(list(mutants)) if "mutants" in (parts or PARTS) else []
        return cls(
            samples, tuple(profiles or claims.PROFILES), tuple(judged), tuple(parts or PARTS), firmware
        )

    def draws(self, name: str) -> list[Draw]:
        """Return the runs for one profile: each count by itself, then the differences of two neighbours."""
        if "releases" not in self.parts:
            return []
        profile = claims.PROFILES[name]
        runs = [Draw(profile, count, self.samples, "alone", self.firmware) for count in _counts(profile)]
        joint = [JOINT_COUNT, JOINT_COUNT + 1]
        return runs + [Draw(profile, count, self.samples, "joint", self.firmware) for count in joint]

    @property
    def left_out(self) -> list[str]:
        """What of the whole audit this plan has not, in words."""
        found = [f"profile {name}" for name in claims.PROFILES if name not in self.profiles]
        found += [f"part {name}" for name in PARTS if name not in self.parts]
        if "mutants" in self.parts:
            judged = {mutant.name for mutant in self.mutants}
            found += [f"mutant {one.name}" for one in (*MUTANTS, *HARMLESS) if one.name not in judged]
        if self.samples < claims.SAMPLES:
            found.append(f"{claims.SAMPLES - self.samples} of {claims.SAMPLES} samples")
        return found

    @property
    def epsilons(self) -> list[Fraction]:
        """Return every epsilon of which the noise is looked at."""
        found = [claims.PROFILES[name] for name in self.profiles] if "noise" in self.parts else []
        return sorted({epsilon for one in found for epsilon in (claims.leaf(one), claims.day(one))})

    @property
    def steps(self) -> int:
        """How often `audit` will call its `step`."""
        return (
            sum(len(self.draws(name)) for name in self.profiles)
            + 2 * len(self.epsilons)
            + len(set(CHECKS) & set(self.parts))
            + len(self.mutants)
        )


def _counts(profile: Profile) -> list[int]:
    return sorted({one for count in claims.neighbours(profile) for one in (count, count + 1)})


def divergences(
    name: str, drawn: dict[int, dict[str, Figures]], joint: Sequence[dict[str, Figures]]
) -> list[Divergence]:
    """Estimate every divergence of one profile from its histograms, by count; `joint`: those of JOINT_COUNT
    and of one passage more.
    """
    profile = claims.PROFILES[name]
    rows = []
    for release, kind in (("window", topics.REPORT), ("day", topics.DAY)):
        epsilon = float(claims.claimed(profile, release))
        figures = {figure for histograms in drawn.values() for figure in histograms[release]}
        gateway = Publication(profile, kind, figures)
        for count in claims.neighbours(profile):
            here, there = drawn[count][release], drawn[count + 1][release]
            device = hockey_stick(here, there, epsilon)
            published = hockey_stick(gateway.of(here), gateway.of(there), epsilon)
            rows.append(Divergence(name, release, epsilon, count, round(device, 4), round(published, 4)))
    for release in joint[0]:
        epsilon = float(claims.claimed(profile, release))
        device = hockey_stick(joint[0][release], joint[1][release], epsilon)
        rows.append(Divergence(name, release, epsilon, JOINT_COUNT, round(device, 4), None))
    return rows


def audit(plan: Plan, step: Step = lambda _: None) -> dict[str, Any]:
    """Audit and return {"name", "ok", "figures", "limits", "above"}; `above` tells whatever is not as it must
    be. Raises AuditError when the audit itself cannot be made.
    """
    begun = Sources.of(plan.firmware)
    runs = [run for name in plan.profiles for run in plan.draws(name)]
    runs += against_opendp.draws(plan.epsilons, plan.samples, plan.firmware)
    drawn = iter(draw_all(runs, lambda: step("releases drawn")))
    rows = [row for name in plan.profiles if plan.draws(name) for row in _of_profile(name, drawn)]
    noise = [_numbers(found["noise"]) for found in drawn]
    samplers = [
        against_opendp.compare(epsilon, noise[n], noise[n + len(plan.epsilons)])
        for n, epsilon in enumerate(plan.epsilons)
    ]
    checks = _checks(plan, step)
    verdicts = _verdicts(plan, step)
    harmless = {mutant.name for mutant in HARMLESS}
    above = [
        f"{row.profile}, {row.release}, {row.count} and {row.count + 1} passages at epsilon {row.epsilon:g}: "
        f"divergence {max(row.device, row.published or 0.0)} > {claims.LIMIT}"
        for row in rows
        if row.above
    ]
    above += [line for row in samplers for line in against_opendp.above(row)]
    above += [f"{name}: {line}" for name, found in checks.items() for line in found["wrong"]]
    above += [
        f"mutant {v.mutant.name} lives" for v in verdicts if not v.killed and v.mutant.name not in harmless
    ]
    above += [
        f"harmless change {v.mutant.name} was killed"
        for v in verdicts
        if v.killed and v.mutant.name in harmless
    ]
    return {
        "name": "audit privacy",
        "ok": not above,
        "figures": {
            "audited": audited(begun, plan.firmware, plan.left_out),
            "samples": plan.samples,
            "parts": list(plan.parts),
            "largest": max((max(row.device, row.published or 0.0) for row in rows), default=None),
            "divergences": [asdict(row) for row in rows],
            "samplers": samplers,
            "checks": checks,
            "mutants": [v.as_dict() for v in verdicts if v.mutant.name not in harmless],
            "harmless": [v.as_dict() for v in verdicts if v.mutant.name in harmless],
            "mutants_known": len(MUTANTS),
        },
        "limits": {
            "divergence": claims.LIMIT,
            "sigma": claims.SIGMA,
            "power_factor": claims.POWER_FACTOR,
            "mutants_alive": 0,
        },
        "above": above,
    }


def _of_profile(name: str, drawn: Iterator[dict[str, Figures]]) -> list[Divergence]:
    counts = _counts(claims.PROFILES[name])
    alone = dict(zip(counts, islice(drawn, len(counts)), strict=True))
    return divergences(name, alone, list(islice(drawn, 2)))


def _numbers(figures: Figures) -> dict[int, int]:
    return {int(figure): times for figure, times in figures.items()}


def _checks(plan: Plan, step: Step) -> dict[str, dict[str, Any]]:
    """Look at what no distribution shows."""
    firmware = plan.firmware
    checks: dict[str, Callable[[], dict[str, Any]]] = {
        "once": lambda: once.run(firmware),
        "ledger": lambda: dict(ask("crash")),
        "publication": lambda: {"wrong": publication()},
        "refusal": lambda: {"wrong": refusal(firmware)},
        "integers": lambda: {"wrong": integers.found_in(firmware or firmware_folder())},
    }
    found = {}
    for name in CHECKS:
        if name not in plan.parts:
            continue
        found[name] = checks[name]()
        step("checks made")
    return found


def _verdicts(plan: Plan, step: Step) -> list[Verdict]:
    def one(mutant: Mutant) -> Verdict:
        with tempfile.TemporaryDirectory(prefix="peilmerk-mutant-") as folder:
            verdict = judge(mutant, plan.samples, Path(folder))
        step("mutants judged")
        return verdict

    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        return list(threads.map(one, plan.mutants))
