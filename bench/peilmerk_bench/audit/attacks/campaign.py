"""The campaign: ours and the weak publisher's before every attack of the threat table.

An attack passes when it is lost on our output and won on the weak publisher's. What is random in it is noise
that is drawn anew in every run, so every limit lies at least five standard deviations from what chance gives,
or is exact: a run fails without a reason less than once in a hundred thousand.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peilmerk_bench.audit.attacks import (
    averaging,
    differencing,
    downgrade,
    gaps,
    homes,
    insider,
    linkage,
    location,
    occupancy,
    ours,
    threshold,
    timing,
    weak_worlds,
)
from peilmerk_bench.audit.attacks.figures import gaps_withheld
from peilmerk_bench.audit.attacks.ours import OurStreet, Published
from peilmerk_bench.audit.attacks.score import OURS, WEAK, NotAttacked, Score
from peilmerk_bench.audit.audited import Sources, audited
from peilmerk_bench.audit.overlay import AuditError
from peilmerk_protocol.profile import STANDARD_COUNTER

K = STANDARD_COUNTER.k
EPSILON = STANDARD_COUNTER.epsilon_leaf[0] / STANDARD_COUNTER.epsilon_leaf[1]
HOUR_S = 3_600
LEAST_DAYS = 2 * ours.MOVES_AFTER

Step = Callable[[str], None]


def _of_streams(found: Published, board: str) -> tuple[list[Any], dict[Any, float]]:
    """Return what is published of a board of the street, gaps as withheld, and what passed."""
    streams = set(found.streams[board])
    figures = gaps_withheld([figure for figure in found.figures if figure.stream in streams])
    return figures, {cell: count for cell, count in found.truth.items() if cell[0] in streams}


def _differencing(found: Published) -> list[Score]:
    figures, truth = _of_streams(found, "recorded")
    return [differencing.score(OURS, "differencing", figures, truth, K)]


def _days(found: Published) -> list[Score]:
    figures, truth = _of_streams(found, "quiet")
    return [differencing.score(OURS, "day less its windows", figures, truth, K)]


def _averaging(found: Published) -> list[Score]:
    return [averaging.score(OURS, found.answers, found.truth, EPSILON)]


def _threshold(found: Published) -> list[Score]:
    figures, truth = _of_streams(found, "border")
    return threshold.score(OURS, figures, truth, found.partners, EPSILON)


def _occupancy(found: Published) -> list[Score]:
    assert found.home is not None
    return [occupancy.score(OURS, "occupancy", found.home_figures, found.home.at(HOUR_S))]


def _extremes(found: Published) -> list[Score]:
    assert found.home is not None
    return [occupancy.score(OURS, "extremes of a home", found.home_quality, found.home.at(HOUR_S))]


def _linkage(found: Published) -> list[Score]:
    one, other = found.sets
    return [
        linkage.score_canaries(OURS, found.public, found.canaries, found.known_words),
        linkage.score_matches(OURS, one, other, found.same),
    ]


def _timing(found: Published) -> list[Score]:
    return [timing.score(OURS, "timing", found.delays, found.noise)]


def _size(found: Published) -> list[Score]:
    return [timing.score(OURS, "size", found.sizes, found.noise, found.known)]


def _gaps(found: Published) -> list[Score]:
    streams = set(found.streams["recorded"])
    hidden = [cell for cell in found.truth if cell[0] in streams and cell not in found.numbers]
    return [
        gaps.score(OURS, "silence", gaps.missing(sorted(found.passed), found.sent), found.passed, 1),
        gaps.score(OURS, "gaps in numbers", gaps.unseen(hidden, found.numbers), found.truth),
    ]


ON_STREET: dict[str, Callable[[Published], list[Score]]] = {
    "differencing": _differencing,
    "day-and-windows": _days,
    "averaging": _averaging,
    "threshold": _threshold,
    "occupancy": _occupancy,
    "extremes": _extremes,
    "linkage": _linkage,
    "timing": _timing,
    "size": _size,
    "gaps": _gaps,
}
IN_GATEWAY = {"memory": "search", "log": "secrets", "replay": "replay"}
"""Attacks on a gateway at work, and the key of their scores."""
NAMES = (*ON_STREET, "location", *IN_GATEWAY, "downgrade")


@dataclass(frozen=True)
class Plan:
    """What is attacked: names of NAMES, and how long the worlds last; `days` of the street's busy boards."""

    names: tuple[str, ...] = NAMES
    days: int = ours.DAYS
    home_days: int = ours.HOME_DAYS
    border_days: int = ours.BORDER_DAYS
    homes: int = homes.HOMES
    insider_days: int = insider.DAYS
    moves_after: int = ours.MOVES_AFTER
    strict: int = ours.STRICT_BOARDS

    @classmethod
    def of(cls, names: Sequence[str] = (), days: int = ours.DAYS) -> Plan:
        """Check what was asked for; nothing is all of it. Raises AuditError."""
        for name in names:
            if name not in NAMES:
                raise AuditError(f"found no attack {name!r}, wanted one of {', '.join(NAMES)}")
        if days < LEAST_DAYS:
            raise AuditError(f"found {days} days, wanted at least {LEAST_DAYS}")
        return cls(
            tuple(names) or NAMES,
            days,
            2 * min(ours.HOME_DAYS // 2, days),
            min(ours.BORDER_DAYS, days),
        )

    @property
    def left_out(self) -> list[str]:
        """What of the whole campaign this plan has not, in words."""
        found = [f"attack {name}" for name in NAMES if name not in self.names]
        whole = Plan()
        for name in ("days", "home_days", "border_days", "homes", "insider_days", "strict"):
            have, wanted = getattr(self, name), getattr(whole, name)
            if have < wanted:
                found.append(f"{wanted - have} of {wanted} {name.replace('_', ' ')}")
        return found

    @property
    def on_street(self) -> list[str]:
        """Attacks on the street's published output."""
        return [name for name in self.names if name in ON_STREET]

    @property
    def in_gateway(self) -> list[str]:
        """Attacks on a gateway at work."""
        return [name for name in self.names if name in IN_GATEWAY]


def run(plan: Plan, step: Step = lambda _: None) -> list[Score]:
    """Make every attack of the plan on either side. Raises AuditError when one cannot be made."""
    scores: list[Score] = []
    with tempfile.TemporaryDirectory(prefix="peilmerk-attacks-") as name:
        folder = Path(name)
        for attack in plan.names:
            if attack in weak_worlds.OF:
                step(f"{attack} on the weak publisher")
                scores += weak_worlds.OF[attack]()
        if "downgrade" in plan.names:
            step("downgrade")
            scores += downgrade.updates(folder / "updates")
            scores += [downgrade.record(side, folder / side) for side in (OURS, WEAK)]
        if plan.in_gateway:
            for attack_on in (insider.ours, insider.weak):
                step(f"a gateway at work, {attack_on.__name__}")
                found = attack_on(folder / f"insider-{attack_on.__name__}", plan.insider_days)
                scores += [one for attack in plan.in_gateway for one in found[IN_GATEWAY[attack]]]
        if "location" in plan.names:
            step("homes published")
            (folder / "homes").mkdir()
            places, where = asyncio.run(homes.published(folder / "homes", plan.homes))
            scores += [location.score(OURS, places, where), location.score_constant(OURS, places)]
        if plan.on_street:
            street = OurStreet(
                folder / "street",
                plan.days,
                plan.home_days,
                plan.border_days,
                plan.moves_after,
                plan.strict,
            )
            published = asyncio.run(street.run(step))
            for attack in plan.on_street:
                step(f"{attack} on our output")
                scores += ON_STREET[attack](published)
    return scores


def above(scores: Sequence[Score]) -> list[str]:
    """Tell whatever is not as it must be: won where it must be lost, lost on the weak publisher."""
    found = []
    for one in scores:
        words = f"{one.attack}: {one.measure}: {one.score:.4f}, limit {one.limit:.4f}"
        if one.side == WEAK and not one.won:
            found.append(f"{words}: lost on the weak publisher, so it proves nothing")
        elif one.side != WEAK and one.won:
            found.append(f"{words}: won on {'our output' if one.side == OURS else 'the file'}")
    return found


def result(
    scores: Sequence[Score],
    begun: Sources,
    left_out: Sequence[str],
    not_attacked: Sequence[NotAttacked] = (),
) -> dict[str, Any]:
    """Return {"name", "ok", "figures", "limits", "above"} of a campaign that began with the sources `begun`
    and left something out of the whole. Raises AuditError when the sources have changed since.
    """
    wrong = above(scores)
    weak = [one for one in scores if one.side == WEAK]
    attacked = [one for one in scores if one.side != WEAK]
    return {
        "name": "audit attacks",
        "ok": not wrong and bool(attacked),
        "figures": {
            "audited": audited(begun, None, [*left_out, *(f"attack {one.attack}" for one in not_attacked)]),
            "attacks": len(attacked),
            "lost": sum(not one.won for one in attacked),
            "weak_attacks": len(weak),
            "won_on_weak": sum(one.won for one in weak),
            "scores": [one.as_dict() for one in sorted(scores, key=lambda one: (one.attack, one.side))],
            "not_attacked": [
                {"attack": one.attack, "side": one.side, "why": one.why} for one in not_attacked
            ],
        },
        "limits": {"won": 0, "lost_on_weak": 0},
        "above": wrong,
    }
