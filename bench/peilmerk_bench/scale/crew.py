"""Kill the processes of a gateway that take turns, beside the broker that it runs itself, under load.

A gateway of several processes on a PostgreSQL store, with its own broker, a real SensorThings platform, and
boards in software. The kills:

    worker       SIGKILL of one of the processes that take turns, at any moment
    held         the same, of one that was frozen (SIGSTOP) until the broker waits for what it was given
    connection   the server ends every connection to the database (pg_terminate_backend)
    broker       SIGKILL of the nats-server, which the gateway brings back
    postgres     SIGKILL of every process of PostgreSQL, which is started again
    gateway      SIGKILL of the process with the page; its workers and broker end with it

Everything is counted as in `chaos`; the trail, and the registry beside it, also by `peilmerk audit ledger` as
a person types it. `back_s` tells how long it took after a kill until something was stored.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

from peilmerk_bench.chaos.boards import Gate
from peilmerk_bench.chaos.campaign import Chaos, ChaosError
from peilmerk_bench.chaos.plan import Plan
from peilmerk_bench.postgresql import PostgresServer, ServerError
from peilmerk_gateway.beside import BrokerBeside
from peilmerk_gateway.child import command_line
from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.ingest.jetstream import (
    DURABLE,
    EXPIRY_S,
    STREAM,
    Access,
    JetStreamIngest,
    Unreachable,
    connect,
)
from peilmerk_gateway.settings import Settings, load
from peilmerk_gateway.store_place import Database, Place
from peilmerk_gateway.trust import Trust

KINDS: tuple[str, ...] = ("worker", "broker", "held", "connection", "postgres", "gateway")
DATABASE = "scale"
LIVES_S = 2.0
AWAY_S = 2.0
BACK_S = 90.0
# Longer than a request stays open at the broker: until then a frozen reader is given something.
HELD_S = EXPIRY_S + 1.0
EMPTY_S = 30.0


class CrewChaos(Chaos):
    """One campaign, as planned, against a database server of its own."""

    name = "crew"
    kinds = KINDS

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._postgres = PostgresServer()
        self._database: Database | None = None
        self._back: dict[str, list[float]] = defaultdict(list)
        self._left = -1
        self._audited: dict[str, Any] = {}

    async def run(self) -> dict[str, Any]:
        """See `Chaos.run`."""
        try:
            await asyncio.to_thread(self._postgres_ready)
            report = await super().run()
        finally:
            await asyncio.to_thread(self._postgres.close)
        figures = report["figures"]
        figures["workers"] = self._plan.workers
        figures["left_in_brokers"] = self._left
        figures["audit_ledger"] = self._audited.get("figures", {})
        figures["back_s"] = {
            kind: {"median": round(sorted(found)[len(found) // 2], 2), "most": round(max(found), 2)}
            for kind, found in sorted(self._back.items())
        }
        report["limits"]["left_in_brokers"] = 0
        report["ok"] = report["ok"] and self._left == 0 and self._audited.get("ok") is True
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
        text = settings.file.read_text("utf-8")
        text = text.replace("[gateway]", f"[gateway]\nworkers = {self._plan.workers}", 1)
        text += f'\n[store]\nurl = "{self._database.url}"\npassword_file = "store.password"\n'
        settings.file.write_text(text, "utf-8")
        return await super()._gate(settings, trust)

    # -- killing

    async def _kill(self, kind: str) -> None:
        await self._up()
        await asyncio.sleep(self._random.uniform(0.0, LIVES_S))
        before = await self._received()
        began = time.monotonic()
        await self._strike(kind)
        deadline = time.monotonic() + BACK_S
        while await self._received() <= before:
            if time.monotonic() > deadline:
                raise ChaosError(f"nothing was stored within {BACK_S:.0f} s of the death of a {kind}")
            await asyncio.sleep(0.02)
        self._back[kind].append(time.monotonic() - began)

    async def _strike(self, kind: str) -> None:
        if kind == "gateway":
            await self._kill_gateway()
            await self._up()
        elif kind == "worker":
            _end(self._random.choice(await self._worker_pids()), signal.SIGKILL)
        elif kind == "held":
            await self._kill_held()
        elif kind == "connection":
            for _ in range(3):
                await asyncio.to_thread(self._postgres.cut_connections, DATABASE)
                await asyncio.sleep(self._random.uniform(0.0, 0.2))
        elif kind == "postgres":
            await asyncio.to_thread(self._postgres.kill)
            await asyncio.sleep(self._random.uniform(0.0, AWAY_S))
            await asyncio.to_thread(self._postgres.start)
        else:
            await self._kill_broker()

    async def _kill_held(self) -> None:
        """Freeze a process, and kill it once something stays in its hands while others get on."""
        deadline = time.monotonic() + BACK_S
        while time.monotonic() < deadline:
            pid = self._random.choice(await self._worker_pids())
            _end(pid, signal.SIGSTOP)
            if await self._holds_something():
                _end(pid, signal.SIGKILL)
                return
            # It was still starting, or had asked for nothing.
            _end(pid, signal.SIGCONT)
        raise ChaosError(f"no frozen worker held anything within {BACK_S:.0f} s")

    async def _holds_something(self) -> bool:
        """Whether the broker comes to wait for what it gave, while it gives more."""
        deadline = time.monotonic() + HELD_S
        floor, given = await self._consumer()
        while time.monotonic() < deadline:
            # Those that go on acknowledge what they store within less, and the floor rises with it.
            await asyncio.sleep(0.5)
            found, now_given = await self._consumer()
            if found == floor and now_given > given:
                return True
            floor, given = found, now_given
        return False

    async def _consumer(self) -> tuple[int, int]:
        """Return up to where all is acknowledged, and the last place that was given to anybody."""
        try:
            connection = await connect(self._access())
            try:
                info = await connection.jetstream().consumer_info(STREAM, DURABLE)
                return tuple(int(one.stream_seq) if one else 0 for one in (info.ack_floor, info.delivered))  # type: ignore[return-value]
            finally:
                await connection.close()
        except (*Unreachable, PeilmerkError):
            return -1, -1

    def _access(self) -> Access:
        return BrokerBeside(load(self._folder)).access()

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

    async def _settle(self) -> None:
        await super()._settle()
        # A broker of the gateway's own ends with it, so it is asked before.
        self._left = await self._emptied()

    async def _compare(self) -> None:
        await super()._compare()
        command = [sys.executable, "-m", "peilmerk_gateway", "audit", "ledger", str(self._folder), "--json"]
        done = await asyncio.to_thread(
            lambda: subprocess.run(command, capture_output=True, text=True, check=False)
        )
        if done.returncode not in (0, 1):
            raise ChaosError(f"audit ledger ended with {done.returncode}: {done.stderr.strip()}")
        self._audited = json.loads(done.stdout)

    async def _emptied(self) -> int:
        """Return what the broker still holds once acknowledgements had their time; -1 for not known."""
        deadline = time.monotonic() + EMPTY_S
        held = -1
        while held and time.monotonic() < deadline:
            held = await self._held()
            await asyncio.sleep(0.5)
        return held

    async def _held(self) -> int:
        try:
            return await JetStreamIngest(self._access).pending()
        except PeilmerkError:
            return -1

    async def _ask(self, query: str) -> list[Any]:
        try:
            return await asyncio.to_thread(self._postgres.execute, query, DATABASE)
        except ServerError:
            return []


def _end(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


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
