"""The brokers that the contract of ingest is tried on: the gateway's own NATS, and a Mosquitto as
`peilmerk gateway broker-config` sets it up, each on free ports and stopped at the end.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mqtt_board import Board, board, next_batch, pending, running, until, up_again, village

from peilmerk_gateway import mosquitto_config
from peilmerk_gateway.broker import NatsBroker
from peilmerk_gateway.broker_access import mqtt_access
from peilmerk_gateway.free_port import free_port
from peilmerk_gateway.ingest import Batch, Delivery, Ingest
from peilmerk_gateway.ingest.jetstream import JetStreamIngest
from peilmerk_gateway.ingest.mqtt import MqttIngest
from peilmerk_gateway.registry import Device, Registry
from peilmerk_gateway.settings import Settings, load

# Longer than any pause of a busy machine: what a test has not acknowledged yet is not to come again.
ACK_WAIT_S = 3.0
MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

TABLE = """
[broker.mqtt]
host = "localhost"
password_file = "broker.password"
protocol = "5"
"""

needs_mosquitto = pytest.mark.skipif(
    MOSQUITTO is None and os.environ.get("CI", "").lower() != "true", reason="mosquitto is not installed"
)


def town(folder: Path, *, protocol: str = "5", port: int | None = None) -> Settings:
    """Settings of a gateway whose broker others run, on a port that is free."""
    village(folder, mqtt_port=port or free_port())
    file = folder / "gateway.toml"
    text = file.read_text().replace('kind = "nats"', 'kind = "mqtt"')
    file.write_text(text + TABLE.replace('"5"', f'"{protocol}"'))
    return load(file)


class Mosquitto:
    """One Mosquitto with the generated configuration."""

    def __init__(self, settings: Settings, registry: Registry, folder: Path) -> None:
        self.settings = settings
        self.registry = registry
        self.folder = folder
        self.process: asyncio.subprocess.Process | None = None
        self.configure()

    @property
    def mqtt_port(self) -> int:
        return self.settings.broker.mqtt_port

    @property
    def trust(self) -> Any:
        return SimpleNamespace(authority=self.settings.trust_dir / "authority.pem")

    def configure(self) -> mosquitto_config.Written:
        written = mosquitto_config.write(self.settings, self.registry, self.folder)
        if os.geteuid() == 0:
            # Started by root it becomes another user, who may not look into a test's folder.
            with (self.folder / "mosquitto.conf").open("a") as file:
                file.write("user root\n")
        return written

    def reload(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)

    async def start(self) -> None:
        assert MOSQUITTO is not None, "found no mosquitto, wanted one: apt-get install mosquitto"
        with (self.folder / "log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                MOSQUITTO, "-c", str(self.folder / "mosquitto.conf"), stdout=log, stderr=log
            )

        def listens() -> bool:
            assert self.process is not None
            assert self.process.returncode is None, (self.folder / "log").read_text()
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.mqtt_port)) == 0

        await until(listens, "mosquitto to listen")

    async def stop(self) -> None:
        if self.process is not None:
            if self.process.returncode is None:
                self.process.terminate()
            assert await self.process.wait() == 0, (self.folder / "log").read_text()
            self.process = None


@dataclass
class Place:
    """One broker, one device, and the ingests that a test opens; `kind` names the adapter."""

    kind: str
    settings: Settings
    registry: Registry
    device: Device
    broker: Any
    opened: list[Any] = field(default_factory=list)

    def ingest(self, **options: Any) -> Any:
        """An ingest that is closed at the end."""
        made: Ingest
        if self.kind == "jetstream":
            # As the gateway's own broker is read.
            made = JetStreamIngest(self.broker.access, **({"ack_wait": ACK_WAIT_S, "alone": True} | options))
        else:
            made = MqttIngest(lambda: mqtt_access(self.settings), ack_wait=ACK_WAIT_S, **options)
        self.opened.append(made)
        return made

    async def session(self, **options: int) -> None:
        """See to it that the broker keeps for the gateway what devices publish from now on.

        The gateway's own broker admits no device before that; another one has to have seen the gateway once.
        """
        if self.kind != "jetstream":
            ingest = self.ingest(**options)
            task = asyncio.create_task(anext(ingest.batches(), None))
            await until(lambda: ingest.connected, "the first session")
            await ingest.close()
            assert await task is None

    async def restart(self) -> None:
        """End the broker as hard as it bears without losing anything, and start it again.

        NATS is killed. Mosquitto is asked to end: what it got since its last writing dies with it otherwise.
        """
        if isinstance(self.broker, NatsBroker):
            assert self.broker.pid is not None
            os.kill(self.broker.pid, signal.SIGKILL)
            await up_again(self.broker)
        else:
            await self.broker.stop()
            await self.broker.start()

    async def nothing_left(self, ingest: Any) -> None:
        """Check that the broker holds no message for the gateway any more; closes the ingest."""
        if self.kind == "jetstream":
            await pending(ingest, 0)
            return
        await ingest.close()
        # Mosquitto sends what it still holds before what is new.
        async with self.board() as reporter:
            await asyncio.to_thread(reporter.report, b"the last one")
        batch = await next_batch(self.ingest().batches())
        assert [one.payload for one in batch.deliveries] == [b"the last one"]
        await batch.ack()

    def board(self) -> Any:
        return board(self.broker, self.device)

    async def publish(self, payloads: list[bytes]) -> None:
        """Publish reports as fast as the broker takes them; returns when all are acknowledged."""
        reporter = Board(self.broker, self.device)
        assert await asyncio.to_thread(reporter.connect) == "Success"
        for payload in payloads:
            reporter.send(1, payload)
        assert await asyncio.to_thread(reporter.wait, lambda: len(reporter.acknowledged) == len(payloads))
        await asyncio.to_thread(reporter.close)


@asynccontextmanager
async def place(kind: str, folder: Path) -> AsyncIterator[Place]:
    """A place of a kind: "jetstream", "mosquitto 5" or "mosquitto 3.1.1"."""
    name, _, protocol = kind.partition(" ")
    settings = village(folder) if name == "jetstream" else town(folder, protocol=protocol)
    with Registry(settings.gateway.registry) as registry:
        device = registry.enrol("counter", "x")
        if name == "jetstream":
            async with running(settings, registry, ack_wait=ACK_WAIT_S) as nats:
                made = Place(kind, settings, registry, device, nats)
                yield made
                for ingest in made.opened:
                    await ingest.close()
            return
        mosquitto = Mosquitto(settings, registry, folder / "mosquitto")
        made = Place(kind, settings, registry, device, mosquitto)
        await mosquitto.start()
        try:
            await made.session()
            yield made
        finally:
            for ingest in made.opened:
                await ingest.close()
            await mosquitto.stop()


async def collect(batches: AsyncIterator[Batch], count: int, *, acknowledge: bool = True) -> list[Delivery]:
    """Take batches until so many deliveries are there."""
    found: list[Delivery] = []
    while len(found) < count:
        batch = await next_batch(batches)
        found += batch.deliveries
        if acknowledge:
            await batch.ack()
    return found


# Takes a batch and is killed with it in its hands; argv: settings, and of NATS address, user and password.
TAKES_AND_DIES = f"""
import asyncio, os, signal, sys
from peilmerk_gateway.broker_access import mqtt_access
from peilmerk_gateway.ingest import jetstream, mqtt
from peilmerk_gateway.settings import load

jetstream.LINGER_S = jetstream.GATHER_S = mqtt.LINGER_S = 1.0

async def main():
    settings = load(sys.argv[1])
    if sys.argv[2:]:
        ingest = jetstream.JetStreamIngest(lambda: jetstream.Access(*sys.argv[2:]), ack_wait={ACK_WAIT_S})
    else:
        ingest = mqtt.MqttIngest(lambda: mqtt_access(settings))
    async for batch in ingest.batches():
        os.write(1, b"".join(one.payload for one in batch.deliveries))
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def killed_with_a_batch(place: Place) -> bytes:
    """Run a gateway's ingest in a process of its own until it is killed; returns the payloads it had."""
    way = []
    if isinstance(place.broker, NatsBroker):
        access = place.broker.access()
        way = [access.url, access.user, access.password]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        TAKES_AND_DIES,
        str(place.settings.file),
        *way,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    taken, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == -signal.SIGKILL
    return taken
