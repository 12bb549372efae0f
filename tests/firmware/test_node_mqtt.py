"""The MQTT client against a real nats-server over TLS: trust, names, QoS 1, lost answers, dead lines."""

import asyncio
import datetime
import getpass
import json
import os
import shutil
import ssl
import subprocess

import nats
import paho.mqtt.client
import pytest
import pytest_asyncio
from mqtt_broker import DAY, NAME, Broker, Line, certificate, der
from on_micropython import MICROPYTHON, environment
from patience import DEADLINE_S

DEVICE = "abcdefghijklmnop"
TOPIC = f"peilmerk/1/{DEVICE}/report"


@pytest_asyncio.fixture
async def broker(tmp_path):
    server = Broker(tmp_path, DEVICE, "secret")
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest_asyncio.fixture
async def received(broker):
    """What arrived at the broker, by topic's subject, in order."""
    messages = []
    client = await nats.connect(f"nats://gateway:gateway@127.0.0.1:{broker.client_port}")

    async def note(message):
        messages.append((message.subject, message.data))

    await client.subscribe("peilmerk.>", cb=note)
    await client.flush()
    yield messages
    await client.close()


class Board:
    """A client in MicroPython; `steps` is the body of its main, `say` and `hear` talk to the test."""

    def __init__(
        self, folder, port, authority, steps, *, name=NAME, password="secret", timeout_s=3, keepalive_s=60
    ):
        self.folder = folder
        script = folder / "client.py"
        script.write_text(
            f"""
import asyncio, json, sys
from node.uplink import mqtt

def say(*values):
    print(json.dumps(values))

def hear():
    return sys.stdin.readline()

async def main():
    client = mqtt.MqttClient("127.0.0.1", {port}, {name!r}, "{DEVICE}", "{DEVICE}", {password!r},
                             {authority!r}, {timeout_s}, {keepalive_s})
    try:
{steps}
    except mqtt.LinkError as fault:
        say("error", str(fault))
    await client.close(True)

asyncio.run(main())
say("end")
"""
        )
        self.script = script

    async def __aenter__(self):
        self.process = await asyncio.create_subprocess_exec(
            str(MICROPYTHON),
            "-X",
            "heapsize=256K",
            str(self.script),
            env=environment(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        return self

    async def __aexit__(self, *_):
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def said(self):
        line = await asyncio.wait_for(self.process.stdout.readline(), DEADLINE_S)
        return json.loads(line)

    def tell(self):
        self.process.stdin.write(b"go on\n")


async def until(condition):
    deadline = asyncio.get_running_loop().time() + DEADLINE_S
    while not condition():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.02)


async def test_publishes_are_acknowledged_and_arrive_as_they_are(tmp_path, broker, received):
    steps = f"""
        await client.connect()
        for n in range(3):
            await client.publish({TOPIC!r}, bytes([n]) * (n * 150))
        say("acknowledged", client.connected())
"""
    async with Board(tmp_path, broker.mqtt_port, der(broker.authority), steps) as board:
        assert await board.said() == ["acknowledged", True]
        assert await board.said() == ["end"]
    await until(lambda: len(received) == 3)
    subject = f"peilmerk.1.{DEVICE}.report"
    assert received == [(subject, bytes([n]) * (n * 150)) for n in range(3)]


CONNECT = """
        await client.connect()
        say("connected")
"""


@pytest.mark.parametrize("name", ["other.test", "test", "127.0.0.2"])
async def test_a_wrong_host_name_is_refused(tmp_path, broker, name):
    async with Board(tmp_path, broker.mqtt_port, der(broker.authority), CONNECT, name=name) as board:
        kind, reason = await board.said()
    assert kind == "error"
    assert reason == "connect: The certificate Common Name (CN) does not match with the expected CN"


async def test_a_wrong_authority_is_refused(tmp_path, broker):
    # The same name, another key: an impostor's authority.
    impostor = certificate("Test authority", authority=True)
    async with Board(tmp_path, broker.mqtt_port, der(impostor), CONNECT) as board:
        kind, reason = await board.said()
    assert kind == "error"
    assert reason == "connect: The certificate is not correctly signed by the trusted CA"


async def test_an_expired_certificate_is_refused(tmp_path):
    server = Broker(tmp_path, DEVICE, "secret", ends=datetime.datetime.now(datetime.UTC) - DAY)
    await server.start()
    try:
        async with Board(tmp_path, server.mqtt_port, der(server.authority), CONNECT) as board:
            kind, reason = await board.said()
    finally:
        await server.stop()
    assert kind == "error"
    assert reason == "connect: The certificate validity has expired"


async def test_what_is_not_a_certificate_is_named(tmp_path):
    steps = CONNECT
    async with Board(tmp_path, 1, b"", "        pass\n") as board:
        await board.process.wait()
    async with Board(tmp_path, 1, b"not a certificate", steps) as board:
        out = (await board.process.stdout.read()).decode()
    assert "trust: found no certificate in DER" in out


@pytest.mark.parametrize("order", [1, -1])
async def test_the_next_authority_lies_beside_the_present_one(tmp_path, broker, order):
    """A fleet changes its authority by carrying both for a while, in either order."""
    pair = [der(broker.authority), der(certificate("The other authority", authority=True))]
    async with Board(tmp_path, broker.mqtt_port, b"".join(pair[::order]), CONNECT) as board:
        assert await board.said() == ["connected"]


async def test_what_lies_behind_an_authority_must_be_one(tmp_path, broker):
    async with Board(tmp_path, 1, der(broker.authority) + b"rubbish", CONNECT) as board:
        out = (await board.process.stdout.read()).decode()
    assert "trust: found no certificate in DER" in out


async def test_a_portal_in_place_of_the_broker_is_told_apart(tmp_path, broker):
    """What answers in a captive network speaks HTTP, whoever is called."""

    async def portal(reader, writer):
        await reader.read(100)
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: http://portal.example/\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(portal, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with Board(tmp_path, port, der(broker.authority), CONNECT) as board:
            kind, reason = await board.said()
    assert kind == "error"
    assert reason == "connect: found no TLS: a captive network, or another service on this port"


async def test_a_wrong_password_is_refused_and_never_told(tmp_path, broker):
    board = Board(tmp_path, broker.mqtt_port, der(broker.authority), CONNECT, password="canary-word")
    async with board:
        kind, reason = await board.said()
    assert (kind, reason) == ("error", "connect: the broker refuses: not authorised")


async def test_nobody_listening_is_an_error_and_not_a_hang(tmp_path, broker):
    await broker.stop()
    async with Board(tmp_path, broker.mqtt_port, der(broker.authority), CONNECT) as board:
        kind, reason = await board.said()
    assert kind == "error"
    assert reason.startswith("connect: ")


async def test_a_silent_listener_costs_the_time_out_only(tmp_path, broker):
    async with Line(broker.mqtt_port) as line:
        line.deaf = True
        async with Board(tmp_path, line.own_port, der(broker.authority), CONNECT, timeout_s=1) as board:
            assert await board.said() == ["error", "connect: found no answer in 1 s"]


async def test_a_lost_puback_leads_to_the_same_bytes_again(tmp_path, broker, received):
    steps = f"""
        await client.connect()
        await client.publish({TOPIC!r}, b"one")
        say("one")
        hear()
        try:
            await client.publish({TOPIC!r}, b"two")
        except mqtt.LinkError as fault:
            say(str(fault), client.connected())
        hear()
        await client.connect()
        await client.publish({TOPIC!r}, b"two", True)
        say("two")
"""
    async with (
        Line(broker.mqtt_port) as line,
        Board(tmp_path, line.own_port, der(broker.authority), steps, timeout_s=2) as board,
    ):
        assert await board.said() == ["one"]
        line.deaf = True
        board.tell()
        assert await board.said() == ["publish: found no PUBACK in 2 s", False]
        line.deaf = False
        board.tell()
        assert await board.said() == ["two"]
        assert line.connections == 2
    await until(lambda: len(received) == 3)
    assert [data for _, data in received] == [b"one", b"two", b"two"]


async def test_a_broker_that_dies_is_noticed_and_found_again(tmp_path, broker):
    steps = f"""
        await client.connect()
        say("connected")
        hear()
        try:
            for _ in range(100):
                await client.keep_alive()
                await asyncio.sleep_ms(50)
        except mqtt.LinkError as fault:
            say("noticed", str(fault)[:8])
        hear()
        await client.connect()
        await client.publish({TOPIC!r}, b"back")
        say("back")
"""
    async with Board(tmp_path, broker.mqtt_port, der(broker.authority), steps) as board:
        assert await board.said() == ["connected"]
        await broker.stop()
        board.tell()
        assert await board.said() == ["noticed", "receive:"]
        await broker.start()
        board.tell()
        assert await board.said() == ["back"]


async def test_a_half_open_line_is_noticed_by_its_silence(tmp_path, broker):
    steps = """
        await client.connect()
        say("connected")
        hear()
        pings = 0
        while True:
            await client.keep_alive()
            await asyncio.sleep_ms(100)
"""
    async with (
        Line(broker.mqtt_port) as line,
        Board(tmp_path, line.own_port, der(broker.authority), steps, keepalive_s=2) as board,
    ):
        assert await board.said() == ["connected"]
        line.deaf = True
        board.tell()
        assert await board.said() == ["error", "found silence for 2 s"]


async def test_an_idle_line_is_kept_alive(tmp_path, broker):
    """The broker drops who is silent for 1.5 times the keep-alive."""
    steps = f"""
        await client.connect()
        for _ in range(50):
            await client.keep_alive()
            await asyncio.sleep_ms(100)
        await client.publish({TOPIC!r}, b"still here")
        say("acknowledged")
"""
    async with Board(tmp_path, broker.mqtt_port, der(broker.authority), steps, keepalive_s=2) as board:
        assert await board.said() == ["acknowledged"]


COMMAND = f"peilmerk/1/{DEVICE}/command"

LISTEN = f"""
        client._heard = lambda topic, payload: say(topic, len(payload), payload[:8].hex())
        await client.connect()
        await client.subscribe({COMMAND!r})
        say("subscribed")
        hear()
        while True:
            await client.keep_alive()
            await asyncio.sleep_ms(50)
"""


def publish_with_qos_1(broker, *payloads):
    """Publish on the command topic as another MQTT client does; returns when the broker has them all."""
    client = paho.mqtt.client.Client(paho.mqtt.client.CallbackAPIVersion.VERSION2, client_id="other")
    client.username_pw_set(DEVICE, "secret")
    context = ssl.create_default_context(cadata=der(broker.authority))
    context.check_hostname = False  # the host is an address here
    client.tls_set_context(context)
    client.connect("127.0.0.1", broker.mqtt_port)
    client.loop_start()
    for payload in payloads:
        client.publish(COMMAND, payload, qos=1).wait_for_publish(30)
    client.disconnect()
    client.loop_stop()


async def test_commands_come_in_at_both_qualities_of_service(tmp_path, broker):
    """A plain NATS publish arrives at QoS 0, an MQTT one at QoS 1 and is acknowledged: it comes once."""
    steps = LISTEN.replace("keep_alive()", "keep_alive()\n            await client.publish('a/b', b'x')")
    async with Board(tmp_path, broker.mqtt_port, der(broker.authority), steps) as board:
        assert await board.said() == ["subscribed"]
        board.tell()
        gateway = await nats.connect(f"nats://gateway:gateway@127.0.0.1:{broker.client_port}")
        await gateway.publish(COMMAND.replace("/", "."), b"plain")
        await gateway.flush()
        assert await board.said() == [COMMAND, 5, b"plain".hex()]
        await asyncio.to_thread(publish_with_qos_1, broker, b"first", b"second")
        assert await board.said() == [COMMAND, 5, b"first".hex()]
        assert await board.said() == [COMMAND, 6, b"second".hex()]
        # The broker holds what is not acknowledged, by consumer: nothing is pending.
        stream = gateway.jetstream()
        async with asyncio.timeout(DEADLINE_S):
            while True:
                consumers = await stream.consumers_info("$MQTT_msgs")
                if [(c.num_ack_pending, c.num_pending, c.delivered.consumer_seq) for c in consumers] == [
                    (0, 0, 2)
                ]:
                    break
                await asyncio.sleep(0.1)
        await gateway.close()


# Debian keeps it where only root's PATH leads. Nothing is skipped in continuous integration.
MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@pytest.mark.skipif(
    MOSQUITTO is None and os.environ.get("CI", "").lower() != "true", reason="mosquitto is not installed"
)
async def test_another_broker_hears_and_is_heard_the_same(tmp_path):
    """Eclipse Mosquitto: publish, subscribe, and a message at QoS 1 that it sends once because it was
    acknowledged.
    """
    broker = Broker(tmp_path, DEVICE, "secret")  # for its certificates; it is not started
    subprocess.run(
        ["mosquitto_passwd", "-b", "-c", str(tmp_path / "users"), DEVICE, "secret"],
        check=True,
        capture_output=True,
    )
    (tmp_path / "mosquitto.conf").write_text(
        f"""
        user {getpass.getuser()}
        listener {broker.mqtt_port} 127.0.0.1
        certfile {tmp_path}/server.pem
        keyfile {tmp_path}/server.key
        password_file {tmp_path}/users
        """
    )
    process = await asyncio.create_subprocess_exec(str(MOSQUITTO), "-c", str(tmp_path / "mosquitto.conf"))
    try:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", broker.mqtt_port)
                    writer.close()
                    break
                except OSError:
                    await asyncio.sleep(0.05)
        steps = LISTEN.replace(
            "keep_alive()", f"keep_alive()\n            await client.publish({TOPIC!r}, b'x')"
        )
        async with Board(tmp_path, broker.mqtt_port, der(broker.authority), steps) as board:
            assert await board.said() == ["subscribed"]
            board.tell()
            await asyncio.to_thread(publish_with_qos_1, broker, b"first", bytes(5000), b"second")
            assert await board.said() == [COMMAND, 5, b"first".hex()]
            assert await board.said() == [COMMAND, 6, b"second".hex()]
    finally:
        process.kill()
        await process.wait()


async def test_long_messages_are_read_past_and_counted(tmp_path, broker):
    steps = LISTEN.replace("payload[:8].hex()", "client.refused")
    async with Board(tmp_path, broker.mqtt_port, der(broker.authority), steps) as board:
        assert await board.said() == ["subscribed"]
        board.tell()
        payloads = [bytes(1024), bytes(1025), bytes(200_000), b"short"]
        await asyncio.to_thread(publish_with_qos_1, broker, *payloads)
        assert await board.said() == [COMMAND, 1024, 0]
        assert await board.said() == [COMMAND, 5, 2]


async def test_a_refused_subscription_is_an_error_and_the_connection_stays(tmp_path, broker):
    conf = broker.folder / "nats.conf"
    user = f'user: "{DEVICE}", password: "secret"'
    rights = 'permissions: { publish: ["peilmerk.>"], subscribe: { deny: [">"] } }'
    conf.write_text(conf.read_text().replace(user, f"{user}, {rights}"))
    await broker.stop()
    await broker.start()
    steps = f"""
        await client.connect()
        try:
            await client.subscribe({COMMAND!r})
        except mqtt.LinkError as fault:
            say(str(fault))
        await client.publish({TOPIC!r}, b"still here")
        say("acknowledged")
"""
    async with Board(tmp_path, broker.mqtt_port, der(broker.authority), steps) as board:
        assert await board.said() == [f"subscribe: the broker refuses {COMMAND} (code 128)"]
        assert await board.said() == ["acknowledged"]


def test_packets_byte_for_byte(micropython):
    seen = micropython(
        """
        import json
        from node.uplink.mqtt import packet, text
        print(json.dumps([
            packet(0x32, text("a/b"), b"\\x00\\x0a", b"hi").hex(),
            packet(0x3a, bytes(127))[:3].hex(),
            packet(0x32, bytes(128))[:4].hex(),
            packet(0x32, bytes(16384))[:5].hex(),
            text("\\u00e9").hex(),
        ]))
        """
    )
    assert seen == ["32090003612f62000a6869", "3a7f00", "32800100", "3280800100", "0002c3a9"]


def test_an_acknowledgement_never_lands_inside_a_message_of_our_own(micropython, tmp_path):
    """On a board a message leaves in pieces, with others at work in between: here a stream waits for that."""
    authority = der(certificate("Authority", authority=True))
    seen = micropython(
        f"""
        import asyncio, json
        from node.uplink.mqtt import MqttClient
        seen = []
        class Slow:
            def write(self, data):
                seen.append(data.decode())
            async def drain(self):
                await asyncio.sleep_ms(5)
                seen.append("gone")
        async def main():
            client = MqttClient("h", 1, "n", "i", "u", "p", {authority!r})
            client._stream = Slow()
            await asyncio.gather(client._write(b"message"), client._write(b"acknowledgement"))
            print(json.dumps(seen))
        asyncio.run(main())
        """
    )
    assert seen == ["message", "gone", "acknowledgement", "gone"]
