"""`peilmerk audit`: check what was promised.

`ledger` and `budget` are here, because whoever runs a gateway must be able to verify it. What needs boards
and attackers is announced by other rooms under the entry-point group `peilmerk.audit`, as their commands are.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from datetime import date
from typing import Annotated

import typer
from rich.console import Console

from peilmerk_gateway import audit_budget, registry_trail
from peilmerk_gateway import settings as gateway_settings
from peilmerk_gateway.cli import FolderArgument
from peilmerk_gateway.command import Groups
from peilmerk_gateway.deployments.catalogue import Catalogue
from peilmerk_gateway.deployments.speaking import LanguageOption
from peilmerk_gateway.deployments.speaking import language as spoken
from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.store import Store
from peilmerk_gateway.store.trail_check import Verdict
from peilmerk_gateway.telling import HERE, JsonOption, told_to_people
from peilmerk_protocol.profile import DAY_S

_HEAD = re.compile(r"([1-9][0-9]*):([0-9a-fA-F]{64})")


class Audits(Groups):
    """The audits of every room that is installed."""

    announced_under = "peilmerk.audit"
    summaries = {  # noqa: RUF012
        "privacy": "Measure what the release functions give away; kill the mutants.",
        "attacks": "Attack what is published, ours and any city's, and a weak publisher beside it.",
    }
    extras = {"privacy": "bench", "attacks": "bench"}  # noqa: RUF012


app = typer.Typer(
    cls=Audits,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="Check what was promised.",
)


@app.callback()
def audit() -> None:
    """Check what was promised: a gateway's audit trail, what it spent, and what its releases give away."""


@app.command(
    epilog="Examples: peilmerk audit ledger /srv/peilmerk    "
    "peilmerk audit ledger --expect 1812:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
)
def ledger(
    folder: FolderArgument = HERE,
    expect: Annotated[
        str | None,
        typer.Option(metavar="NUMBER:DIGEST", help="An entry that was written down elsewhere before."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Verify the audit trail of a gateway, also while it runs, without the network.

    Every entry follows from the one before, and all that it tells of is there as it was decided: reports,
    figures, what was withheld, refused and published, the ledger, commands, and the boards of the registry.
    Write the head down elsewhere: whoever could rewrite the whole store is found by --expect. Ends with 1
    when something was removed, changed, added or moved.
    """
    with told_to_people():
        expected = _head(expect)
        verdict = asyncio.run(_check(gateway_settings.load(folder), expected))
    figures = {
        "entries": verdict.entries,
        "head": f"{verdict.entries}:{verdict.head}",
        "reports": verdict.reports,
        "published": verdict.published,
        "rows": verdict.rows,
        "registry": verdict.registry,
        "by_kind": verdict.by_kind,
        "faults": [{"entry": entry or None, "what": what} for entry, what in verdict.faults],
    }
    if as_json:
        report = {"name": "audit ledger", "ok": verdict.ok, "figures": figures, "limits": {"faults": 0}}
        typer.echo(json.dumps(report))
    else:
        typer.echo(
            f"{verdict.entries} entries, {verdict.reports} reports and {verdict.published} publications, "
            f"{sum(verdict.rows.values())} rows, {verdict.registry} actions of the registry"
        )
        typer.echo(f"head {figures['head']}")
        for entry, what in verdict.faults:
            typer.echo(f"entry {entry}: {what}" if entry else what)
        typer.echo("nothing is wrong" if verdict.ok else f"{len(verdict.faults)} faults")
    raise typer.Exit(0 if verdict.ok else 1)


@app.command(
    epilog="Examples: peilmerk audit budget /srv/peilmerk    "
    "peilmerk audit budget /srv/peilmerk --deployment cycle-path --year 2026 --json"
)
def budget(
    folder: FolderArgument = HERE,
    deployment: Annotated[
        str | None, typer.Option(help="Only this deployment, by the id of its record.")
    ] = None,
    day: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="This day (UTC), as 2026-05-01; else yesterday and today."),
    ] = None,
    year: Annotated[int | None, typer.Option(min=1970, max=9999, help="This whole year, added up.")] = None,
    language: LanguageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell what was spent of privacy: epsilon by deployment, class and day, or over a year.

    And what that means for somebody who passes as often a day as the record assumes. It only reads, also
    while the gateway runs.
    """
    with told_to_people():
        speaking = spoken(language)
        settings = gateway_settings.load(folder)
        spent = asyncio.run(_spent(settings, deployment, *_days(settings, day, year), year))
    said = audit_budget.statements(spent, speaking)
    if as_json:
        figures = {"spent": [row.figures() for row in spent], "statements": said}
        typer.echo(json.dumps({"name": "audit budget", "ok": True, "figures": figures, "limits": {}}))
    elif not spent:
        typer.echo(speaking.text("spent.none"))
    else:
        for table in audit_budget.tables(spent, speaking):
            Console(file=sys.stdout).print(table)
        typer.echo("\n".join(said))


def _days(settings: gateway_settings.Settings, day: str | None, year: int | None) -> tuple[int, int]:
    """Return the first and the last day that are asked about."""
    if day is not None and year is not None:
        raise PeilmerkError("found --day and --year, wanted one of them")
    if year is not None:
        return audit_budget.day_number(date(year, 1, 1)), audit_budget.day_number(date(year, 12, 31))
    if day is None:
        today = int(settings.make_clock().now() // DAY_S)
        return today - 1, today
    try:
        asked = audit_budget.day_number(date.fromisoformat(day))
    except ValueError:
        raise PeilmerkError(f"--day: found {day!r}, wanted a date as 2026-05-01") from None
    return asked, asked


async def _spent(
    settings: gateway_settings.Settings, deployment: str | None, first: int, last: int, year: int | None
) -> list[audit_budget.Spent]:
    catalogue = await asyncio.to_thread(Catalogue, settings.deployments.directory)
    m = {
        name: max(mandate.m_assumed for mandate in known.mandates.values())
        for name, known in catalogue.deployments.items()
        if known.mandates
    }
    async with await Store.look(settings.store_place) as store:
        lines = await store.spent(first, last, deployment)
    if deployment is not None and not lines and deployment not in catalogue.deployments:
        raise PeilmerkError(
            f"--deployment: found no record and no line of {deployment!r}, wanted one of ours"
        )
    return audit_budget.by_day(lines, m) if year is None else audit_budget.by_year(lines, year, m)


def _head(text: str | None) -> tuple[int, str] | None:
    if text is None:
        return None
    match = _HEAD.fullmatch(text)
    if match is None:
        raise PeilmerkError(
            f"--expect: found {text!r}, wanted NUMBER:DIGEST, as this command prints its head"
        )
    return int(match[1]), match[2]


async def _check(settings: gateway_settings.Settings, expected: tuple[int, str] | None) -> Verdict:
    async with await Store.look(settings.store_place) as store:
        registry = await asyncio.to_thread(registry_trail.check, settings.gateway.registry)
        return await store.check_trail(expected, registry)
