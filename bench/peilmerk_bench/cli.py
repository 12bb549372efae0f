"""`peilmerk bench`: virtual boards and measurements from the command line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from peilmerk_bench.board import BoardError, BoardSpec, SensorSpec, VirtualBoard, air_sensors, counter_sensors
from peilmerk_bench.board.ready_made import NETWORKS, ready_made
from peilmerk_bench.board.spec import FLASH_BYTES, HEAP_KIB, ROMFS_BYTES, WifiNetwork
from peilmerk_bench.world.air import Climate, Particles
from peilmerk_bench.world.clock import WorldClock
from peilmerk_bench.world.passages import PassageReplay
from peilmerk_bench.world.sntp import SntpServer
from peilmerk_bench.world.traces import CLIMATE, COUNTS, PARTICLES, TraceError, air_day, counting_day
from peilmerk_gateway.errors import PeilmerkError

app = typer.Typer(
    name="bench",
    help="Virtual boards and measurements, without hardware.",
    no_args_is_help=True,
    add_completion=False,
)

KINDS = ("counter", "air", "both", "bare")
MORE = (
    *("pmsx003", "sps30", "sps30_uart", "scd4x", "bme280", "dnms", "sds011", "sht3x"),
    *("pulses", "pulse_pair", "ld2450", "vl53l1x"),
)
"""Sensors that can be added one by one, each with its own world."""

BAD_INPUT = 2
SETUP_S = 60.0
"""A board that is not at its set-up by then never will be."""


@app.command()
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
    try:
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
    except (BoardError, PeilmerkError, TraceError, TimeoutError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(BAD_INPUT) from None


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


@app.command(name="test")
def unit_test(
    board: Annotated[
        str, typer.Option(metavar="virtual|PORT", help="A virtual board, or the serial port of a real one.")
    ] = "virtual",
    kind: Annotated[
        str, typer.Option(help="Whose firmware the virtual board carries: counter or air.")
    ] = "counter",
    only: Annotated[str, typer.Option(metavar="CASE", help="Only the cases with this in their name.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Run the firmware's unit tests on a board, on the firmware that is there.

    The board keeps nothing of it and starts again afterwards. Exit code 1 when a test failed, 2 when the
    board could not be tested.

    \b
    Examples:
      peilmerk bench test
      peilmerk bench test --board /dev/ttyUSB0
      peilmerk bench test --kind air --only wire --json
    """
    from peilmerk_bench.unit.runner import cases, run_on, run_on_virtual
    from peilmerk_provisioning.errors import PeilmerkError

    def told(row: dict[str, object]) -> None:
        if not as_json:
            why = f": {row['why']}" if "why" in row else ""
            print(
                f"{row['outcome']:8} {str(row['case']).removeprefix('case_')}: {row['test']}{why}", flush=True
            )

    try:
        if kind not in ("counter", "air"):
            raise BoardError(f"kind is {kind!r}, wanted counter or air")
        chosen = cases(only)
        on = run_on_virtual(kind, chosen, told) if board == "virtual" else run_on(board, chosen, told)
        outcome = asyncio.run(on)
    except (BoardError, PeilmerkError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(BAD_INPUT) from None
    if as_json:
        print(json.dumps(outcome.report()))
    else:
        done = outcome.report()["figures"]
        print(
            f"{done['passed']} passed, {done['failed']} failed, {done['skipped']} skipped on {outcome.board}"
        )
    raise typer.Exit(0 if outcome.ok else 1)


@app.command()
def faults(
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="FAULT", help="Only this fault; may be repeated.")
    ] = None,
    speed: Annotated[float, typer.Option(help="How many times faster than life the street runs.")] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Make everything go wrong in a street, one fault after the other, and say what each has cost.

    For each fault: what was lost, what was doubled, and how long recovery took.

    Takes about half a minute a fault. Exit code 1 when something was lost, doubled or did not recover.

    \b
    Examples:
      peilmerk bench faults
      peilmerk bench faults --only wifi-gone --only half-open
      peilmerk bench faults --json
    """
    from peilmerk_bench.faults.campaign import run
    from peilmerk_gateway.errors import PeilmerkError

    try:
        raise typer.Exit(
            run(only or [], speed, as_json, lambda words: print(words, file=sys.stderr, flush=True))
        )
    except (BoardError, PeilmerkError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(BAD_INPUT) from None


@app.command()
def chaos(
    kills: Annotated[int, typer.Option(min=1, help="How many SIGKILLs, in turn.")] = 100,
    seed: Annotated[int, typer.Option(help="Makes the same moments again.")] = 1,
    boards: Annotated[int, typer.Option(min=1, max=200, help="Boards in software.")] = 12,
    rate: Annotated[float, typer.Option(min=0.1, help="Reports a second of each board.")] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Kill gateway, broker and publisher in turn at random moments under load; compare what was promised.

    Real MQTT over TLS, a real broker, store and SensorThings platform. Whatever a board was acknowledged must
    be stored, paid for once, and on the platform once. About eight seconds a kill. Exit code 1 when anything
    was lost, doubled or paid twice.

    \b
    Examples:
      peilmerk bench chaos
      peilmerk bench chaos --kills 12 --seed 7
      peilmerk bench chaos --kills 100 --json
    """
    from peilmerk_bench.chaos.campaign import Chaos
    from peilmerk_gateway.errors import PeilmerkError

    def told(words: str) -> None:
        print(words, file=sys.stderr, flush=True)

    try:
        with tempfile.TemporaryDirectory(prefix="peilmerk-chaos-") as folder:
            report = asyncio.run(Chaos(Path(folder), kills, seed, boards, rate, told).run())
    except PeilmerkError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(BAD_INPUT) from None
    if as_json:
        print(json.dumps(report))
    else:
        for name, value in report["figures"].items():
            print(f"{name.replace('_', ' '):28} {value}")
        print("ok" if report["ok"] else "NOT ok")
    raise typer.Exit(0 if report["ok"] else 1)


