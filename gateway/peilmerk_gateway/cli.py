"""`peilmerk gateway`: set up, check, run, inspect and keep a gateway.

Results go to stdout (one JSON object with --json), logs and errors to stderr. Exit codes: 0 ok, 1 a check
failed or a part of a running gateway did, 2 bad input with the reason in a line, 130 ended in the middle.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from peilmerk_gateway import settings as gateway_settings
from peilmerk_gateway.commands.cli import app as command_app
from peilmerk_gateway.errors import PeilmerkError, may_pass
from peilmerk_gateway.operation import cli as operation
from peilmerk_gateway.quarantine.cli import app as quarantine_app
from peilmerk_gateway.telling import HERE, JsonOption, told_to_people
from peilmerk_gateway.trust import ensure_trust

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="Run and inspect the gateway. FOLDER is where gateway.toml lies.",
)

app.add_typer(command_app, name="command")
app.add_typer(quarantine_app, name="quarantine")

FolderArgument = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="Folder of gateway.toml, or the file itself.")
]


class BrokerKind(StrEnum):
    """Brokers whose files `broker-config` writes."""

    MOSQUITTO = "mosquitto"
    NATS_CLUSTER = "nats-cluster"


@app.command(
    epilog="Examples: peilmerk gateway init /srv/peilmerk --server-name gateway.example.nl    "
    "peilmerk gateway init . --sink https://sensors.example.nl/v1.1"
)
def init(
    folder: FolderArgument = HERE,
    server_name: Annotated[
        list[str] | None,
        typer.Option(help="Name or address by which boards reach this machine; may be given again."),
    ] = None,
    mqtt_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Where boards connect (MQTT over TLS).")
    ] = gateway_settings.MQTT_TLS_PORT,
    web_port: Annotated[int, typer.Option(min=0, max=65535, help="Where the page is.")] = 8080,
    update_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Where boards fetch firmware (HTTPS).")
    ] = gateway_settings.UPDATE_PORT,
    sink: Annotated[
        str | None, typer.Option(metavar="URL", help="SensorThings service to publish to, with its version.")
    ] = None,
) -> None:
    """Write gateway.toml and the folder for deployment records; nothing that is there is overwritten."""
    names = server_name or ["localhost", "127.0.0.1"]
    with told_to_people():
        sinks = []
        if sink is not None:
            try:
                sinks = [gateway_settings.SinkSettings(name="platform", kind="sensorthings", url=sink)]
            except ValueError:
                raise PeilmerkError(f"--sink: found {sink!r}, wanted an http or https address") from None
        file = gateway_settings.write_default(
            folder,
            server_names=names,
            mqtt_port=mqtt_port,
            web_port=web_port,
            update_port=update_port,
            sinks=sinks,
        )
        # Boards carry the authority's certificate: made now, they can be enrolled before the first run.
        ensure_trust(gateway_settings.load(file))
    typer.echo(f"wrote {file}")
    typer.echo(
        f"next: deployment records into {file.parent / 'deployments'}, then: peilmerk gateway run {folder}"
    )


@app.command(epilog="Examples: peilmerk gateway run    peilmerk gateway run /srv/peilmerk")
def run(folder: FolderArgument = HERE) -> None:
    """Run the gateway until SIGTERM or Ctrl-C; it ends in good order within ten seconds.

    On SIGHUP the settings are read anew. Ends with 1 when a part of it failed: start it anew; with 2 when
    something that was given is wrong.

    Once everything listens, one JSON line {"event": "gateway.ready", ...} goes to stdout. Logs go to stderr.
    """
    _run(folder, worker=False)


@app.command(epilog="Examples: peilmerk gateway worker    peilmerk gateway worker /srv/peilmerk")
def worker(folder: FolderArgument = HERE) -> None:
    """Run one more process that takes turns at what boards send, beside a gateway of the same folder.

    A gateway whose settings say so (gateway.workers) starts its own. Needs a store in PostgreSQL. Ends as
    `run` does.
    """
    _run(folder, worker=True)


def _run(folder: Path, *, worker: bool) -> None:
    from peilmerk_gateway import logs
    from peilmerk_gateway.service import Ready, Service
    from peilmerk_gateway.store import StoreDamaged

    started = False

    def announce(ready: Ready) -> None:
        nonlocal started
        started = True
        print(json.dumps({"event": "gateway.ready", **asdict(ready)}), flush=True)

    with told_to_people():
        settings = gateway_settings.load(folder)
        if worker and settings.gateway.workers == 1:
            raise PeilmerkError(
                f"{settings.file}: gateway.workers: found 1, wanted more: its gateway reads alone"
            )
        logs.configure()
        if settings.clock is not None:
            _banner(settings.clock)
        try:
            asyncio.run(Service(settings, announce, worker=worker).run())
        except (KeyboardInterrupt, asyncio.CancelledError):
            raise typer.Exit(130) from None
        except (PeilmerkError, OSError) as reason:
            if not started and not isinstance(reason, StoreDamaged) and not may_pass(reason):
                raise
            # Nothing that was given is wrong: whoever supervises it is to start it anew.
            what = "ended" if started else "did not start"
            typer.echo(f"error: the gateway {what}: {reason}", err=True)
            raise typer.Exit(1) from None


def _banner(clock: gateway_settings.ClockSettings) -> None:
    Console(stderr=True).print(
        f"[bold]bench clock[/bold]: this gateway lives {clock.speed:g} times as fast as the wall clock; "
        "[clock] in its settings says so. Not for a street with people in it.".replace(
            "[clock]", r"\[clock]"
        ),
        highlight=False,
    )


@app.command(epilog="Examples: peilmerk gateway check    peilmerk gateway check /srv/peilmerk --json")
def check(folder: FolderArgument = HERE, as_json: JsonOption = False) -> None:
    """Check settings, certificates, store and deployment records without running anything.

    Ends with 1 when a record or a part cannot be used.
    """
    from peilmerk_gateway.checks import check_gateway

    with told_to_people():
        report, complaints = asyncio.run(check_gateway(gateway_settings.load(folder)))
    for complaint in complaints:
        typer.echo(f"error: {complaint}", err=True)
    _print(report, as_json)
    raise typer.Exit(0 if report["ok"] else 1)


@app.command(epilog="Examples: peilmerk gateway status    peilmerk gateway status /srv/peilmerk --json")
def status(folder: FolderArgument = HERE, as_json: JsonOption = False) -> None:
    """Print what was received, refused, stored, withheld and published so far, also while it runs.

    Ends with 1 when a broken record stops its deployment: file, key and reason are named.
    """
    from peilmerk_gateway.checks import gateway_status

    with told_to_people():
        report = asyncio.run(gateway_status(gateway_settings.load(folder)))
    if as_json:
        _print(report, as_json)
    else:
        stopped = report["figures"].pop("stopped")
        _print(report, as_json)
        for file, found in stopped.items():
            what = f" ({found['deployment']})" if found["deployment"] else ""
            typer.echo(f"stopped: {file}{what}: nothing is published: {found['reason']}")
            for one in found["complaints"]:
                gate = "" if one["reason"] == "record-broken" else f"{one['reason']}: "
                typer.echo(f"  {gate}{one['key'] + ': ' if one['key'] else ''}{one['text']}")
    raise typer.Exit(0 if report["ok"] else 1)


@app.command(
    epilog="Examples: peilmerk gateway retain /srv/peilmerk --dry-run    "
    "peilmerk gateway retain /srv/peilmerk --json"
)
def retain(
    folder: FolderArgument = HERE,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is too old; delete nothing.")] = False,
    rewrite: Annotated[
        bool,
        typer.Option(help="Then write the store anew: once for one that an older peilmerk made. Takes time."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete figures and reports that are older than their records say, as a running gateway does hourly.

    What platforms have, and the privacy ledger, stay. Every deletion is in the audit trail.
    """
    from peilmerk_gateway.checks import retained

    with told_to_people():
        report = asyncio.run(retained(gateway_settings.load(folder), dry_run=dry_run, rewrite=rewrite))
    _print(report, as_json)


