"""`peilmerk host`: who has a sensor at home, and what they say about it.

What is told about a person is asked for, or read from a file or stdin: never given on the command line, where
other users and the shell's history see it. Results go to stdout (one JSON object with --json), errors to
stderr. Exit codes: 0 ok; 1 not confirmed, or erased but for a file that a person has to look at; 2 bad input.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from peilmerk_gateway import settings as gateway_settings
from peilmerk_gateway.commands import orders
from peilmerk_gateway.deployments.catalogue import Catalogue
from peilmerk_gateway.hosts import erasing, export, joining
from peilmerk_gateway.hosts import host as hosts
from peilmerk_gateway.hosts.host import Host, HostError
from peilmerk_gateway.hosts.vault import FILE, KEY_FILE, Vault
from peilmerk_gateway.registry import Registry
from peilmerk_gateway.settings import Settings
from peilmerk_gateway.store import Store, engine, halts
from peilmerk_gateway.telling import HERE, GatewayOption, JsonOption, told_to_people
from peilmerk_gateway.web.language import languages
from peilmerk_protocol.device_ids import new_device_id

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="People who have a sensor at home. HOST is the id that 'add' printed, or the device's id.",
)

HostArgument = Annotated[str, typer.Argument(metavar="HOST", help="Id of the host, or of the device.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@app.command(
    epilog="Examples: peilmerk host add fietspad-1 -g /srv/peilmerk    "
    "peilmerk host add abcdefghij234567 --from answers.toml --json    ssh desk cat answers.toml | "
    "peilmerk host add abcdefghij234567 --from -"
)
def add(
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="Id, name or label of the device.")],
    gateway: GatewayOption = HERE,
    answers: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="TOML with the answers, - for stdin; else asked."),
    ] = None,
    language: Annotated[str, typer.Option("--language", help="In which to ask: nl or en.")] = "nl",
    as_json: JsonOption = False,
) -> None:
    """Write down who has a device at home and what they agreed to; print what its record says of the place.

    The answers are name, email, address, longitude, latitude (of the home, degrees WGS84), language, consent
    (the version of the text that was agreed to) and consented_at.
    """
    with told_to_people():
        settings = gateway_settings.load(gateway)
        with Registry(settings.gateway.registry) as registry:
            catalogue = Catalogue(settings.deployments.directory)
            found = orders.find_device(registry, catalogue, device)
        told = joining.ask(language) if answers is None else hosts.told(joining.read(answers))
        place = joining.located(settings, told.longitude, told.latitude)
        host = Host(
            host_id=new_device_id(secrets.token_bytes(10))[:10],
            device_id=found.device_id,
            told=told,
            consent_digest=hosts.consent_digest(told.language),
            public_cell=place.cell.id,
            addresses=place.addresses,
            joined_at=settings.make_clock().now(),
        )
        with _vault(settings, make=True) as vault:
            if vault.find(host.device_id) is not None:
                raise HostError(f"found a host of device {host.device_id} already, wanted none")
            vault.put(host)
    _print(
        "add",
        {"host": host.host_id, "device": host.device_id, **_of_place(host)},
        f"host {host.host_id} has device {host.device_id}; in its record, instead of a point:\n"
        f"private_host = true\n[location]\n{_toml_of_place(host)}",
        as_json,
    )
    for line in joining.too_much(catalogue, host):
        typer.echo(line, err=True)
    if answers is not None and str(answers) != "-":
        typer.echo(f"{answers}: still has what was told: delete it", err=True)


@app.command(epilog="Examples: peilmerk host consent    peilmerk host consent --language en")
def consent(language: Annotated[str, typer.Option("--language", help="nl or en.")] = "nl") -> None:
    """Print the text that hosts agree to, and its version."""
    if language not in languages():
        typer.echo(f"error: --language: found {language!r}, wanted nl or en", err=True)
        raise typer.Exit(2)
    typer.echo(f"{hosts.consent_text(language)}\n({hosts.CONSENT_VERSION})")


@app.command(name="list", epilog="Examples: peilmerk host list    peilmerk host list -g /srv/peilmerk --json")
def list_(gateway: GatewayOption = HERE, as_json: JsonOption = False) -> None:
    """List hosts and devices, without names or addresses."""
    with told_to_people():
        settings = gateway_settings.load(gateway)
        with _vault(settings) as vault:
            found = vault.all()
        standing = asyncio.run(_standing(settings, [host.device_id for host in found]))
    lines = [f"{host.host_id}  {host.device_id}  {standing[host.device_id]}" for host in found]
    _print(
        "list",
        {
            "hosts": [
                {"host": host.host_id, "device": host.device_id, "standing": standing[host.device_id]}
                for host in found
            ]
        },
        "\n".join(lines) or "no hosts",
        as_json,
    )


@app.command(epilog="Examples: peilmerk host show k3v7qm2xap    peilmerk host show abcdefghij234567 --json")
def show(host: HostArgument, gateway: GatewayOption = HERE, as_json: JsonOption = False) -> None:
    """Show all that is known of a host, name and address included, and the square for the record."""
    with told_to_people():
        settings = gateway_settings.load(gateway)
        with _vault(settings) as vault:
            found = _find(vault, host)
        standing = asyncio.run(_standing(settings, [found.device_id]))[found.device_id]
    figures = {
        "host": found.host_id,
        "device": found.device_id,
        "standing": standing,
        **found.told.model_dump(mode="json"),
        **_of_place(found),
    }
    _print("show", figures, "\n".join(f"{name}: {value}" for name, value in figures.items()), as_json)


@app.command(epilog="Examples: peilmerk host pause k3v7qm2xap    peilmerk host pause k3v7qm2xap --json")
def pause(host: HostArgument, gateway: GatewayOption = HERE, as_json: JsonOption = False) -> None:
    """Take nothing of the host's device from now on, and publish nothing; a running gateway obeys at once."""
    _halt(host, gateway, halts.PAUSE, as_json)


