"""`peilmerk deployment`: check deployment records, say what they lead to, and export them.

Results go to stdout (one JSON object with --json), complaints to stderr. Exit codes: 0 ok, 1 a record cannot
be used, or lacks what an export wants, 2 a file cannot be read or written, or options that do not fit.
What asks, compares and looks back is in modules of its own; what needs recorded streets is announced by
another room under the entry-point group `peilmerk.deployment`.
"""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from peilmerk_gateway.command import Groups
from peilmerk_gateway.deployments import changes_cli, new_cli
from peilmerk_gateway.deployments.complaints import Complaint
from peilmerk_gateway.deployments.deployment import Deployment, RecordError, read
from peilmerk_gateway.deployments.explain import explain as explained
from peilmerk_gateway.deployments.outlook import not_now
from peilmerk_gateway.deployments.speaking import LanguageOption as SpokenOption
from peilmerk_gateway.deployments.speaking import language as spoken
from peilmerk_gateway.refusal import Reason, sentence
from peilmerk_gateway.telling import JsonOption


class Deployments(Groups):
    """The commands about records of every room that is installed."""

    announced_under = "peilmerk.deployment"
    summaries = {"simulate": "Work out what the rules would mean on recorded passages."}  # noqa: RUF012
    extras = {"simulate": "bench"}  # noqa: RUF012


app = typer.Typer(
    cls=Deployments,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="Check deployment records, say what they lead to, and write them for registers, signs and dossiers. "
    "FILE is a record, or a folder of records.",
)

FilesArgument = Annotated[
    list[Path], typer.Argument(metavar="FILE...", help="Records, or folders of records.")
]
LanguageOption = Annotated[str, typer.Option("--language", help="Language of the reasons: en or nl.")]


@app.command(
    epilog="Examples: peilmerk deployment check deployments    "
    "peilmerk deployment check street.toml --json    "
    "peilmerk deployment check new/street.toml --gateway /srv/peilmerk"
)
def check(
    files: FilesArgument,
    as_json: JsonOption = False,
    language: LanguageOption = "en",
    gateway: Annotated[
        Path | None,
        typer.Option(
            "--gateway", metavar="FOLDER", help="Also whether they may follow what was in force there."
        ),
    ] = None,
) -> None:
    """Check whether records are complete and permit publication; names file, key and what was wanted.

    Warns where nobody signed a record of public space, which is no refusal, and where a complete record does
    not permit publication yet, or no more.
    """
    usable, broken = _read(files)
    if gateway is not None:
        usable, refused = _following(usable, gateway)
        broken += refused
    for error in broken:
        for line in str(error).splitlines():
            typer.echo(f"error: {line}", err=True)
        for reason in _gates(error.complaints):
            typer.echo(f"       {reason}: {sentence(reason, language)}", err=True)
    clashes = _clashes(usable)
    for clash in clashes:
        typer.echo(f"error: {clash}", err=True)
    ok = not broken and not clashes
    unsigned = [one.file for one in usable if one.record.signed_by is None and not one.record.private_host]
    for file in unsigned:
        typer.echo(f"warning: {file}: signed_by: not found, wanted who signs for this version", err=True)
    today, said = datetime.now(UTC).date(), spoken("nl" if language == "nl" else "en")
    refused_now = {one.file: list(not_now(one.record, today, said)) for one in usable}
    for file, words in refused_now.items():
        for word in words:
            typer.echo(f"warning: {file}: {word}", err=True)
    if as_json:
        figures: dict[str, Any] = {
            "records": len(usable) + len(broken),
            "broken": len(broken),
            "clashes": len(clashes),
            "unsigned": [str(file) for file in unsigned],
            "refused_now": {str(file): words for file, words in refused_now.items() if words},
            "devices": sum(len(deployment.mandates) for deployment in usable),
            "refusals": {str(error.file): str(error.reason) for error in broken},
        }
        report = {
            "name": "deployment check",
            "ok": ok,
            "figures": figures,
            "limits": {"broken": 0, "clashes": 0},
        }
        typer.echo(json.dumps(report))
    else:
        for deployment in usable:
            typer.echo(f"{deployment.file}: ok ({deployment.id}, {len(deployment.mandates)} devices)")
    raise typer.Exit(0 if ok else 1)


