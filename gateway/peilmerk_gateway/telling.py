"""What the gateway's commands share in how they speak to people and scripts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from peilmerk_gateway.errors import PeilmerkError

HERE = Path()

GatewayOption = Annotated[
    Path,
    typer.Option("--gateway", "-g", metavar="FOLDER", help="Folder of gateway.toml, or the file itself."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


@contextmanager
def told_to_people() -> Iterator[None]:
    """Print what a person can put right on stderr, without a traceback, and end with 2."""
    try:
        yield
    except PeilmerkError as reason:
        for line in str(reason).splitlines():
            typer.echo(f"error: {line}", err=True)
        raise typer.Exit(2) from None
    except OSError as reason:
        if reason.filename is None:
            raise
        typer.echo(f"error: {reason.filename}: {reason.strerror}", err=True)
        raise typer.Exit(2) from None
