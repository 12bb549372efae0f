"""`peilmerk deployment`: check deployment records and say what they lead to.

Results go to stdout (one JSON object with --json), complaints to stderr. Exit codes: 0 ok, 1 a record cannot
be used, 2 a file cannot be read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from peilmerk_gateway.deployments.complaints import Complaint
from peilmerk_gateway.deployments.deployment import Deployment, RecordError, read
from peilmerk_gateway.deployments.explain import explain as explained
from peilmerk_gateway.refusal import Reason, sentence

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="Check deployment records and say what they lead to. FILE is a record, or a folder of records.",
)

FilesArgument = Annotated[
    list[Path], typer.Argument(metavar="FILE...", help="Records, or folders of records.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
LanguageOption = Annotated[str, typer.Option("--language", help="Language of the reasons: en or nl.")]


@app.command(
    epilog="Examples: peilmerk deployment check deployments    peilmerk deployment check street.toml --json"
)
def check(files: FilesArgument, as_json: JsonOption = False, language: LanguageOption = "en") -> None:
    """Check whether records are complete and permit publication; names file, key and what was wanted."""
    usable, broken = _read(files)
    for error in broken:
        for line in str(error).splitlines():
            typer.echo(f"error: {line}", err=True)
        for reason in _gates(error.complaints):
            typer.echo(f"       {reason}: {sentence(reason, language)}", err=True)
    clashes = _clashes(usable)
    for clash in clashes:
        typer.echo(f"error: {clash}", err=True)
    ok = not broken and not clashes
    if as_json:
        figures: dict[str, Any] = {
            "records": len(usable) + len(broken),
            "broken": len(broken),
            "clashes": len(clashes),
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
    epilog="Examples: peilmerk deployment explain street.toml    peilmerk deployment explain deployments"
)
def explain(files: FilesArgument) -> None:
    """Say what would be published, at what detail and why; what is refused is said to be refused."""
    usable, broken = _read(files)
    typer.echo("\n\n".join(explained(deployment) for deployment in usable), nl=bool(usable))
    for error in broken:
        typer.echo(f"error: {error.file}: nothing is published: {sentence(error.reason)}", err=True)
        for line in str(error).splitlines():
            typer.echo(f"error: {line}", err=True)
    raise typer.Exit(1 if broken else 0)


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
