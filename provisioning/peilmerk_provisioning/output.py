"""How the technician's commands speak: results on stdout, errors in one line on stderr, shared options."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from peilmerk_provisioning.errors import PeilmerkError

__all__ = ["JsonOption", "PortOption", "columns", "report", "told_to_people"]

PortOption = Annotated[
    str,
    typer.Option("--port", "-p", help="Serial port of the board, such as /dev/ttyUSB0.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


@contextmanager
def told_to_people() -> Iterator[None]:
    """Print what a person can put right as one line on stderr and end with 2."""
    try:
        yield
    except PeilmerkError as reason:
        typer.echo(f"error: {reason}", err=True)
        raise typer.Exit(2) from None


def report(name: str, figures: dict[str, Any], as_json: bool, lines: Sequence[str]) -> None:
    """Print the result: for scripts as one JSON object, for people as lines that are never cut off."""
    if as_json:
        typer.echo(json.dumps({"name": name, "ok": True, "figures": figures, "limits": {}}))
    else:
        typer.echo("\n".join(lines))


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines with their columns aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