@app.command(
    name="broker-config",
    epilog="Examples: peilmerk gateway broker-config --kind mosquitto --out mosquitto    "
    "peilmerk gateway broker-config . --kind mosquitto --out new --at /etc/mosquitto/peilmerk    "
    "peilmerk gateway broker-config --kind nats-cluster --out brokers "
    "--node n1=10.0.0.1 --node n2=10.0.0.2 --node n3=10.0.0.3",
)
def broker_config(
    folder: FolderArgument = HERE,
    *,
    kind: Annotated[BrokerKind, typer.Option(help="The broker's program.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the files are written.")],
    at: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where they will lie on the broker's machine. Default: --out."),
    ] = None,
    node: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=HOST",
            help="A server of a cluster, three times; with ,client=,route=,mqtt= its ports.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write what a broker that you run yourself needs: its configuration, rights, passwords and certificate.

    Again after every device that is enrolled or revoked; the broker reads it anew on SIGHUP. The gateway's
    own password is made where its file is missing. Ends with 1 when a device cannot connect: of a cluster,
    because it has to run first, without devices; then do it again.
    """
    if kind is BrokerKind.NATS_CLUSTER:
        _cluster_config(folder, out, at, node or [], as_json)
        return
    from peilmerk_gateway import mosquitto_config
    from peilmerk_gateway.registry import Registry

    with told_to_people():
        settings = gateway_settings.load(folder)
        with Registry(settings.gateway.registry) as registry:
            written = mosquitto_config.write(settings, registry, out, at)
    for device_id in written.without_hash:
        typer.echo(
            f"error: {device_id}: found no password hash that {kind.value} reads, because an older "
            "peilmerk enrolled it: enrol it anew",
            err=True,
        )
    figures = {"devices": written.devices, "devices_left_out": len(written.without_hash)}
    report = {"name": "gateway broker-config", "ok": not written.without_hash, "figures": figures}
    if not as_json and written.new_password is not None:
        typer.echo(f"wrote {written.new_password}")
    if not as_json:
        typer.echo(f"wrote {out}: mosquitto.conf, acl, passwords, server.pem, server.key, store")
    _print(report | {"limits": {"devices_left_out": 0}}, as_json)
    raise typer.Exit(0 if report["ok"] else 1)


def _cluster_config(folder: Path, out: Path, at: Path | None, node: list[str], as_json: bool) -> None:
    from peilmerk_gateway import nats_cluster
    from peilmerk_gateway.registry import Registry

    with told_to_people():
        settings = gateway_settings.load(folder)
        nodes = [nats_cluster.read_node(text) for text in node]
        trouble = asyncio.run(nats_cluster.prepare(settings, nodes))
        with Registry(settings.gateway.registry) as registry:
            written = nats_cluster.write(settings, registry, nodes, out, at, admit=trouble is None)
    if trouble is not None:
        typer.echo(
            f"error: devices are left out, because the gateway's consumer cannot be made: {trouble}; "
            "start the three servers, then do this again",
            err=True,
        )
    figures = {"nodes": written.nodes, "devices": written.devices, "devices_let_in": trouble is None}
    report = {"name": "gateway broker-config", "ok": trouble is None, "figures": figures}
    if not as_json and written.new_password is not None:
        typer.echo(f"wrote {written.new_password}")
    if not as_json:
        typer.echo(
            f"wrote {out}: a folder for each server, with nats.conf, server.pem, server.key, authority.pem"
        )
    _print(report | {"limits": {"devices_let_in": True}}, as_json)
    raise typer.Exit(0 if report["ok"] else 1)


@app.command(
    epilog="Examples: peilmerk gateway backup /srv/peilmerk --out /backup/monday    "
    "peilmerk gateway backup --out monday --json"
)
def backup(
    folder: FolderArgument = HERE,
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new folder for it.")],
    as_json: JsonOption = False,
) -> None:
    """Copy everything that a gateway must not lose into a new folder, also while it runs.

    The folder holds keys: keep it where keys belong. Write the printed head down elsewhere. The broker's
    stream and the store of hosts are not in it (docs/operator.md says why).
    """
    with told_to_people():
        report = operation.made(gateway_settings.load(folder), out)
    _print(report, as_json)


@app.command(
    epilog="Examples: peilmerk gateway restore /backup/monday /srv/peilmerk    "
    "peilmerk gateway restore monday new "
    "--expect 1812:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
)
def restore(
    source: Annotated[Path, typer.Argument(metavar="BACKUP", help="Folder that `backup` wrote.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where gateway.toml is to lie.")],
    *,
    expect: Annotated[
        str | None, typer.Option(metavar="NUMBER:DIGEST", help="The head that was printed then.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Put a backup back, where its settings say; nothing that is there is overwritten.

    Command counters go up, so that none is used twice, and commands that waited are withdrawn. What the
    platforms have is looked up before it is sent again. What is to be done by hand is said on stderr. Ends
    with 1 when the audit trail does not verify.
    """
    with told_to_people():
        report, todo = operation.put_back(source, folder, expect)
    for line in todo:
        typer.echo(f"see to it: {line}", err=True)
    _print(report, as_json)
    raise typer.Exit(0 if report["ok"] else 1)


