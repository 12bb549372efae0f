"""`peilmerk bench power`, `device`, `flash`, `wire` and `gateway`: what is measured, and its limits."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from peilmerk_bench.board import BoardError
from peilmerk_bench.commands.telling import BAD_INPUT, JsonOption, progress, told_to_people
from peilmerk_gateway.errors import PeilmerkError


def power(
    hours: Annotated[float, typer.Option(min=0.25, help="Hours of the world to count over.")] = 2.0,
    every: Annotated[int, typer.Option(min=30, max=3600, help="Seconds between two samples.")] = 300,
    send: Annotated[int, typer.Option(min=900, max=86400, help="Seconds between two sendings.")] = 900,
    as_json: JsonOption = False,
) -> None:
    """Count how long an air node on batteries is awake in a day, and what it does with that time.

    Sleep is skipped, what is awake runs at the speed of life: two hours take about a minute and a half, a
    whole day a quarter of an hour. Milliampere hours are calculated from data sheets, not measured.

    \b
    Examples:
      peilmerk bench power
      peilmerk bench power --hours 24 --send 3600 --json
    """
    from peilmerk_bench.measure.power import run

    with told_to_people(BoardError, PeilmerkError):
        raise typer.Exit(run(hours, every, send, as_json))


def device(
    windows: Annotated[int, typer.Option(min=1, help="Windows to run for the peak of the heap.")] = 12,
    as_json: JsonOption = False,
) -> None:
    """Measure what the firmware costs a board: bytes of flash and heap, and instructions.

    Under a 32-bit MicroPython that counts instructions, so the figures are the same on every machine. Exit
    code 1 when a limit is exceeded, 2 when the measurement could not be made.

    \b
    Examples:
      peilmerk bench device
      peilmerk bench device --windows 96 --json
    """
    from peilmerk_bench.measure.device import run
    from peilmerk_bench.measure.wasm32 import WasmError

    with told_to_people(WasmError, PeilmerkError):
        raise typer.Exit(run(as_json, windows))


def flash(as_json: JsonOption = False) -> None:
    """Measure what the outbox costs a board's flash: days it holds, writes a day, years until it is worn.

    Exit code 1 beyond a limit, 2 when the measurement could not be made.

    \b
    Examples:
      peilmerk bench flash
      peilmerk bench flash --json
    """
    from peilmerk_bench.measure.flash import FlashError, run

    with told_to_people(FlashError):
        raise typer.Exit(run(as_json))


def wire(as_json: JsonOption = False) -> None:
    """Measure the size of sealed reports beside other formats with the same content.

    Exit code 1 when a limit is exceeded.

    \b
    Examples:
      peilmerk bench wire
      peilmerk bench wire --json
    """
    from peilmerk_bench.measure.wire import run

    raise typer.Exit(run(as_json))


def gateway(
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only", metavar="PART", help="Only this part; may be repeated: drain, latency, curve."
        ),
    ] = None,
    reports: Annotated[int, typer.Option(min=100, help="Reports in the full stream.")] = 100_000,
    devices: Annotated[int, typer.Option(min=1, max=10_000, help="Boards that send them.")] = 1_000,
    rate: Annotated[int, typer.Option(min=1, help="Reports a second of the steady load.")] = 1_000,
    seconds: Annotated[float, typer.Option(min=1, help="How long the steady load lasts.")] = 20.0,
    registry: Annotated[
        int, typer.Option(min=0, help="Devices in the registry at the curve's end.")
    ] = 100_000,
    observations: Annotated[
        int, typer.Option(min=0, help="Observations in the store at the curve's end.")
    ] = 2_000_000,
    as_json: JsonOption = False,
) -> None:
    """Measure the gateway: drained reports a second beside the bare cost, latency, memory, and what a report
    costs as registry and store grow.

    Takes about three minutes and 2 GB of disk for a while; 50 million observations take hours and 30 GB.
    Exit code 1 when a limit is exceeded, 2 when the measurement could not be made.

    \b
    Examples:
      peilmerk bench gateway
      peilmerk bench gateway --only drain --reports 200000 --json
      peilmerk bench gateway --only curve --observations 50000000
    """
    from peilmerk_bench.measure.gateway import PARTS, Sizes, run

    for part in only or ():
        if part not in PARTS:
            print(f"error: part is {part!r}, wanted one of {', '.join(PARTS)}", file=sys.stderr)
            raise typer.Exit(BAD_INPUT)
    sizes = Sizes(reports, devices, rate, seconds, registry, observations)
    with progress() as told, told_to_people(PeilmerkError, OSError):
        code = run(only or PARTS, sizes, as_json, told)
    raise typer.Exit(code)
