"""The whole node in two-second windows: sensors in, sealed reports at a real broker out, through reboots."""

import asyncio
import json
import shutil
import signal

import nats
import pytest
import pytest_asyncio
from mqtt_broker import NAME, Broker, der
from on_micropython import FIRMWARE, MICROPYTHON, PROTOCOL, environment
from patience import DEADLINE_S
from sntp_server import Sntp, serve
from test_node_laplace import Bits, reference_draw

from node.outbox import Outbox
from peilmerk_protocol import cose, keys, profile, report, statement

DEVICE = "bbcdefghijklmnop"
ROOT_KEY = bytes(range(32))
KEY = keys.derive(ROOT_KEY, keys.UP)
WINDOW_S = 2
PER_WINDOW = (3, 2)

# Wraps the node for a test: entropy is logged, people pass in each window, the slot comes early.
SCRIPT = """
import asyncio, json, os, sys, time
from machine import Pin
from node import app, config, cycle, entropy, laplace, pool, release
from node.sensing import Driver, register
from node.uplink import link

root = sys.argv[1] + "/"
link.slot_s = lambda *_: 1

def logged(count):
    data = os.urandom(count)
    print(json.dumps({"entropy": data.hex()}))
    return data

class LoggedBits(entropy.BitStream):
    def __init__(self):
        super().__init__(logged)
        print(json.dumps({"stream": 1}))

def laplace_logged(bits, p, q):
    print(json.dumps({"draw": [p, q]}))
    return laplace.discrete_laplace(bits, p, q)

pool.BitStream = LoggedBits
pool.discrete_laplace = laplace_logged

def release_logged(tally, noise, day, expected):
    print(json.dumps({"window": tally.index, "placed": tally.placed}))
    return release.release(tally, noise, day, expected)

cycle.release = release_logged

class Broken(Driver):
    def __init__(self, spec):
        super().__init__()
        self.starts = 0

    def start(self):
        self.starts += 1

    async def run(self, record):
        raise ValueError("this one always fails")

register("broken", Broken)

async def passages():
    # After the middle of each window, never near its border.
    while not node._cycle.windows.started:
        await asyncio.sleep_ms(20)
    while True:
        now = node._clock.unix_ms()
        middle = now // 2000 * 2000 + 2500
        await asyncio.sleep_ms(middle - now)
        began = node._clock.unix_ms() // 2000
        for first, second, number in ((4, 5, 3), (5, 4, 2)):
            for _ in range(number):
                Pin.made[first].drive(0)
                Pin.made[second].drive(0)
                Pin.made[first].drive(1)
                Pin.made[second].drive(1)
                await asyncio.sleep_ms(40)
        # On a busy machine they may have passed in another window than meant, or in two.
        print(json.dumps({"passed": [began, node._clock.unix_ms() // 2000]}))

async def main():
    asyncio.create_task(passages())
    await node.run()

node = app.Node(config.load(root), root, root + "data")
try:
    asyncio.run(main())
except KeyboardInterrupt:
    node.rest()
    print("interrupted")
finally:
    node.stop()
    print("stopped")
"""