@app.command(
    epilog="Examples: peilmerk gateway migrate /srv/peilmerk --check    "
    "peilmerk gateway migrate /srv/peilmerk"
)
def migrate(
    folder: FolderArgument = HERE,
    *,
    check: Annotated[bool, typer.Option("--check", help="Say whether it is due; change nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Bring store and registry to this version's tables, as a start does, while the gateway is stopped.

    Make a backup first: an older peilmerk cannot read what a newer one wrote. With --check it ends with 1
    when there is something to do.
    """
    with told_to_people():
        report = operation.migrated(gateway_settings.load(folder), check=check)
    _print(report, as_json)
    raise typer.Exit(0 if report["ok"] else 1)


@app.command(
    name="move-store",
    epilog="Examples: peilmerk gateway move-store /srv/peilmerk    peilmerk gateway move-store --json",
)
def move_store(folder: FolderArgument = HERE, as_json: JsonOption = False) -> None:
    """Move the store from its file to the empty PostgreSQL database of the settings, while the gateway is
    stopped.

    The audit trail goes on from the same head, and is verified; the file is put aside, not deleted. Ends with
    1 when the trail does not verify.
    """
    with told_to_people():
        report = operation.moved(gateway_settings.load(folder))
    _print(report, as_json)
    raise typer.Exit(0 if report["ok"] else 1)


@app.command(
    epilog="Examples: peilmerk gateway show systemd /srv/peilmerk > /etc/systemd/system/peilmerk.service    "
    "peilmerk gateway show alerts > peilmerk.rules.yml"
)
def show(
    what: Annotated[operation.Piece, typer.Argument(help="Which file.")],
    folder: FolderArgument = HERE,
) -> None:
    """Print what runs or watches a gateway: alert rules, Grafana dashboard, systemd unit, container file."""
    typer.echo(operation.piece(what, folder), nl=False)


def _print(report: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(report))
        return
    table = Table(box=None, show_header=False)
    for name, value in report["figures"].items():
        if isinstance(value, dict):
            for inner, figure in value.items():
                text = figure if not isinstance(figure, dict) else _pairs(figure)
                table.add_row(f"{name.replace('_', ' ')}: {inner}", str(text))
        elif isinstance(value, list):
            table.add_row(name.replace("_", " "), "; ".join(map(str, value)))
        else:
            table.add_row(name.replace("_", " "), str(value))
    Console(file=sys.stdout).print(table)


def _pairs(figures: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in figures.items())