@app.command(
    epilog="Examples: peilmerk deployment explain street.toml    "
    "peilmerk deployment explain deployments --language nl"
)
def explain(files: FilesArgument, language: SpokenOption = None) -> None:
    """Say what would be published, at what detail and why; what is refused is said to be refused."""
    said = spoken(language)
    usable, broken = _read(files)
    typer.echo("\n\n".join(explained(deployment, said) for deployment in usable), nl=bool(usable))
    for error in broken:
        refused = said.text("explain.refused", sentence=sentence(error.reason, said.code))
        typer.echo(f"error: {error.file}: {refused}", err=True)
        for line in str(error).splitlines():
            typer.echo(f"error: {line}", err=True)
    raise typer.Exit(1 if broken else 0)


@app.command(
    epilog="Examples: peilmerk deployment export street.toml --as amsterdam --out street.csv    "
    "peilmerk deployment export street.toml --as sign --page https://sensors.example.org/ --out sign.pdf"
)
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="One record.")],
    kind: Annotated[str, typer.Option("--as", help="amsterdam, sensrnet, dtpr, sign, opendp or annex.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; its suffix chooses the form. Else stdout.")
    ] = None,
    form: Annotated[
        str | None,
        typer.Option("--form", help="csv or json (amsterdam), svg or pdf (sign), yaml or json (opendp)."),
    ] = None,
    language: Annotated[str, typer.Option("--language", help="Language of sign and annex: nl or en.")] = "nl",
    device: Annotated[
        str | None, typer.Option("--device", help="For a sign: the board, where the record has several.")
    ] = None,
    page: Annotated[
        str | None, typer.Option("--page", help="For a sign: https address of the gateway's public page.")
    ] = None,
    audit: Annotated[
        list[Path] | None,
        typer.Option(
            "--audit",
            metavar="FILE",
            help="For an annex: what `peilmerk audit privacy --json` or `audit attacks --json` printed; may "
            "be repeated.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --out: print one JSON object on stdout.")
    ] = False,
) -> None:
    """Write a record for a register, as a sign, or as an annex; what it lacks for that is named.

    No export holds the exact place, a board's id, or the owner's name, e-mail, telephone or address.
    """
    if as_json and out is None:
        raise _unfit("--json: found no --out, wanted one: stdout has the export itself")
    if page is not None and not re.fullmatch(r"https?://[^\s?#]+", page):
        raise _unfit(f"--page: found {page!r}, wanted an address such as https://sensors.example.org/")
    if not file.is_file():
        raise _unfit(f"{file}: found no such file, wanted a record")
    try:
        from peilmerk_gateway.deployments.exports import audits
        from peilmerk_gateway.deployments.exports.export import KINDS, Wish, languages
        from peilmerk_gateway.deployments.exports.export import export as exported
        from peilmerk_gateway.deployments.exports.needs import ExportError
    except ModuleNotFoundError as missing:
        raise _unfit(f"found no {missing.name}, wanted it: pip install 'peilmerk[export]'") from None
    if kind not in KINDS:
        raise _unfit(f"--as: found {kind!r}, wanted one of {', '.join(KINDS)}")
    if language not in languages():
        raise _unfit(f"--language: found {language!r}, wanted nl or en")
    forms = KINDS[kind].forms
    suffix = out.suffix.lower().lstrip(".") if out is not None else ""
    chosen = form or {"yml": "yaml"}.get(suffix, suffix) or next(iter(forms))
    if chosen not in forms:
        raise _unfit(
            f"{'--form' if form else '--out'}: found {chosen!r}, wanted {' or '.join(forms)} for {kind}"
        )
    if audit and kind != "annex":
        raise _unfit(f"--audit: found --as {kind}, wanted annex: no other export tells of audits")
    try:
        told = tuple(audits.read(report) for report in audit or ())
    except audits.AuditReportError as reason:
        raise _unfit(str(reason)) from None
    refused: list[Complaint] = []
    data = b""
    try:
        data = exported(read(file), kind, chosen, Wish(language, device, page, told))
    except (RecordError, ExportError) as reason:
        refused = reason.complaints
        for line in str(reason).splitlines():
            typer.echo(f"error: {line}", err=True)
    if out is not None and not refused:
        try:
            out.write_bytes(data)
        except OSError as reason:
            raise _unfit(f"{out}: {reason.strerror}, wanted a file to write the export to") from reason
    if as_json:
        report = {
            "name": "deployment export",
            "ok": not refused,
            "figures": {
                "as": kind,
                "form": chosen,
                "bytes": len(data),
                "refused": [str(complaint) for complaint in refused],
            },
            "limits": {"refused": []},
        }
        typer.echo(json.dumps(report))
    elif out is not None and not refused:
        typer.echo(f"{out}: {kind} as {chosen}, {len(data)} bytes")
    elif not refused:
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
    raise typer.Exit(1 if refused else 0)


