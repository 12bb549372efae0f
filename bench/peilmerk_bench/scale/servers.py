"""Three NATS servers on this machine, set up by `peilmerk gateway broker-config` as an operator does."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from peilmerk_gateway.broker import program_path
from peilmerk_gateway.broker_access import cluster_access
from peilmerk_gateway.child import tied
from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.free_port import free_port
from peilmerk_gateway.ingest.jetstream import DURABLE, STREAM, Unreachable, connect
from peilmerk_gateway.settings import Settings, load

NAMES = ("n1", "n2", "n3")
ADMIT_S = 60.0


class ClusterError(PeilmerkError):
    """The servers cannot be had; the text says what is in the way."""


class NatsServers:
    """Three servers of a gateway's folder. `mqtt_ports` are where boards connect."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        chosen: set[int] = set()
        while len(chosen) < 9:
            chosen.add(free_port())
        ports = list(chosen)
        self._ports = {name: ports[3 * n : 3 * n + 3] for n, name in enumerate(NAMES)}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def mqtt_ports(self) -> list[int]:
        """One of each server."""
        return [ports[2] for ports in self._ports.values()]

    @property
    def pids(self) -> list[int]:
        """The processes of those that run."""
        return [process.pid for process in self._running.values()]

    def serve(self, file: Path) -> None:
        """Have the gateway of these settings read from them instead of from a broker of its own."""
        urls = json.dumps([f"tls://127.0.0.1:{ports[0]}" for ports in self._ports.values()])
        text = file.read_text("utf-8").replace('kind = "nats"', 'kind = "nats-cluster"', 1)
        text = text.replace("mqtt_port = 0\n", f"mqtt_port = {self.mqtt_ports[0]}\n", 1)
        text += f'\n[broker.cluster]\nurls = {urls}\npassword_file = "broker.password"\n'
        file.write_text(text, "utf-8")

    def configure(self) -> bool:
        """Write their files; return whether devices are let in."""
        nodes = [
            f"{name}=127.0.0.1,client={client},route={route},mqtt={mqtt}"
            for name, (client, route, mqtt) in self._ports.items()
        ]
        command = [sys.executable, "-m", "peilmerk_gateway", "gateway", "broker-config", str(self._folder)]
        command += ["--kind", "nats-cluster", "--out", str(self._folder / "servers"), "--json"]
        command += [word for node in nodes for word in ("--node", node)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode not in (0, 1):
            raise ClusterError(f"broker-config ended with {done.returncode}: {done.stderr.strip()}")
        return done.returncode == 0

    async def start(self) -> None:
        """Start all of them and let the devices in. Raises ClusterError."""
        await asyncio.to_thread(self.configure)
        for name in NAMES:
            self.start_one(name)
        deadline = time.monotonic() + ADMIT_S
        while not await asyncio.to_thread(self.configure):
            if time.monotonic() > deadline:
                raise ClusterError(f"the servers let no device in within {ADMIT_S:.0f} s")
        self.reload()

    def start_one(self, name: str) -> None:
        """Start a server that does not run."""
        place = self._folder / "servers" / name
        with (place / "log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                tied([str(program_path()), "-c", str(place / "nats.conf")]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                umask=0o077,
            )

    def reload(self) -> None:
        """Have every server read its users anew."""
        for process in self._running.values():
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGHUP)

    def kill(self, name: str) -> None:
        """End a server as a power cut of its machine would, as far as the disk keeps what it was given."""
        process = self._running.pop(name)
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        """End all of them."""
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()

    async def leaders(self) -> tuple[str | None, str | None]:
        """Return which server leads the stream of what boards publish, and which the gateway's consumer."""
        stream = await self._ask(f"$JS.API.STREAM.INFO.{STREAM}")
        consumer = await self._ask(f"$JS.API.CONSUMER.INFO.{STREAM}.{DURABLE}")
        return tuple((told.get("cluster") or {}).get("leader") for told in (stream, consumer))  # type: ignore[return-value]

    async def held(self) -> int | None:
        """Return how many messages the servers still hold; None while they cannot be asked."""
        told = await self._ask(f"$JS.API.STREAM.INFO.{STREAM}")
        state = told.get("state")
        return None if state is None else int(state["messages"])

    async def replicas(self) -> int:
        """Return how many servers have the stream and are up to date, its leader among them."""
        cluster = (await self._ask(f"$JS.API.STREAM.INFO.{STREAM}")).get("cluster") or {}
        return bool(cluster.get("leader")) + sum(
            bool(one.get("current")) and not one.get("offline") for one in cluster.get("replicas") or ()
        )

    async def _ask(self, subject: str) -> dict[str, Any]:
        try:
            connection = await connect(cluster_access(self._settings()))
            try:
                answer = await connection.request(subject, b"", timeout=3)
                told: dict[str, Any] = json.loads(answer.data)
                return told
            finally:
                await connection.close()
        except (*Unreachable, ValueError):
            return {}

    def _settings(self) -> Settings:
        return load(self._folder)
