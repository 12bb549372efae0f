"""A battery node: sleeps between samples and loses nothing by it."""

import asyncio
import json

import nats
import pytest_asyncio
from mqtt_broker import NAME, Broker, der
from test_node_on_board import write_flash

from peilmerk_bench.board.spec import BoardSpec, WifiNetwork, air_sensors
from peilmerk_bench.board.virtual_board import VirtualBoard
from peilmerk_bench.world.clock import SkippingClock
from peilmerk_bench.world.sntp import SntpServer
from peilmerk_protocol import cose, keys, report, statement
from peilmerk_provisioning import bundle, kinds

# Ten minutes before a border, in the morning of a day.
START = 1_893_456_000 + 8 * 3600 - 600
DEVICE = "gbcdefghijklmnop"
ROOT_KEY = bytes(range(70, 102))
UP = keys.derive(ROOT_KEY, keys.UP)
DOWN = keys.derive(ROOT_KEY, keys.DOWN)


class Meadow:
    """A battery air node, its broker and its time server, in a world that skips its sleep."""

    def __init__(self, folder, broker, clock, ntp_port, client):
        self.clock = clock
        self.client = client
        self.messages = []
        link = {
            "host": "127.0.0.1",
            "port": broker.mqtt_port,
            "server_name": NAME,
            "ntp": [["127.0.0.1", ntp_port]],
            "timeout_s": 30,
            "wifi": [["meadow", "a password"]],
        }
        settings = kinds.node_settings("air")
        settings["power"] = {"mode": "battery", "every_s": 300}
        files = bundle.build().placed()
        files["node.json"] = json.dumps({**settings, "link": link}).encode()
        files["identity.json"] = json.dumps(
            {"device_id": DEVICE, "mqtt_password": "secret", "root_key": ROOT_KEY.hex()}
        ).encode()
        files["trust.der"] = der(broker.authority)
        flash = folder / "flash.img"
        write_flash(flash, files)
        spec = BoardSpec(
            "battery", "air", flash, sensors=air_sensors(), wifi=(WifiNetwork("meadow", "a password"),)
        )
        self.board = VirtualBoard(spec, clock, folder)

    def opened(self, kind, name):
        found = dict.fromkeys(data for subject, data in self.messages if subject.endswith(name))
        return [cose.open_sealed(UP, kind, DEVICE, data) for data in found]

    def reports(self):
        return [report.decode(body) for body in self.opened(1, "report")]

    async def until(self, condition, seconds=120):
        deadline = asyncio.get_running_loop().time() + seconds
        while not condition():
            assert asyncio.get_running_loop().time() < deadline, self.board.console_tail[-4000:]
            await asyncio.sleep(0.05)


@pytest_asyncio.fixture
async def meadow(tmp_path):
    broker = Broker(tmp_path, DEVICE, "secret")
    await broker.start()
    clock = SkippingClock.starting(START, 30)
    time_server = SntpServer(clock)
    port = await time_server.start()
    client = await nats.connect(f"nats://gateway:gateway@127.0.0.1:{broker.client_port}")
    place = Meadow(tmp_path, broker, clock, port, client)

    async def note(message):
        place.messages.append((message.subject, message.data))

    await client.subscribe("peilmerk.>", cb=note)
    await client.flush()
    try:
        await place.board.start()
        yield place
    finally:
        await place.board.stop()
        await client.close()
        await time_server.stop()
        await broker.stop()


async def test_it_sleeps_and_every_window_has_its_samples_and_its_report(meadow):
    await meadow.until(lambda: len(meadow.reports()) >= 3)
    board = meadow.board
    reports = meadow.reports()
    windows = [r.window for r in reports]
    assert windows == list(range(windows[0], windows[0] + len(windows)))
    assert reports[0].health == report.HEALTH_PARTIAL | report.HEALTH_REBOOT
    for r in reports[1:]:
        assert r.health == 0, board.console_tail
        assert r.values[4] == (3,)
        seen = [s for s in board.served if s.good and "pm10" in s.values and int(s.at) // 900 == r.window]
        # Evenly in the window, half a step away from its borders, after 15 s of warming up.
        assert [round((s.at % 900 - 150) / 300) for s in seen] == [0, 1, 2]
        mean = sum(s.values["pm10"] for s in seen) / 3
        assert abs(r.values[1][0] / 10 - mean) < 0.11
    said = [statement.decode(body) for body in meadow.opened(2, "statement")]
    assert [s.boot_count for s in said] == [1]
    assert board.wakes >= 8
    # Awake for a small part of the time only, and on the air once a window.
    began, slept_from = board.lives[0]
    awake_s = board.awake_s - (slept_from - began)
    print(f"awake {awake_s:.1f} of {meadow.clock.now() - slept_from:.0f} s, {board.wakes} wakes")
    assert 0 < awake_s < 0.25 * (meadow.clock.now() - slept_from)
    assert len(board.joins) <= len(reports) + 2
