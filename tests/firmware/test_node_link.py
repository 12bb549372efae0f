"""The firmware on a virtual board whose network fails in every way we know: no report lost, none doubled, and
each fault named on the console.
"""

import asyncio
import datetime
import itertools
import json
import os
import ssl
import time

import nats
import pytest
from mqtt_broker import DAY, NAME, Broker, Line, certificate, der, keep
from patience import DEADLINE_S
from test_node_on_board import write_flash

from node.outbox import Outbox
from peilmerk_bench.board.spec import BoardSpec, WifiNetwork
from peilmerk_bench.board.virtual_board import VirtualBoard
from peilmerk_bench.world.clock import WorldClock
from peilmerk_bench.world.sntp import SntpServer
from peilmerk_protocol import command, cose, keys, report, topics
from peilmerk_provisioning import bundle, kinds

SOAK = os.environ.get("HYPOTHESIS_PROFILE") == "soak"
DEVICE = "dbcdefghijklmnop"
ROOT_KEY = bytes(range(60, 92))
WINDOW_S = 300
SPEED = 60
# A night in which nobody passes; the board counts all the same.
START = 1_893_456_000 + 3 * 3600
ORDINARY = {"host": "127.0.0.1", "timeout_s": 480, "wifi": [["street", "a password"]]}


class World:
    """One counter with its firmware, its broker and its time server; what arrived."""

    def __init__(
        self, folder, broker, start=START, speed=SPEED, window_s=WINDOW_S, networks=(), kept=None, **link
    ):
        self.broker = broker
        self.kept = kept or {}
        self.start = start
        self.speed = speed
        self.folder = folder
        self.link = {**ORDINARY, "server_name": NAME, "port": broker.mqtt_port, **link}
        self.networks = networks
        self.window_s = window_s
        self.messages = []
        self.seen = 0

    async def __aenter__(self):
        await self.broker.start()
        built = bundle.build(kind="counter").files
        # What takes time is done: the board has its first window for booting alone.
        self.clock = WorldClock.starting(self.start, self.speed)
        self.time_server = SntpServer(self.clock)
        self.link["ntp"] = [["127.0.0.1", await self.time_server.start()]]
        self.nats = await nats.connect(
            f"nats://gateway:gateway@127.0.0.1:{self.broker.client_port}",
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.1,
        )
        self.stream = self.nats.jetstream()
        await self.stream.add_stream(name="seen", subjects=["peilmerk.>"])
        settings = kinds.node_settings("counter")
        settings["profile"]["window_s"] = self.window_s
        identity = {"device_id": DEVICE, "mqtt_password": "secret", "root_key": ROOT_KEY.hex()}
        files = {
            **built,
            "node.json": json.dumps({**settings, "link": self.link}).encode(),
            "identity.json": json.dumps(identity).encode(),
            "trust.der": der(self.broker.authority),
            **self.kept,
        }
        write_flash(self.folder / "flash.img", files)
        spec = BoardSpec("counter-1", "counter", self.folder / "flash.img", wifi=self.networks)
        self.board = VirtualBoard(spec, self.clock, self.folder)
        self.network = self.board.network
        return self

    async def __aexit__(self, *_):
        await self.board.stop()
        await self.nats.close()
        await self.time_server.stop()
        await self.broker.stop()

    async def read(self):
        """Take in what arrived at the broker, in order, over its restarts."""
        try:
            while True:
                message = await self.stream.get_msg("seen", len(self.messages) + 1)
                self.messages.append((message.subject.rpartition(".")[2], message.data))
        except (nats.errors.Error, OSError):
            return  # nothing new, or nobody there to ask

    def reports(self):
        """The reports that were read, opened, in order; a repetition (the same bytes) counts once."""
        found = dict.fromkeys(data for kind, data in self.messages if kind == "report")
        key = keys.derive(ROOT_KEY, keys.UP)
        return [report.decode(cose.open_sealed(key, topics.REPORT, DEVICE, data)) for data in found]

    def statements(self):
        return [data for kind, data in self.messages if kind == "statement"]

    async def shows(self, *texts):
        """Wait until the console has shown all of these, in this order, since the last time."""
        for text in texts:
            await self.until(lambda text=text: text in self.board.console_tail[self.seen :])
            self.seen = self.board.console_tail.index(text, self.seen) + len(text)

    def mark(self):
        """From here on; before a fault."""
        self.seen = len(self.board.console_tail)

    async def until(self, condition, seconds=DEADLINE_S):
        deadline = asyncio.get_running_loop().time() + seconds
        while not condition():
            assert asyncio.get_running_loop().time() < deadline, self.board.console_tail[-3000:]
            await asyncio.sleep(0.05)
            await self.read()

    async def more(self, count, seconds=DEADLINE_S):
        """Wait for so many more reports."""
        wanted = len(self.reports()) + count
        await self.until(lambda: len(self.reports()) >= wanted, seconds)

    async def tell_time(self, counter=1):
        """The gateway's beacon, as it answers a statement."""
        now = int(self.clock.now())
        body = command.encode(command.Command(counter, now + 600, command.TIME, now))
        sealed = cose.seal(keys.derive(ROOT_KEY, keys.DOWN), topics.COMMAND, DEVICE, body)
        await self.nats.publish(f"peilmerk.1.{DEVICE}.command", sealed)


