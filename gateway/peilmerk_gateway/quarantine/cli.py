"""`peilmerk gateway quarantine`: what was refused and kept, and what platforms rejected for good.

Works on the store, whether the gateway runs or not. Exit codes: 0 done; 1 something that was to be replayed
is refused still; 2 bad input.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress as Bar
from rich.table import Table

from peilmerk_gateway import settings as gateway_settings
from peilmerk_gateway.quarantine import explain as explaining
from peilmerk_gateway.quarantine import kept
from peilmerk_gateway.quarantine.choosing import Asked, has_of, sends_to
from peilmerk_gateway.quarantine.kept import Choice, Outcome, QuarantineError
from peilmerk_gateway.settings import Settings
from peilmerk_gateway.telling import HERE, GatewayOption, JsonOption, told_to_people

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="What was refused and kept, and what platforms rejected. ITEM is as 'list' shows it: DEVICE/NUMBER "
    "for a message, PLATFORM:NUMBER for a figure.",
)

ItemsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[ITEM]...", help="Only these; else what the options say.")
]
DeviceOption = Annotated[str | None, typer.Option("--device", help="Id, name or label of a device.")]
ReasonOption = Annotated[
    str | None, typer.Option("--reason", metavar="CODE", help="Only messages refused for this, such as G6.")
]
SinceOption = Annotated[
    str | None,
    typer.Option("--since", metavar="MOMENT", help="Refused or rejected since then: 2026-05-01T08:00."),
]
SinkOption = Annotated[
    str | None, typer.Option("--sink", metavar="NAME", help="Only what this platform rejected.")
]
AllOption = Annotated[bool, typer.Option("--all", help="Everything that is there.")]

Work = Callable[[kept.Desk, Choice, kept.Progress], Awaitable[Outcome]]


@app.command(
    name="list",
    epilog="Examples: peilmerk gateway quarantine list    "
    "peilmerk gateway quarantine list --device fietspad-1 --reason G6 --since 2026-05-01T00:00 --json",
)
def list_(
    gateway: GatewayOption = HERE,
    device: DeviceOption = None,
    reason: ReasonOption = None,
    since: SinceOption = None,
    sink: SinkOption = None,
    limit: Annotated[int, typer.Option(min=1, help="How many to show.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """List what is kept: messages that were refused, and figures that a platform rejected."""
    with told_to_people():
        settings = gateway_settings.load(gateway)
        choice = Asked((), device, reason, since, sink).choice(settings)
        items, totals = asyncio.run(_listed(settings, choice, limit))
    if as_json:
        _print("list", {**totals, "items": items}, True)
        return
    if not items:
        typer.echo("nothing is kept")
        return
    table = Table(box=None)
    for title in ("item", "reason", "since", "about"):
        table.add_column(title, no_wrap=True)
    for item in items:
        table.add_row(item["item"], item["reason"], item["since"], item["about"])
    Console(width=200, soft_wrap=True).print(table)
    shown = totals["messages"] + totals["rejected"]
    if shown > len(items):
        typer.echo(f"{len(items)} of {shown}: --limit shows more", err=True)


@app.command(
    epilog="Examples: peilmerk gateway quarantine explain k3v7qm2xapk3v7qm/1812    "
    "peilmerk gateway quarantine explain city:4711 --json"
)
def explain(
    item: Annotated[str, typer.Argument(metavar="ITEM", help="As 'list' shows it.")],
    gateway: GatewayOption = HERE,
    language: Annotated[str, typer.Option(help="nl or en.")] = "en",
    as_json: JsonOption = False,
) -> None:
    """Say what one item is about, why it is here, what would become of it now, and what is in the way."""
    with told_to_people():
        settings = gateway_settings.load(gateway)
        told = asyncio.run(_explained(settings, item, language))
    if as_json:
        _print("explain", told, True)
        return
    for name, value in told.items():
        text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
        typer.echo(f"{name.replace('_', ' ')}: {text}")


@app.command(
    epilog="Examples: peilmerk gateway quarantine replay --device fietspad-1    "
    "peilmerk gateway quarantine replay --reason G6 --since 2026-05-01T00:00    "
    "peilmerk gateway quarantine replay --all --json"
)
def replay(
    items: ItemsArgument = None,
    gateway: GatewayOption = HERE,
    device: DeviceOption = None,
    reason: ReasonOption = None,
    since: SinceOption = None,
    sink: SinkOption = None,
    everything: AllOption = False,
    as_json: JsonOption = False,
) -> None:
    """Judge messages anew, as if they came now, and send platforms again what they rejected.

    Mend the record first. What is admitted is stored, paid for in the ledger once, and published; what is
    refused still stays, with its reason of now. Ends with 1 when something does.
    """
    with told_to_people():
        settings = gateway_settings.load(gateway)
        asked = Asked(tuple(items or ()), device, reason, since, sink)
        choice = asked.on_purpose(everything).choice(settings)
        sends_to(settings, choice)
        outcome = asyncio.run(_worked(settings, choice, "judged anew", kept.replay))
    figures = {
        "messages": outcome.messages,
        "observations": outcome.observations,
        "queued_again": outcome.rows,
        "refused_still": dict(outcome.still),
    }
    ok = not outcome.still
    if as_json:
        _print("replay", figures, ok, {"refused_still": {}})
    else:
        still = ", ".join(f"{n} {code}" for code, n in sorted(outcome.still.items())) or "none"
        typer.echo(
            f"{outcome.messages} messages taken ({outcome.observations} figures), {outcome.rows} figures "
            f"queued again; refused still: {still}"
        )
    raise typer.Exit(0 if ok else 1)


@app.command(
    epilog="Examples: peilmerk gateway quarantine drop k3v7qm2xapk3v7qm/1812    "
    "peilmerk gateway quarantine drop --sink city --yes    "
    "peilmerk gateway quarantine drop --all --yes --json"
)
def drop(
    items: ItemsArgument = None,
    gateway: GatewayOption = HERE,
    device: DeviceOption = None,
    reason: ReasonOption = None,
    since: SinceOption = None,
    sink: SinkOption = None,
    everything: AllOption = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete messages for good, and never send platforms what they rejected; figures stay in the store."""
    with told_to_people():
        settings = gateway_settings.load(gateway)
        asked = Asked(tuple(items or ()), device, reason, since, sink)
        choice = asked.on_purpose(everything).choice(settings)
        if not yes and not typer.confirm("This cannot be undone. Go on?", err=True):
            raise typer.Exit(1)
        outcome = asyncio.run(_worked(settings, choice, "deleted", kept.drop))
    figures = {"messages": outcome.messages, "unqueued": outcome.rows}
    if as_json:
        _print("drop", figures, True)
    else:
        typer.echo(f"{outcome.messages} messages deleted, {outcome.rows} figures are sent no more")


