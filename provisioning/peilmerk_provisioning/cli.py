"""`peilmerk device`: the technician's commands.

Results go to stdout (one JSON object with --json), progress and errors to stderr. Exit codes: 0 done, 2 not
done, with the reason in one line.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from peilmerk_gateway.registry import Registry
from peilmerk_gateway.settings import load
from peilmerk_provisioning import board as boards
from peilmerk_provisioning import bundle as bundles
from peilmerk_provisioning import label as labels
from peilmerk_provisioning.deploy_cli import (
    DriverOption,
    WifiFileOption,
    WifiOption,
    deploy,
    known_kind,
    wifi_of,
)
from peilmerk_provisioning.enrol import LABEL_NOT_SAID
from peilmerk_provisioning.enrol import enrol as enrol_on
from peilmerk_provisioning.errors import BundleError
from peilmerk_provisioning.kinds import KINDS
from peilmerk_provisioning.link import gateway_link, trust_of
from peilmerk_provisioning.output import JsonOption, PortOption, columns, report, told_to_people
from peilmerk_provisioning.release import public_keys
from peilmerk_provisioning.release_cli import release_app, release_key_app, update
from peilmerk_provisioning.sensing import markdown, members

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="Put identity and firmware on a board. Each command interrupts the board for some seconds.",
)

GatewayOption = Annotated[
    Path, typer.Option("--gateway", "-g", help="Settings of the gateway that the board will report to.")
]


app.add_typer(release_key_app, name="release-key")
app.add_typer(release_app, name="release")
app.command(
    epilog="Examples: peilmerk device deploy --port /dev/ttyUSB0 --kind counter; "
    "peilmerk device deploy --port /dev/ttyUSB0 --kind air --battery --send 3600"
)(deploy)
app.command(epilog="Example: peilmerk device update --port /dev/ttyUSB0 releases/3f5a…")(update)


@app.command(
    epilog="Example: peilmerk device enrol --port /dev/ttyUSB0 --label 'Canal bridge, north' --wifi StreetNet"
)
def enrol(
    port: PortOption,
    gateway: GatewayOption = Path("gateway.toml"),
    label: Annotated[
        str, typer.Option(help="Your own name for this board; it is never published.")
    ] = LABEL_NOT_SAID,
    kind: Annotated[
        str | None,
        typer.Option(
            callback=known_kind,
            metavar="|".join(KINDS),
            help="What the board will be. Default: what was deployed to it.",
        ),
    ] = None,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Give a new identity to a board that has one, and revoke the old."),
    ] = False,
    wifi: WifiOption = None,
    wifi_password_file: WifiFileOption = None,
    host: Annotated[
        str | None,
        typer.Option(help="Address at which boards reach the broker. Default: from the settings."),
    ] = None,
    mqtt_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Its port. Default: from the settings.")
    ] = None,
    ntp: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST[:PORT]", help="Time server; may be given more than once. Default: public ones."
        ),
    ] = None,
    release_key: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Public key that may sign this board's updates; give a second one for the key that follows.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Give a board its identity, keys, trust and the way to its gateway."""
    with told_to_people():
        settings = load(gateway)
        link = gateway_link(settings, host=host, port=mqtt_port, ntp=ntp or ()) | wifi_of(
            wifi, wifi_password_file
        )
        trust = trust_of(settings)
        keys = public_keys(release_key) if release_key else None
        began = time.monotonic()
        with Registry(settings.gateway.registry) as registry:
            done = enrol_on(
                *(boards.Board(port), registry, link, trust),
                label=label,
                kind=kind,
                replace=replace,
                release_keys=keys,
            )
    figures = {
        "device_id": done.device_id,
        "kind": done.kind,
        "label": done.label,
        "replaced": done.replaced,
        "revoked": done.revoked,
        "micropython": done.micropython,
        "host": link["host"],
        "port": link["port"],
        "seconds": round(time.monotonic() - began, 1),
    }

    lines = [f"enrolled {done.device_id}: {done.label}"]
    if wifi is None:
        lines.append(
            "it knows no Wi-Fi: its host joins it with a phone and what 'peilmerk device label' prints"
        )
    if done.replaced and done.revoked:
        lines.append(f"revoked {done.replaced}, the identity it had before")
    elif done.replaced:
        lines.append(
            f"it was {done.replaced}, which this registry does not know: revoke that at its own gateway"
        )
    lines.append(f"it will report to {link['host']}:{link['port']}")
    report("device enrol", figures, as_json, lines)