def impostor(folder):
    """A server's TLS for the right name, by another authority."""
    keep(folder, certificate(NAME, certificate("Another authority", authority=True)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    return context


def sockets_of(pid):
    """How many sockets a process has."""
    found = 0
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found += os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:")
        except OSError:
            pass
    return found


def whole(reports):
    """Every window from the first to the last, in order, once; every number too."""
    windows = [r.window for r in reports]
    assert windows == list(range(windows[0], windows[0] + len(windows)))
    numbers = [r.seq for r in reports]
    assert numbers == sorted(set(numbers))


async def test_nothing_is_lost_and_nothing_doubled_whatever_the_network_does(tmp_path):
    """One board lives through every fault in turn; a window closes in each of them."""
    broker = Broker(tmp_path, DEVICE, "secret")
    (tmp_path / "elsewhere").mkdir()
    async with (
        World(tmp_path, broker, host="broker.city") as world,
        Line(broker.mqtt_port, "127.0.0.2", broker.mqtt_port) as moved,
    ):
        network = world.network
        network.dns("broker.city", "127.0.0.1")
        await world.board.start()
        await world.shows("link: connected to broker.city")
        await world.more(1)
        # The access point goes and comes back.
        world.board.wifi_up = False
        await world.shows(
            "the access point is gone", "network that lets us in (street: no ap found)", " closed"
        )
        world.board.wifi_up = True
        await world.shows("link: connected")
        await world.more(1)
        # Another address by DHCP: what stood on the old one is gone.
        world.mark()
        network.dhcp_renew("192.0.2.7")
        await world.shows("link: connected")
        # The broker moves to another address, and its name with it.
        network.dns("broker.city", "127.0.0.2")
        network.cut()
        await world.shows("link: connected")
        assert moved.connections >= 1
        # The name server dies, and then knows no such name: said, and asked again and again.
        network.dns_silent()
        network.cut()
        await world.shows("dns: broker.city: found no answer")
        network.dns("broker.city", None)
        network.dns_silent(False)
        await world.shows("dns: broker.city: found no address, code 3")
        network.dns("broker.city", "127.0.0.1")
        await world.shows("link: connected")
        # The line is dead, and nobody says so: noticed by a report or by the keep-alive, whichever is sooner.
        network.blackhole()
        await world.until(
            lambda: any(
                text in world.board.console_tail[world.seen :]
                for text in ("link: found silence for", "link: publish: found no PUBACK")
            )
        )
        network.blackhole(False)
        await world.shows("link: connected")
        # A captive network: a portal by HTTP, and one by TLS with another's certificate.
        network.captive()
        network.cut()
        await world.shows("link: connect: found no TLS: a captive network")
        network.captive(impostor(tmp_path / "elsewhere"))
        await world.shows("link: connect: The certificate is not correctly signed by the trusted CA")
        network.captive(False)
        await world.shows("link: connected")
        # No memory for TLS: tried again, and no socket stays behind.
        sockets = sockets_of(world.board.pid)
        network.tls_memory(3)
        network.cut()
        await world.shows("ENOMEM", "link: connect: memory allocation failed", "ENOMEM", "link: connected")
        # A time server may be asked just now.
        await world.until(lambda: sockets_of(world.board.pid) <= sockets)
        # The broker is restarted.
        world.mark()
        await broker.stop()
        await world.shows("link: ")
        await broker.start()
        await world.shows("link: connected")
        await world.more(2)
        whole(world.reports())


async def test_why_no_network_lets_the_board_in_is_said_for_each(tmp_path):
    broker = Broker(tmp_path, DEVICE, "secret")
    networks = (WifiNetwork("street", "a password"), WifiNetwork("square", "another"))
    wifi = [["elsewhere", "x"], ["street", "wrong"], ["square", "another"]]
    async with World(tmp_path, broker, networks=networks[:1], wifi=wifi) as world:
        await world.board.start()
        await world.shows(
            "found no network that lets us in (elsewhere: no ap found, street: wrong password, "
            "square: no ap found)"
        )
    async with World(tmp_path, broker, networks=networks, wifi=wifi) as world:
        await world.board.start()
        await world.shows("link: connected")


async def test_a_radio_that_hangs_is_switched_off_and_on(tmp_path):
    broker = Broker(tmp_path, DEVICE, "secret")
    async with World(tmp_path, broker, networks=(WifiNetwork("street", "a password"),)) as world:
        await world.board.start()
        await world.shows("link: connected")
        world.board.hang_radio()
        await world.shows("the access point is gone", "link: connected")


async def test_a_network_that_leads_nowhere_is_given_up_for_the_next(tmp_path):
    """Joined, with an address, and nothing behind it: after the longest pause another gets its turn."""
    networks = (WifiNetwork("portal", "x"), WifiNetwork("street", "a password"))
    wifi = [["portal", "x"], ["street", "a password"]]
    broker = Broker(tmp_path, DEVICE, "secret")
    async with World(tmp_path, broker, networks=networks, wifi=wifi, speed=240) as world:
        world.network.captive()
        await world.board.start()
        await world.shows("wifi: portal leads nowhere: leaving it", "link: connect: ")
        world.network.captive(False)
        await world.shows("link: connected")


async def test_what_waited_for_three_days_arrives_in_order_and_once_over_broken_lines(tmp_path):
    """72 hours of quarters as a board finds them on its flash when its street is back."""
    key, outbox = keys.derive(ROOT_KEY, keys.UP), Outbox(str(tmp_path / "outbox"))
    revision = kinds.node_settings("counter")["profile"]["revision"]
    first, waited = START // 900 - 288, []
    for n in range(288):
        body = report.encode(n + 1, first + n, revision, 0, {5: (n,), 6: (-n,)})
        waited.append(cose.seal(key, topics.REPORT, DEVICE, body))
        outbox.append(topics.REPORT, n + 1, (first + n + 1) * 900, waited[-1])
    kept = {f"data/outbox/{path.name}": path.read_bytes() for path in (tmp_path / "outbox").iterdir()}
    broker = Broker(tmp_path, DEVICE, "secret")
    async with World(tmp_path, broker, speed=240, window_s=900, kept=kept, host="broker.city") as world:
        world.network.dns("broker.city", "127.0.0.1")
        await world.board.start()
        for arrived in (40, 150):
            await world.until(lambda arrived=arrived: len(world.messages) >= arrived)
            world.network.cut()
            world.mark()
            await world.shows("link: connected")
        await world.until(lambda: len(world.reports()) >= 290)
        sent = dict.fromkeys(data for kind, data in world.messages if kind == "report")
        assert list(sent)[:288] == waited
        whole(world.reports())
        # Who was under way when the line broke came again, byte for byte; nobody else.
        assert len(world.messages) - len(set(world.messages)) <= 2
        assert [kind for kind, _ in dict.fromkeys(world.messages)][:289] == ["report"] * 288 + ["statement"]


@pytest.mark.skipif(not SOAK, reason="three days take three minutes: make soak")
async def test_three_days_without_an_access_point_lose_and_double_nothing(tmp_path):
    broker = Broker(tmp_path, DEVICE, "secret")
    async with World(tmp_path, broker, speed=1800, window_s=900) as world:
        await world.board.start()
        await world.more(1)
        world.board.wifi_up = False
        closed = world.reports()[-1].window + 3 * 96
        await world.until(lambda: f"window {closed}: " in world.board.console_tail, 600)
        assert len(world.reports()) <= 2
        world.board.wifi_up = True
        await world.until(lambda: world.reports()[-1].window >= closed, 300)
        whole(world.reports())
        assert len(world.reports()) >= 3 * 96
        # Byte for byte once: nothing was sent a second time either.
        assert len(world.messages) == len(set(world.messages))


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(datetime.datetime(2036, 2, 7, 6, 25, 5, tzinfo=datetime.UTC), id="NTP-begins-again"),
        pytest.param(datetime.datetime(2038, 1, 19, 3, 10, 5, tzinfo=datetime.UTC), id="31-bits-are-full"),
    ],
)
async def test_windows_go_on_where_counters_of_seconds_end(tmp_path, start):
    async with World(tmp_path, Broker(tmp_path, DEVICE, "secret"), start=start.timestamp()) as world:
        await world.board.start()
        await world.more(3)
        reports = world.reports()
        whole(reports)
        assert reports[0].window == int(start.timestamp()) // WINDOW_S
        # Power comes back on the other side.
        await world.board.power_cut()
        await world.board.power_on()
        await world.more(1)
        assert world.reports()[-1].window >= reports[-1].window + 1


