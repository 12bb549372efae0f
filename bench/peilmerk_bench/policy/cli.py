"""`peilmerk deployment simulate`: what the rules of a record, and others, would mean on a recorded street."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.progress import track

from peilmerk_bench.policy import attackers, panels, picture, words
from peilmerk_bench.policy.simulate import Outcome, Policy, choices, outcome
from peilmerk_bench.policy.street import Street
from peilmerk_bench.world.traces import COUNTS, TraceError
from peilmerk_gateway.deployments import draft
from peilmerk_gateway.deployments.deployment import RecordError
from peilmerk_gateway.deployments.draft import Draft
from peilmerk_gateway.deployments.speaking import LanguageOption
from peilmerk_gateway.deployments.speaking import language as spoken
from peilmerk_protocol.profile import DAY_S

app = typer.Typer(add_completion=False)

EPSILONS, THRESHOLDS, MINUTES = "0.25,0.5,1,2,4", "0,5,10,20", "5,15,60"
# More than the picture has lines for, or can write below an axis, nobody can read.
MOST = 6
Value = TypeVar("Value")


@app.command(
    epilog="Examples: peilmerk deployment simulate street.toml    peilmerk deployment simulate street.toml "
    "--trace counts.csv --epsilon 0.5,1 --k 5,10 --window 15,30 --svg street.svg --language nl"
)
def simulate(
    record: Annotated[Path, typer.Argument(metavar="RECORD", help="The deployment record.")],
    trace: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Recorded passages: a heading line, then timestamp;direction a line (ISO 8601 local time; "
            "in or out; more columns may follow). Every day in it counts as a whole one. Without it: a day "
            "of cyclists in Münster.",
        ),
    ] = None,
    epsilon: Annotated[
        str, typer.Option(metavar="LIST", help="Epsilons of a passage, window and day together.")
    ] = EPSILONS,
    k: Annotated[str, typer.Option("--k", metavar="LIST", help="Thresholds on a noisy count.")] = THRESHOLDS,
    window: Annotated[str, typer.Option(metavar="LIST", help="Lengths of windows in minutes.")] = MINUTES,
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw it into this file.")] = None,
    language: LanguageOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every combination as JSON.")] = False,
) -> None:
    """Work out what the rules of a record, and others, would mean on recorded passages.

    How far figures are off, what is withheld, what a person's day costs, and how often the best possible
    guesser is right. Nothing is drawn at random: the figures are sums of exact probabilities, the same in
    every run. The record's own choice has a star, and in the picture a ring; "no noise" is what the threshold
    alone would protect. Of the record only the terms in [privacy] must be there: of a draft it says which
    refusals it would meet as it is. Exit code 1 when there are no terms to work with or nothing is counted, 2
    when a file or an option does not fit.
    """
    said = spoken(language)
    epsilons = _list("--epsilon", epsilon, Fraction, "numbers from 0.01 to 20", lambda x: 0.01 <= x <= 20)
    thresholds = _list("--k", k, int, "whole numbers from 0 to 1000", lambda x: 0 <= x <= 1000)
    minutes = _list(
        "--window", window, int, "minutes that divide a day", lambda x: x > 0 and DAY_S % (60 * x) == 0
    )
    found, agreed = _agreed(record)
    try:
        street = Street.of(trace or COUNTS)
    except TraceError as error:
        _stop(str(error), 2)
    todo = list(choices(agreed, epsilons, thresholds, [60 * length for length in minutes]))
    console = Console(stderr=True)
    outcomes = [
        outcome(street, policy)
        for policy in track(todo, "choices", console=console, transient=True, disable=not console.is_terminal)
    ]
    own = next(one for one in outcomes if one.policy == agreed)
    sentences = words.sentences(found.id, trace.name if trace else None, street, own, said)
    refusals = words.refusals(found, said)
    if svg is not None:
        try:
            svg.write_text(
                picture.draw(sentences, panels.panels(outcomes, agreed, said), said, refusals),
                encoding="utf-8",
            )
        except OSError as error:
            _stop(f"{svg}: {error.strerror}, wanted a file to draw into", 2)
    if as_json:
        report = {
            "name": "deployment simulate",
            "ok": True,
            "figures": {
                "record": found.id,
                "draft": bool(found.complaints),
                "refusals": [
                    {"reason": str(one.reason), "key": one.key, "text": one.text} for one in found.complaints
                ],
                "refusals_are_all": found.is_all,
                "trace": {"file": (trace or COUNTS).name, "days": street.days, "passages": street.total},
                "agreed": figures(own),
                "outcomes": [figures(one) for one in outcomes],
            },
            "limits": {},
        }
        typer.echo(json.dumps(report))
        return
    out = Console()
    title, *about = sentences
    for line in (title, *refusals, *about):
        out.print(line, highlight=False, markup=False)
    for table in words.tables(outcomes, agreed, said):
        out.print()
        out.print(table)
    out.print(said.text("policy.columns"), highlight=False, markup=False)


def figures(found: Outcome) -> dict[str, Any]:
    """An outcome as JSON: shares and probabilities from 0 to 1, epsilons as numbers; null where there is no
    noise, or no total of a day.
    """
    policy = found.policy

    def number(value: Fraction | float | None, decimals: int = 4) -> float | None:
        return None if value is None else round(float(value), decimals)

    return {
        "epsilon": number(policy.epsilon, 6),
        "epsilon_leaf": number(policy.epsilon_leaf, 6),
        "epsilon_day": number(policy.epsilon_day, 6),
        "k": policy.k,
        "window_s": policy.window_s,
        "m": policy.m,
        "epsilon_person": number(found.epsilon_person, 6),
        "passages_mean": number(found.passages_mean),
        "error": number(found.error),
        "error_share": number(found.error_share),
        "withheld_windows": number(found.withheld_windows),
        "withheld_passages": number(found.withheld_passages),
        "withheld_days": number(found.withheld_days),
        "day_mean": number(found.day_mean),
        "day_error": number(found.day_error),
        "day_sd": number(found.day_sd),
        "attacks": {
            name: {"right": number(right), "blind": number(blind)}
            for name, right, blind in (
                ("passage", found.passage, attackers.BLIND_PRESENCE),
                ("passage_at_most", found.passage_most, attackers.BLIND_PRESENCE),
                ("person_apart", found.person_apart, attackers.BLIND_PRESENCE),
                ("person_together", found.person_together, attackers.BLIND_PRESENCE),
                ("reading", found.reading, found.reading_blind),
            )
        },
    }


def _agreed(file: Path) -> tuple[Draft, Policy]:
    if not file.is_file():
        _stop(f"{file}: found no such file, wanted a record", 2)
    try:
        found = draft.read(file)
    except RecordError as error:
        _stop(str(error), 1)
    if found.counts is False:
        _stop(f"{file}: datastreams: found none that counts, wanted one: only counts have an epsilon", 1)
    terms = found.privacy
    return found, Policy(terms.epsilon_leaf, terms.epsilon_day, terms.k, terms.window_s, terms.m_assumed)


def _list(
    option: str, text: str, read_one: Callable[[str], Value], wanted: str, fits: Callable[[Value], bool]
) -> Sequence[Value]:
    found: list[Value] = []
    for part in text.split(","):
        try:
            value = read_one(part.strip())
        except (ValueError, ZeroDivisionError):
            _stop(f"{option}: found {part.strip()!r}, wanted {wanted}, with commas between", 2)
        if not fits(value):
            _stop(f"{option}: found {part.strip()!r}, wanted {wanted}", 2)
        found.append(value)
    if len(set(found)) > MOST:
        _stop(f"{option}: found {len(set(found))}, wanted at most {MOST}", 2)
    return found


def _stop(message: str, code: int) -> NoReturn:
    for line in message.splitlines():
        typer.echo(f"error: {line}", err=True)
    raise typer.Exit(code)
