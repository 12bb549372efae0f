"""A battery node: sleeps between samples and loses nothing by it."""

import asyncio
import json

import nats
import pytest
import pytest_asyncio
from mqtt_broker import NAME, Broker, der
from patience import DEADLINE_S
from test_node_on_board import write_flash

from peilmerk_bench.board.chip import DEEPSLEEP_RESET
from peilmerk_bench.board.spec import BoardSpec, WifiNetwork, air_sensors
from peilmerk_bench.board.virtual_board import VirtualBoard
from peilmerk_bench.measure import power as bench_power
from peilmerk_bench.world.clock import SkippingClock
from peilmerk_bench.world.sntp import SntpServer
from peilmerk_protocol import command, cose, keys, profile, report, statement
from peilmerk_provisioning import bundle, kinds

# Ten minutes before a border, in the morning of a day.
START = 1_893_456_000 + 8 * 3600 - 600
DEVICE = "gbcdefghijklmnop"
# What node.uplink.link.slot_s gives this device.
SLOT_S = 18
YEARS = 10 * 365 * 86400
ROOT_KEY = bytes(range(70, 102))
UP = keys.derive(ROOT_KEY, keys.UP)
DOWN = keys.derive(ROOT_KEY, keys.DOWN)


class Meadow:
    """A battery air node, its broker and its time server, in a world that skips its sleep."""

    def __init__(self, folder, broker, clock, ntp_port, client, drift):
        self.clock = clock
        self.client = client
        self.messages = []
        self.arrivals = {}
        self.orders = []
        link = {
            "host": "127.0.0.1",
            "port": broker.mqtt_port,
            "server_name": NAME,
            "ntp": [["127.0.0.1", ntp_port]],
            "timeout_s": 30,
            "wifi": [["meadow", "a password"]],
        }
        settings = kinds.node_settings("air")
        settings["power"] = {"mode": "battery", "every_s": 300, "reachable_s": 5}
        files = bundle.build(kind="air").placed()
        files["node.json"] = json.dumps({**settings, "link": link}).encode()
        files["identity.json"] = json.dumps(
            {"device_id": DEVICE, "mqtt_password": "secret", "root_key": ROOT_KEY.hex()}
        ).encode()
        files["trust.der"] = der(broker.authority)
        flash = folder / "flash.img"
        write_flash(flash, files)
        wifi = (WifiNetwork("meadow", "a password"),)
        spec = BoardSpec("battery", "air", flash, sensors=air_sensors(), wifi=wifi, rtc_drift=drift)
        self.board = VirtualBoard(spec, clock, folder)

    def opened(self, kind, name):
        found = dict.fromkeys(data for subject, data in self.messages if subject.endswith(name))
        return [cose.open_sealed(UP, kind, DEVICE, data) for data in found]

    def reports(self):
        return [report.decode(body) for body in self.opened(1, "report")]

    async def order(self, counter, verb, argument=None):
        body = command.encode(command.Command(counter, 4_000_000_000, verb, argument))
        await self.client.publish(f"peilmerk.1.{DEVICE}.command", cose.seal(DOWN, 4, DEVICE, body))

    def reported_at(self, window):
        """When the first report of `window` arrived, in seconds after the window's end."""
        for data, moment in self.arrivals.items():
            try:
                found = report.decode(cose.open_sealed(UP, 1, DEVICE, data))
            except cose.SealError:
                continue  # a statement
            if found.window == window:
                return moment - (window + 1) * 900
        raise KeyError(window)

    def acks(self):
        return [command.decode_ack(body).fields() for body in dict.fromkeys(self.opened(3, "ack"))]

    async def until(self, condition, seconds=DEADLINE_S):
        deadline = asyncio.get_running_loop().time() + seconds
        while not condition():
            assert asyncio.get_running_loop().time() < deadline, self.board.console_tail[-4000:]
            await asyncio.sleep(0.05)


@pytest_asyncio.fixture
async def meadow(tmp_path, request):
    broker = Broker(tmp_path, DEVICE, "secret")
    await broker.start()
    clock = SkippingClock.starting(START)
    time_server = SntpServer(clock)
    port = await time_server.start()
    client = await nats.connect(f"nats://gateway:gateway@127.0.0.1:{broker.client_port}")
    drift = getattr(request, "param", 0.0)
    place = Meadow(tmp_path, broker, clock, port, client, drift)
    # Where clocks run well the servers are ten years ahead at first, and the gateway tells the time; in the
    # other places it keeps silent.
    time_server.offset_s = 0 if drift else YEARS

    async def note(message):
        place.messages.append((message.subject, message.data))
        place.arrivals.setdefault(message.data, clock.now())
        if message.subject.endswith("statement") and time_server.offset_s:
            time_server.offset_s = 0
            time_server.silent = False
            await place.order(1, command.TIME, int(clock.now()))
        # Commands come when a device has shown life.
        if message.subject.endswith("report") and place.orders:
            await place.order(*place.orders.pop(0))

    await client.subscribe("peilmerk.>", cb=note)
    await client.flush()
    try:
        await place.board.start()
        if not drift:
            await place.until(lambda: "wanted a likely time" in place.board.console_tail)
            # What lies for ever is believed in the end, if only the gateway's answer took long enough.
            time_server.silent = bool(time_server.offset_s)
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
    assert windows[0] == START // 900
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