async def test_leaps_of_the_clock_double_and_reorder_no_window(tmp_path):
    """The time server leaps two hours ahead, and back: windows rise, and none comes twice."""
    broker = Broker(tmp_path, DEVICE, "secret")
    async with World(tmp_path, broker, speed=600, window_s=900) as world:
        await world.board.start()
        await world.more(2)
        world.time_server.offset_s = 7200
        await world.shows("clock: moved by 7")
        await world.more(2)
        world.time_server.offset_s = 0
        await world.shows("clock: moved by -7")
        await world.read()
        ahead = world.reports()[-1].window
        await world.shows("was released before: nothing is drawn")
        await world.until(lambda: world.reports()[-1].window > ahead)
        reports = world.reports()
        windows = [r.window for r in reports]
        assert windows == sorted(set(windows))
        before, after = max(itertools.pairwise(reports), key=lambda pair: pair[1].window - pair[0].window)
        assert 7 <= after.window - before.window <= 9
        assert before.health & after.health & report.HEALTH_PARTIAL


# -- a board that nobody tells the time but the gateway: these worlds run on today's date, since dates count


async def test_the_gateway_tells_the_time_where_no_server_does(tmp_path):
    broker = Broker(tmp_path, DEVICE, "secret")
    async with World(tmp_path, broker, start=time.time()) as world:
        world.network.dates()
        world.time_server.silent = True
        began = int(world.clock.now())
        await world.board.start()
        await world.shows("clock: found no time", "link: connected", ", the time is not known")
        await world.until(lambda: world.statements())
        assert world.reports() == []
        await world.tell_time()
        await world.shows("the time is known now", "link: connected")
        await world.more(1)
        # What was counted before is placed too, so that the first may be the window of the start.
        assert began // WINDOW_S <= world.reports()[0].window < int(world.clock.now()) // WINDOW_S
        # A beacon that nobody asked for changes nothing.
        world.clock = WorldClock.starting(time.time() + 5 * 86400, SPEED)
        await world.tell_time(2)
        await world.shows("command 2: time: ")
        await world.more(1)
        whole(world.reports())


