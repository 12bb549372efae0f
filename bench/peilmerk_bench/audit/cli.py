"""`peilmerk audit privacy`: holds what was promised of counts against the code that is shipped."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from peilmerk_bench.audit import claims
from peilmerk_bench.audit.audited import print_left_out
from peilmerk_bench.audit.auditor import PARTS, Plan, audit
from peilmerk_gateway.errors import PeilmerkError

app = typer.Typer(add_completion=False)

BAD_INPUT = 2


@app.command()
def privacy(
    samples: Annotated[
        int,
        typer.Option(help=f"Figures drawn of each release at each count, at least {claims.LEAST_SAMPLES}."),
    ] = claims.SAMPLES,
    profile: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help=f"Only this profile: {', '.join(claims.PROFILES)}; may be repeated."
        ),
    ] = None,
    mutant: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Judge only this mutant; may be repeated.")
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help=f"Only this part: {', '.join(PARTS)}; may be repeated."),
    ] = None,
    firmware: Annotated[
        Path | None, typer.Option(help="Audit the firmware's sources in this folder, not those shipped.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Audit the differential privacy of counts: the firmware's own release code and the gateway's.

    Draws every release under real MicroPython for neighbouring counts and estimates how far it exceeds the
    epsilon it claims; holds the noise against OpenDP's; kills and starts a board and a gateway to see that
    nothing is drawn or spent twice; and changes the code on purpose, which every time must be noticed.

    Takes three to six minutes. Exit code 1 when a limit is exceeded or a mutant lives, 2 when the audit could
    not be made.

    \b
    Examples:
      peilmerk audit privacy
      peilmerk audit privacy --samples 200000 --json
      peilmerk audit privacy --samples 20000 --profile strict --mutant one-sided
      peilmerk audit privacy --part once --part integers --firmware my-firmware
    """
    try:
        plan = Plan.of(samples, profile or (), mutant or (), part or (), firmware)
        with _progress() as progress:
            task = progress.add_task("releases drawn", total=plan.steps)
            result = audit(plan, lambda words: progress.update(task, advance=1, description=words))
    except PeilmerkError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(BAD_INPUT) from None
    if as_json:
        print(json.dumps(result))
    else:
        _print_tables(result)
    raise typer.Exit(0 if result["ok"] else 1)


def _progress() -> Progress:
    """Progress on a terminal's standard error, and nothing at all elsewhere."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _print_tables(result: dict[str, Any]) -> None:
    console = Console()
    figures, limits = result["figures"], result["limits"]
    found = Table(
        "profile",
        "release",
        box=SIMPLE_HEAD,
        title=f"Divergence at the claimed epsilon, limit {limits['divergence']}",
    )
    for name in ("epsilon", "counts", "from the device", "as published"):
        found.add_column(name, justify="right")
    for row in figures["divergences"]:
        published = "" if row["published"] is None else f"{row['published']:.4f}"
        counts = f"{row['count']}, {row['count'] + 1}"
        found.add_row(
            row["profile"], row["release"], f"{row['epsilon']:g}", counts, f"{row['device']:.4f}", published
        )
    if figures["divergences"]:
        console.print(found)
    noise = Table("epsilon", box=SIMPLE_HEAD, title="Noise: chi-square in standard deviations, limit 6")
    columns = {
        "ours": "ours_sigma",
        "OpenDP's": "opendp_sigma",
        "between": "between_sigma",
        "total variation": "total_variation",
        "expected": "expected_variation",
        f"{limits['power_factor']} times off": "off_scale_sigma",
    }
    for name in columns:
        noise.add_column(name, justify="right")
    for row in figures["samplers"]:
        noise.add_row(row["epsilon"], *(f"{row[column]:g}" for column in columns.values()))
    if figures["samplers"]:
        console.print(noise)
    for name, check in figures["checks"].items():
        console.print(f"{name:12} {'; '.join(check['wrong']) or 'as it must be'}")
    killed = Table("mutant", "found by", box=SIMPLE_HEAD, title="Mutants")
    killed.add_column("divergence", justify="right")
    killed.add_column("killed")
    killed.add_column("what was found")
    for row in (*figures["mutants"], *figures["harmless"]):
        divergence = "" if row["divergence"] is None else f"{row['divergence']:.4f}"
        harmless = row in figures["harmless"]
        answer = "yes" if row["killed"] else ("no, as it should" if harmless else "NO")
        killed.add_row(row["name"], row["found_by"], divergence, answer, row["found"])
    if figures["mutants"] or figures["harmless"]:
        console.print(killed)
    for line in result["above"]:
        console.print(f"not as it must be: {line}")
    print_left_out(console, figures["audited"])