@app.command(epilog="Example: peilmerk device info --port /dev/ttyUSB0 --json")
def info(port: PortOption, as_json: JsonOption = False) -> None:
    """Say what is on a board: identity, firmware, MicroPython, free flash. The board restarts afterwards."""
    with told_to_people():
        found = boards.Board(port).inspect(then=[boards.Reset()])
    figures = {
        "device_id": found.device_id,
        "kind": found.kind,
        "battery": found.battery,
        "firmware_digest": found.digest,
        "version": found.version or None,
        "slot": found.slot or None,
        "trial": bool(found.trial),
        "failed_boots": found.failed,
        "safe_mode": found.safe_mode,
        "files": len(found.files),
        "in_place": found.in_place,
        "romfs": found.romfs,
        "linked": found.linked,
        "micropython": found.micropython,
        "machine": found.machine,
        "flash_free": found.flash_free,
        "flash_size": found.flash_size,
    }

    where = f"{found.version}, in slot {found.slot}" if found.slot else found.version
    if found.trial:
        where += "; a newer one is on trial in the other slot"
    if found.safe_mode:
        where += f"; safe mode after {found.failed - 1} failed boots"
    lines = columns(
        [
            ("identity", found.device_id or "none: peilmerk device enrol"),
            ("kind", found.kind or "none: peilmerk device deploy"),
            ("power", "batteries" if found.battery else "mains"),
            ("firmware", where or "none: peilmerk device deploy"),
            ("firmware digest", found.digest or "none: peilmerk device deploy"),
            (
                "bytecode",
                "runs in place, from the ROM file system" if found.in_place else "is loaded to memory",
            ),
            ("MicroPython", f"{found.micropython} on {found.machine}"),
            ("free flash", f"{found.flash_free // 1024} of {found.flash_size // 1024} KiB"),
        ]
    )
    report("device info", figures, as_json, lines)


@app.command(name="leave-safe-mode", epilog="Example: peilmerk device leave-safe-mode --port /dev/ttyUSB0")
def leave_safe_mode(port: PortOption, as_json: JsonOption = False) -> None:
    """Let a board that stopped measuring after failed boots start as usual again."""
    with told_to_people():
        (said,) = boards.Board(port).do([boards.Script("leave_safe"), boards.Reset()])
    failed = int(said["failed"])
    line = f"{failed} failed boots forgotten; the board starts as usual" if failed else "no boot had failed"
    report("device leave-safe-mode", {"failed_boots": failed}, as_json, [line])


@app.command(epilog="Example: peilmerk device label --port /dev/ttyUSB0 --output canal-bridge.svg")
def label(
    port: PortOption,
    output: Annotated[Path, typer.Option(help="The picture, SVG, 62 by 29 mm.", show_default=False)],
    as_json: JsonOption = False,
) -> None:
    """Make the label of a board: its access point, the setup password and a QR code. Only you can read the
    file.
    """
    with told_to_people():
        made = labels.read(boards.Board(port))
        labels.write(made, output)
    figures = {"device_id": made.device_id, "access_point": made.name, "file": str(output)}
    report(
        "device label", figures, as_json, [f"label of {made.device_id} in {output}: print it, then delete it"]
    )


@app.command(epilog="Example: peilmerk device setup --port /dev/ttyUSB0")
def setup(port: PortOption, as_json: JsonOption = False) -> None:
    """Open a board's set-up, so that a phone can choose another Wi-Fi network; ten minutes, or until one is
    joined.
    """
    with told_to_people():
        (said,) = boards.Board(port).do([boards.Script("ask_setup"), boards.Reset()])
        if not said["ready"]:
            raise labels.LabelError(f"the board on {port} has no setup password: peilmerk device enrol")
    report("device setup", {"port": port}, as_json, ["set-up opens when the board has started"])


