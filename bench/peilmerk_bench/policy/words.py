"""A simulation in words and small tables, in the reader's language: one choice changed at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

from rich.box import SIMPLE_HEAD
from rich.table import Table

from peilmerk_bench.policy.simulate import Outcome, Policy
from peilmerk_bench.policy.street import Street
from peilmerk_gateway.deployments.draft import Draft
from peilmerk_gateway.refusal import sentence
from peilmerk_gateway.web.language import Language

Column = tuple[str, Callable[[Outcome], str]]


def sentences(
    identity: str, source: str | None, street: Street, agreed: Outcome, language: Language
) -> list[str]:
    """What the record's own choice means, a sentence each: the heading, the trace, the choice, then what it
    leads to. `source`: the trace's name, None for the one that is shipped.
    """
    return [
        language.text("policy.title", id=identity),
        language.text(
            "policy.trace",
            passages=language.number(street.total),
            days=language.text("policy.days", n=street.days),
            source=source or language.text("policy.source"),
        ),
        _choice(agreed.policy, language),
        *_published(agreed, language),
        *_guessed(agreed, language),
    ]


def _choice(policy: Policy, language: Language) -> str:
    assert policy.epsilon is not None
    return language.text(
        "policy.record",
        epsilon=epsilon(policy.epsilon, language),
        k=policy.k,
        minutes=language.text("policy.minutes", minutes=language.amount(policy.window_s / 60)),
        m=policy.m,
        person=epsilon(policy.m * policy.epsilon, language),
    )


def _published(agreed: Outcome, language: Language) -> list[str]:
    said = []
    if agreed.passages_mean is None or agreed.error is None or agreed.error_share is None:
        said.append(language.text("policy.nothing"))
    else:
        said.append(
            language.text(
                "policy.error",
                mean=language.number(agreed.passages_mean, 1),
                error=language.number(agreed.error, 1),
                share=_percent(agreed.error_share, language),
            )
        )
        said.append(
            language.text(
                "policy.withheld",
                windows=_percent(agreed.withheld_windows, language),
                passages=_percent(agreed.withheld_passages, language),
            )
        )
    if agreed.day_error is None:
        return [*said, language.text("policy.day.none")]
    day = language.text(
        "policy.day",
        mean=language.number(agreed.day_mean, 0),
        error=language.number(agreed.day_error, 1),
    )
    return [*said, day]


def _guessed(agreed: Outcome, language: Language) -> list[str]:
    return [
        language.text(
            "policy.passage",
            right=_percent(agreed.passage, language),
            most=_percent(agreed.passage_most, language),
        ),
        language.text(
            "policy.person",
            m=agreed.policy.m,
            apart=_percent(agreed.person_apart, language),
            together=_percent(agreed.person_together, language),
        ),
        language.text(
            "policy.reading",
            right=_percent(agreed.reading, language),
            blind=_percent(agreed.reading_blind, language),
        ),
        language.text("policy.limits"),
    ]


def refusals(draft: Draft, language: Language) -> list[str]:
    """What stands in the way of a draft: that it is one, then each reason with the keys that it is about.
    Nothing for a record that is complete.
    """
    if not draft.complaints:
        return []
    said = [language.text("policy.draft")]
    for reason in sorted({complaint.reason for complaint in draft.complaints}):
        keys = [complaint.key for complaint in draft.complaints if complaint.reason == reason]
        named = ", ".join(dict.fromkeys(key for key in keys if key))
        said.append(f"{reason}: {sentence(reason, language.code)}" + (f" ({named})" if named else ""))
    if not draft.is_all:
        said.append(language.text("policy.draft.more"))
    return said


def tables(outcomes: Sequence[Outcome], agreed: Policy, language: Language) -> list[Table]:
    """Three tables: another epsilon, another threshold, another window; the record's own row is bold and
    starred.
    """
    varied: list[tuple[str, Column, Callable[[Policy], bool]]] = [
        (
            "epsilon",
            ("epsilon", lambda o: epsilon(o.policy.epsilon, language)),
            lambda p: (p.k, p.window_s) == (agreed.k, agreed.window_s),
        ),
        (
            "k",
            ("k", lambda o: str(o.policy.k)),
            lambda p: (p.epsilon, p.window_s) == (agreed.epsilon, agreed.window_s),
        ),
        (
            "window",
            ("window", lambda o: language.amount(o.policy.window_s / 60)),
            lambda p: (p.epsilon, p.k) == (agreed.epsilon, agreed.k),
        ),
    ]
    made = []
    for name, first, belongs in varied:
        table = Table(
            title=language.text(f"policy.vary.{name}"),
            title_justify="left",
            box=SIMPLE_HEAD,
            show_edge=False,
            padding=0,
        )
        table.add_column("")
        columns = [first, *_columns(language)]
        for key, _ in columns:
            table.add_column(language.text(f"policy.column.{key}"), justify="right")
        for found in outcomes:
            if belongs(found.policy):
                own = found.policy == agreed
                cells = [write(found) for _, write in columns]
                table.add_row("*" if own else "", *cells, style="bold" if own else "")
        made.append(table)
    return made


def epsilon(value: Fraction | None, language: Language) -> str:
    """An epsilon as people write it, or that there is none."""
    return language.text("policy.exact") if value is None else language.amount(float(value))


def _columns(language: Language) -> list[Column]:
    return [
        ("mean", lambda o: "-" if o.passages_mean is None else language.number(o.passages_mean, 1)),
        ("error", lambda o: "-" if o.error is None else language.number(o.error, 1)),
        ("windows", lambda o: _percent(o.withheld_windows, language)),
        ("passages", lambda o: _percent(o.withheld_passages, language)),
        ("budget", lambda o: "-" if o.epsilon_person is None else epsilon(o.epsilon_person, language)),
        ("passage", lambda o: _percent(o.passage, language)),
        ("person", lambda o: _percent(o.person_together, language)),
        # What blind guessing reaches depends on the window: only beside it the figure says anything.
        ("reading", lambda o: f"{_percent(o.reading, language)} ({_percent(o.reading_blind, language)})"),
    ]


def _percent(share: float, language: Language) -> str:
    return language.number(100 * share)
