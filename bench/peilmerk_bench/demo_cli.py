"""`peilmerk demo`: a whole street on this machine, to look at or to check."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from peilmerk_gateway.errors import PeilmerkError

app = typer.Typer()


@app.command(
    epilog="Examples: peilmerk demo    peilmerk demo --for 120 --json    peilmerk demo --counters 4 --air 0"
)
def demo(
    seconds: Annotated[
        float | None,
        typer.Option(
            "--for", min=1, metavar="SECONDS", help="End after so many seconds. [default: at Ctrl-C]"
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Keep the street here and go on with it next time. [default: a temporary folder]"),
    ] = None,
    counters: Annotated[int, typer.Option(min=0, max=20, help="Bicycle counters in a new street.")] = 2,
    air: Annotated[int, typer.Option(min=0, max=20, help="Air nodes in a new street.")] = 2,
    speed: Annotated[
        float, typer.Option(min=1, max=120, help="How much faster than the wall clock the street lives.")
    ] = 60.0,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the page. [default: 8642]")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin with a new street in --data.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as one JSON object on stdout.")
    ] = False,
) -> None:
    """Run a street: virtual boards on recorded traces, broker, gateway, a SensorThings platform, a page.

    Ends with 0 when nothing was lost or doubled and everything stored is on the platform, with 1 otherwise.
    """
    # Loaded here, so that help and completion do not wait for it.
    try:
        from peilmerk_bench.demo import plan_for, run_demo
        from peilmerk_bench.street.plan import PAGE_PORT
    except ModuleNotFoundError as missing:
        typer.echo(
            f"error: the demo needs the package {missing.name!r}, not found: pip install 'peilmerk[bench]'",
            err=True,
        )
        raise typer.Exit(2) from None

    console = Console(stderr=True)
    if counters + air == 0:
        raise typer.BadParameter("found no boards, wanted --counters or --air above 0")
    with tempfile.TemporaryDirectory(prefix="peilmerk-street-") as temporary:
        try:
            plan = plan_for(
                data or Path(temporary) / "street",
                counters=counters,
                air=air,
                page_port=port,
                fresh=fresh,
                default_port=PAGE_PORT,
            )
            report = asyncio.run(run_demo(plan, speed=speed, seconds=seconds, console=console))
        except PeilmerkError as reason:
            typer.echo(f"error: {reason}", err=True)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
    if as_json:
        typer.echo(json.dumps(report))
    else:
        for name, value in report["figures"].items():
            console.print(f"{name.replace('_', ' '):24} {value}", highlight=False)
    raise typer.Exit(0 if report["ok"] else 1)
