"""`peilmerk gateway command`: tell a device what to do, and see what became of it.

Works on the store, whether the gateway runs or not; a running one notices within a second or two. Exit codes:
0 queued, or with --wait done by the device; 1 the device answered otherwise, or not in time; 2 bad input.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from peilmerk_gateway import settings as gateway_settings
from peilmerk_gateway.commands import orders
from peilmerk_gateway.deployments.catalogue import Catalogue
from peilmerk_gateway.registry import Device, Registry
from peilmerk_gateway.settings import Settings
from peilmerk_gateway.store import CommandRow, Store
from peilmerk_gateway.telling import HERE, GatewayOption, JsonOption, told_to_people
from peilmerk_protocol import command as protocol

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="Tell a device what to do. DEVICE is its id, its name in a deployment record, or its label.",
)

DeviceArgument = Annotated[str, typer.Argument(metavar="DEVICE", help="Id, name or label of the device.")]
ValidOption = Annotated[
    int | None,
    typer.Option(
        "--valid",
        metavar="SECONDS",
        min=1,
        help="How long the command is meant; a device that hears it later does nothing.",
    ),
]
WaitOption = Annotated[bool, typer.Option("--wait", "-w", help="Wait until the device has answered.")]

LOOK_EVERY_S = 0.3
# A command that is still not sent after so long most likely has no gateway to send it.
NOT_SENT_S = 5.0

Chooses = Callable[[Settings, Device, Catalogue], tuple[int, object]]


@contextmanager
def _told_to_people() -> Iterator[None]:
    try:
        with told_to_people():
            yield
    except KeyboardInterrupt:
        typer.echo("the command stays in the queue: peilmerk gateway command list", err=True)
        raise typer.Exit(130) from None


def _give(folder: Path, text: str, choose: Chooses, valid_s: int | None, wait: bool, as_json: bool) -> None:
    """Queue what `choose` returns (verb, argument) for a device; print it, or wait for its answer first."""
    with _told_to_people():
        settings = gateway_settings.load(folder)
        with Registry(settings.gateway.registry) as registry:
            catalogue = Catalogue(settings.deployments.directory)
            device = orders.find_device(registry, catalogue, text)
        verb, argument = choose(settings, device, catalogue)
        row = asyncio.run(_queue(settings, device, verb, argument, valid_s))
        if wait:
            row = asyncio.run(_answered(settings, row))
        ok = row.outcome == protocol.DONE if wait else True
        _say(row, ok, as_json)
    raise typer.Exit(0 if ok else 1)


async def _queue(
    settings: Settings, device: Device, verb: int, argument: object, valid_s: int | None
) -> CommandRow:
    clock = settings.make_clock()
    order = orders.order(verb, argument, clock, valid_s)
    async with await Store.look(settings.store_place) as store:
        return await store.queue_command(device.device_id, verb, order.body, order.expiry, clock.now())


async def _answered(settings: Settings, row: CommandRow) -> CommandRow:
    """Return the command once it is answered or will not be any more."""
    clock = settings.make_clock()
    began = time.monotonic()
    console = Console(stderr=True)
    async with await Store.look(settings.store_place) as store:
        with console.status("") as status:
            while row.outcome is None and row.state in ("queued", "sent") and clock.now() <= row.expiry:
                status.update(_progress(row, time.monotonic() - began))
                await asyncio.sleep(LOOK_EVERY_S)
                row = await store.command(row.device_id, row.counter) or row
    return row


def _progress(row: CommandRow, waited_s: float) -> str:
    verb = protocol.VERB_NAMES[row.verb]
    if row.state == "sent":
        times = "once" if row.attempts == 1 else f"{row.attempts} times"
        return f"{verb}: sent {times}, the device has not answered yet ({waited_s:.0f} s)"
    hint = ", is the gateway running?" if waited_s > NOT_SENT_S else ""
    return f"{verb}: queued{hint} ({waited_s:.0f} s)"


def _say(row: CommandRow, ok: bool, as_json: bool) -> None:
    figures = orders.told(row)
    if as_json:
        typer.echo(
            json.dumps(
                {"name": f"gateway command {figures['verb']}", "ok": ok, "figures": figures, "limits": {}}
            )
        )
        return
    became = row.state
    if row.outcome is not None:
        detail = figures.get("reason") or row.detail
        became = f"answered: {figures['outcome']}" + (f" ({detail})" if detail else "")
    typer.echo(f"{figures['verb']} for {row.device_id}: command {row.counter} {became}")


@app.command(
    epilog="Examples: peilmerk gateway command identify fietspad-1 --for 30 --wait    "
    "peilmerk gateway command identify abcdefghij234567"
)
def identify(
    device: DeviceArgument,
    for_s: Annotated[
        int, typer.Option("--for", metavar="SECONDS", min=1, max=3600, help="How long it blinks.")
    ] = 30,
    gateway: GatewayOption = HERE,
    valid: ValidOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Let a device blink, so that somebody in the street sees which one it is."""
    _give(gateway, device, lambda *_: (protocol.IDENTIFY, for_s), valid, wait, as_json)


