"""`peilmerk bench`: virtual boards and measurements from the command line.

The commands are in modules of their own, which load what a command works with when it runs.
"""

from __future__ import annotations

import typer

from peilmerk_bench.commands import campaigns, measurements
from peilmerk_bench.commands.board import board
from peilmerk_bench.commands.unit_test import unit_test

app = typer.Typer(
    name="bench",
    help="Virtual boards and measurements, without hardware.",
    no_args_is_help=True,
    add_completion=False,
)

app.command()(board)
app.command(name="test")(unit_test)
app.command()(campaigns.faults)
app.command()(campaigns.chaos)
app.command()(campaigns.scale)
app.command()(measurements.power)
app.command()(measurements.device)
app.command()(measurements.flash)
app.command()(measurements.wire)
app.command()(measurements.gateway)

if __name__ == "__main__":
    app()
