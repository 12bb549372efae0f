"""`peilmerk deployment diff` and `history`: what changed between records, and what was in force when."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from peilmerk_gateway import settings as gateway_settings
from peilmerk_gateway.deployments import history as records_history
from peilmerk_gateway.deployments.deployment import Deployment, RecordError, parse, read
from peilmerk_gateway.deployments.difference import difference, must_rise
from peilmerk_gateway.deployments.difference_words import Change, Effect
from peilmerk_gateway.deployments.history import Signature, State, Text, Texts, Version
from peilmerk_gateway.deployments.speaking import LanguageOption
from peilmerk_gateway.deployments.speaking import language as spoken
from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.store import Store
from peilmerk_gateway.telling import JsonOption, told_to_people
from peilmerk_gateway.web.language import Language

WIDER = 3
"""Exit code of a change that gives more away."""
FolderArgument = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="Folder of gateway.toml, or the file itself.")
]


def diff(
    old: Annotated[
        str, typer.Argument(metavar="OLD", help="A record, or ID@VERSION of a gateway's history.")
    ],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Likewise; ID alone is its last version.")],
    gateway: Annotated[
        Path | None,
        typer.Option("--gateway", metavar="FOLDER", help="The gateway whose history ID@VERSION is of."),
    ] = None,
    as_json: JsonOption = False,
    language: LanguageOption = None,
) -> None:
    """Say what changed between two records, and what that means for what is published.

    What gives more away, or protects less, is said first. Exit codes: 0 nothing gives more away, 1 a record
    cannot be used or its version does not go up, 2 a file or version is not there, 3 more is given away.
    """
    speaking = spoken(language)
    with told_to_people():
        before, after = _record(old, gateway), _record(new, gateway)
    changes = difference(before, after, speaking)
    wider = [change for change in changes if change.effect is Effect.WIDER]
    rise = must_rise(before.record, after.record)
    if as_json:
        figures = {
            effect.value: [_as_json(change) for change in changes if change.effect is effect]
            for effect in Effect
        }
        version = {
            "old": before.record.version,
            "new": after.record.version,
            "signed_by": after.record.signed_by,
            "must_rise": rise,
        }
        report = {
            "name": "deployment diff",
            "ok": not wider and not rise,
            "figures": {**figures, "version": version},
            "limits": {"wider": [], "version": {"must_rise": False}},
        }
        typer.echo(json.dumps(report, ensure_ascii=False))
    else:
        typer.echo("\n".join(_told(before, after, changes, rise, speaking)))
    raise typer.Exit(WIDER if wider else 1 if rise else 0)


def history(
    folder: FolderArgument,
    id: Annotated[str | None, typer.Argument(metavar="[ID]", help="One deployment; else all.")] = None,
    show: Annotated[
        str | None,
        typer.Option(
            "--show", metavar="VERSION", help="Print the text of a version, or of a digest's first digits."
        ),
    ] = None,
    erase: Annotated[
        bool,
        typer.Option(
            "--erase", help="Take away the texts of ID for good: places and names in them. Asks first."
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --erase: do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List every version of the records that was ever in force, of removed deployments too.

    The audit trail tells which and when; each text is held against the digest in it. Exit codes: 0 ok, 1 a
    text is missing or was changed, 2 what was asked is not there.
    """
    if (show is not None or erase) and id is None:
        raise typer.BadParameter("found no ID, wanted one", param_hint="--erase" if erase else "--show")
    with told_to_people():
        found, texts = _history(folder)
        if id is not None:
            found = {id: found[records_history.find(found, id, None).deployment]}
        if id is not None and show is not None:
            data = records_history.text_of(records_history.find(found, id, show), texts)
            sys.stdout.buffer.write(data)
            sys.stdout.flush()
            return
        if id is not None and erase:
            _erase(id, found[id], texts, yes)
            found = {id: _history(folder)[0][id]}
    lost = [
        version for mine in found.values() for version in mine if version.text in (Text.MISSING, Text.CHANGED)
    ]
    if as_json:
        figures: dict[str, Any] = {
            "deployments": {name: [_facts(version) for version in mine] for name, mine in found.items()},
            "lost": [f"{version.deployment}@{version.version}" for version in lost],
        }
        report = {"name": "deployment history", "ok": not lost, "figures": figures, "limits": {"lost": []}}
        typer.echo(json.dumps(report, ensure_ascii=False))
    else:
        if not found:
            typer.echo("no record was ever in force here")
        for name, mine in found.items():
            typer.echo(name)
            for version in mine:
                typer.echo(f"  {_line(version)}")
        for version in lost:
            what = f"{version.deployment} version {version.version}: its text is {version.text}"
            typer.echo(f"error: {what}, wanted it as the audit trail tells it", err=True)
    raise typer.Exit(1 if lost else 0)