class Street:
    """Broker, time server, one board's flash, and what arrived."""

    def __init__(self, folder, broker, ntp_port):
        self.flash = folder / "flash"
        self.flash.mkdir()
        self.messages = []
        self.lines = []
        self.broker = broker
        shutil.copytree(FIRMWARE, self.flash, dirs_exist_ok=True)
        shutil.copytree(PROTOCOL / "peilmerk_protocol", self.flash / "peilmerk_protocol")
        (self.flash / "trust.der").write_bytes(der(broker.authority))
        identity = {"device_id": DEVICE, "mqtt_password": "secret", "root_key": ROOT_KEY.hex()}
        (self.flash / "identity.json").write_text(json.dumps(identity))
        self.profile = profile.Profile(1, WINDOW_S, 96, (7, 10), (3, 10), 10, 4)
        self.sensors = [{"driver": "beam_pair", "pins": [4, 5], "pair_ms": 100, "dead_ms": 0}]
        self.link = {
            "host": "127.0.0.1",
            "port": broker.mqtt_port,
            "server_name": NAME,
            "ntp": [["127.0.0.1", ntp_port]],
            "timeout_s": 5,
            "wifi": [],
        }
        self.script = folder / "node_under_test.py"
        self.script.write_text(SCRIPT)

    def configure(self):
        fields = ("revision", "window_s", "set", "epsilon_leaf", "epsilon_day", "k", "m")
        node = {
            "kind": "counter",
            "profile": {name: getattr(self.profile, name) for name in fields},
            "sensors": self.sensors,
            "link": self.link,
        }
        (self.flash / "node.json").write_text(json.dumps(node))

    async def boot(self):
        self.configure()
        self.process = await asyncio.create_subprocess_exec(
            str(MICROPYTHON),
            "-X",
            "heapsize=256K",
            str(self.script),
            str(self.flash),
            env=environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self.reading = asyncio.create_task(self.read())

    async def read(self):
        while line := await self.process.stdout.readline():
            self.lines.append(line.decode().rstrip())

    async def halt(self, how):
        self.process.send_signal(how)
        code = await asyncio.wait_for(self.process.wait(), DEADLINE_S)
        await self.reading
        return code

    async def until(self, condition, seconds=DEADLINE_S):
        deadline = asyncio.get_running_loop().time() + seconds
        while not condition():
            assert asyncio.get_running_loop().time() < deadline, "\n".join(self.lines[-40:])
            await asyncio.sleep(0.05)

    def reports(self):
        """The reports that arrived, opened, in order of arrival."""
        return [
            report.decode(cose.open_sealed(KEY, 1, DEVICE, data))
            for subject, data in self.messages
            if subject.endswith("report")
        ]

    def statements(self):
        return [
            statement.decode(cose.open_sealed(KEY, 2, DEVICE, data))
            for subject, data in self.messages
            if subject.endswith("statement")
        ]

    def compared(self):
        """How many whole windows were reported in which people passed as they should."""
        self.noise()
        return [
            self.passed.get(r.window)
            for r in dict.fromkeys(self.reports())
            if not r.health & report.HEALTH_PARTIAL
        ].count(PER_WINDOW)

    def noise(self):
        """{window: (noise towards, noise away)} reproduced from the logged entropy; one release a window.

        The set that a window uses is the newest that was drawn with its epsilon, before the window closed.
        """
        drawn = {}
        self.passed = {}
        streams = []
        closed = 0
        for line in self.lines:
            if line.startswith("peilmerk: window") and line.endswith("closed"):
                closed = len(streams)
            if not line.startswith('{"'):
                continue
            said = json.loads(line)
            if "stream" in said:
                streams.append({"draws": [], "bytes": b""})
            elif "draw" in said:
                streams[-1]["draws"].append(tuple(said["draw"]))
            elif "entropy" in said:
                streams[-1]["bytes"] += bytes.fromhex(said["entropy"])
            elif "passed" in said:
                began, ended = said["passed"]
                for window in range(began, ended + 1):
                    self.passed[window] = PER_WINDOW if began == ended and window not in self.passed else None
            elif "window" in said:
                window = said["window"]
                assert window not in drawn
                newest = [stream for stream in streams if (7, 10) in stream["draws"]][-1]
                assert newest["draws"] == [(7, 10)] * len(PER_WINDOW)
                if not said["placed"]:
                    assert newest in streams[:closed]
                bits = Bits(newest["bytes"])
                drawn[window] = tuple(reference_draw(bits, 7, 10) for _ in PER_WINDOW)
                newest["draws"] = []  # used once
        return drawn


@pytest_asyncio.fixture
async def street(tmp_path):
    broker = Broker(tmp_path, DEVICE, "secret")
    await broker.start()
    transport, port = await serve(Sntp(1000.0))
    place = Street(tmp_path, broker, port)
    # Back before the board is, which pauses at least half a second: what nobody hears is not kept.
    client = await nats.connect(
        f"nats://gateway:gateway@127.0.0.1:{broker.client_port}",
        reconnect_time_wait=0.02,
        max_reconnect_attempts=-1,
    )

    async def note(message):
        place.messages.append((message.subject, message.data))

    place.client = client
    await client.subscribe("peilmerk.>", cb=note)
    await client.flush()
    try:
        yield place
    finally:
        if getattr(place, "process", None) and place.process.returncode is None:
            await place.halt(signal.SIGKILL)
        await client.close()
        transport.close()
        await broker.stop()


async def test_counts_are_the_passages_plus_the_noise_through_power_cuts(street):
    await street.boot()
    await street.until(lambda: len(street.reports()) >= 3)
    await street.halt(signal.SIGKILL)
    await street.boot()
    # On a busy machine passages fall into two windows now and then, and those are not compared.
    await street.until(lambda: len(street.reports()) >= 7 and street.compared() >= 2)
    code = await street.halt(signal.SIGINT)
    assert code == 0
    assert street.lines[-2:] == ["interrupted", "stopped"]
    # Sent twice at most (a power cut after PUBACK), and then byte for byte the same.
    messages = list(dict.fromkeys(street.messages))
    opened = [report.decode(cose.open_sealed(KEY, 1, DEVICE, d)) for s, d in messages if s.endswith("report")]
    windows = [r.window for r in opened]
    assert windows == sorted(set(windows))
    numbers = sorted([r.seq for r in opened] + [s.seq for s in dict.fromkeys(street.statements())])
    assert numbers == list(range(1, len(numbers) + 1))
    noise = street.noise()
    whole = [r for r in opened if not r.health & report.HEALTH_PARTIAL]
    for r in whole:
        passed = street.passed.get(r.window, (0, 0))
        if passed is not None:
            assert (r.values[5][0] - noise[r.window][0], r.values[6][0] - noise[r.window][1]) == passed
    assert [bool(r.health & report.HEALTH_REBOOT) for r in opened].count(True) == 2
    said = list(dict.fromkeys(street.statements()))
    assert [s.boot_count for s in said] == [1, 2]
    assert said[0].seq == 1
    assert said[0].profile_digest == profile.digest(street.profile)
    assert said[0].firmware_digest == said[1].firmware_digest


async def test_the_statement_tells_the_digest_of_the_files(street):
    import hashlib

    await street.boot()
    await street.until(lambda: street.statements())
    digest = hashlib.sha256()
    tops = [street.flash / "boot.py", street.flash / "main.py"]
    for top in ("node", "peilmerk_protocol"):
        tops += [path for path in (street.flash / top).rglob("*") if path.is_file()]
    for path in sorted(tops, key=lambda p: p.relative_to(street.flash).as_posix().encode()):
        name = path.relative_to(street.flash).as_posix().encode()
        digest.update(name + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    told = street.statements()[0]
    assert told.firmware_digest == digest.digest()
    assert told.reset_cause == 1
    assert told.free_heap > 0
    assert told.free_flash > 0


async def test_an_outage_of_the_broker_loses_and_doubles_nothing(street):
    await street.boot()
    await street.until(lambda: len(street.reports()) >= 1)
    await street.broker.stop()
    released = len(street.noise())
    await street.until(lambda: len(street.noise()) >= released + 3)
    outbox = Outbox(str(street.flash / "data" / "outbox"))
    assert outbox.waiting() >= 2
    before = street.reports()[-1].seq
    await street.broker.start()
    await street.until(lambda: street.reports() and street.reports()[-1].seq >= before + 4)
    windows = [r.window for r in street.reports()]
    assert sorted(set(windows)) == list(range(windows[0], windows[0] + len(set(windows))))
    assert windows == sorted(windows)


async def test_a_failing_driver_stops_nobody_and_is_told(street):
    street.sensors += [{"driver": "broken"}, {"driver": "unknown_to_all"}]
    await street.boot()
    await street.until(lambda: street.compared())
    noise = street.noise()
    for r in street.reports():
        assert r.health & report.HEALTH_SENSOR
        if not r.health & report.HEALTH_PARTIAL and street.passed.get(r.window) == PER_WINDOW:
            assert r.values[5][0] - noise[r.window][0] == PER_WINDOW[0]
    text = "\n".join(street.lines)
    assert "peilmerk: sensing: this one always fails" in text
    assert "peilmerk: sensors: found driver 'unknown_to_all', wanted one that is on this board" in text


async def test_ctrl_c_leaves_the_sensors_and_a_long_watchdog(street):
    street.script.write_text(
        SCRIPT
        + """
    from machine import WDT
    print(json.dumps([WDT.timeouts, WDT.fed > 0, Pin.made[4].handler is None, Pin.made[5].handler is None]))
"""
    )
    await street.boot()
    await street.until(lambda: any("synchronised" in line for line in street.lines))
    await street.until(lambda: any("connected" in line for line in street.lines))
    assert await street.halt(signal.SIGINT) == 0
    assert json.loads(street.lines[-1]) == [[300000, 3600000], True, True, True]


async def test_no_secret_and_no_exact_count_on_the_console(street):
    await street.boot()
    await street.until(lambda: len(street.reports()) >= 2)
    await street.halt(signal.SIGINT)
    text = "\n".join(line for line in street.lines if line.startswith("peilmerk:"))
    assert "window" in text
    for secret in ("secret", ROOT_KEY.hex(), KEY.hex()):
        assert secret not in text
    for r in street.reports():
        for line in text.splitlines():
            if str(r.window) in line:
                closed = line == f"peilmerk: window {r.window} closed"
                assert closed or line.split(": ", 2)[2].startswith("2 of 2 quantities released, ")


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("node.json", None, "node.json: not found: run `peilmerk device deploy`"),
        ("identity.json", None, "identity.json: not found: run `peilmerk device enrol`"),
        ("trust.der", b"", "trust.der: found an empty file: run `peilmerk device enrol`"),
        ("node.json", b"{", "node.json: found something else, wanted JSON: run `peilmerk device deploy`"),
        ("node.json", b"[]", "node.json: found list, wanted a JSON object"),
        ("node.json", {"kind": "tram"}, "node.json: kind: found 'tram', wanted counter or air"),
        ("node.json", {"sensors": None}, "node.json: sensors: found nothing, wanted a list of drivers"),
        ("node.json", {"profile": {}}, "node.json: profile: found no revision, wanted it"),
        (
            "node.json",
            {"watchdog_s": -1},
            "node.json: watchdog_s: found -1, wanted a whole number of 0 to 3600",
        ),
        ("node.json", {"link": 5}, "node.json: link: found int, wanted a JSON object"),
        ("identity.json", {"device_id": "AA"}, "identity.json: device_id: found 'AA', wanted 16 of a-z2-7"),
        (
            "identity.json",
            {"root_key": "zz"},
            "identity.json: root_key: found 0 bytes, wanted 32 in hexadecimal",
        ),
    ],
)
async def test_a_wrong_file_is_one_clear_line(street, micropython, name, change, said):
    street.configure()
    path = street.flash / name
    if change is None:
        path.unlink()
    elif isinstance(change, bytes):
        path.write_bytes(change)
    else:
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    found = micropython(
        f"""
        import json
        from node import config
        try:
            config.load({str(street.flash) + "/"!r})
            print(json.dumps("loaded"))
        except config.ConfigError as fault:
            print(json.dumps(str(fault)))
        """
    )
    assert found == said
