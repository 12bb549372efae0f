"""`peilmerk audit attacks`: attacks what is published, ours or any city's, and a weak publisher beside it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from peilmerk_bench.audit.attacks import campaign, on_file, ours
from peilmerk_bench.audit.attacks.campaign import NAMES, Plan, Step
from peilmerk_bench.audit.attacks.figures import Cell, cell_of, read
from peilmerk_bench.audit.audited import Sources, print_left_out
from peilmerk_bench.audit.overlay import AuditError
from peilmerk_gateway.errors import PeilmerkError

app = typer.Typer(add_completion=False)

BAD_INPUT = 2


@app.command()
def attacks(
    file: Annotated[
        Path | None,
        typer.Option(help="Attack this file of published figures, CSV or JSON, instead of our own output."),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(help="With --file: what really passed, stream, start, end and value, to mark by."),
    ] = None,
    other: Annotated[
        Path | None, typer.Option(help="With --file: another file about the same sensors, for linkage.")
    ] = None,
    epsilon: Annotated[
        float | None,
        typer.Option(help="With --file and --truth: the epsilon that one figure is said to have."),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help=f"Only this attack: {', '.join(NAMES)}; may be repeated."),
    ] = None,
    days: Annotated[
        int | None,
        typer.Option(
            help=f"Days that the street lives, {ours.DAYS} if left out, at least {campaign.LEAST_DAYS}; with "
            "fewer, chance is left more room."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Attack what is published: each attack on our own output, where it must lose, and on a weak publisher's,
    where it must win.

    Boards with the firmware that is shipped live through months under MicroPython; what they seal goes
    through the gateway, its store and its publishers onto a SensorThings service and into an open-data file.
    The attacks of docs/operator.md get what is public there, or what an insider sees.

    With --file a city's own export is attacked: columns stream, start, end and value, and perhaps thing,
    longitude, latitude, sent_at, bytes and occupied (docs/operator.md). Nothing is sent anywhere.

    Takes about ten minutes on two processors; with --file, one. Exit code 1 when an attack wins on our output
    or on the file, or loses on the weak publisher; 2 when the audit could not be made.

    \b
    Examples:
      peilmerk audit attacks
      peilmerk audit attacks --only differencing --only threshold --days 20 --json
      peilmerk audit attacks --file counts.csv
      peilmerk audit attacks --file counts.csv --truth exact.csv --epsilon 0.7
    """
    try:
        with _progress() as progress:
            task = progress.add_task("", total=None)
            step: Step = lambda words: progress.update(task, description=words)  # noqa: E731
            if file is None:
                for name, given in (("--truth", truth), ("--other", other), ("--epsilon", epsilon)):
                    if given is not None:
                        raise AuditError(f"found {name} without --file, wanted a file to attack")
                plan = Plan.of(only or (), ours.DAYS if days is None else days)
                begun = Sources.of()
                found = campaign.result(campaign.run(plan, step), begun, plan.left_out)
            else:
                found = _on_file(file, truth, other, epsilon, only or (), days, step)
    except PeilmerkError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(BAD_INPUT) from None
    if as_json:
        print(json.dumps(found))
    else:
        _print_table(found)
    raise typer.Exit(0 if found["ok"] else 1)


def _on_file(
    file: Path,
    truth: Path | None,
    other: Path | None,
    epsilon: float | None,
    only: list[str] | tuple[()],
    days: int | None,
    step: Step,
) -> dict[str, Any]:
    """Attack a file. Raises AuditError when it cannot be read, or when no attack can be made on it."""
    if days is not None:
        raise AuditError("found --days with --file, wanted one of them")
    if epsilon is not None and not 0 < epsilon <= 100:
        raise AuditError(f"found epsilon {epsilon:g}, wanted a number above 0")
    names, begun = Plan.of(only).names, Sources.of()
    seen = on_file.Seen(
        read(file),
        None if truth is None else _truth(truth),
        None if other is None else read(other),
        epsilon,
    )
    scores, left = on_file.run(seen, names, step)
    if not scores:
        why = "; ".join(f"{one.attack}: {one.why}" for one in left)
        raise AuditError(f"{file}: found nothing that can be attacked ({why})")
    return campaign.result(scores, begun, ["our own output"], left)


def _truth(file: Path) -> dict[Cell, float]:
    return {cell_of(figure): figure.value for figure in read(file) if figure.value is not None}


def _progress() -> Progress:
    """What is being done on a terminal's standard error, and nothing at all elsewhere."""
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _print_table(found: dict[str, Any]) -> None:
    console = Console()
    figures = found["figures"]
    table = Table(
        "attack", "on", box=SIMPLE_HEAD, title="Attacks: lost on what is published, won on the weak"
    )
    for name in ("score", "chance", "limit", "sd"):
        table.add_column(name, justify="right")
    table.add_column("outcome")
    table.add_column("what was found")
    for row in figures["scores"]:
        right = row["won"] == (row["side"] == "weak")
        outcome = ("won" if row["won"] else "lost") + ("" if right else " (!)")
        table.add_row(
            row["attack"],
            row["side"],
            *(f"{row[name]:.4f}" for name in ("score", "chance", "limit", "sd")),
            outcome,
            f"{row['measure']}; {row['detail']}",
        )
    console.print(table)
    for row in figures["not_attacked"]:
        console.print(f"not attacked: {row['attack']}: {row['why']}")
    for line in found["above"]:
        console.print(f"not as it must be: {line}")
    console.print(
        f"attacks lost: {figures['lost']} of {figures['attacks']}; "
        f"won on the weak publisher: {figures['won_on_weak']} of {figures['weak_attacks']}"
    )
    print_left_out(console, figures["audited"])