@app.command(name="list", epilog="Example: peilmerk device list --gateway gateway.toml")
def list_(
    gateway: Annotated[
        Path | None,
        typer.Option(
            "--gateway", "-g", help="Also list the devices enrolled at the gateway of these settings."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the serial ports of this machine, and the enrolled devices if asked for."""
    with told_to_people():
        found = boards.ports()
        enrolled = []
        if gateway is not None:
            with Registry(load(gateway).gateway.registry) as registry:
                enrolled = registry.all()
    figures: dict[str, Any] = {
        "ports": [
            {"port": one.path, "serial": one.serial, "usb_id": one.usb_id, "description": one.description}
            for one in found
        ]
    }
    if gateway is not None:
        figures["devices"] = [
            {
                "device_id": one.device_id,
                "kind": one.kind,
                "label": one.label,
                "enrolled_at": one.enrolled_at,
                "revoked": one.revoked,
            }
            for one in enrolled
        ]

    lines = ["no serial ports; is the board plugged in?"]
    if found:
        lines = columns([(one.path, one.serial, f"{one.usb_id} {one.description}".strip()) for one in found])
    if gateway is not None:
        rows = [
            (one.device_id, one.kind, "revoked" if one.revoked else "enrolled", one.label) for one in enrolled
        ]
        lines += ["", *(columns(rows) if rows else ["no devices are enrolled"])]
    report("device list", figures, as_json, lines)


@app.command(epilog="Example: peilmerk device bundle --kind counter --output build/board")
def bundle(
    kind: Annotated[
        str,
        typer.Option(
            callback=known_kind, metavar="|".join(KINDS), help="What the board is to be.", show_default=False
        ),
    ],
    driver: DriverOption = None,
    battery: Annotated[
        bool, typer.Option("--battery/--mains", help="For a board that sleeps between samples, or not.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(help="Write the files here, as they lie on a board, for use with plain mpremote."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Build what deploy would copy, and print its digest, which deployment records name."""
    with told_to_people():
        made = bundles.build(kind=kind, drivers=driver or ())
        if not battery:
            made = made.on_mains()
        if output is not None:
            try:
                made.write(output)
            except OSError as reason:
                raise BundleError(f"{output}: {reason.strerror}, wanted a folder to write to") from reason
    figures = {
        "kind": kind,
        "battery": battery,
        "firmware_digest": made.digest,
        "files": len(made.files),
        "bytes": made.size,
        "bytecode_version": made.mpy,
    }

    lines = [
        f"firmware digest {made.digest}",
        f"{len(made.files)} files, {made.size} bytes{f', in {output}' if output else ''}",
    ]
    report("device bundle", figures, as_json, lines)


@app.command(epilog="Example: peilmerk device traceback --kind air console.txt")
def traceback(
    kind: Annotated[
        str,
        typer.Option(
            callback=known_kind, metavar="|".join(KINDS), help="What the board is.", show_default=False
        ),
    ],
    driver: DriverOption = None,
    console: Annotated[
        Path | None, typer.Argument(help="What the board said; standard input by itself.", show_default=False)
    ] = None,
) -> None:
    """Put the names of the sources behind the short ones in a board's tracebacks."""
    with told_to_people():
        program = bundles.build(kind=kind, drivers=driver or ()).program
        assert program is not None
        try:
            text = console.read_text("utf-8") if console else sys.stdin.read()
        except (OSError, UnicodeError) as reason:
            raise BundleError(f"{console}: {reason}, wanted what a board said") from reason
        typer.echo(program.plain(text), nl=False)


@app.command(epilog="Example: peilmerk device sensing --json")
def sensing(
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the page docs/sensing.md as it must be.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List what a board can sense: every driver with its quantities, keys, limits and wiring."""
    with told_to_people():
        if as_markdown:
            typer.echo(markdown(), nl=False)
            return
        found = members()
    rows = [(one["driver"], one["kind"], ", ".join(q["name"] for q in one["quantities"])) for one in found]
    report("device sensing", {"sensors": found}, as_json, columns(rows))