async def test_time_that_was_guessed_is_not_kept_through_a_reset(tmp_path):
    async with World(tmp_path, Broker(tmp_path, DEVICE, "secret"), start=time.time()) as world:
        await world.board.start()
        await world.more(1)
        # What flash proves is a bound; the power was away, and no server answers.
        world.time_server.silent = True
        await world.board.power_cut()
        await world.board.power_on()
        await world.shows("clock: found no time", ", the time is not known")
        await world.board.hard_reset()
        await world.shows("clock: found no time", ", the time is not known")
        world.time_server.silent = False
        await world.more(2)


async def test_a_certificate_that_begins_after_what_is_known_is_refused_until_the_time_is(tmp_path):
    begins = datetime.datetime.now(datetime.UTC) - DAY
    async with World(tmp_path, Broker(tmp_path, DEVICE, "secret", begins=begins), start=time.time()) as world:
        world.network.dates()
        world.time_server.silent = True
        await world.board.start()
        await world.shows("link: connect: The certificate validity starts in the future")
        world.time_server.silent = False
        await world.shows("clock: synchronised", "link: connected")


async def test_an_expired_certificate_may_pass_until_the_time_is_known_and_not_after(tmp_path):
    """What a lower bound of the time cannot prove."""
    today = datetime.datetime.now(datetime.UTC)
    # Two days from now; the certificate ends tomorrow, which the host's clock does not see.
    broker = Broker(tmp_path, DEVICE, "secret", ends=today + DAY)
    async with World(tmp_path, broker, start=time.time() + 2 * 86400) as world:
        world.network.dates()
        world.time_server.silent = True
        await world.board.start()
        await world.shows(", the time is not known")
        await world.until(lambda: world.statements())
        await world.tell_time()
        await world.shows("the time is known now", "link: connect: The certificate validity has expired")
