"""Kill everything that there is several of, in turn, under load, and count what became of it all.

A gateway of several processes on a PostgreSQL store, three NATS servers with everything on two disks of
three, a real SensorThings platform, and boards in software that connect to any of the servers. The kills:

    worker       SIGKILL of one of the processes that take turns, at any moment
    node         SIGKILL of any NATS server, which is started again a few seconds later
    connection   the server ends every connection to the database (pg_terminate_backend)
    leader       SIGKILL of the NATS server that leads the stream, which makes the others elect
    postgres     SIGKILL of every process of PostgreSQL, which is started again
    gateway      SIGKILL of the process with the page, whose workers end with it

Everything is counted as in `chaos`. `back_s` tells how long it took after a kill until something was stored.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

from peilmerk_bench.chaos.boards import Gate
from peilmerk_bench.chaos.campaign import Chaos, ChaosError, Say
from peilmerk_bench.postgresql import PostgresServer, ServerError
from peilmerk_bench.scale.servers import NAMES, NatsServers
from peilmerk_gateway.child import command_line
from peilmerk_gateway.settings import Settings
from peilmerk_gateway.store_place import Database, Place
from peilmerk_gateway.trust import Trust

KINDS: tuple[str, ...] = ("worker", "leader", "connection", "postgres", "node", "gateway")
DATABASE = "scale"
LIVES_S = 2.0
AWAY_S = 2.0
WHOLE_S = 90.0
BACK_S = 90.0


class ScaleChaos(Chaos):
    """One campaign in a folder, which must be empty, against a server that runs."""

    name = "scale"
    kinds = KINDS

    def __init__(
        self,
        folder: Path,
        kills: int,
        seed: int,
        boards: int = 12,
        rate: float = 5.0,
        say: Say = lambda _: None,
        *,
        workers: int = 3,
        kinds: tuple[str, ...] = KINDS,
    ) -> None:
        super().__init__(folder, kills, seed, boards, rate, say)
        self.kinds = kinds
        self._workers = workers
        self._servers = NatsServers(folder)
        self._postgres = PostgresServer()
        self._database: Database | None = None
        self._back: dict[str, list[float]] = defaultdict(list)
        self._led = 0

    async def run(self) -> dict[str, Any]:
        """See `Chaos.run`."""
        try:
            await asyncio.to_thread(self._postgres_ready)
            report = await super().run()
        finally:
            await asyncio.to_thread(self._servers.stop)
            await asyncio.to_thread(self._postgres.close)
        figures = report["figures"]
        figures["workers"] = self._workers
        figures["left_in_brokers"] = self._left
        figures["back_s"] = {
            kind: {"median": round(sorted(found)[len(found) // 2], 2), "most": round(max(found), 2)}
            for kind, found in sorted(self._back.items())
        }
        report["limits"]["left_in_brokers"] = 0
        report["ok"] = report["ok"] and self._left == 0
        return report

    def _postgres_ready(self) -> None:
        self._postgres.start()
        self._database = self._postgres.database(DATABASE)

    @property
    def _place(self) -> Place:
        assert self._database is not None
        return self._database

    async def _gate(self, settings: Settings, trust: Trust) -> Gate:
        assert self._database is not None
        secret = self._folder / "store.password"
        secret.touch(0o600)
        secret.write_text(self._postgres.password_file.read_text())
        cluster = "\n".join(f"{key} = {value}" for key, value in self._servers.settings_lines().items())
        text = settings.file.read_text("utf-8")
        text = text.replace('kind = "nats"', 'kind = "nats-cluster"', 1)
        text = text.replace("[gateway]", f"[gateway]\nworkers = {self._workers}", 1)
        text += f"\n[broker.cluster]\n{cluster}\n"
        text += f'\n[store]\nurl = "{self._database.url}"\npassword_file = "store.password"\n'
        settings.file.write_text(text, "utf-8")
        first, *others = self._servers.mqtt_ports
        return Gate(first, trust.authority, tuple(others))

    async def _set_up(self) -> None:
        await super()._set_up()
        # Devices are enrolled now: the servers are told of them.
        await self._servers.start()

    # -- killing

    async def _kill(self, kind: str) -> None:
        await self._up()
        await self._whole()
        await asyncio.sleep(self._random.uniform(0.0, LIVES_S))
        before = await self._received()
        began = time.monotonic()
        if kind == "gateway":
            await self._kill_gateway()
            await self._up()
        elif kind == "worker":
            pid = self._random.choice(await self._worker_pids())
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        elif kind == "connection":
            for _ in range(3):
                await asyncio.to_thread(self._postgres.cut_connections, DATABASE)
                await asyncio.sleep(self._random.uniform(0.0, 0.2))
        elif kind == "postgres":
            await asyncio.to_thread(self._postgres.kill)
            await asyncio.sleep(self._random.uniform(0.0, AWAY_S))
            await asyncio.to_thread(self._postgres.start)
        else:
            leader, _ = await self._servers.leaders()
            name = leader if kind == "leader" and leader else self._random.choice(NAMES)
            self._led += name == leader
            self._servers.kill(name)
            await asyncio.sleep(self._random.uniform(0.5, AWAY_S))
            self._servers.start_one(name)
        deadline = time.monotonic() + BACK_S
        while await self._received() <= before:
            if time.monotonic() > deadline:
                raise ChaosError(f"nothing was stored within {BACK_S:.0f} s of the death of a {kind}")
            await asyncio.sleep(0.02)
        self._back[kind].append(time.monotonic() - began)

    async def _whole(self) -> None:
        """Return when all three servers have everything: two may not be away at a time."""
        deadline = time.monotonic() + WHOLE_S
        while await self._servers.replicas() < len(NAMES):
            if time.monotonic() > deadline:
                raise ChaosError(f"the servers were not whole again within {WHOLE_S:.0f} s")
            await asyncio.sleep(0.2)

    async def _worker_pids(self) -> list[int]:
        """Return the processes that take turns, the one with the page not among them."""
        deadline = time.monotonic() + BACK_S
        while True:
            if found := await asyncio.to_thread(_workers_of, self._gateway.pid):
                return found
            if time.monotonic() > deadline:
                raise ChaosError("found no worker of the gateway, wanted one to kill")
            await asyncio.sleep(0.1)

    async def _received(self) -> int:
        return await self._count("SELECT n FROM tally WHERE name = 'received'")

    # -- counting

    async def _compare(self) -> None:
        await super()._compare()
        self._left = await self._held()

    async def _held(self) -> int:
        """Return what the servers still hold once acknowledgements had their time."""
        deadline = time.monotonic() + 30
        held: int | None = None
        while time.monotonic() < deadline:
            held = await self._servers.held()
            if held == 0:
                break
            await asyncio.sleep(0.5)
        return -1 if held is None else held

    async def _ask(self, query: str) -> list[Any]:
        try:
            return await asyncio.to_thread(self._postgres.execute, query, DATABASE)
        except ServerError:
            return []


def _workers_of(pid: int | None) -> list[int]:
    try:
        children = [
            int(child)
            for thread in Path(f"/proc/{pid}/task").iterdir()
            for child in (thread / "children").read_text().split()
        ]
    except OSError:
        return []
    return [child for child in children if " worker " in command_line(child)]