@pytest.mark.parametrize("meadow", [0.05, -0.05], indirect=True)
async def test_a_clock_that_drifts_in_sleep_moves_no_sample_into_another_window(meadow):
    await meadow.until(lambda: len(meadow.reports()) >= 3)
    reports = meadow.reports()
    windows = [r.window for r in reports]
    assert windows == list(range(windows[0], windows[0] + len(windows)))
    for r in reports[1:]:
        assert r.health == 0, meadow.board.console_tail
        seen = [s for s in meadow.board.served if s.good and int(s.at) // 900 == r.window]
        assert r.values[4] == (3,)
        assert sum("pm10" in s.values for s in seen) == 3
        # Its slot is kept as well as such a clock can: the last sample was two minutes before. What its own
        # clock takes for the slot may come before the window's end; it asks for the time before it reports.
        assert SLOT_S - 1 < meadow.reported_at(r.window) < 180


async def test_an_outage_and_a_dead_sensor_cost_a_window_nothing_but_their_values(meadow):
    board = meadow.board
    await meadow.until(lambda: len(meadow.reports()) >= 1)
    board.sensors["sds011"].silent = True
    board.wifi_up = False
    lives = len(board.lives)
    await meadow.until(lambda: len(board.lives) >= lives + 5)
    board.wifi_up = True
    assert len(meadow.reports()) == 1
    await meadow.until(lambda: len(meadow.reports()) >= 4)
    reports = meadow.reports()
    windows = [r.window for r in reports]
    assert windows == list(range(windows[0], windows[0] + len(windows)))
    for r in reports[2:4]:
        assert r.health & report.HEALTH_SENSOR
        assert {2, 3} <= set(r.values) <= {2, 3, 4}


async def test_commands_reach_a_board_that_sleeps(meadow):
    board = meadow.board
    agreed = profile.Profile(2, 900, 0b1100, (0, 1), (0, 1), 0, 0)
    counts = profile.STANDARD_COUNTER.fields()
    await meadow.until(lambda: board.wakes >= 1)
    meadow.orders = [
        (2, command.PROFILE, [9, *counts[1:]]),
        (3, command.PROFILE, agreed.fields()),
        (4, command.PAUSE, 0),
    ]
    await meadow.until(lambda: len(meadow.reports()) >= 5, 200)
    # What must be watched without a break is not for a board that sleeps.
    done = [[number, command.DONE, 0] for number in (1, 3, 4)]
    assert meadow.acks() == [done[0], [2, command.REFUSED, 0], *done[1:]]
    reports = meadow.reports()
    windows = [r.window for r in reports]
    assert windows == list(range(windows[0], windows[0] + len(windows)))
    # The second was heard after the end of the second window: the third is the last under the old profile.
    assert [r.revision for r in reports[:5]] == [1, 1, 1, 2, 2]
    assert set(reports[2].values) == {0, 1, 2, 3, 4}
    assert reports[3].values == reports[4].values == {}
    assert reports[3].health == reports[4].health == report.HEALTH_PAUSED
    # Nothing is measured in a pause, not even to be thrown away.
    assert not [s for s in board.served if int(s.at) // 900 == reports[4].window]
    said = [statement.decode(body) for body in meadow.opened(2, "statement")]
    assert [s.profile_digest for s in said] == [profile.digest(profile.AIR), profile.digest(agreed)]
    assert said[1].boot_count == 1
    assert said[1].uptime > 2 * 900
    assert said[1].reset_cause == DEEPSLEEP_RESET


@pytest.mark.parametrize(
    ("power", "said"),
    [
        ({"mode": "solar"}, "node.json: power: mode: found 'solar', wanted mains or battery"),
        (
            {"mode": "battery", "every_s": 5},
            "node.json: power: every_s: found 5, wanted a whole number of 30 to 3600",
        ),
        (
            {"mode": "battery", "counter": True},
            "node.json: power: found battery for what must be watched without a break",
        ),
        ({"mode": "mains"}, [0, 0]),
        ({"mode": "battery"}, [300, 900]),
        ({"mode": "battery", "every_s": 60, "send_s": 3600}, [60, 3600]),
    ],
)
def test_what_node_json_may_say_about_power(micropython, power, said):
    kind = "counter" if power.pop("counter", False) else "air"
    settings = kinds.node_settings(kind)
    settings |= {"power": power, "link": {"host": "a", "port": 1, "server_name": "a"}}
    identity = {"device_id": DEVICE, "mqtt_password": "secret", "root_key": ROOT_KEY.hex()}
    found = micropython(
        f"""
        import json
        from node import config
        try:
            made = config.Config({settings!r}, {identity!r}, b"a")
            print(json.dumps([made.every_s, made.send_s]))
        except config.ConfigError as fault:
            print(json.dumps(str(fault)))
        """
    )
    assert found == said


def test_the_bench_tells_what_a_day_on_batteries_takes(capsys):
    assert bench_power.run(0.3, 300, 900, True) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["name"], report["ok"], report["limits"]) == ("power", True, {})
    told = report["figures"]
    a_day = told["measured"]["a_day"]
    # Three samples and one sending a quarter of an hour.
    assert 200 < a_day["samples"] < 400
    assert 60 < a_day["joins"] < 200
    assert a_day["wakes"] >= a_day["samples"]
    assert 0 < a_day["radio_s"] < a_day["awake_s"] < 0.25 * 86400
    assert a_day["bytes_up"] > 60 * 400
    assert told["calculated_mAh_a_day"]["board"] > 0
    assert all(figure["source"] for figure in told["currents_mA"].values())
