"""`peilmerk bench board`: one virtual board, run until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from peilmerk_bench.board import BoardError, BoardSpec, SensorSpec, VirtualBoard, air_sensors, counter_sensors
from peilmerk_bench.board.spec import FLASH_BYTES, HEAP_KIB, ROMFS_BYTES, WifiNetwork
from peilmerk_bench.commands.telling import told_to_people
from peilmerk_bench.world.air import Climate, Particles
from peilmerk_bench.world.clock import WorldClock
from peilmerk_bench.world.passages import PassageReplay
from peilmerk_bench.world.sntp import SntpServer
from peilmerk_bench.world.traces import CLIMATE, COUNTS, PARTICLES, TraceError, air_day, counting_day
from peilmerk_gateway.errors import PeilmerkError

KINDS = ("counter", "air", "both", "bare")
MORE = (
    *("pmsx003", "sps30", "sps30_uart", "scd4x", "bme280", "dnms", "sds011", "sht3x"),
    *("pulses", "pulse_pair", "ld2450", "vl53l1x"),
)
"""Sensors that can be added one by one, each with its own world."""

SETUP_S = 60.0
"""A board that is not at its set-up by then never will be."""


def board(
    kind: Annotated[str, typer.Option(help="Sensors on it: counter, air, both or bare (none).")] = "counter",
    flash: Annotated[
        Path | None,
        typer.Option(help="Flash image to use and keep; by default a blank one that is thrown away."),
    ] = None,
    heap: Annotated[
        int, typer.Option(help="MicroPython heap in KiB; objects take twice an ESP32's.")
    ] = HEAP_KIB,
    sensor: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help=f"A sensor more; may be given more than once: {', '.join(MORE)}."),
    ] = None,
    speed: Annotated[
        float, typer.Option(help="How many times faster than life the board's world runs.")
    ] = 1.0,
    world_start: Annotated[
        str | None,
        typer.Option(help="What time it is in the world at the start, ISO 8601; by default the time now."),
    ] = None,
    name: Annotated[str, typer.Option(help="Name; the board's unique id is made of it.")] = "board",
    counts: Annotated[Path, typer.Option(help="Recorded passages to replay.")] = COUNTS,
    particles: Annotated[
        Path, typer.Option(help="Recorded particles to replay (sensor.community SDS011).")
    ] = PARTICLES,
    climate: Annotated[
        Path, typer.Option(help="Recorded climate to replay (sensor.community DHT22).")
    ] = CLIMATE,
    setup: Annotated[
        bool,
        typer.Option(
            "--setup", help="A board with firmware that knows no Wi-Fi yet; print the address of its set-up."
        ),
    ] = False,
    romfs: Annotated[
        bool,
        typer.Option("--romfs", help="A MicroPython with a partition for a ROM file system; stock has none."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON instead of text.")] = False,
) -> None:
    """Start one virtual board, print its port, and run it until Ctrl-C.

    \b
    Examples:
      peilmerk bench board
      mpremote connect /dev/pts/5 repl            (with the port it printed)
      peilmerk bench board --kind air --flash air.img
      peilmerk bench board --kind bare --sensor pmsx003 --sensor scd4x
      peilmerk bench board --setup                (then open the address it printed in a browser)
      peilmerk bench board --speed 60 --world-start 2026-03-02T07:30:00Z --json
    """
    with told_to_people(BoardError, PeilmerkError, TraceError, TimeoutError, ValueError):
        if kind not in KINDS:
            raise BoardError(f"kind is {kind!r}, wanted one of {', '.join(KINDS)}")
        clock = WorldClock.starting(_moment(world_start), speed)
        sensors: tuple[SensorSpec, ...] = ()
        if kind in ("counter", "both"):
            sensors += counter_sensors(PassageReplay(counting_day(counts)))
        if kind in ("air", "both"):
            sensors += air_sensors(
                Particles(air_day(particles, ("P2", "P1"))),
                Climate(air_day(climate, ("temperature", "humidity"))),
            )
        for wanted in sensor or ():
            if wanted not in MORE:
                raise BoardError(f"sensor is {wanted!r}, wanted one of {', '.join(MORE)}")
            sensors += (getattr(SensorSpec, wanted)(),)
        with tempfile.TemporaryDirectory(prefix="peilmerk-board-") as run_dir:
            image = flash or Path(run_dir) / "flash.img"
            size = image.stat().st_size if image.exists() and image.stat().st_size else FLASH_BYTES
            password = ""
            networks: tuple[WifiNetwork, ...] = ()
            if setup:
                if flash is not None or kind not in ("counter", "air"):
                    raise BoardError("--setup makes its own flash, for --kind counter or air")
                # Firmware and keys: only such a board carries them from the start.
                from peilmerk_bench.board.ready_made import NETWORKS, ready_made

                password, networks = ready_made(image, kind), NETWORKS
            spec = BoardSpec(
                name,
                kind,
                image,
                heap_kib=heap,
                sensors=sensors,
                flash_bytes=size,
                romfs_bytes=ROMFS_BYTES if romfs else 0,
                wifi=networks,
            )
            asyncio.run(_run(VirtualBoard(spec, clock, Path(run_dir)), as_json, password))


def _moment(text: str | None) -> float:
    """Seconds since 1970; a moment without a zone is UTC."""
    if text is None:
        return datetime.now(UTC).timestamp()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BoardError(f"world start is {text!r}, wanted ISO 8601 such as 2026-03-02T07:30:00Z") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


async def _run(board: VirtualBoard, as_json: bool, password: str = "") -> None:
    """Run a board until told to end. `password`: of its set-up, whose address is then printed too."""
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, over.set)
    time_server = SntpServer(board.clock)
    try:
        await board.start()
        ntp_port = await time_server.start()
        told = {
            "name": board.spec.name,
            "kind": board.spec.kind,
            "port": board.port,
            "flash": str(board.spec.flash),
            "unique_id": board.unique_id.hex(),
            "ntp_port": ntp_port,
            "clock": json.loads(board.clock.to_json()),
        }
        if password:
            await board.console_shows("portal: set-up is open", SETUP_S)
            told |= {
                "setup": board.http_url,
                "setup_password": password,
                "wifi": [[network.ssid, network.password] for network in board.spec.wifi],
            }
        if as_json:
            print(json.dumps(told), flush=True)
        else:
            print(f"port {board.port}", flush=True)
            print(
                f"{board.spec.kind} board {board.spec.name!r} at {board.clock.speed:g} times speed; "
                f"world time by SNTP on 127.0.0.1 port {ntp_port}; Ctrl-C ends it",
                file=sys.stderr,
            )
            if password:
                print(f"set-up at {board.http_url}", flush=True)
                print(f"password on its label: {password}")
                for network in board.spec.wifi:
                    print(f"Wi-Fi within reach: {network.ssid}, password {network.password}", flush=True)
        await over.wait()
    finally:
        with contextlib.suppress(BoardError):
            await board.stop()
        await time_server.stop()
