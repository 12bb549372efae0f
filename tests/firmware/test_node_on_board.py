"""The firmware as it is flashed, on virtual boards at 60 times speed: a recorded street in, reports out."""

import asyncio
import collections
import itertools
import json
import math
import re
import statistics

import nats
import pytest
import pytest_asyncio
from littlefs import LittleFS
from mqtt_broker import NAME, Broker, der
from patience import DEADLINE_S
from test_node_laplace import Bits, reference_draw

from node.outbox import Outbox
from peilmerk_bench.board.spec import (
    BLOCK_BYTES,
    FLASH_BYTES,
    BoardSpec,
    SensorSpec,
    air_sensors,
    counter_sensors,
)
from peilmerk_bench.board.virtual_board import VirtualBoard
from peilmerk_bench.world.clock import WorldClock
from peilmerk_bench.world.passages import PassageReplay
from peilmerk_bench.world.sntp import SntpServer
from peilmerk_protocol import cose, keys, profile, report, statement
from peilmerk_provisioning import bundle, kinds, sensing

SPEED = 60
# The morning of a day, just after a border: a board that boots on a busy machine has a window's time for it.
MIDNIGHT = 1_893_456_000
START = MIDNIGHT + 8 * 3600 + 5
WINDOW_S = 300
DEVICE = "cbcdefghijklmnop"
ROOT_KEY = bytes(range(100, 132))
KEY = keys.derive(ROOT_KEY, keys.UP)