app.command(
    epilog="Examples: peilmerk deployment new my-gateway/deployments/cycle-path.toml --language nl    "
    "peilmerk deployment new street.toml --answers answers.toml --set devices[1].device_id=abcdefghij234567 "
    "--json"
)(new_cli.new)
app.command(
    epilog="Examples: peilmerk deployment diff street.toml new/street.toml    "
    "peilmerk deployment diff street@3 street@4 --gateway /srv/peilmerk    "
    "peilmerk deployment diff street street.toml --gateway /srv/peilmerk --language nl"
)(changes_cli.diff)
app.command(
    epilog="Examples: peilmerk deployment history /srv/peilmerk    "
    "peilmerk deployment history /srv/peilmerk street --show 3"
)(changes_cli.history)


def _unfit(text: str) -> typer.Exit:
    typer.echo(f"error: {text}", err=True)
    return typer.Exit(2)


def _read(paths: list[Path]) -> tuple[list[Deployment], list[RecordError]]:
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += sorted(path.glob("*.toml"))
        elif path.is_file():
            files.append(path)
        else:
            typer.echo(f"error: {path}: found no such file, wanted a record or a folder of records", err=True)
            raise typer.Exit(2)
    usable: list[Deployment] = []
    broken: list[RecordError] = []
    for file in files:
        try:
            usable.append(read(file))
        except RecordError as reason:
            broken.append(reason)
    return usable, broken


def _following(deployments: list[Deployment], gateway: Path) -> tuple[list[Deployment], list[RecordError]]:
    """Tell records that may follow what was in force at a gateway from those that may not."""
    past = changes_cli.past(gateway)
    said = [(deployment, past.complaint(deployment)) for deployment in deployments]
    return (
        [deployment for deployment, refused in said if refused is None],
        [RecordError(deployment.file, [refused]) for deployment, refused in said if refused is not None],
    )


def _gates(complaints: list[Complaint]) -> list[Reason]:
    return sorted({complaint.reason for complaint in complaints if complaint.reason.startswith("G")})


def _clashes(deployments: list[Deployment]) -> list[str]:
    """Say where two records take the same id or the same device."""
    said: list[str] = []
    ids: dict[str, Path] = {}
    devices: dict[str, Path] = {}
    for deployment in deployments:
        first = ids.setdefault(deployment.id, deployment.file)
        if first is not deployment.file:
            said.append(f"{deployment.file}: id: found {deployment.id!r}, which {first} has; wanted its own")
        for device_id, mandate in deployment.mandates.items():
            first = devices.setdefault(device_id, deployment.file)
            if first is not deployment.file:
                said.append(
                    f"{deployment.file}: devices: found the board of {mandate.thing}, which {first} has, "
                    "wanted each device in one record"
                )
    return said