def _record(text: str, gateway: Path | None) -> Deployment:
    """Read a record from a file or from a gateway's history. Raises PeilmerkError, typer.Exit(1)."""
    try:
        if Path(text).is_file():
            return read(Path(text))
        if gateway is None:
            raise PeilmerkError(
                f"{text}: found no such file, wanted a record, or ID@VERSION together with --gateway FOLDER"
            )
        id, _, wanted = text.partition("@")
        found, texts = _history(gateway)
        version = records_history.find(found, id, wanted or None)
        return parse(records_history.text_of(version, texts), Path(f"{id}@{version.version}"))
    except RecordError as reason:
        for line in str(reason).splitlines():
            typer.echo(f"error: {line}", err=True)
        raise typer.Exit(1) from None


def past(folder: Path) -> records_history.History:
    """Return what was in force at a gateway, for judging what may follow. Raises typer.Exit(2)."""
    with told_to_people():
        settings = gateway_settings.load(folder)
        texts = Texts(settings.gateway.data_dir / records_history.FOLDER)
        return records_history.History(texts, asyncio.run(_entries(settings)))


def _history(folder: Path) -> tuple[dict[str, list[Version]], Texts]:
    settings = gateway_settings.load(folder)
    texts = Texts(settings.gateway.data_dir / records_history.FOLDER)
    return records_history.versions_of(asyncio.run(_entries(settings)), texts), texts


async def _entries(settings: gateway_settings.Settings) -> Any:
    async with await Store.look(settings.store_place) as store:
        return await store.records_told()


def _erase(id: str, mine: Sequence[Version], texts: Texts, yes: bool) -> None:
    if any(version.state is State.IN_FORCE for version in mine):
        raise PeilmerkError(f"{id}: found it in force, wanted its record removed before its texts are erased")
    if not yes and not typer.confirm(f"Erase the texts of {len(mine)} versions of {id} for good?", err=True):
        raise typer.Exit(2)
    for version in mine:
        if version.text is not Text.MISSING:
            texts.erase(version.digest)


def _told(
    before: Deployment, after: Deployment, changes: Sequence[Change], rise: bool, language: Language
) -> Iterator[str]:
    groups = {effect: [change for change in changes if change.effect is effect] for effect in Effect}
    if before.record == after.record:
        same = before.digest == after.digest
        yield language.text("diff.same" if same else "diff.same.words")
        return
    for effect, group in groups.items():
        if group:
            yield language.text(f"diff.{effect}")
            yield from (f"  - {change.text}" for change in group)
        elif effect is Effect.WIDER:
            yield language.text("diff.not_wider")
    old, new = before.record.version, after.record.version
    if rise:
        yield language.text("diff.version.must", old=old, new=new)
    else:
        by = after.record.signed_by or language.text("diff.version.nobody")
        yield language.text("diff.version.up", old=old, new=new, by=by)


def _as_json(change: Change) -> dict[str, str]:
    return {"key": change.key, "text": change.text}


def _facts(version: Version) -> dict[str, Any]:
    return {
        "version": version.version,
        "sha256": version.digest,
        "entry": version.entry,
        "taken_up_at": _moment(version.at),
        "state": version.state.value,
        "ended_at": None if version.ended_at is None else _moment(version.ended_at),
        "signature": version.signature.value,
        "signed_by": version.signed_by,
        "text": version.text.value,
    }


def _line(version: Version) -> str:
    ended = "" if version.ended_at is None else f" {_moment(version.ended_at)}"
    by = {
        Signature.SIGNED: f"signed by {version.signed_by}",
        Signature.NOBODY: "nobody signed",
        Signature.NOT_KNOWN: "who signed is not known",
    }[version.signature]
    text = "" if version.text is Text.KEPT else f", text {version.text}"
    return (
        f"version {version.version}: taken up {_moment(version.at)} (entry {version.entry}), "
        f"{version.state}{ended}, {by}, {version.digest[:12]}{text}"
    )


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