async def _listed(
    settings: Settings, choice: Choice, limit: int
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    items: list[dict[str, Any]] = []
    reasons: Counter[str] = Counter()
    async with kept.desk(settings) as at:
        await has_of(settings, at.store, choice)
        async for some in kept.messages(at.store, choice):
            reasons.update(row.reason for row in some)
            for row in some[: limit - len(items)]:
                mandate = at.catalogue.mandate(row.device_id)
                about = f"{explaining.KIND_NAMES.get(row.kind, row.kind)} {row.window}"
                items.append(
                    {
                        "item": f"{row.device_id}/{row.seq}",
                        "reason": row.reason,
                        "since": explaining.iso(row.at),
                        "about": f"{mandate.thing if mandate else 'no record'}, {about}, {row.size} bytes",
                    }
                )
        rows = await kept.rejected(at.store, choice)
    for _, figure in rows[: limit - len(items)]:
        items.append(
            {
                "item": f"{figure.sink}:{figure.observation_id}",
                "reason": "rejected",
                "since": explaining.iso(figure.next_attempt_at),
                "about": f"{figure.datastream}: {figure.error}",
            }
        )
    return items, {"messages": reasons.total(), "reasons": dict(reasons), "rejected": len(rows)}


async def _explained(settings: Settings, item: str, language: str) -> dict[str, Any]:
    choice = Asked((item,)).choice(settings)
    async with kept.desk(settings) as at:
        for device_id, seq in choice.keys:
            after = (device_id, seq - 1)
            for message in await at.store.quarantined(device_id, limit=1, after=after):
                if message.seq == seq:
                    return {"item": item} | await explaining.message(at, message, language)
        for device_id, row in await kept.rejected(at.store, choice):
            return {"item": item} | explaining.row(device_id, row)
    raise QuarantineError(f"found nothing kept as {item!r}, wanted an item that 'list' shows")


async def _worked(settings: Settings, choice: Choice, words: str, work: Work) -> Outcome:
    async with kept.desk(settings) as at:
        await has_of(settings, at.store, choice)
        with _bar(words) as told:
            outcome = await work(at, choice, told)
    found = outcome.messages + outcome.rows + outcome.still.total()
    wanted = len(choice.keys) + len(choice.rows)
    if found < wanted:
        raise QuarantineError(f"found {found} of {wanted} items, wanted such as 'list' shows")
    return outcome


@contextmanager
def _bar(words: str) -> Iterator[kept.Progress]:
    """Show how many were done, on a terminal only."""
    with Bar(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(words, total=None)
        yield lambda n: bar.update(task, advance=n)


def _print(command: str, figures: dict[str, Any], ok: bool, limits: dict[str, Any] | None = None) -> None:
    report = {"name": f"gateway quarantine {command}", "ok": ok, "figures": figures, "limits": limits or {}}
    typer.echo(json.dumps(report, ensure_ascii=False))
