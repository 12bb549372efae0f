"""What the picture of a simulation shows: four panels, each a few lines over the choices of one parameter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from peilmerk_bench.policy.simulate import Outcome, Policy
from peilmerk_bench.policy.words import epsilon
from peilmerk_gateway.web.language import Language


@dataclass(frozen=True)
class Line:
    """A line and its name; `values` one a choice, in percent. `chosen`: the choice of the record on it."""

    name: str
    values: tuple[float, ...]
    chosen: int | None = None


@dataclass(frozen=True)
class Panel:
    """A panel: its question, what its choices are (`across`) and how each is written, its lines, and the
    percentage that its scale begins and may end with. `note`: what the beginning of the scale stands for.
    """

    title: str
    across: str
    choices: tuple[str, ...]
    lines: tuple[Line, ...]
    low: float = 0.0
    high: float | None = None
    note: str | None = None


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

    def by_epsilon(value: Callable[[Outcome], float]) -> tuple[Line, ...]:
        return tuple(
            Line(
                language.text("policy.minutes", minutes=language.amount(length / 60)),
                tuple(100 * value(found[e, agreed.k, length]) for e in epsilons),
                chosen if length == agreed.window_s else None,
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
            tuple(100 * value(found[e, agreed.k, agreed.window_s]) for e in epsilons),
            chosen,
        )

    def title(key: str) -> str:
        return language.text(f"policy.picture.{key}", m=agreed.m)

    across = language.text("policy.across.epsilon")
    return [
        Panel(title("error"), across, of_epsilon, by_epsilon(lambda o: o.error_share)),
        Panel(
            title("withheld"),
            language.text("policy.across.k"),
            tuple(language.number(k) for k in thresholds),
            by_threshold(lambda o: o.withheld_passages),
        ),
        Panel(
            title("person"),
            across,
            of_epsilon,
            (
                of_person("one", lambda o: o.passage_most),
                of_person("apart", lambda o: o.person_apart),
                of_person("together", lambda o: o.person_together),
            ),
            low=50.0,
            high=100.0,
            note=language.text("policy.picture.coin"),
        ),
        Panel(title("reading"), across, of_epsilon, by_epsilon(lambda o: o.reading), high=100.0),
    ]