@app.command(epilog="Examples: peilmerk host resume k3v7qm2xap    peilmerk host resume k3v7qm2xap --json")
def resume(host: HostArgument, gateway: GatewayOption = HERE, as_json: JsonOption = False) -> None:
    """End a pause. What was measured during it stays out, however late the device sends it."""
    _halt(host, gateway, halts.RESUME, as_json)


@app.command(epilog="Examples: peilmerk host withdraw k3v7qm2xap    peilmerk host withdraw k3v7qm2xap --yes")
def withdraw(
    host: HostArgument, gateway: GatewayOption = HERE, yes: YesOption = False, as_json: JsonOption = False
) -> None:
    """Like pause, and for good; what waits to be published is not. To forget the host too: erase."""
    _halt(host, gateway, halts.WITHDRAW, as_json, None if yes else "host.ask.withdraw")


@app.command(
    name="export",
    epilog="Examples: peilmerk host export k3v7qm2xap --out my-data.zip    "
    "peilmerk host export k3v7qm2xap --out my-data.zip --json",
)
def export_(
    host: HostArgument,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="A new ZIP file.")],
    gateway: GatewayOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Write everything that is held of a host into one file for them, figures and publications too."""
    with told_to_people():
        settings = gateway_settings.load(gateway)
        with _vault(settings) as vault:
            found = _find(vault, host)
        with Registry(settings.gateway.registry) as registry:
            device = registry.get(found.device_id)
        rows = export.write(out, found, device, asyncio.run(_held(settings, found.device_id)))
    counted = ", ".join(f"{name} {n}" for name, n in rows.items())
    _print("export", {"file": str(out), "rows": rows}, f"{out}: {counted}", as_json)


@app.command(epilog="Examples: peilmerk host erase k3v7qm2xap    peilmerk host erase k3v7qm2xap --yes --json")
def erase(
    host: HostArgument, gateway: GatewayOption = HERE, yes: YesOption = False, as_json: JsonOption = False
) -> None:
    """Erase a host for good: what is known of them, what was never published, the record, the board's rights.

    What platforms have stays, and leads to nobody. Tell the board to forget its keys first, if it is still
    connected: peilmerk gateway command forget. Ends with 1 when the record names other devices too: take this
    one out of it, and do it again.
    """
    with told_to_people():
        settings = gateway_settings.load(gateway)
        with _vault(settings) as vault:
            found = _find(vault, host)
            if not yes:
                _confirm(found, "host.ask.erase")
            erased = asyncio.run(erasing.erase(settings, vault, found))
    for file in erased.left:
        typer.echo(
            f"error: {file}: found the device among others, wanted it taken out: then do this again", err=True
        )
    figures = {
        "observations": erased.removed.observations,
        "withheld": erased.removed.withheld,
        "reports": erased.removed.reports,
        "records": erased.records,
        "record_texts": erased.texts,
        "records_left": len(erased.left),
    }
    done = "not erased yet" if erased.left else "erased"
    text = f"{done}: " + ", ".join(f"{n} {name}" for name, n in figures.items())
    _print("erase", figures, text, as_json, not erased.left)
    raise typer.Exit(1 if erased.left else 0)


@app.command(
    name="rotate-key",
    epilog="Examples: peilmerk host rotate-key    peilmerk host rotate-key -g /srv/peilmerk --json",
)
def rotate_key(gateway: GatewayOption = HERE, as_json: JsonOption = False) -> None:
    """Seal every host under a new key, and forget the old one; safe at any moment."""
    with told_to_people(), _vault(gateway_settings.load(gateway)) as vault:
        n = vault.rotate()
    _print("rotate-key", {"hosts": n}, f"{n} hosts are sealed under a new key", as_json)


@app.command(
    epilog="Examples: echo 5.1214 52.0907 | peilmerk host place --dwellings addresses.csv    "
    "echo 5.1214 52.0907 | peilmerk host place -g /srv/peilmerk --json"
)
def place(
    gateway: GatewayOption = HERE,
    source: Annotated[
        Path | None, typer.Option("--dwellings", metavar="CSV", help="Else as the settings say.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Find the square of a home from 'LONGITUDE LATITUDE' on stdin; nothing is written down."""
    with told_to_people():
        settings = gateway_settings.load(gateway)
        try:
            longitude, latitude = (float(part) for part in sys.stdin.readline().split())
        except ValueError:
            raise HostError("stdin: found something else, wanted longitude and latitude in degrees") from None
        found = joining.located(settings, longitude, latitude, source)
    figures = {"public_cell": found.cell.id, "addresses": found.addresses}
    _print("place", figures, "\n".join(f"{name}: {value}" for name, value in figures.items()), as_json)


