"""What the picture of a simulation shows: four panels, each a few lines over the choices of one parameter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from peilmerk_bench.policy.attackers import BLIND_PRESENCE
from peilmerk_bench.policy.simulate import Outcome, Policy
from peilmerk_bench.policy.words import epsilon
from peilmerk_gateway.web.language import Language


@dataclass(frozen=True)
class Line:
    """A line and its name; `values` one a choice, in percent, None where there is none. `chosen`: the choice
    of the record on it.
    """

    name: str
    values: tuple[float | None, ...]
    chosen: int | None = None


@dataclass(frozen=True)
class Panel:
    """A panel: its question, what its choices are (`across`) and how each is written, its lines, and the
    marks of its scale, in percent and rising; without, those that fit from 0 on. What is above the last is
    not drawn, and `cap` says so. `note`: what the beginning of the scale stands for.
    """

    title: str
    across: str
    choices: tuple[str, ...]
    lines: tuple[Line, ...]
    marks: tuple[float, ...] = ()
    note: str | None = None
    cap: str | None = None


# A figure that is off by half tells nobody anything, and the others are to be told apart.
ERRORS = (0.0, 10.0, 20.0, 30.0, 40.0, 50.0)
GUESSES = (50.0, 60.0, 70.0, 80.0, 90.0, 100.0)
NUMBERS = (0.0, 20.0, 40.0, 60.0, 80.0, 100.0)


def panels(outcomes: Sequence[Outcome], agreed: Policy, language: Language) -> list[Panel]:
    """The four panels of a simulation, all other parameters as the record has them."""
    found = {(o.policy.epsilon, o.policy.k, o.policy.window_s): o for o in outcomes}
    # From much noise to none at all.
    epsilons: list[Fraction | None] = [
        *sorted({o.policy.epsilon for o in outcomes if o.policy.epsilon}),
        None,
    ]
    thresholds = sorted({o.policy.k for o in outcomes})
    lengths = sorted({o.policy.window_s for o in outcomes})
    of_epsilon = tuple(epsilon(value, language) for value in epsilons)
    chosen = epsilons.index(agreed.epsilon)
    # Who guesses is right now and then where nothing is published, and that is where these lines begin.
    of_guess = (language.text("policy.unpublished"), *of_epsilon)

    def by_epsilon(
        value: Callable[[Outcome], float | None], unpublished: Callable[[Outcome], float] | None = None
    ) -> tuple[Line, ...]:
        return tuple(
            Line(
                language.text("policy.minutes", minutes=language.amount(length / 60)),
                (
                    *(() if unpublished is None else (100 * unpublished(found[None, agreed.k, length]),)),
                    *(_percent(value(found[e, agreed.k, length])) for e in epsilons),
                ),
                None if length != agreed.window_s else chosen if unpublished is None else chosen + 1,
            )
            for length in lengths
        )

    def by_threshold(value: Callable[[Outcome], float]) -> tuple[Line, ...]:
        return tuple(
            Line(
                language.text("policy.minutes", minutes=language.amount(length / 60)),
                tuple(100 * value(found[agreed.epsilon, k, length]) for k in thresholds),
                thresholds.index(agreed.k) if length == agreed.window_s else None,
            )
            for length in lengths
        )

    def of_person(key: str, value: Callable[[Outcome], float]) -> Line:
        return Line(
            language.text(f"policy.person.{key}", m=agreed.m),
            (
                100 * BLIND_PRESENCE,
                *(100 * value(found[e, agreed.k, agreed.window_s]) for e in epsilons),
            ),
            chosen + 1,
        )

    def title(key: str) -> str:
        return language.text(f"policy.picture.{key}", m=agreed.m)

    across = language.text("policy.across.epsilon")
    return [
        Panel(
            title("error"),
            across,
            of_epsilon,
            by_epsilon(lambda o: o.error_share),
            marks=ERRORS,
            cap=language.text("policy.picture.cap", most=language.number(ERRORS[-1])),
        ),
        Panel(
            title("withheld"),
            language.text("policy.across.k"),
            tuple(language.number(k) for k in thresholds),
            by_threshold(lambda o: o.withheld_passages),
        ),
        Panel(
            title("person"),
            language.text("policy.across.guess"),
            of_guess,
            (
                of_person("one", lambda o: o.passage_most),
                of_person("apart", lambda o: o.person_apart),
                of_person("together", lambda o: o.person_together),
            ),
            marks=GUESSES,
            note=language.text("policy.picture.coin"),
        ),
        Panel(
            title("reading"),
            language.text("policy.across.guess"),
            of_guess,
            by_epsilon(lambda o: o.reading, lambda o: o.reading_blind),
            marks=NUMBERS,
        ),
    ]


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
