"""Kill everything that there is several of, in turn, under load, and count what became of it all.

A gateway of several processes on a PostgreSQL store, three NATS servers with everything on two disks of
three, a real SensorThings platform, and boards in software that connect to any of the servers. The kills are
those of `crew`, but for the broker of the gateway's own, and:

    node         SIGKILL of any NATS server, which is started again a few seconds later
    leader       SIGKILL of the NATS server that leads the stream, which makes the others elect
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from peilmerk_bench.chaos.boards import Gate
from peilmerk_bench.chaos.campaign import ChaosError
from peilmerk_bench.chaos.plan import Plan
from peilmerk_bench.scale.crew import AWAY_S, CrewChaos
from peilmerk_bench.scale.servers import NAMES, NatsServers
from peilmerk_gateway.broker_access import cluster_access
from peilmerk_gateway.ingest.jetstream import Access
from peilmerk_gateway.settings import Settings, load
from peilmerk_gateway.trust import Trust

KINDS: tuple[str, ...] = ("worker", "leader", "connection", "postgres", "node", "gateway")
WHOLE_S = 90.0


class ScaleChaos(CrewChaos):
    """One campaign, as planned, against servers of its own."""

    name = "scale"
    kinds = KINDS

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._servers = NatsServers(plan.folder)

    async def run(self) -> dict[str, Any]:
        """See `Chaos.run`."""
        try:
            return await super().run()
        finally:
            await asyncio.to_thread(self._servers.stop)

    async def _gate(self, settings: Settings, trust: Trust) -> Gate:
        await super()._gate(settings, trust)
        self._servers.serve(settings.file)
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
        await super()._kill(kind)

    async def _strike(self, kind: str) -> None:
        if kind not in ("node", "leader"):
            await super()._strike(kind)
            return
        leader, _ = await self._servers.leaders()
        name = leader if kind == "leader" and leader else self._random.choice(NAMES)
        self._servers.kill(name)
        await asyncio.sleep(self._random.uniform(0.5, AWAY_S))
        self._servers.start_one(name)

    async def _whole(self) -> None:
        """Return when all three servers have everything: two may not be away at a time."""
        deadline = time.monotonic() + WHOLE_S
        while await self._servers.replicas() < len(NAMES):
            if time.monotonic() > deadline:
                raise ChaosError(f"the servers were not whole again within {WHOLE_S:.0f} s")
            await asyncio.sleep(0.2)

    def _access(self) -> Access:
        return cluster_access(load(self._folder))

    # -- counting

    async def _held(self) -> int:
        held = await self._servers.held()
        return -1 if held is None else held
