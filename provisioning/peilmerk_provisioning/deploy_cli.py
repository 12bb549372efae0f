"""`peilmerk device deploy`, and the options that it shares with its neighbours."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from peilmerk_provisioning import board as boards
from peilmerk_provisioning import bundle as bundles
from peilmerk_provisioning import panel as panels
from peilmerk_provisioning import power as powers
from peilmerk_provisioning.deploy import deploy as deploy_to
from peilmerk_provisioning.kinds import KINDS
from peilmerk_provisioning.link import read_password, wifi_link
from peilmerk_provisioning.output import JsonOption, PortOption, report, told_to_people
from peilmerk_provisioning.sensing import entries, radio

__all__ = ["DriverOption", "WifiFileOption", "WifiOption", "deploy", "known_kind", "wifi_of"]

WifiOption = Annotated[
    str | None,
    typer.Option(
        "--wifi", metavar="SSID", help="Let the board join this Wi-Fi network; the password is asked."
    ),
]
WifiFileOption = Annotated[
    Path | None,
    typer.Option("--wifi-password-file", metavar="FILE", help="Read the Wi-Fi password from this file."),
]
DriverOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME", help="Carry this driver too, for a sensor that this kind does not have by itself."
    ),
]
SensorOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME[:KEY=VALUE,…]",
        help="Wire this sensor in place of those of the kind; may be given more than once. The first of two "
        "that measure the same gives it. See `peilmerk device sensing`.",
    ),
]


DATES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M"]


def known_kind(text: str | None) -> str | None:
    if text is not None and text not in KINDS:
        raise typer.BadParameter(f"found {text!r}, wanted one of {', '.join(KINDS)}")
    return text


def wifi_of(ssid: str | None, password_file: Path | None) -> dict[str, Any]:
    """Return the link part for the Wi-Fi options; the password is never an argument."""
    if ssid is None:
        if password_file is not None:
            raise typer.BadParameter("found --wifi-password-file without --wifi SSID")
        return {}
    if password_file is not None:
        return wifi_link(ssid, read_password(password_file))
    password = typer.prompt(
        f"Password of {ssid} (empty if it is open)", default="", hide_input=True, show_default=False, err=True
    )
    return wifi_link(ssid, password)


def _power(
    kind: str, sensors: list[dict[str, Any]], battery: bool | None, every_s: int | None, send_s: int | None
) -> dict[str, Any] | None:
    """Return node.json's "power" for the options; None leaves it as it is."""
    if not battery:
        for name, value in (("--every", every_s), ("--send", send_s)):
            if value is not None:
                raise typer.BadParameter(f"found {name} without --battery")
        return None if battery is None else powers.MAINS
    powers.check(kind, sensors)
    return powers.battery(kind, 300 if every_s is None else every_s, send_s)


def deploy(
    port: PortOption,
    kind: Annotated[
        str,
        typer.Option(
            callback=known_kind, metavar="|".join(KINDS), help="What the board is.", show_default=False
        ),
    ],
    sensor: SensorOption = None,
    driver: DriverOption = None,
    radio_from: Annotated[
        datetime | None,
        typer.Option(
            formats=DATES,
            metavar="DATE",
            help="Also count Bluetooth devices from this day or moment (UTC) on; wants the next two.",
        ),
    ] = None,
    radio_until: Annotated[
        datetime | None, typer.Option(formats=DATES, metavar="DATE", help="… until this one.")
    ] = None,
    radio_area: Annotated[
        str | None, typer.Option(metavar="TEXT", help="… here: the observed area in words.")
    ] = None,
    battery: Annotated[
        bool | None,
        typer.Option(
            "--battery/--mains",
            help="Sleep between samples, or stay awake. Default: as the board is; a new one stays awake.",
        ),
    ] = None,
    every_s: Annotated[
        int | None,
        typer.Option(
            "--every", metavar="SECONDS", help="With --battery: from sample to sample. Default: 300."
        ),
    ] = None,
    send_s: Annotated[
        int | None,
        typer.Option(
            "--send",
            metavar="SECONDS",
            help="With --battery: from one sending to the next. Default: a window; an hour saves charge.",
        ),
    ] = None,
    light: Annotated[
        str | None,
        typer.Option(
            metavar="PIN[:LEVEL]",
            help="A light or buzzer that shows what the board does; it shines at LEVEL, 1 by itself. "
            "none takes it away.",
        ),
    ] = None,
    button: Annotated[
        str | None,
        typer.Option(
            metavar="PIN[:LEVEL]",
            help="A button that opens set-up when it is held; pressed it is at LEVEL, 0 by itself. "
            "none takes it away.",
        ),
    ] = None,
    page: Annotated[
        bool | None,
        typer.Option(
            "--page/--no-page", help="Serve the host's own page, or none. Default: as the board is; yes."
        ),
    ] = None,
    romfs: Annotated[
        bool | None,
        typer.Option(
            "--romfs/--no-romfs",
            help="Run the firmware in place, from the board's ROM file system, or load it into memory. "
            "Default: in place where the board has room for two.",
        ),
    ] = None,
    wifi: WifiOption = None,
    wifi_password_file: WifiFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put the firmware on a board: only the files that differ, checked on the board, then start it."""
    with told_to_people():
        sensors = entries(kind, sensor or ())
        listening = radio(radio_from, radio_until, radio_area)
        if listening:
            sensors = [*(sensors or KINDS[kind]["sensors"]), listening]
        power = _power(kind, sensors, battery, every_s, send_s)
        panel = panels.panel(kind, sensors, light, button, page)
        link = wifi_of(wifi, wifi_password_file)
        began = time.monotonic()
        bundle = bundles.build(kind=kind, drivers=[*(driver or ()), *(one["driver"] for one in sensors)])
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            console=Console(stderr=True),
            transient=True,
        ) as progress:
            task = progress.add_task(f"copying to {port}", total=None)
            done = deploy_to(
                boards.Board(port),
                kind,
                bundle,
                link=link,
                sensors=sensors,
                power=power,
                panel=panel,
                romfs=romfs,
                on_progress=lambda sent, size: progress.update(task, completed=sent, total=size),
            )
    figures = {
        "kind": done.kind,
        "sensors": [one["driver"] for one in sensors] or [one["driver"] for one in KINDS[kind]["sensors"]],
        "battery": done.battery,
        "in_place": done.in_place,
        "firmware_digest": done.digest,
        "files": done.files,
        "copied": len(done.copied),
        "removed": len(done.removed),
        "bytes": done.bytes_copied,
        "wrote_node": done.wrote_node,
        "device_id": done.device_id,
        "micropython": done.micropython,
        "seconds": round(time.monotonic() - began, 1),
    }

    lines = [
        f"{done.kind} on {port}: {len(done.copied)} of {done.files} files copied "
        f"({done.bytes_copied} bytes), {len(done.removed)} removed",
        f"firmware digest {done.digest}, the same on the board",
        "its bytecode runs in place, from the ROM file system"
        if done.in_place
        else "its bytecode is loaded into memory: this MicroPython has no ROM file system with room for two"
        if romfs is None
        else "its bytecode is loaded into memory",
    ]
    if done.battery:
        lines.append(
            "it is on batteries: two minutes after power-on or reset it sleeps and does not answer its port"
        )
    if done.device_id is None:
        lines.append(f"it has no identity yet: peilmerk device enrol --port {port}")
    report("device deploy", figures, as_json, lines)
