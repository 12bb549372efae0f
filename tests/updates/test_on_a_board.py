"""A signed update from the offer to the acknowledged report, on a virtual board with the real firmware."""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import littlefs
import nats
import pytest
from mqtt_broker import NAME, Broker, der
from patience import DEADLINE_S
from small_firmware import release_key

from peilmerk_bench.board.spec import BLOCK_BYTES, FLASH_BYTES, ROMFS_BYTES, BoardSpec, counter_sensors
from peilmerk_bench.board.virtual_board import VirtualBoard
from peilmerk_bench.world.clock import WorldClock
from peilmerk_bench.world.sntp import SntpServer
from peilmerk_gateway.trust import Trust
from peilmerk_gateway.updates.server import FirmwareServer
from peilmerk_protocol import command, cose, keys, report, statement, topics
from peilmerk_protocol.romfs import MAGIC
from peilmerk_provisioning import kinds
from peilmerk_provisioning import release as releases
from peilmerk_provisioning.bundle import Bundle, build

SPEED = 60
WINDOW_S = 300
DEVICE = "dbcdefghijklmnop"
ROOT_KEY = bytes(range(50, 82))
UP, DOWN = keys.derive(ROOT_KEY, keys.UP), keys.derive(ROOT_KEY, keys.DOWN)
OLD, NEW = (0, 1, 0), (0, 2, 0)


class Faulty:
    """A line to a port that breaks after so many bytes of each answer."""

    def __init__(self, port: int, breaks_after: int) -> None:
        self.there = port
        self.breaks_after = breaks_after
        self.connections = 0

    async def __aenter__(self) -> Faulty:
        self.server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        there, back = await asyncio.open_connection("127.0.0.1", self.there)

        async def forth() -> None:
            while data := await reader.read(4096):
                back.write(data)

        async def home() -> None:
            left = self.breaks_after
            while left > 0 and (data := await there.read(min(4096, left))):
                writer.write(data)
                left -= len(data)
            await writer.drain()
            writer.close()
            back.close()

        with contextlib.suppress(OSError):
            await asyncio.gather(forth(), home())


