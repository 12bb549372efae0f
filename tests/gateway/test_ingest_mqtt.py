"""Ingest from MQTT brokers: what is its own beside the contract (test_ingest_contract.py)."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest
from ingest_brokers import Place, collect, needs_mosquitto
from ingest_brokers import place as new_place
from mqtt_board import Board, next_batch, until, whole_batches
from patience import DEADLINE_S
from sealed_street import Counter, record

from peilmerk_gateway.broker_access import mqtt_access
from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.ingest import IngestError, mqtt
from peilmerk_gateway.ingest.mqtt import MqttIngest
from peilmerk_gateway.service import Ready, Service
from peilmerk_gateway.settings import load
from peilmerk_gateway.store import Store
from peilmerk_protocol import command, topics

pytestmark = needs_mosquitto


@pytest.fixture
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    async with new_place(getattr(request, "param", "mosquitto 5"), tmp_path) as made:
        yield made


over_3_1_1 = pytest.mark.parametrize("place", ["mosquitto 3.1.1"], indirect=True)


def change(place: Place, old: str, new: str) -> None:
    """Change a line of the broker's configuration."""
    file = place.broker.folder / "mosquitto.conf"
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


async def test_an_old_acknowledgement_never_counts_for_what_a_new_connection_brought(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_batches(monkeypatch)
    await place.publish([b"one", b"two"])
    ingest = place.ingest()
    batches = ingest.batches()
    old = await next_batch(batches)
    assert len(old.deliveries) == 2
    await place.broker.stop()
    await place.broker.start()
    again = await next_batch(batches)
    assert ingest.connections == 2
    assert [(one.payload, one.redelivered) for one in again.deliveries] == [(b"one", True), (b"two", True)]
    # The packet identifiers of both are the same, and the new connection stands: what a session held may come
    # before the answer to the subscription.
    await until(lambda: ingest.connected, "a connection")
    await old.ack()
    assert ingest.connected
    await ingest.close()
    third = place.ingest()
    found = await collect(third.batches(), 2)
    assert [one.payload for one in found] == [b"one", b"two"]
    await place.nothing_left(third)


@pytest.mark.parametrize("place", ["mosquitto 5", "mosquitto 3.1.1"], indirect=True)
async def test_a_broker_far_ahead_of_the_store_fills_no_memory(place: Place) -> None:
    await place.publish([b"%d" % number for number in range(400)])
    ingest = place.ingest(batch=10, outstanding=2)
    found: list[bytes] = []
    async with aclosing(ingest.batches()) as batches:
        async for batch in batches:
            assert len(ingest._epoch._arrived) + len(batch.deliveries) <= ingest._epoch._unacknowledged <= 20
            found += [one.payload for one in batch.deliveries]
            await batch.ack()
            if len(found) == 400:
                break
    assert found == [b"%d" % number for number in range(400)], "each once, and in order"
    assert ingest.connections == 1
    await place.nothing_left(ingest)


async def test_small_batches_take_places_too(place: Place) -> None:
    ingest = MqttIngest(lambda: mqtt_access(place.settings), batch=3, outstanding=2)
    place.opened.append(ingest)
    batches = ingest.batches()
    held = []
    for payload in (b"a", b"b"):
        await place.publish([payload])
        held.append(await next_batch(batches))
    third = asyncio.create_task(anext(batches, None))
    await place.publish([b"c"])
    await until(lambda: ingest._epoch._arrived, "the third message")
    await asyncio.wait([third], timeout=0.1)
    assert not third.done(), "two are outstanding"
    await held[0].ack()
    assert [one.payload for one in (await asyncio.wait_for(third, DEADLINE_S)).deliveries] == [b"c"]


@over_3_1_1
async def test_what_a_standing_store_left_unread_comes_on_the_next_connection(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "HOLD_S", 0.01)
    await place.publish([b"%d" % number for number in range(100)])
    ingest = place.ingest(batch=10, outstanding=2)
    found: list[bytes] = []
    async with aclosing(ingest.batches()) as batches:
        async for batch in batches:
            found += [one.payload for one in batch.deliveries]
            if len(found) <= 80:  # the last twenty are not too much
                await until(lambda: ingest._epoch._overrun, "the broker to send too much")
            await batch.ack()
            if len(found) == 100:
                break
    assert found == [b"%d" % number for number in range(100)], "each once, and in order"
    assert ingest.connections == 5, "twenty at a time"
    await place.nothing_left(ingest)


async def test_leaving_does_not_wait_for_a_full_window(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "HOLD_S", 600.0)
    monkeypatch.setattr(mqtt, "KEEP_ALIVE_S", 600)
    await place.publish([b"%d" % number for number in range(100)])
    ingest = place.ingest(batch=5, outstanding=1)
    batches = ingest.batches()
    held = await next_batch(batches)
    await held.ack()
    await until(lambda: ingest._epoch._unacknowledged == 5, "a full window again")
    await asyncio.wait_for(ingest.close(), DEADLINE_S)


async def test_a_topic_of_nobody_has_no_device_and_qos_0_is_not_taken(place: Place) -> None:
    # A user of the broker whose name is no device id fits the patterns of a device's topics.
    stranger = replace(place.device, device_id="NOT-an-id")
    with (place.broker.folder / "passwords").open("a") as file:
        file.write(f"{stranger.device_id}:{stranger.mosquitto_hash}\n")
    place.broker.reload()
    # QoS 0 is kept for nobody, so somebody listens.
    ingest = place.ingest()
    listening = asyncio.create_task(collect(ingest.batches(), 2))
    await until(lambda: ingest.connected, "a connection")
    other = Board(place.broker, stranger)
    assert await asyncio.to_thread(other.connect) == "Success"
    await asyncio.to_thread(other.publish, "peilmerk/1/NOT-an-id/report", b"who?")
    await asyncio.to_thread(other.close)
    device = place.device
    async with place.board() as reporter:
        reporter.client.publish(topics.topic(device.device_id, topics.REPORT), b"lost", 0)
        await asyncio.to_thread(reporter.report, b"kept")
    found = await asyncio.wait_for(listening, DEADLINE_S)
    assert [(one.device_id, one.kind, one.payload) for one in found] == [
        (None, 0, b"who?"),
        (device.device_id, topics.REPORT, b"kept"),
    ]


async def test_a_session_that_the_broker_forgot_is_told(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    ingest = place.ingest()
    waiting = asyncio.create_task(anext(ingest.batches(), None))
    await until(lambda: ingest.connected, "a connection")
    await place.broker.stop()
    shutil.rmtree(place.broker.folder / "store")
    place.broker.configure()
    await place.broker.start()
    await until(lambda: ingest.connections == 2, "the next connection")
    assert ingest.sessions_lost == 1
    assert "the broker has forgotten this gateway's session" in caplog.text
    await ingest.close()
    await waiting


async def test_a_subscription_that_is_not_granted_whole_is_no_subscription(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    await place.broker.stop()
    change(place, "max_qos 1", "max_qos 0")
    await place.broker.start()
    ingest = place.ingest()
    waiting = asyncio.create_task(anext(ingest.batches(), None))
    await until(lambda: "wanted QoS 1 granted" in caplog.text, "a complaint")
    assert not ingest.connected
    assert (
        "peilmerk/1/+/report: found Granted QoS 0, wanted QoS 1 granted: see the broker's ACL" in caplog.text
    )
    await ingest.close()
    assert await waiting is None


async def test_a_way_in_that_is_wrong_is_told_and_tried_again(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    file = place.settings.broker.mqtt.password_file
    good = file.read_text()
    ingest = place.ingest()
    with pytest.raises(IngestError, match="there is no connection to the broker at this moment"):
        await ingest.tell("peilmerk/1/x/command", b"")
    waiting = asyncio.create_task(anext(ingest.batches()))
    file.write_text("unguessed\n")
    await until(lambda: "it answered: Not authorized" in caplog.text, "the broker's no")
    file.chmod(0o644)
    await until(lambda: "broker.password: found mode 0644, wanted 0600" in caplog.text, "the mode")
    file.chmod(0o600)
    file.write_text(good)
    await until(lambda: ingest.connected, "a connection")
    await place.publish([b"x"])
    assert (await asyncio.wait_for(waiting, DEADLINE_S)).deliveries[0].payload == b"x"
    assert "unguessed" not in caplog.text


async def test_a_broker_of_another_authority_is_not_told_the_password(
    place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with new_place("mosquitto 5", tmp_path / "other") as other:
        file = place.settings.file
        authority = other.settings.trust_dir / "authority.pem"
        text = file.read_text().replace("[update]", "[update_not]")
        text = text[: text.index("[update_not]")] + text[text.index("[broker.mqtt]") :]
        file.write_text(f'{text}ca_file = "{authority}"\n')
        settings = load(file)
        ingest = MqttIngest(lambda: mqtt_access(settings))
        waiting = asyncio.create_task(anext(ingest.batches(), None))
        await until(lambda: "CERTIFICATE_VERIFY_FAILED" in caplog.text, "a refusal")
        await ingest.close()
        assert await waiting is None


@pytest.mark.parametrize(
    ("content", "mode", "complaint"),
    [
        (None, 0o600, "No such file or directory, wanted the gateway's password"),
        ("", 0o600, "found an empty first line"),
        ("secret\n", 0o640, "found mode 0640, wanted 0600"),
    ],
)
def test_a_password_file_is_read_when_nobody_else_may(
    tmp_path: Path, content: str | None, mode: int, complaint: str
) -> None:
    from peilmerk_gateway.broker_access import read_password

    file = tmp_path / "password"
    if content is not None:
        file.write_text(content)
        file.chmod(mode)
    with pytest.raises(PeilmerkError, match=complaint) as told:
        read_password(file)
    assert "secret" not in str(told.value)


async def test_a_whole_gateway_hears_and_commands_a_board_by_it(place: Place) -> None:
    one = Counter(place.device)
    (place.settings.deployments.directory / "street.toml").write_text(record("street", [("teller", one.id)]))
    text = place.settings.file.read_text()
    text = text.replace("port = 8080", "port = 0").replace("port = 8884", "port = 0")
    place.settings.file.write_text(text)
    ready: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
    service = Service(load(place.settings.file), ready.set_result)
    task = asyncio.create_task(service.run())
    try:
        await asyncio.wait([task, ready], return_when=asyncio.FIRST_COMPLETED, timeout=60)
        assert ready.done(), task.result()
        assert ready.result().mqtt_port == place.settings.broker.mqtt_port
        async with place.board() as board:
            assert await asyncio.to_thread(board.subscribe, topics.topic(one.id, topics.COMMAND))
            await asyncio.to_thread(
                board.publish, topics.topic(one.id, topics.STATEMENT), one.statement(1).payload
            )
            assert await asyncio.to_thread(board.wait, lambda: board.received)
            assert one.hears(board.received[0][1]).verb == command.TIME
    finally:
        service.stop()
        await asyncio.wait_for(task, DEADLINE_S)
    async with await Store.look(place.settings.gateway.data_dir / "store.db") as store:
        assert (await store.figures()).statements == 1
    await place.nothing_left(place.ingest())