class Bench:
    """World, time server, broker and one board, firmware and settings on its flash."""

    def __init__(self, folder, kind, broker, ntp_port, clock, sensors, built, cut=None, named=()):
        flash = folder / "flash.img"
        link = {
            "host": "127.0.0.1",
            "port": broker.mqtt_port,
            "server_name": NAME,
            "ntp": [["127.0.0.1", ntp_port]],
            "timeout_s": 600,
            "wifi": [["street", "a password"]],
        }
        identity = {"device_id": DEVICE, "mqtt_password": "secret", "root_key": ROOT_KEY.hex()}
        self.bundle = built
        files = self.bundle.placed()
        entries = sensing.entries(kind, named)
        settings = kinds.node_settings(
            kind, entries, sensing.profile_for(kinds.KINDS[kind]["profile"], entries)
        )
        settings["profile"]["window_s"] = WINDOW_S
        # Twenty seconds of this machine's time: one that is busy for five is no hung board.
        settings["watchdog_s"] = 20 * SPEED
        files["node.json"] = json.dumps({**settings, "link": link}).encode()
        files["identity.json"] = json.dumps(identity).encode()
        files["trust.der"] = der(broker.authority)
        write_flash(flash, files)
        spec = BoardSpec("counter-1", kind, flash, sensors=sensors, entropy_seed=7, power_cut_at_write=cut)
        self.flash = flash
        self.board = VirtualBoard(spec, clock, folder)
        self.messages = []
        self.arrived = []
        self.day_noise = {}

    async def until(self, condition, seconds=DEADLINE_S):
        deadline = asyncio.get_running_loop().time() + seconds
        while not condition():
            assert asyncio.get_running_loop().time() < deadline, self.board.console_tail[-3000:]
            await asyncio.sleep(0.05)

    def reports(self):
        """Reports in order of arrival, opened; repetitions (byte for byte) only once."""
        found = dict.fromkeys(data for subject, data in self.messages if subject.endswith("report"))
        return [report.decode(cose.open_sealed(KEY, 1, DEVICE, data)) for data in found]

    def whole(self):
        """The reports after those of before the time was known; there may be two on a busy machine."""
        return list(itertools.dropwhile(lambda r: r.health & report.HEALTH_PARTIAL, self.reports()))

    def noise(self, draws):
        """{window: noise} from the entropy log: 32-byte hand-outs, drawn when a window begins.

        A board that starts, or sees a new day, draws the day's noise first, from blocks of its own.
        """
        windows = collections.OrderedDict()
        for handout in self.board.entropy_log:
            if len(handout.data) == 32:
                windows.setdefault(int(handout.at) // WINDOW_S, []).append(handout.data)
        found = {}
        for window, blocks in windows.items():
            if not found or window * WINDOW_S % 86400 == 0:
                bits = Bits(b"".join(blocks))
                day = window * WINDOW_S // 86400
                self.day_noise[day] = [reference_draw(bits, 3, 10) for _ in range(draws)]
                del blocks[: bits.blocks]
            bits = Bits(b"".join(blocks))
            found[window] = [reference_draw(bits, 7, 10) for _ in range(draws)]
            assert bits.blocks == len(blocks)
        return found


def file_system(image, mount):
    return LittleFS(
        context=image,
        block_size=BLOCK_BYTES,
        block_count=FLASH_BYTES // BLOCK_BYTES,
        read_size=32,
        prog_size=32,
        lookahead_size=32,
        cache_size=128,
        disk_version=0x00020000,
        mount=mount,
    )


def write_flash(path, files):
    fs = LittleFS(block_size=BLOCK_BYTES, block_count=FLASH_BYTES // BLOCK_BYTES, disk_version=0x00020000)
    for name, data in files.items():
        if "/" in name:
            fs.makedirs(name.rpartition("/")[0], exist_ok=True)
        with fs.open(name, "wb") as file:
            file.write(data)
    path.write_bytes(fs.context.buffer)


def read_outbox(flash, folder):
    """The outbox that lies on a flash image."""
    fs = LittleFS(block_size=BLOCK_BYTES, block_count=FLASH_BYTES // BLOCK_BYTES, mount=False)
    fs.context.buffer = bytearray(flash.read_bytes())
    fs.mount()
    target = folder / "outbox"
    target.mkdir(exist_ok=True)
    for name in fs.listdir("/data/outbox"):
        with fs.open("/data/outbox/" + name, "rb") as file:
            (target / name).write_bytes(file.read())
    return Outbox(str(target))


@pytest_asyncio.fixture
async def bench(tmp_path, request):
    """make(kind, sensors): a started Bench; everything is stopped afterwards."""
    broker = Broker(tmp_path, DEVICE, "secret")
    await broker.start()
    client = await nats.connect(f"nats://gateway:gateway@127.0.0.1:{broker.client_port}")
    built = bundle.build()
    # What takes time is done: the board has its first window for booting alone.
    clock = WorldClock.starting(getattr(request, "param", START), SPEED)
    time_server = SntpServer(clock)
    port = await time_server.start()
    made = []

    async def make(kind, sensors, cut=None, named=()):
        it = Bench(tmp_path, kind, broker, port, clock, sensors, built, cut, named)
        made.append(it)
        it.broker = broker

        async def note(message):
            it.messages.append((message.subject, message.data))
            it.arrived.append(clock.now())

        it.client = client
        await client.subscribe("peilmerk.>", cb=note)
        await client.flush()
        await it.board.start()
        return it

    try:
        yield make
    finally:
        for it in made:
            await it.board.stop()
        await client.close()
        await time_server.stop()
        await broker.stop()


@pytest.mark.parametrize("bench", [MIDNIGHT - 1195], indirect=True)
async def test_a_counter_counts_the_recorded_street_and_its_days(bench):
    """From twenty minutes before midnight on, with the traffic of the morning."""
    replay = PassageReplay(shift_s=-8 * 3600)
    it = await bench("counter", counter_sensors(replay))
    await it.until(lambda: it.reports() and it.reports()[-1].window >= MIDNIGHT // WINDOW_S + 2)
    reports = it.reports()
    noise = it.noise(2)
    (total,) = [
        report.decode_day(cose.open_sealed(KEY, 5, DEVICE, data))
        for subject, data in it.messages
        if subject.endswith(".day")
    ]
    assert (total.window, total.health) == (MIDNIGHT // 86400 - 1, report.HEALTH_PARTIAL)
    # What was counted until midnight, by the reports, and the day's own noise.
    evening = [r for r in reports if r.window < MIDNIGHT // WINDOW_S]
    for way in (5, 6):
        counted = sum(r.values[way][0] - noise[r.window][way - 5] for r in evening)
        assert total.values[way] == (counted + it.day_noise[total.window][way - 5],)
    assert sorted(it.day_noise) == [total.window, total.window + 1]
    # What came before the time was known has been placed by ticks.
    assert reports[0].health == report.HEALTH_PARTIAL | report.HEALTH_REBOOT | report.HEALTH_CLOCK
    for r in reports[1:]:
        assert r.health == 0
        true = replay.counts(r.window * WINDOW_S, (r.window + 1) * WINDOW_S)
        towards, away = noise[r.window]
        assert r.values == {5: (true["in"] + towards,), 6: (true["out"] + away,)}
    # Sent at the device's own slot after the end of the window, whatever is in it.
    arrived = [at for (subject, _), at in zip(it.messages, it.arrived, strict=True) if "report" in subject]
    late = [at - (r.window + 1) * WINDOW_S for r, at in zip(reports, arrived, strict=False)]
    # Never early; a busy machine may hold one up, but not most of them.
    assert 5 <= min(late) < 65
    assert sorted(late)[len(late) // 2] - min(late) < 10
    first, last = reports[1].window, reports[-1].window + 1
    assert sum(replay.counts(first * WINDOW_S, last * WINDOW_S).values()) > 20
    told = statement.decode(cose.open_sealed(KEY, 2, DEVICE, it.messages[0][1]))
    assert told.firmware_digest.hex() == it.bundle.digest
    assert told.profile_digest == profile.digest(
        profile.Profile(1, WINDOW_S, 1 << 5 | 1 << 6, (7, 10), (3, 10), 10, 4)
    )


async def test_an_air_node_reports_what_its_sensors_served(bench):
    it = await bench("air", air_sensors())
    await it.until(lambda: len(it.whole()) >= 3)
    sources = {
        "sds011": {0: ("pm2_5", 10), 1: ("pm10", 10)},
        "sht3x": {2: ("temperature", 10), 3: ("humidity", 10)},
    }
    for r in it.whole():
        assert r.health == 0
        fewest = []
        for name, quantities in sources.items():
            possible = [
                len(answers)
                for answers in might_be_of(it.board.served, name, r.window)
                if len(answers) >= 2
                and all(told(r, n, seen(answers, key, by)) for n, (key, by) in quantities.items())
            ]
            assert possible, (name, r)
            fewest.append(possible)
        assert r.values[4][0] in {min(numbers) for numbers in itertools.product(*fewest)}


def might_be_of(served, sensor, window):
    """The answers of a window; one just before a border may have been recorded just after it."""
    good = [s for s in served if s.sensor == sensor and s.good]
    for late_begin, late_end in itertools.product((0, 10), repeat=2):
        begin, end = window * WINDOW_S - late_begin, (window + 1) * WINDOW_S - late_end
        yield [s.values for s in good if begin <= s.at < end]


def seen(answers, key, scale):
    return [round(scale * values[key]) for values in answers]


def told(r, number, values):
    """Whether a report says of these values what it must: mean and spread, or the level."""
    if number == 22:
        return r.values[number] == (max(values),)
    if number == 21:
        energy = statistics.fmean(10 ** (level / 100) for level in values)
        return abs(r.values[number][0] - 100 * math.log10(energy)) <= 1
    mean, spread = r.values[number]
    return abs(mean - statistics.fmean(values)) <= 1 and abs(spread - statistics.pstdev(values)) <= 1


async def test_an_air_node_with_every_sensor_gives_each_quantity_from_the_first_that_measures_it(bench):
    worlds = (
        SensorSpec.bme280(),
        SensorSpec.sps30(),
        SensorSpec.pmsx003(),
        SensorSpec.scd4x(),
        SensorSpec.dnms(),
    )
    named = ("bme280", "sps30:every_s=60", "pmsx003:every_s=60", "scd4x", "dnms")
    it = await bench("air", worlds, named=named)
    # A window whole, and the next, so that what was served in it is all known.
    await it.until(lambda: len(it.whole()) >= 3)
    sources = {
        "bme280": {20: ("pressure", 10), 2: ("temperature", 10), 3: ("humidity", 10)},
        "sps30": {17: ("pm1", 10), 0: ("pm2_5", 10), 1: ("pm10", 10)},
        "scd4x": {18: ("co2", 1)},
        "dnms": {21: ("laeq", 10), 22: ("lamax", 10)},
    }
    for r in it.whole():
        assert r.health == 0
        assert sorted(r.values) == [0, 1, 2, 3, 4, 17, 18, 20, 21, 22]
        for name, quantities in sources.items():
            assert any(
                len(answers) >= 4
                and all(
                    told(r, number, seen(answers, key, scale)) for number, (key, scale) in quantities.items()
                )
                for answers in might_be_of(it.board.served, name, r.window)
            ), (name, r)
    # The dust sensor that was named second worked all the same.
    assert [s for s in it.board.served if s.sensor == "pmsx003" and s.good]


async def test_power_cuts_lose_no_sealed_report_and_double_none(bench, tmp_path):
    it = await bench("counter", counter_sensors())
    await it.until(lambda: len(it.reports()) >= 1)
    for writes in (3, 8):
        it.board.cut_power_after_writes(writes)
        await asyncio.wait_for(it.board.until_off(), DEADLINE_S)
        await it.board.power_on()
    seen = len(it.reports())
    await it.until(lambda: len(it.reports()) >= seen + 2)
    await it.board.power_cut()
    outbox = read_outbox(it.flash, tmp_path)
    reports = it.reports()
    windows = [r.window for r in reports]
    assert windows == sorted(set(windows))
    assert outbox.sealed() - outbox.waiting() <= len(reports) <= outbox.sealed()
    seqs = [r.seq for r in reports]
    assert len(set(seqs)) == len(seqs)
    assert max(seqs) <= outbox.last_seq()


async def test_ctrl_c_gives_a_working_prompt(bench):
    it = await bench("counter", counter_sensors())
    await it.board.console_shows("link: connected")
    it.board.type(b"\x03")
    await it.board.console_shows("peilmerk: stopped; reset the board to start again")
    it.board.type(b"import os; print('files', sorted(os.listdir('/')))\r\n")
    await it.board.console_shows("files ['a', 'boot.py', 'data',")
    heap = re.search(r"(\d+) bytes of heap in use, (\d+) free", it.board.console_tail)
    print(heap.group(0))
