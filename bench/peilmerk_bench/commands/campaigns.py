"""`peilmerk bench faults`, `chaos` and `scale`: break what runs under load, and count what it cost."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from peilmerk_bench.board import BoardError
from peilmerk_bench.commands.telling import BAD_INPUT, JsonOption, to_stderr, told_to_people
from peilmerk_gateway.errors import PeilmerkError


def faults(
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="FAULT", help="Only this fault; may be repeated.")
    ] = None,
    speed: Annotated[float, typer.Option(help="How many times faster than life the street runs.")] = 60.0,
    as_json: JsonOption = False,
) -> None:
    """Make everything go wrong in a street, one fault after the other, and say what each has cost.

    For each fault: what was lost, what was doubled, and how long recovery took.

    Takes about half a minute a fault. Exit code 1 when something was lost, doubled or did not recover.

    \b
    Examples:
      peilmerk bench faults
      peilmerk bench faults --only wifi-gone --only half-open
      peilmerk bench faults --json
    """
    from peilmerk_bench.faults.campaign import run

    with told_to_people(BoardError, PeilmerkError):
        raise typer.Exit(run(only or [], speed, as_json, to_stderr))


def chaos(
    kills: Annotated[int, typer.Option(min=1, help="How many SIGKILLs, in turn.")] = 100,
    seed: Annotated[int, typer.Option(help="Makes the same moments again.")] = 1,
    boards: Annotated[int, typer.Option(min=1, max=200, help="Boards in software.")] = 12,
    rate: Annotated[float, typer.Option(min=0.1, help="Reports a second of each board.")] = 5.0,
    as_json: JsonOption = False,
) -> None:
    """Kill gateway, broker and writer in turn at random moments under load; compare what was promised.

    Real MQTT over TLS, a real broker, store and SensorThings platform. Whatever a board was acknowledged must
    be stored, paid for once, and on the platform once. About eight seconds a kill. Exit code 1 when anything
    was lost, doubled or paid twice.

    \b
    Examples:
      peilmerk bench chaos
      peilmerk bench chaos --kills 12 --seed 7
      peilmerk bench chaos --kills 100 --json
    """
    from peilmerk_bench.chaos.campaign import Chaos
    from peilmerk_bench.chaos.plan import Plan

    with told_to_people(PeilmerkError), tempfile.TemporaryDirectory(prefix="peilmerk-chaos-") as folder:
        report = asyncio.run(Chaos(Plan(Path(folder), kills, seed, boards, rate, to_stderr)).run())
    if as_json:
        print(json.dumps(report))
    else:
        for name, value in report["figures"].items():
            print(f"{name.replace('_', ' '):28} {value}")
        print("ok" if report["ok"] else "NOT ok")
    raise typer.Exit(0 if report["ok"] else 1)


def scale(
    kills: Annotated[int, typer.Option(min=0, help="How many kills, in turn; 0 for none.")] = 30,
    seed: Annotated[int, typer.Option(help="Makes the same moments again.")] = 1,
    boards: Annotated[int, typer.Option(min=1, max=200, help="Boards in software.")] = 12,
    rate: Annotated[float, typer.Option(min=0.1, help="Reports a second of each board.")] = 5.0,
    reports: Annotated[int, typer.Option(min=0, help="Reports to drain each time; 0 for none.")] = 40_000,
    workers: Annotated[str, typer.Option(help="How many processes drain them, by turns.")] = "1,2,4",
    own_broker: Annotated[
        bool,
        typer.Option("--own-broker", help="Kill beside the gateway's own broker instead of three servers."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Several processes, three NATS servers and PostgreSQL: what they take, and what they lose when killed.

    First a full stream is drained by one, two and four processes, and on an SQLite file. Then a worker, the
    NATS server that leads, the connections to PostgreSQL, PostgreSQL itself, any NATS server and the gateway
    are killed in turn under load; with --own-broker a worker, the broker, a worker that holds messages, the
    connections, PostgreSQL and the gateway. Exit code 1 when anything was lost, doubled or paid twice.

    \b
    Examples:
      peilmerk bench scale
      peilmerk bench scale --kills 6 --reports 0 --json
      peilmerk bench scale --kills 6 --reports 0 --own-broker
      peilmerk bench scale --kills 0 --workers 1,2
    """
    from peilmerk_bench.scale.run import run

    try:
        counts = tuple(dict.fromkeys(int(word) for word in workers.split(",")))
        if not counts or min(counts) < 1:
            raise ValueError
    except ValueError:
        print(f"error: --workers: found {workers!r}, wanted numbers such as 1,2,4", file=sys.stderr)
        raise typer.Exit(BAD_INPUT) from None
    with told_to_people(PeilmerkError):
        report = asyncio.run(
            run(kills, seed, boards, rate, reports, counts, to_stderr, own_broker=own_broker)
        )
    if as_json:
        print(json.dumps(report))
    else:
        for name, value in report["figures"].items():
            for inner, figure in value.items() if isinstance(value, dict) else [("", value)]:
                print(f"{name.replace('_', ' ')} {inner.replace('_', ' '):28} {figure}")
        print("ok" if report["ok"] else "NOT ok")
    raise typer.Exit(0 if report["ok"] else 1)
