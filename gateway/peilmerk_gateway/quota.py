"""Quota: what waits for a platform that is away fills what was allowed for it, and not the disk.

Every platform has its own (`quota_rows`, `quota_days` of its table in the settings). Beyond it the figures
that have waited longest are taken out of its queue, a few hundred at a time; they stay in the store, and are
sent to every other platform. A queue of a platform that the settings no longer name keeps the usual quota
until it is empty.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress

import structlog

from peilmerk_gateway.clock import Clock
from peilmerk_gateway.settings import SinkSettings
from peilmerk_gateway.store import Store, StoreError
from peilmerk_gateway.store.quota import Quota

ROWS = 500
PAUSE_S = 0.05
# A queue may be as much beyond its quota as is stored in between.
EVERY_S = 30.0
USUAL = Quota(2_000_000, 30)

_log = structlog.get_logger(__name__)


def quotas_of(sinks: Sequence[SinkSettings]) -> dict[str, Quota]:
    """Return the quota of every platform in the settings."""
    return {sink.name: Quota(sink.quota_rows, sink.quota_days) for sink in sinks}


async def enforce(
    store: Store, quotas: Mapping[str, Quota], now: float, stop: asyncio.Event | None = None, rows: int = ROWS
) -> dict[str, int]:
    """Bring every queue within its quota; return how many figures were dropped, by platform. Raises
    StoreError. Ends early when `stop` is set.
    """
    stop = stop or asyncio.Event()
    dropped: dict[str, int] = {}
    for sink in await store.waiting_sinks():
        quota = quotas.get(sink, USUAL)
        while not stop.is_set() and (some := await store.enforce_quota(sink, quota, rows, now)):
            dropped[sink] = dropped.get(sink, 0) + some
            await _pause(stop, PAUSE_S)
    return dropped


async def quota_loop(store: Store, quotas: Mapping[str, Quota], clock: Clock, stop: asyncio.Event) -> None:
    """Enforce every half minute until `stop`; trouble with the store waits for the next time."""
    while not stop.is_set():
        try:
            for sink, n in (await enforce(store, quotas, clock.now(), stop)).items():
                _log.warning("beyond its quota, the oldest figures are not sent to it", sink=sink, dropped=n)
        except StoreError as trouble:
            _log.error("quota not enforced, trying again", reason=str(trouble))
        await _pause(stop, EVERY_S)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