def _vault(settings: Settings, *, make: bool = False) -> Vault:
    data, hosts = settings.gateway.data_dir, settings.hosts
    return Vault((hosts.folder or data) / FILE, hosts.key_file or data / KEY_FILE, make=make)


def _find(vault: Vault, text: str) -> Host:
    found = vault.find(text)
    if found is None:
        raise HostError(f"found no host {text!r}, wanted an id that 'peilmerk host list' prints")
    return found


def _confirm(host: Host, question: str) -> None:
    if not typer.confirm(hosts.language_of(host).text(question, device=host.device_id)):
        raise typer.Exit(1)


def _of_place(host: Host) -> dict[str, Any]:
    return {"public_cell": host.public_cell, "addresses": host.addresses}


def _toml_of_place(host: Host) -> str:
    lines = [f'public_cell = "{host.public_cell}"']
    return "\n".join(lines if host.addresses is None else [*lines, f"addresses = {host.addresses}"])


def _halt(text: str, gateway: Path, action: str, as_json: bool, question: str | None = None) -> None:
    with told_to_people():
        settings = gateway_settings.load(gateway)
        with _vault(settings) as vault:
            host = _find(vault, text)
        if question is not None:
            _confirm(host, question)
        changed, standing = asyncio.run(_change(settings, host.device_id, action))
    figures = {"host": host.host_id, "device": host.device_id, "standing": standing, "changed": changed}
    _print(action, figures, f"{host.device_id}: {standing}", as_json)


async def _change(settings: Settings, device_id: str, action: str) -> tuple[bool, str]:
    async with await Store.look(settings.store_place) as store:
        changed = await store.halt(device_id, action, settings.make_clock().now())
        return changed, _now(await store.halts([device_id]), device_id)


async def _standing(settings: Settings, device_ids: list[str]) -> dict[str, str]:
    place = settings.store_place
    if not await asyncio.to_thread(engine.is_there, place):
        return dict.fromkeys(device_ids, "taking part")
    async with await Store.look(place) as store:
        found = await store.halts(device_ids)
    return {device_id: _now(found, device_id) for device_id in device_ids}


def _now(found: halts.Halts, device_id: str) -> str:
    open_ = [halt.kind for halt in found.by_device.get(device_id, ()) if halt.until is None]
    return open_[0] if open_ else "taking part"


async def _held(settings: Settings, device_id: str) -> export.Held:
    async with await Store.look(settings.store_place) as store:
        return await store.held(device_id)


def _print(command: str, figures: dict[str, Any], text: str, as_json: bool, ok: bool = True) -> None:
    if as_json:
        report = {"name": f"host {command}", "ok": ok, "figures": figures, "limits": {}}
        typer.echo(json.dumps(report, ensure_ascii=False))
    else:
        typer.echo(text)