@app.command(
    epilog="Examples: peilmerk gateway command pause fietspad-1 --until 2026-05-01T08:00    "
    "peilmerk gateway command pause fietspad-1 --wait"
)
def pause(
    device: DeviceArgument,
    until: Annotated[
        str | None,
        typer.Option(metavar="MOMENT", help="When it goes on by itself (ISO 8601). Default: at 'resume'."),
    ] = None,
    gateway: GatewayOption = HERE,
    valid: ValidOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Let a device measure nothing for a while; it goes on sending empty reports that say so."""

    def choose(settings: Settings, *_: Any) -> tuple[int, object]:
        if until is None:
            return protocol.PAUSE, 0
        end = orders.moment(until)
        if end <= settings.make_clock().now():
            raise orders.OrderError(f"--until: found {until!r}, wanted a moment that is to come")
        return protocol.PAUSE, end

    _give(gateway, device, choose, valid, wait, as_json)


@app.command(epilog="Examples: peilmerk gateway command resume fietspad-1 --wait")
def resume(
    device: DeviceArgument,
    gateway: GatewayOption = HERE,
    valid: ValidOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """End the pause that was ordered from here. What its host paused at the device itself stays paused."""
    _give(gateway, device, lambda *_: (protocol.RESUME, None), valid, wait, as_json)


@app.command(epilog="Examples: peilmerk gateway command reboot fietspad-1 --wait")
def reboot(
    device: DeviceArgument,
    gateway: GatewayOption = HERE,
    valid: ValidOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Let a device start anew. What it measured stays; the window at hand is reported as partial."""
    _give(gateway, device, lambda *_: (protocol.REBOOT, None), valid, wait, as_json)


@app.command(name="self-test", epilog="Examples: peilmerk gateway command self-test lucht-1 --wait --json")
def self_test(
    device: DeviceArgument,
    gateway: GatewayOption = HERE,
    valid: ValidOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Let a device test itself; the detail of its answer are its health bits, 0 when all is well."""
    _give(gateway, device, lambda *_: (protocol.SELF_TEST, None), valid, wait, as_json)


@app.command(
    epilog="Examples: peilmerk gateway command profile fietspad-1 --wait    "
    "peilmerk gateway command profile fietspad-1 --revision 7"
)
def profile(
    device: DeviceArgument,
    revision: Annotated[
        int | None,
        typer.Option(min=1, max=255, help="Number of the agreement. Default: the one after what it runs."),
    ] = None,
    gateway: GatewayOption = HERE,
    valid: ValidOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Give a device the profile that its deployment record asks for: quantities, window and noise."""

    def choose(settings: Settings, found: Device, catalogue: Catalogue) -> tuple[int, object]:
        number = revision
        if number is None:
            running = asyncio.run(_revision(settings, found.device_id))
            # Reports carry a revision of one byte; 0 is left to what was never agreed.
            number = 1 if running is None else running % 255 + 1
        return protocol.PROFILE, orders.agreed_profile(catalogue, found, number)

    _give(gateway, device, choose, valid, wait, as_json)


async def _revision(settings: Settings, device_id: str) -> int | None:
    async with await Store.look(settings.store_place) as store:
        stated = await store.stated([device_id])
    return stated[device_id].revision if device_id in stated else None


@app.command(
    epilog="Examples: peilmerk gateway command update fietspad-1 counter-0.4.0.bundle --wait    "
    "peilmerk gateway command update fietspad-1 DIGEST"
)
def update(
    device: DeviceArgument,
    bundle: Annotated[
        str,
        typer.Argument(
            metavar="FILE|DIGEST", help="A signed bundle, or the digest of one that was offered before."
        ),
    ],
    gateway: GatewayOption = HERE,
    valid: ValidOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Offer a device new firmware. It fetches it from this gateway, checks its signature, and tries it."""

    def choose(settings: Settings, found: Device, catalogue: Catalogue) -> tuple[int, object]:
        offered = orders.offered(settings, found, bundle)
        digest = offered.manifest.digest
        mandate = catalogue.mandate(found.device_id)
        if mandate is not None and digest not in mandate.firmware_digests:
            typer.echo(
                f"warning: the deployment record of {mandate.thing} does not name this firmware: its reports "
                f'will be refused (G6) until it does: next_firmware_digest = "{digest.hex()}", and a higher '
                "version",
                err=True,
            )
        return protocol.UPDATE, offered.argument

    _give(gateway, device, choose, valid, wait, as_json)


@app.command(
    epilog="Examples: peilmerk gateway command forget fietspad-1    "
    "peilmerk gateway command forget fietspad-1 --yes --wait"
)
def forget(
    device: DeviceArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether it is meant.")] = False,
    gateway: GatewayOption = HERE,
    valid: ValidOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Let a device erase its keys, settings and all it measured. It has to be enrolled anew after that."""

    def choose(_: Settings, found: Device, __: Catalogue) -> tuple[int, object]:
        if not yes and not typer.confirm(
            f"Erase {found.label!r} ({found.device_id})? Reports it has not sent yet are lost.", err=True
        ):
            raise orders.OrderError("nothing was sent, because it was not confirmed")
        return protocol.FORGET, None

    _give(gateway, device, choose, valid, wait, as_json)


@app.command(
    name="list",
    epilog="Examples: peilmerk gateway command list    peilmerk gateway command list fietspad-1 --json",
)
def list_(
    device: Annotated[
        str | None, typer.Argument(metavar="[DEVICE]", help="Only those of this device.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many, newest first.")] = 50,
    gateway: GatewayOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Show which commands were given, and what became of each."""
    with _told_to_people():
        settings = gateway_settings.load(gateway)
        device_id = None if device is None else _find(settings, device).device_id
        rows = [orders.told(row) for row in asyncio.run(_listed(settings, device_id, limit))]
    if as_json:
        report = {"name": "gateway command list", "ok": True, "figures": {"commands": rows}, "limits": {}}
        typer.echo(json.dumps(report))
        return
    if not rows:
        typer.echo("no commands were given")
        return
    table = Table(box=None)
    for title in ("device", "counter", "command", "state", "outcome", "sent", "given", "until"):
        table.add_column(title, no_wrap=True)
    for row in rows:
        outcome = row["outcome"] or ""
        table.add_row(
            row["device"],
            str(row["counter"]),
            row["verb"],
            row["state"],
            f"{outcome} ({row['detail']})" if row["detail"] else outcome,
            f"{row['attempts']}x",
            row["created"],
            row["expires"],
        )
    # Wide enough for a line a command also where the output goes into a file.
    Console(width=160, soft_wrap=True).print(table)


async def _listed(settings: Settings, device_id: str | None, limit: int) -> list[CommandRow]:
    async with await Store.look(settings.store_place) as store:
        return await store.commands(device_id, limit)


def _find(settings: Settings, text: str) -> Device:
    with Registry(settings.gateway.registry) as registry:
        return orders.find_device(registry, Catalogue(settings.deployments.directory), text)


@app.command(epilog="Examples: peilmerk gateway command withdraw fietspad-1 128")
def withdraw(
    device: DeviceArgument,
    counter: Annotated[int, typer.Argument(min=1, help="Counter of the command, as 'list' shows it.")],
    gateway: GatewayOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Take a command back that is not answered yet. One that was sent may have been carried out."""
    with _told_to_people():
        settings = gateway_settings.load(gateway)
        row = asyncio.run(_withdraw(settings, _find(settings, device).device_id, counter))
        _say(row, True, as_json)
        if row.attempts:
            typer.echo("it was sent before, so the device may have carried it out", err=True)


async def _withdraw(settings: Settings, device_id: str, counter: int) -> CommandRow:
    async with await Store.look(settings.store_place) as store:
        return await store.withdraw_command(device_id, counter, settings.make_clock().now())
