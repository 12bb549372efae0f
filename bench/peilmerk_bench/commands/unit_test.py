"""`peilmerk bench test`: the firmware's unit tests, on a board."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated

import typer

from peilmerk_bench.board import BoardError
from peilmerk_bench.commands.telling import JsonOption, told_to_people
from peilmerk_gateway.errors import PeilmerkError


def unit_test(
    board: Annotated[
        str, typer.Option(metavar="virtual|PORT", help="A virtual board, or the serial port of a real one.")
    ] = "virtual",
    kind: Annotated[
        str, typer.Option(help="Whose firmware the virtual board carries: counter or air.")
    ] = "counter",
    only: Annotated[str, typer.Option(metavar="CASE", help="Only the cases with this in their name.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Run the firmware's unit tests on a board, on the firmware that is there.

    The board keeps nothing of it and starts again afterwards. Exit code 1 when a test failed, 2 when the
    board could not be tested.

    \b
    Examples:
      peilmerk bench test
      peilmerk bench test --board /dev/ttyUSB0
      peilmerk bench test --kind air --only wire --json
    """
    from peilmerk_bench.unit.runner import cases, run_on, run_on_virtual

    def told(row: dict[str, object]) -> None:
        if not as_json:
            why = f": {row['why']}" if "why" in row else ""
            print(
                f"{row['outcome']:8} {str(row['case']).removeprefix('case_')}: {row['test']}{why}", flush=True
            )

    with told_to_people(BoardError, PeilmerkError):
        if kind not in ("counter", "air"):
            raise BoardError(f"kind is {kind!r}, wanted counter or air")
        chosen = cases(only)
        on = run_on_virtual(kind, chosen, told) if board == "virtual" else run_on(board, chosen, told)
        outcome = asyncio.run(on)
    if as_json:
        print(json.dumps(outcome.report()))
    else:
        done = outcome.report()["figures"]
        print(
            f"{done['passed']} passed, {done['failed']} failed, {done['skipped']} skipped on {outcome.board}"
        )
    raise typer.Exit(0 if outcome.ok else 1)