class Street:
    """World, broker, firmware server and one board with the old firmware in slot a."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.released = folder / "firmware"
        self.released.mkdir()
        self.flash = folder / "flash.img"
        self.messages: list[tuple[str, bytes]] = []
        self.counter = 0

    async def until(self, condition: Callable[[], Any], seconds: float = DEADLINE_S) -> Any:
        deadline = asyncio.get_running_loop().time() + seconds
        while not (found := condition()):
            assert asyncio.get_running_loop().time() < deadline, self.board.console_tail[-4000:]
            await asyncio.sleep(0.05)
        return found

    def opened(self, kind: int) -> list[bytes]:
        name = topics.KIND_NAMES[kind]
        found = dict.fromkeys(data for subject, data in self.messages if subject.endswith(name))
        return [cose.open_sealed(UP, kind, DEVICE, data) for data in found]

    def versions(self) -> list[tuple[int, int, int]]:
        """The firmware of every boot that was told."""
        return [statement.decode(data).firmware_version for data in self.opened(topics.STATEMENT)]

    def reports(self) -> int:
        return len(self.opened(topics.REPORT))

    async def offer(self, made: releases.Release, size: int | None = None) -> command.Ack:
        """Offer a release until it is acknowledged."""
        self.counter += 1
        argument = [bytes.fromhex(made.name), size or made.size, list(made.manifest.version)]
        order = command.Command(self.counter, int(self.clock.now()) + 86400, command.UPDATE, argument)
        sealed = cose.seal(DOWN, topics.COMMAND, DEVICE, command.encode(order))

        def acknowledged() -> command.Ack | None:
            acks = [command.decode_ack(data) for data in self.opened(topics.ACK)]
            return next((ack for ack in acks if ack.counter == self.counter), None)

        deadline = asyncio.get_running_loop().time() + DEADLINE_S
        while (ack := acknowledged()) is None:
            assert asyncio.get_running_loop().time() < deadline, self.board.console_tail[-4000:]
            await self.client.publish(f"peilmerk.1.{DEVICE}.command", sealed)
            await asyncio.sleep(1)
        return ack

    async def alone(self) -> int:
        """Take the power and the broker away, so that no report proves a boot; gives the failed boots."""
        await self.client.close()
        await self.broker.stop()
        await self.board.power_cut()
        return self.on_flash("slots")[2]

    async def boot(self) -> None:
        """Power on; returns when the firmware works."""
        self.board._tail.clear()
        await self.board.power_on()
        await self.board.console_shows("bytes of heap in use")

    async def reconnect(self) -> None:
        """Listen to what boards publish."""

        async def note(message: Any) -> None:
            self.messages.append((message.subject, message.data))

        self.client = await nats.connect(f"nats://gateway:gateway@127.0.0.1:{self.broker.client_port}")
        await self.client.subscribe("peilmerk.>", cb=note)
        await self.client.flush()

    def publish(self, new: Bundle, version: tuple[int, int, int] = NEW) -> releases.Release:
        """Sign a bundle and put it where boards fetch it."""
        made = releases.make(new, version, "counter", ["linux"], release_key())
        releases.write(made, self.released)
        return made

    def mounted(self) -> littlefs.LittleFS:
        files = littlefs.LittleFS(block_size=BLOCK_BYTES, block_count=FLASH_BYTES // BLOCK_BYTES, mount=False)
        files.context.buffer = bytearray(self.flash.read_bytes())
        files.mount()
        return files

    def put(self, changed: dict[str, bytes]) -> None:
        """Write files onto the flash of a board that is off."""
        files = self.mounted()
        write_files(files, changed)
        self.flash.write_bytes(files.context.buffer)

    def on_flash(self, path: str) -> bytes:
        files = self.mounted()
        with files.open(path, "rb") as file:
            return bytes(file.read())


def write_flash(path: Path, files: dict[str, bytes]) -> None:
    made = littlefs.LittleFS(
        block_size=BLOCK_BYTES, block_count=FLASH_BYTES // BLOCK_BYTES, disk_version=0x00020000
    )
    write_files(made, files)
    path.write_bytes(made.context.buffer)


def write_files(made: littlefs.LittleFS, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        if "/" in name:
            made.makedirs(name.rpartition("/")[0], exist_ok=True)
        with made.open(name, "wb") as file:
            file.write(data)


def highest(street: Street) -> tuple[int, ...]:
    """The version in the newer of the two records of what proved itself (node/mark.py)."""
    records = [street.on_flash(f"data/proven.{turn}") for turn in (0, 1)]
    return max(struct.unpack("<IHHHI", record[:14]) for record in records)[1:4]


@pytest.fixture(scope="module")
def old() -> Bundle:
    return build(kind="counter", version=OLD)


@pytest.fixture
async def street(tmp_path: Path, old: Bundle) -> AsyncIterator[Street]:
    it = Street(tmp_path)
    async with contextlib.AsyncExitStack() as stack:
        broker = Broker(tmp_path, DEVICE, "secret")
        await broker.start()
        stack.push_async_callback(broker.stop)
        pem, key = tmp_path / "server.pem", tmp_path / "server.key"
        trust = Trust(pem, key, pem, pem, None)  # type: ignore[arg-type]
        server = FirmwareServer(it.released, "127.0.0.1", 0, trust)
        await server.start()
        stack.push_async_callback(server.stop)
        it.line = await stack.enter_async_context(Faulty(server.port, 60_000))
        now = time.time() // WINDOW_S * WINDOW_S
        it.clock = WorldClock.starting(now - 30, SPEED)
        sntp = SntpServer(it.clock)
        ntp_port = await sntp.start()
        stack.push_async_callback(sntp.stop)
        it.broker = broker
        await it.reconnect()
        stack.push_async_callback(lambda: it.client.close())
        settings = kinds.node_settings("counter")
        settings["profile"]["window_s"] = WINDOW_S
        settings["link"] = {
            "host": "127.0.0.1",
            "port": broker.mqtt_port,
            "server_name": NAME,
            "ntp": [["127.0.0.1", ntp_port]],
            "timeout_s": 600,
            "wifi": [["street", "a password"]],
            "update": {"host": "127.0.0.1", "port": it.line.port, "server_name": NAME},
        }
        identity = {"device_id": DEVICE, "mqtt_password": "secret", "root_key": ROOT_KEY.hex()}
        files = old.placed() | {
            "node.json": json.dumps(settings).encode(),
            "identity.json": json.dumps(identity).encode(),
            "trust.der": der(broker.authority),
            "release.der": releases.public_frame(release_key("next")) + releases.public_frame(release_key()),
        }
        write_flash(it.flash, files)
        spec = BoardSpec(
            "updated",
            "counter",
            it.flash,
            sensors=counter_sensors(),
            entropy_seed=7,
            romfs_bytes=ROMFS_BYTES,
        )
        it.board = VirtualBoard(spec, it.clock, tmp_path)
        await it.board.start()
        stack.push_async_callback(it.board.stop)
        yield it


async def test_from_the_offer_to_the_acknowledged_report(street: Street, old: Bundle) -> None:
    new = build(kind="counter", version=NEW)
    made = street.publish(new)
    await street.until(lambda: OLD in street.versions())
    ack = await street.offer(made)
    assert (ack.outcome, ack.detail) == (command.DONE, 0)
    # The line broke on the way, and the board went on where it was.
    assert street.line.connections == -(-made.size // 59_000)
    await street.board.console_shows("0.2.0 is on trial")
    await street.until(lambda: NEW in street.versions())
    told = [statement.decode(data) for data in street.opened(topics.STATEMENT)]
    assert [one.firmware_digest.hex() for one in told if one.firmware_version == NEW] == [new.digest]
    assert made.manifest.digest.hex() == new.digest
    assert [one.firmware_digest.hex() for one in told if one.firmware_version == OLD] == [old.digest]
    before = street.reports()
    await street.until(lambda: street.reports() >= before + 2)
    # Proven: the next boots run it too, and what is not newer is refused.
    again = await street.offer(made)
    assert (again.outcome, again.detail) == (command.REFUSED, 8)
    older = street.publish(build(kind="counter", version=(0, 1, 9)), (0, 1, 9))
    refused = await street.offer(older)
    assert (refused.outcome, refused.detail) == (command.REFUSED, 8)
    await street.board.power_cut()
    assert street.on_flash("slots")[:2] == b"b\0"
    # It lies in its half of the ROM file system, and in no folder.
    romfs = street.flash.with_name("flash.img.romfs").read_bytes()
    assert romfs[ROMFS_BYTES // 2 :][:3] == MAGIC
    assert romfs[:3] == b"\xff\xff\xff"
    assert "b" not in street.mounted().listdir("/")
    # Kept apart from the firmware: what proved itself here, 0.2.0, which nothing goes below.
    assert highest(street) == (0, 2, 0)
    await street.board.power_on()
    boots = len(street.versions())
    await street.until(lambda: len(street.versions()) > boots)
    assert street.versions()[-1] == NEW


async def test_neither_a_statement_nor_an_old_report_proves_anything(street: Street) -> None:
    """Firmware that comes up, speaks and sends what waited from before, and cannot report itself."""
    files = dict(build(kind="counter", version=NEW, joined=False).files)
    del files["node/release.mpy"]
    files |= {
        "node/release.py": b"def release(*_):\n    raise ValueError('bad')\n\n\nbounded = wipe = release\n"
    }
    await street.until(lambda: OLD in street.versions())
    await street.client.close()
    await street.broker.stop()
    street.board._tail.clear()
    await street.board.console_shows("quantities released")
    await street.board.power_cut()
    inner = {f"b/{path}": data for path, data in files.items() if "/" in path}
    street.put(inner | {"slots": b"a\xf0\0"})
    before = street.reports()
    await street.broker.start()
    await street.reconnect()
    await street.boot()
    await street.until(lambda: NEW in street.versions())
    await street.until(lambda: street.reports() > before)
    good, trial, _ = street.on_flash("slots")
    assert (good, trial) == (ord("a"), 160)


HANGS = b"import time\n\n\ndef main():\n    while True:\n        time.sleep(1)\n"
FAILS = b"def main():\n    raise ValueError('this release is bad')\n"


@pytest.mark.parametrize("bad", [HANGS, FAILS], ids=["hangs", "fails"])
async def test_firmware_that_never_reports_goes_by_itself(street: Street, old: Bundle, bad: bytes) -> None:
    files = {path: data for path, data in old.files.items() if path != "node/app.mpy"}
    files |= {"node/__init__.py": b"VERSION = (0, 2, 0)\n", "node/app.py": bad}
    del files["node/__init__.mpy"]
    made = street.publish(Bundle(dict(sorted(files.items())), old.mpy))
    await street.until(lambda: OLD in street.versions())
    resets = len(street.board.resets)
    ack = await street.offer(made)
    assert (ack.outcome, ack.detail) == (command.DONE, 0)
    # Three boots of the bad one, then the old one is there again and reports.
    await street.until(lambda: len(street.versions()) >= 2, 120)
    assert set(street.versions()) == {OLD}
    assert len(street.board.resets) - resets == 4
    before = street.reports()
    await street.until(lambda: street.reports() > before)
    # Offered anew it is tried anew: the offer is a new decision.
    ack = await street.offer(made)
    assert (ack.outcome, ack.detail) == (command.DONE, 0)


async def test_refusals_have_their_own_numbers_and_stop_nothing(street: Street, old: Bundle) -> None:
    made = street.publish(build(kind="counter", version=NEW))
    await street.until(lambda: OLD in street.versions())
    resets = len(street.board.resets)
    truncated = await street.offer(made, size=made.size + 1)
    assert (truncated.outcome, truncated.detail) == (command.REFUSED, 10)
    file = street.released / made.name
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    altered = await street.offer(made)
    assert (altered.outcome, altered.detail) == (command.REFUSED, 11)
    file.unlink()
    gone = await street.offer(made)
    assert (gone.outcome, gone.detail) == (command.FAILED, 16)
    before = street.reports()
    await street.until(lambda: street.reports() > before)
    assert len(street.board.resets) == resets
    report_again = report.decode(street.opened(topics.REPORT)[-1])
    assert report_again.health & report.HEALTH_SAFE == 0


async def test_failed_boots_lead_to_safe_mode_and_an_update_out_of_it(street: Street) -> None:
    """A supply that gives in while the radio starts, say: nine boots in a row end within seconds."""
    made = street.publish(build(kind="counter", version=NEW))
    failed = await street.alone()
    while failed < 9:
        await street.boot()
        await street.board.power_cut()
        failed += 1
        assert street.on_flash("slots") == bytes((ord("a"), 0, failed))
    await street.broker.start()
    await street.reconnect()
    await street.boot()
    assert "safe mode: too many boots failed" in street.board.console_tail

    def silent() -> list[report.Report]:
        told = [report.decode(data) for data in street.opened(topics.REPORT)]
        return [one for one in told if one.health & report.HEALTH_SAFE]

    # Nothing is measured, and every window says so.
    found = await street.until(lambda: len(silent()) >= 2 and silent())
    assert all(one.values == {} for one in found)
    assert found[1].window == found[0].window + 1
    boots = len(street.versions())
    ack = await street.offer(made)
    assert (ack.outcome, ack.detail) == (command.DONE, 0)
    await street.until(lambda: NEW in street.versions()[boots:])
    before = street.reports()
    await street.until(lambda: street.reports() >= before + 2)
    last = report.decode(street.opened(topics.REPORT)[-1])
    assert last.health & report.HEALTH_SAFE == 0
    assert set(last.values) == {5, 6}
    await street.board.power_cut()
    assert street.on_flash("slots") == b"b\0\0"


async def test_ten_minutes_of_work_forgive_failed_boots(street: Street) -> None:
    failed = await street.alone()
    await street.boot()
    assert street.on_flash("slots") == bytes((ord("a"), 0, failed + 1))
    await street.until(lambda: street.on_flash("slots") == b"a\0\0")
