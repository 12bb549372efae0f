"""What the tests of broker and ingest are made of: a running broker, and boards that speak MQTT by paho."""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from patience import DEADLINE_S

from peilmerk_gateway.broker import NatsBroker
from peilmerk_gateway.ingest import Batch, jetstream
from peilmerk_gateway.ingest import mqtt as mqtt_ingest
from peilmerk_gateway.ingest.jetstream import JetStreamIngest
from peilmerk_gateway.registry import Device, Registry
from peilmerk_gateway.settings import Settings, load, write_default
from peilmerk_protocol import topics


def village(folder: Path, **values: Any) -> Settings:
    """Settings with free ports on the loopback interface."""
    return load(write_default(folder, host="127.0.0.1", **({"mqtt_port": 0, "update_port": 0} | values)))


@asynccontextmanager
async def running(settings: Settings, registry: Registry, **options: Any) -> AsyncIterator[NatsBroker]:
    """A broker that is stopped at the end."""
    broker = NatsBroker(settings, registry, **options)
    await broker.start()
    try:
        yield broker
    finally:
        await broker.stop()


async def until(true: Callable[[], object], what: str, deadline: float = DEADLINE_S) -> None:
    """Wait for a condition; fails naming it when it does not come true in time."""
    end = time.monotonic() + deadline
    while not true():
        assert time.monotonic() < end, f"waited {deadline} s for: {what}"
        await asyncio.sleep(0.02)


async def up_again(broker: NatsBroker, restarts: int = 1) -> None:
    """Wait until the broker came back so many times."""
    await until(lambda: broker.restarts >= restarts and broker.state == "up", "the broker to come back")


async def pending(ingest: JetStreamIngest, wanted: int) -> None:
    """Wait until the broker holds exactly so many messages for the gateway."""
    end = time.monotonic() + DEADLINE_S
    while (held := await ingest.pending()) != wanted:
        assert time.monotonic() < end, f"found {held} messages held, wanted {wanted}"
        await asyncio.sleep(0.05)


async def next_batch(batches: AsyncIterator[Batch], deadline: float = DEADLINE_S) -> Batch:
    """Return the next batch, or fail."""
    return await asyncio.wait_for(anext(batches), deadline)


def whole_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have readers wait for a whole batch, however slowly the broker sends; the last one takes a second."""
    for module, name in ((jetstream, "LINGER_S"), (jetstream, "GATHER_S"), (mqtt_ingest, "LINGER_S")):
        monkeypatch.setattr(module, name, 1.0)


class Board:
    """One MQTT 3.1.1 client. Blocking calls are to be made from a thread (`asyncio.to_thread`)."""

    def __init__(
        self, broker: NatsBroker, device: Device, *, client_id: str | None = None, clean: bool = True
    ) -> None:
        self.device = device
        self._port = broker.mqtt_port
        self._changed = threading.Condition()
        self.answers: list[str] = []
        self.lost = 0
        self.granted: dict[int, list[bool]] = {}
        self.received: list[tuple[str, bytes]] = []
        self.acknowledged: set[int] = set()
        client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=client_id or device.device_id,
            clean_session=clean,
            protocol=mqtt.MQTTv311,
            reconnect_on_failure=False,
        )
        client.username_pw_set(device.device_id, device.mqtt_password)
        client.tls_set_context(ssl.create_default_context(cafile=str(broker.trust.authority)))
        client.max_inflight_messages_set(1000)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        self.client = client

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _on_connect(self, _c: Any, _u: Any, _f: Any, reason: Any, _p: Any) -> None:
        self.answers.append(str(reason))
        self._tell()

    def _on_disconnect(self, _c: Any, _u: Any, _f: Any, _reason: Any, _p: Any) -> None:
        self.lost += 1
        self._tell()

    def _on_subscribe(self, _c: Any, _u: Any, mid: int, reasons: Any, _p: Any) -> None:
        self.granted[mid] = [not reason.is_failure for reason in reasons]
        self._tell()

    def _on_message(self, _c: Any, _u: Any, message: Any) -> None:
        self.received.append((message.topic, message.payload))
        self._tell()

    def _on_publish(self, _c: Any, _u: Any, mid: int, _reason: Any, _p: Any) -> None:
        self.acknowledged.add(mid)
        self._tell()

    def wait(self, true: Callable[[], object], deadline: float = DEADLINE_S) -> bool:
        """Wait for what a callback brings about."""
        with self._changed:
            return bool(self._changed.wait_for(true, deadline))

    def connect(self) -> str:
        """Connect and return the broker's answer ("Success", "Not authorized")."""
        self.client.connect("127.0.0.1", self._port)
        self.client.loop_start()
        assert self.wait(lambda: self.answers), "no CONNACK"
        return self.answers[-1]

    def subscribe(self, topic: str) -> bool:
        """Subscribe at QoS 1; tells whether it was granted."""
        _, mid = self.client.subscribe(topic, 1)
        assert mid is not None
        assert self.wait(lambda: mid in self.granted), f"no SUBACK for {topic}"
        return self.granted[mid] == [True]

    def send(self, kind: int, payload: bytes) -> int:
        """Publish on the device's own topic at QoS 1; returns the packet id."""
        return self.client.publish(topics.topic(self.device.device_id, kind), payload, 1).mid

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish anywhere at QoS 1 and wait for the acknowledgement."""
        mid = self.client.publish(topic, payload, 1).mid
        assert self.wait(lambda: mid in self.acknowledged), f"no PUBACK for {topic}"

    def report(self, payload: bytes) -> None:
        """Publish a report and wait for the acknowledgement."""
        self.publish(topics.topic(self.device.device_id, topics.REPORT), payload)

    def close(self) -> None:
        """Leave."""
        self.client.disconnect()
        self.client.loop_stop()


@asynccontextmanager
async def board(broker: NatsBroker, device: Device, **options: Any) -> AsyncIterator[Board]:
    """A connected board that leaves at the end."""
    made = Board(broker, device, **options)
    assert await asyncio.to_thread(made.connect) == "Success"
    try:
        yield made
    finally:
        await asyncio.to_thread(made.close)


def with_password(device: Device, password: str) -> Device:
    """The same device with another password."""
    return replace(device, mqtt_password=password)
