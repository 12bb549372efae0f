"""How long a battery air node is awake: counted on a virtual board, and what that costs by stated currents.

The board's firmware runs at the speed of life while it is awake, against a real broker over TLS; its sleep is
skipped. What is counted: seconds awake (start of the interpreter and this computer's arithmetic included, an
ESP32 computes slower), seconds with the radio on, wakes, joins and bytes on the line. What is not measured
but multiplied out is the charge: `CURRENTS` times those seconds, each current with its source.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from littlefs import LittleFS

from peilmerk_bench.board import BoardSpec, VirtualBoard, air_sensors
from peilmerk_bench.board.spec import BLOCK_BYTES, FLASH_BYTES, BoardError, WifiNetwork
from peilmerk_bench.world.clock import SkippingClock
from peilmerk_bench.world.sntp import SntpServer
from peilmerk_gateway import broker, trust
from peilmerk_gateway.free_port import free_port
from peilmerk_protocol import device_ids
from peilmerk_provisioning import bundle, kinds

DAY_S = 86_400
START = 1_893_456_000 + 8 * 3600 - 600
"""2030, the first of January, ten to eight UTC."""

PATIENCE_S = 120.0
"""Host seconds within which a board must have gone on to its next sleep."""

CURRENTS = {
    "deep_sleep": (0.010, "ESP32 Series Datasheet, RTC timer and RTC memory"),
    "light_sleep": (0.8, "ESP-WROOM-32 User's Manual, table 5"),
    "awake": (40.0, "ESP32 Series Datasheet, modem sleep at 240 MHz: 30 to 68 mA"),
    "radio": (100.0, "ESP32 Series Datasheet: receiving 95 to 100 mA; 240 mA in the moments of sending"),
    "sds011_at_work": (70.0, "SDS011 specification V1.3: 70 mA +- 10 mA at 5 V"),
    "sds011_asleep": (4.0, "SDS011 specification V1.3: below 4 mA at 5 V; none where a pin cuts its supply"),
}
"""Milliampere and where the figure comes from."""

DEVICE = device_ids.new_device_id(b"peilmerk  ")

ELSEWHERE = {"wake_to_sleep_ms": 774, "charge_mC": 109}
"""One report by MQTT with a fixed address, measured on hardware by others."""


class Line:
    """A TCP line to a port of this machine that counts what passes."""

    def __init__(self, port: int) -> None:
        self.bytes_up = self.bytes_down = 0
        self._port = port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, there = await asyncio.open_connection("127.0.0.1", self._port)

        async def carry(source: asyncio.StreamReader, target: asyncio.StreamWriter, up: bool) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(65_536):
                    if up:
                        self.bytes_up += len(data)
                    else:
                        self.bytes_down += len(data)
                    target.write(data)
            target.close()

        for task in (carry(reader, there, True), carry(back, writer, False)):
            running = asyncio.create_task(task)
            self._tasks.add(running)
            running.add_done_callback(self._tasks.discard)


async def measure(hours: float, every_s: int, send_s: int) -> dict[str, Any]:
    """Run a battery air node for so many hours of the world, from its first sleep on."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with _uplink(folder) as (line, port, authority):
            clock = SkippingClock.starting(START)
            time_server = SntpServer(clock)
            ntp_port = await time_server.start()
            _flash(folder, port, ntp_port, authority, every_s, send_s)
            network = WifiNetwork("meadow", "a password")
            spec = BoardSpec("battery", "air", folder / "flash.img", sensors=air_sensors(), wifi=(network,))
            board = VirtualBoard(spec, clock, folder)
            try:
                await board.start()
                await _lived(board, clock, lambda: board.wakes >= 1)
                up, down = line.bytes_up, line.bytes_down
                began = board.lives[0][1]
                until = began + hours * 3600
                await _lived(board, clock, lambda: clock.now() >= until)
                counted = _count(board, began)
                counted["bytes_up"] = line.bytes_up - up
                counted["bytes_down"] = line.bytes_down - down
            finally:
                await board.stop()
                await time_server.stop()
    return _told(counted, every_s, send_s)


def _count(board: VirtualBoard, began: float) -> dict[str, float]:
    """Whole lives only, from the first wake to the end of the last sleep that is over."""
    lives = [life for life in board.lives if life[0] >= began and life[1] < float("inf")]
    end = lives[-1][1]
    joins = [moment for moment in board.joins if began <= moment <= end]
    radio = 0.0
    for moment in joins:
        radio += next(until for since, until in lives if since <= moment <= until) - moment
    naps = sum(seconds for moment, seconds in board.naps if began <= moment <= end)
    samples = [served for served in board.served if served.good and "pm10" in served.values]
    return {
        "seconds": end - began,
        "awake_s": sum(until - since for since, until in lives) - naps,
        "light_sleep_s": naps,
        "radio_s": radio,
        "wakes": len(lives),
        "joins": len(joins),
        "samples": len([served for served in samples if began <= served.at <= end]),
    }


