"""`peilmerk device release-key`, `release` and `update`: sign firmware away from any network, and give it to
boards.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from peilmerk_protocol import manifest as manifests
from peilmerk_provisioning import bundle as bundles
from peilmerk_provisioning import release as releases
from peilmerk_provisioning import update as updates
from peilmerk_provisioning.board import Board
from peilmerk_provisioning.enrol import put_release_keys
from peilmerk_provisioning.errors import ReleaseError
from peilmerk_provisioning.kinds import KINDS
from peilmerk_provisioning.output import JsonOption, PortOption, columns, report, told_to_people

release_key_app = typer.Typer(no_args_is_help=True, help="The key that signs firmware; keep it offline.")
release_app = typer.Typer(invoke_without_command=True, help="Sign a release of the firmware, or look at one.")

PassphraseFileOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Read the key's passphrase from this file instead of asking."),
]
KeysOption = Annotated[
    list[Path] | None,
    typer.Option("--trust", metavar="FILE", help="Check the signature by this public key; may be repeated."),
]


def _passphrase(file: Path | None) -> bytes | None:
    if file is None:
        return None
    try:
        return file.read_bytes().split(b"\n", 1)[0].rstrip(b"\r")
    except OSError as reason:
        raise ReleaseError(f"{file}: {reason.strerror}, wanted a file with the passphrase") from reason


def _version(text: str) -> tuple[int, int, int]:
    found = re.fullmatch(r"(\d{1,5})\.(\d{1,5})\.(\d{1,5})", text)
    if found is None or max(map(int, found.groups())) > 65535:
        raise ReleaseError(f"found version {text!r}, wanted three numbers such as 0.2.0")
    return int(found[1]), int(found[2]), int(found[3])


def _figures(made: releases.Release) -> dict[str, Any]:
    manifest = made.manifest
    return {
        "manifest": made.name,
        "version": made.version,
        "kind": made.kind,
        "chips": manifest.chips,
        "bytecode_version": manifest.mpy,
        "micropython": ".".join(str(part) for part in manifest.micropython),
        "firmware_digest": manifest.digest.hex(),
        "key": made.key_id,
        "files": len(manifest.files),
        "size": made.size,
    }


def _lines(figures: dict[str, Any]) -> list[str]:
    return columns(
        [
            ("release", f"{figures['version']} for {figures['kind']}, {', '.join(figures['chips'])}"),
            ("manifest", figures["manifest"]),
            ("size", f"{figures['size']} bytes, {figures['files']} files"),
            ("MicroPython", f"{figures['micropython']} or newer, bytecode {figures['bytecode_version']}"),
            ("firmware digest", figures["firmware_digest"]),
            ("signed by key", figures["key"]),
        ]
    )


@release_key_app.command(epilog="Example: peilmerk device release-key new release.pem --passphrase")
def new(
    file: Annotated[
        Path, typer.Argument(help="Where to put the private key; the public one goes beside it.")
    ],
    passphrase: Annotated[
        bool, typer.Option("--passphrase", help="Ask for a passphrase to lock it.")
    ] = False,
    passphrase_file: PassphraseFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a release key: RSA of 3072 bits, readable by you alone."""
    with told_to_people():
        secret = _passphrase(passphrase_file)
        if passphrase and secret is None:
            secret = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=True, err=True).encode()
        public = releases.new_key(file, secret)
        named = manifests.key_id(manifests.moduli(public.read_bytes())[0]).hex()
    figures = {"key": named, "private": str(file), "public": str(public), "locked": secret is not None}
    lines = [
        f"key {named}",
        f"private half in {file}: keep it offline, and a copy of it elsewhere",
        f"public half in {public}: peilmerk device enrol --release-key {public}",
    ]
    report("device release-key new", figures, as_json, lines)


