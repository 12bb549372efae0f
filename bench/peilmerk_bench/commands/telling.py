"""What the commands of the bench share in how they speak to people and scripts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

BAD_INPUT = 2

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@contextmanager
def told_to_people(*errors: type[Exception]) -> Iterator[None]:
    """Print one of these errors as one line on stderr, without a traceback, and end with 2."""
    try:
        yield
    except errors as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(BAD_INPUT) from None


def to_stderr(words: str) -> None:
    """Say how far a campaign is, beside its results on stdout."""
    print(words, file=sys.stderr, flush=True)


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Lend what tells how far a measurement is: on a terminal in one line, elsewhere not at all."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("") as status:
        yield status.update
