"""The `peilmerk` command: one name for every room's commands.

Rooms announce their group under the entry-point group `peilmerk.commands`; this module imports none of them
by name, so that the direction of imports stays as the house has it, and a group is loaded only when it is
used. A group whose packages are not installed is still listed, and says which extra brings them.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points, version
from typing import Any

import typer
import typer.core
import typer.main

GROUP = "peilmerk.commands"

# The extra that brings what a group imports, for the message when it is missing.
EXTRAS = {"device": "device", "bench": "bench", "demo": "bench"}

SUMMARIES = {
    "audit": "Check what was promised: privacy, attacks, the audit trail.",
    "bench": "Virtual boards and measurements.",
    "demo": "A street of virtual boards, a gateway and a data platform on this machine.",
    "deployment": "Write, check and explain deployment records.",
    "device": "Put identity and firmware on a board.",
    "gateway": "Run and inspect the gateway.",
    "host": "People who have a sensor at home: what they agreed to, pause, export, erase.",
}


class Groups(typer.core.TyperGroup):
    """A group that finds sub-commands by entry point when they are asked for; this one is the root."""

    announced_under = GROUP
    summaries = SUMMARIES
    extras = EXTRAS
    # Only names and a line each are shown: loading every room for that would take a second.
    _listing = False

    def _announced(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self.announced_under)}

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self._listing = True
        super().format_help(ctx, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        self._listing = True
        return super().shell_complete(ctx, incomplete)

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted({*super().list_commands(ctx), *self._announced()})

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        point = self._announced().get(cmd_name)
        if point is None:
            return None
        if self._listing:
            return typer.core.TyperCommand(cmd_name, help=self.summaries.get(cmd_name, ""))
        try:
            app: Any = point.load()
        except ModuleNotFoundError as missing:
            extra = self.extras.get(cmd_name)
            hint = f": pip install 'peilmerk[{extra}]'" if extra else ""
            typer.echo(
                f"error: {ctx.command_path} {cmd_name} needs {missing.name!r}, not found{hint}", err=True
            )
            raise typer.Exit(2) from None
        command = typer.main.get_command(app)
        command.name = cmd_name
        return command


app = typer.Typer(
    cls=Groups,
    no_args_is_help=True,
    rich_markup_mode="rich",
    # A traceback with the values of variables could show a key.
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: peilmerk demo      All options of a group: peilmerk device --help",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"peilmerk {version('peilmerk')}")
        raise typer.Exit


@app.callback()
def root(
    version_: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version and stop."
    ),
) -> None:
    """Street and home sensors for open urban data platforms, with privacy enforced on the device."""


def main() -> None:
    """Run the command line; ends with exit code 0 (ok), 1 (a check failed) or 2 (bad input)."""
    app()
