"""The gateway's broker, whichever kind it is: where batches come from, and how commands go to devices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from peilmerk_gateway.beside import BrokerBeside
from peilmerk_gateway.broker import NatsBroker
from peilmerk_gateway.broker_access import (
    cluster_access,
    ensure_broker_trust,
    ensure_cluster_trust,
    mqtt_access,
)
from peilmerk_gateway.child import Lease
from peilmerk_gateway.ingest import Courier, Ingest
from peilmerk_gateway.ingest.jetstream import CLUSTER_EXPIRY_S, Access, JetStreamIngest
from peilmerk_gateway.ingest.mqtt import MqttIngest
from peilmerk_gateway.ingest.nats_courier import NatsCourier
from peilmerk_gateway.registry import Registry
from peilmerk_gateway.settings import Settings
from peilmerk_gateway.trust import Trust


@dataclass(frozen=True, slots=True)
class WayIn:
    """What the stages see of a broker."""

    ingest: Ingest
    courier: Courier
    mqtt_port: int
    """Where boards connect."""
    trust: Trust | None
    """The gateway's own certificates; None where another broker's authority is all there is."""
    bar: Callable[[frozenset[str]], None] | None = None
    """Keeps these devices out, and no others; None with a broker that others run."""


async def open_way_in(
    settings: Settings, registry: Registry, stack: AsyncExitStack, *, worker: bool = False
) -> WayIn:
    """Start the gateway's own broker, or get ready for the one that others run; `stack` closes it. A worker
    gets in beside the gateway that runs it.

    A broker of others need not be there yet. Raises PeilmerkError naming the setting or file that is wrong.
    """
    if settings.broker.kind != "nats" and not worker:
        # The gateway's own broker takes it itself: one gateway a data folder, whoever runs the broker.
        stack.callback(Lease(settings.gateway.data_dir / "broker").release)
    if settings.broker.kind == "mqtt":
        trust = await asyncio.to_thread(ensure_broker_trust, settings)
        await asyncio.to_thread(mqtt_access, settings)
        external = MqttIngest(lambda: mqtt_access(settings))
        stack.push_async_callback(external.close)
        return WayIn(external, external, settings.broker.mqtt_port, trust)
    if settings.broker.kind == "nats-cluster":
        trust = await asyncio.to_thread(ensure_cluster_trust, settings)
        await asyncio.to_thread(cluster_access, settings)

        def access() -> Access:
            return cluster_access(settings)

        clustered = JetStreamIngest(access, expiry_s=CLUSTER_EXPIRY_S)
        stack.push_async_callback(clustered.close)
        return WayIn(clustered, NatsCourier(access), settings.broker.mqtt_port, trust)
    if worker:
        beside = BrokerBeside(settings)
        shared = JetStreamIngest(beside.access, cutting=False)
        stack.push_async_callback(shared.close)
        return WayIn(shared, NatsCourier(beside.access), 0, None)
    broker = NatsBroker(settings, registry)
    await broker.start()
    stack.push_async_callback(broker.stop)
    # Its data folder lets one gateway at a time run it, so nobody reads there but its workers.
    alone = settings.gateway.workers == 1
    own = JetStreamIngest(broker.access, alone=alone, cutting=None if alone else True)
    stack.push_async_callback(own.close)
    return WayIn(own, NatsCourier(broker.access), broker.mqtt_port, broker.trust, broker.bar)