@app.command()
def scale(
    kills: Annotated[int, typer.Option(min=0, help="How many kills, in turn; 0 for none.")] = 30,
    seed: Annotated[int, typer.Option(help="Makes the same moments again.")] = 1,
    boards: Annotated[int, typer.Option(min=1, max=200, help="Boards in software.")] = 12,
    rate: Annotated[float, typer.Option(min=0.1, help="Reports a second of each board.")] = 5.0,
    reports: Annotated[int, typer.Option(min=0, help="Reports to drain each time; 0 for none.")] = 40_000,
    workers: Annotated[str, typer.Option(help="How many processes drain them, by turns.")] = "1,2,4",
    own_broker: Annotated[
        bool,
        typer.Option("--own-broker", help="Kill beside the gateway's own broker instead of three servers."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Several processes, three NATS servers and PostgreSQL: what they take, and what they lose when killed.

    First a full stream is drained by one, two and four processes, and on an SQLite file. Then a worker, the
    NATS server that leads, the connections to PostgreSQL, PostgreSQL itself, any NATS server and the gateway
    are killed in turn under load; with --own-broker a worker, the broker, a worker that holds messages, the
    connections, PostgreSQL and the gateway. Exit code 1 when anything was lost, doubled or paid twice.

    \b
    Examples:
      peilmerk bench scale
      peilmerk bench scale --kills 6 --reports 0 --json
      peilmerk bench scale --kills 6 --reports 0 --own-broker
      peilmerk bench scale --kills 0 --workers 1,2
    """
    from peilmerk_bench.scale.run import run
    from peilmerk_gateway.errors import PeilmerkError

    def told(words: str) -> None:
        print(words, file=sys.stderr, flush=True)

    try:
        counts = tuple(dict.fromkeys(int(word) for word in workers.split(",")))
        if not counts or min(counts) < 1:
            raise ValueError
    except ValueError:
        print(f"error: --workers: found {workers!r}, wanted numbers such as 1,2,4", file=sys.stderr)
        raise typer.Exit(BAD_INPUT) from None
    try:
        report = asyncio.run(run(kills, seed, boards, rate, reports, counts, told, own_broker=own_broker))
    except PeilmerkError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(BAD_INPUT) from None
    if as_json:
        print(json.dumps(report))
    else:
        for name, value in report["figures"].items():
            for inner, figure in value.items() if isinstance(value, dict) else [("", value)]:
                print(f"{name.replace('_', ' ')} {inner.replace('_', ' '):28} {figure}")
        print("ok" if report["ok"] else "NOT ok")
    raise typer.Exit(0 if report["ok"] else 1)


@app.command()
def power(
    hours: Annotated[float, typer.Option(min=0.25, help="Hours of the world to count over.")] = 2.0,
    every: Annotated[int, typer.Option(min=30, max=3600, help="Seconds between two samples.")] = 300,
    send: Annotated[int, typer.Option(min=900, max=86400, help="Seconds between two sendings.")] = 900,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Count how long an air node on batteries is awake in a day, and what it does with that time.

    Sleep is skipped, what is awake runs at the speed of life: two hours take about a minute and a half, a
    whole day a quarter of an hour. Milliampere hours are calculated from data sheets, not measured.

    \b
    Examples:
      peilmerk bench power
      peilmerk bench power --hours 24 --send 3600 --json
    """
    from peilmerk_bench.measure.power import run
    from peilmerk_gateway.errors import PeilmerkError

    try:
        raise typer.Exit(run(hours, every, send, as_json))
    except (BoardError, PeilmerkError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(BAD_INPUT) from None


@app.command()
def device(
    windows: Annotated[int, typer.Option(min=1, help="Windows to run for the peak of the heap.")] = 12,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure what the firmware costs a board: bytes of flash and heap, and instructions.

    Under a 32-bit MicroPython that counts instructions, so the figures are the same on every machine. Exit
    code 1 when a limit is exceeded, 2 when the measurement could not be made.

    \b
    Examples:
      peilmerk bench device
      peilmerk bench device --windows 96 --json
    """
    from peilmerk_bench.measure.device import run
    from peilmerk_bench.measure.wasm32 import WasmError
    from peilmerk_provisioning.errors import PeilmerkError

    try:
        raise typer.Exit(run(as_json, windows))
    except (WasmError, PeilmerkError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(BAD_INPUT) from None


@app.command()
def flash(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Measure what the outbox costs a board's flash: days it holds, writes a day, years until it is worn.

    Exit code 1 beyond a limit, 2 when the measurement could not be made.

    \b
    Examples:
      peilmerk bench flash
      peilmerk bench flash --json
    """
    from peilmerk_bench.measure.flash import FlashError, run

    try:
        raise typer.Exit(run(as_json))
    except FlashError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(BAD_INPUT) from None


@app.command()
def wire(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Measure the size of sealed reports beside other formats with the same content.

    Exit code 1 when a limit is exceeded.

    \b
    Examples:
      peilmerk bench wire
      peilmerk bench wire --json
    """
    from peilmerk_bench.measure.wire import run

    raise typer.Exit(run(as_json))


@app.command()
def gateway(
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only", metavar="PART", help="Only this part; may be repeated: drain, latency, curve."
        ),
    ] = None,
    reports: Annotated[int, typer.Option(min=100, help="Reports in the full stream.")] = 50_000,
    devices: Annotated[int, typer.Option(min=1, max=10_000, help="Boards that send them.")] = 1_000,
    rate: Annotated[int, typer.Option(min=1, help="Reports a second of the steady load.")] = 1_000,
    seconds: Annotated[float, typer.Option(min=1, help="How long the steady load lasts.")] = 20.0,
    registry: Annotated[
        int, typer.Option(min=0, help="Devices in the registry at the curve's end.")
    ] = 100_000,
    observations: Annotated[
        int, typer.Option(min=0, help="Observations in the store at the curve's end.")
    ] = 2_000_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure the gateway: drained reports a second beside the bare cost, latency, memory, and what a report
    costs as registry and store grow.

    Takes about three minutes and 2 GB of disk for a while; 50 million observations take hours and 30 GB.
    Exit code 1 when a limit is exceeded, 2 when the measurement could not be made.

    \b
    Examples:
      peilmerk bench gateway
      peilmerk bench gateway --only drain --reports 200000 --json
      peilmerk bench gateway --only curve --observations 50000000
    """
    from peilmerk_bench.measure.gateway import PARTS, Sizes, run

    for part in only or ():
        if part not in PARTS:
            print(f"error: part is {part!r}, wanted one of {', '.join(PARTS)}", file=sys.stderr)
            raise typer.Exit(BAD_INPUT)
    sizes = Sizes(reports, devices, rate, seconds, registry, observations)
    with _progress() as told:
        try:
            code = run(only or PARTS, sizes, as_json, told)
        except (PeilmerkError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            raise typer.Exit(BAD_INPUT) from None
    raise typer.Exit(code)


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Lend what tells how far a measurement is: on a terminal in one line, elsewhere not at all."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("") as status:
        yield status.update


if __name__ == "__main__":
    app()