def _told(counted: dict[str, float], every_s: int, send_s: int) -> dict[str, Any]:
    days = counted["seconds"] / DAY_S
    a_day = {name: round(value / days, 1) for name, value in counted.items() if name != "seconds"}
    asleep = DAY_S - a_day["awake_s"] - a_day["light_sleep_s"]
    # The particle sensor works while it warms up, which is when the chip sleeps lightly, and a little longer.
    at_work = a_day["light_sleep_s"]
    seconds = {
        "deep_sleep": asleep,
        "light_sleep": a_day["light_sleep_s"],
        "awake": a_day["awake_s"] - a_day["radio_s"],
        "radio": a_day["radio_s"],
        "sds011_at_work": at_work,
        "sds011_asleep": DAY_S - at_work,
    }
    charge = {name: round(seconds[name] * CURRENTS[name][0] / 3600, 2) for name in CURRENTS}
    board_mah = sum(charge[name] for name in ("deep_sleep", "light_sleep", "awake", "radio"))
    return {
        "node": {"kind": "air", "every_s": every_s, "send_s": send_s},
        "measured": {"hours": round(counted["seconds"] / 3600, 2), "a_day": a_day},
        "calculated_mAh_a_day": {
            "board": round(board_mah, 1),
            "sds011": round(charge["sds011_at_work"] + charge["sds011_asleep"], 1),
            "sds011_with_its_supply_cut": charge["sds011_at_work"],
            "parts": charge,
        },
        "currents_mA": {name: {"mA": value, "source": source} for name, (value, source) in CURRENTS.items()},
        "measured_elsewhere_per_report": ELSEWHERE,
    }


async def _lived(board: VirtualBoard, clock: SkippingClock, condition: Any) -> None:
    loop = asyncio.get_running_loop()
    lives, since = 0, loop.time()
    while not condition():
        if len(board.lives) != lives:
            lives, since = len(board.lives), loop.time()
        if loop.time() - since > PATIENCE_S or not board.powered:
            raise BoardError(f"the board does not go to sleep; it wrote {board.console_tail[-2000:]!r}")
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def _uplink(folder: Path) -> AsyncIterator[tuple[Line, int, bytes]]:
    """A broker for one device, behind a line that counts: the line, its port, and the authority (DER)."""
    authority, _ = trust.ensure_authority(folder / "trust")
    certificate, key = trust.ensure_server_certificate(folder / "trust", ["broker.bench"])
    door = free_port()
    (folder / "nats.conf").write_text(
        f"""
        server_name: bench
        host: 127.0.0.1
        port: {free_port()}
        jetstream {{ store_dir: "{folder}/store" }}
        mqtt {{ host: 127.0.0.1, port: {door}, tls {{ cert_file: "{certificate}", key_file: "{key}" }} }}
        authorization {{ users: [ {{ user: "{DEVICE}", password: "secret" }} ] }}
        """
    )
    process = await asyncio.create_subprocess_exec(
        str(broker.program_path()),
        *("-c", str(folder / "nats.conf")),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    line = Line(door)
    try:
        deadline = asyncio.get_running_loop().time() + 30
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", door)
                writer.close()
                break
            except OSError:
                if process.returncode is not None or asyncio.get_running_loop().time() > deadline:
                    raise BoardError("the broker of the bench does not start") from None
                await asyncio.sleep(0.05)
        yield (
            line,
            await line.start(),
            x509.load_pem_x509_certificate(authority.read_bytes()).public_bytes(Encoding.DER),
        )
    finally:
        await line.stop()
        process.kill()
        await process.wait()


def _flash(folder: Path, port: int, ntp_port: int, authority: bytes, every_s: int, send_s: int) -> None:
    settings = kinds.node_settings("air")
    settings["power"] = {"mode": "battery", "every_s": every_s, "send_s": send_s, "reachable_s": 0}
    settings["link"] = {
        "host": "127.0.0.1",
        "port": port,
        "server_name": "broker.bench",
        "ntp": [["127.0.0.1", ntp_port]],
        "wifi": [["meadow", "a password"]],
    }
    identity = {"device_id": DEVICE, "mqtt_password": "secret", "root_key": bytes(range(32)).hex()}
    files = dict(bundle.build().placed())
    files["node.json"] = json.dumps(settings).encode()
    files["identity.json"] = json.dumps(identity).encode()
    files["trust.der"] = authority
    fs = LittleFS(block_size=BLOCK_BYTES, block_count=FLASH_BYTES // BLOCK_BYTES, disk_version=0x00020000)
    for name, data in files.items():
        if "/" in name:
            fs.makedirs(name.rpartition("/")[0], exist_ok=True)
        with fs.open(name, "wb") as file:
            file.write(data)
    (folder / "flash.img").write_bytes(fs.context.buffer)


def run(hours: float, every_s: int, send_s: int, as_json: bool) -> int:
    """Measure and print; returns the exit code."""
    told = asyncio.run(measure(hours, every_s, send_s))
    if as_json:
        # A figure to know, not one to hold: how long the sensors warm up decides most of it.
        print(json.dumps({"name": "power", "ok": True, "figures": told, "limits": {}}))
        return 0
    a_day = told["measured"]["a_day"]
    charge = told["calculated_mAh_a_day"]
    print(f"An air node on batteries: a sample every {every_s} s, sent every {send_s} s.")
    print(f"Counted over {told['measured']['hours']} hours of the world, for a day:")
    for name, value in a_day.items():
        print(f"  {name:14} {value:10.1f}")
    print("Calculated from data sheets, not measured, for a day:")
    print(f"  board          {charge['board']:10.1f} mAh at 3.3 V")
    print(f"  SDS011         {charge['sds011']:10.1f} mAh at 5 V, or with its supply cut between samples")
    print(f"                 {charge['sds011_with_its_supply_cut']:10.1f} mAh")
    print(f"Others measured {ELSEWHERE['wake_to_sleep_ms']} ms and {ELSEWHERE['charge_mC']} mC a report.")
    return 0