@release_key_app.command(
    epilog="Example: peilmerk device release-key put --port /dev/ttyUSB0 release.der next.der"
)
def put(
    port: PortOption,
    files: Annotated[
        list[Path], typer.Argument(help="The public key in use and, if you have one, the next.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Write the public keys by which a board knows its updates; those it had are replaced."""
    with told_to_people():
        keys = releases.public_keys(files)
        put_release_keys(Board(port), keys)
        named = [manifests.key_id(modulus).hex() for modulus in manifests.moduli(keys)]
    report("device release-key put", {"keys": named}, as_json, [f"key {one}" for one in named])


@release_app.callback(
    epilog="Example: peilmerk device release --kind counter --version 0.2.0 --key release.pem"
)
def release(
    context: typer.Context,
    kind: Annotated[str | None, typer.Option(metavar="|".join(KINDS), help="Which nodes it is for.")] = None,
    version: Annotated[
        str | None, typer.Option(metavar="X.Y.Z", help="What it calls itself. Default: what the source says.")
    ] = None,
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="The private release key.")] = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where to put the release.")] = Path("releases"),
    chip: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Chip it is for, as boards say it; may be repeated. Default: esp32."
        ),
    ] = None,
    driver: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Carry this driver too; may be repeated.")
    ] = None,
    passphrase_file: PassphraseFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sign a release of the firmware: one file, named by its manifest, that boards fetch and verify."""
    if context.invoked_subcommand is not None:
        return
    with told_to_people():
        if kind not in KINDS:
            raise ReleaseError(f"found --kind {kind or 'nothing'}, wanted one of {', '.join(KINDS)}")
        if key is None:
            raise ReleaseError(
                "found no --key, wanted the private release key: peilmerk device release-key new"
            )
        secret = _passphrase(passphrase_file)
        if secret is None and releases.is_locked(key):
            secret = typer.prompt(f"Passphrase of {key}", hide_input=True, err=True).encode()
        signer = releases.load_key(key, secret)
        number = _version(version) if version else bundles.source_version()
        built = bundles.build(kind=kind, drivers=driver or (), version=number)
        made = releases.make(built, number, kind, chip or ["esp32"], signer)
        file = releases.write(made, out)
        # What was written is what boards will judge.
        releases.read(file, releases.public_frame(signer))
    figures = _figures(made) | {"file": str(file)}
    report("device release", figures, as_json, [*_lines(figures), f"in {file}"])


@release_app.command(epilog="Example: peilmerk device release show releases/3f5a…")
def show(
    file: Annotated[Path, typer.Argument(help="A release.")],
    trust: KeysOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a release holds, and check its hashes, and its signature if given the public key."""
    with told_to_people():
        found = releases.read(file, releases.public_keys(trust) if trust else None)
    figures = _figures(found) | {"signature_checked": bool(trust)}
    unsaid = [] if trust else ["the signature was not checked: give --trust release.der"]
    report("device release show", figures, as_json, [*_lines(figures), *unsaid])


def update(
    port: PortOption,
    file: Annotated[Path, typer.Argument(help="A signed release.")],
    as_json: JsonOption = False,
) -> None:
    """Give a board a signed release by cable; it verifies, tries it, and keeps it once a report arrived."""
    with told_to_people():
        began = time.monotonic()
        found = releases.read(file)
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            console=Console(stderr=True),
            transient=True,
        ) as progress:
            task = progress.add_task(f"sending to {port}", total=found.size)
            before = updates.update(
                Board(port), found, lambda sent, size: progress.update(task, completed=sent, total=size)
            )
    figures = {
        "version": found.version,
        "before": before.version,
        "firmware_digest": found.manifest.digest.hex(),
        "device_id": before.device_id,
        "bytes": found.size,
        "seconds": round(time.monotonic() - began, 1),
    }
    lines = [
        f"{found.version} is on trial on {port}; {before.version} comes back unless a report arrives",
        f"firmware digest {figures['firmware_digest']}",
    ]
    report("device update", figures, as_json, lines)
