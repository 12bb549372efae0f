"""Retention: figures and reports go when their deployment record says so, while the gateway runs.

Every datastream says in its record for how many days its figures are kept here (`retention_days`). What is
older is deleted some rows at a time, so that nothing that arrives has to wait, and every such step
is an entry of the audit trail, which goes on to verify (`store.removal`). The disk gets its space back.

What a platform has, stays there: it was published lawfully. The privacy ledger stays too; it holds no figure
and is what the privacy of the past is accounted by.

A report without its figures is kept longer, for as long as its device could send it again (`admit.BEHIND_S`):
it is by the report that a repetition is known. Where a record cannot be read nothing is deleted on the word
of a default; where there is none any more, the default holds. What was on its way to a platform when its host
was erased, and was not taken there, goes within the hour.

What was refused and kept (`store.quarantine`) goes after days of its own, and before that when the figures in
it would be too old for the record that its device has now; what a platform rejected is then sent no more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from peilmerk_gateway.admit import BEHIND_S
from peilmerk_gateway.clock import Clock
from peilmerk_gateway.deployments.catalogue import Catalogue
from peilmerk_gateway.deployments.record import RETENTION_DAYS
from peilmerk_gateway.store import Store, StoreError
from peilmerk_gateway.store.quarantine import Until
from peilmerk_gateway.store.removal import EXPIRED, Removed, Term, together
from peilmerk_gateway.store.salvage import KEPT_S
from peilmerk_protocol import topics

DAY_S = 86_400
REPORT_DAYS = BEHIND_S // DAY_S + 1
# Rows in one transaction, and the pause between two, seconds: others write meanwhile. And how many are looked
# for at a time.
ROWS = 2_000
PAUSE_S = 0.05
AT_ONCE = 200_000
EVERY_S = 3_600.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be kept from when on; `undecided` are datastreams whose record cannot be read."""

    streams: Sequence[Term]
    devices: Sequence[Term]
    undecided: Sequence[str] = ()


async def plan(store: Store, catalogue: Catalogue, now: float) -> Plan:
    """Hold what is stored against the records in force."""
    stored_streams, stored_devices = await store.kept()
    declared = catalogue.datastreams
    days = {key: found.datastream.retention_days for key, found in declared.items()}
    of_device: dict[str, int] = {}
    for found in declared.values():
        device_id = found.device.device_id
        of_device[device_id] = max(of_device.get(device_id, 0), found.datastream.retention_days)
    # Which deployment a file that cannot be read was about nobody knows for certain.
    unread = bool(catalogue.broken)
    return Plan(
        streams=[
            Term(key, _since(days.get(key, RETENTION_DAYS), now))
            for key in stored_streams
            if key in days or not unread
        ],
        devices=[
            Term(device_id, _since(max(of_device.get(device_id, RETENTION_DAYS), REPORT_DAYS), now))
            for device_id in stored_devices
            if device_id in of_device or not unread
        ],
        undecided=[key for key in stored_streams if key not in days] if unread else (),
    )


def _since(days: int, now: float) -> int:
    return int(now) - days * DAY_S


async def overdue(store: Store, catalogue: Catalogue, now: float) -> Removed:
    """Return how much `retain` would delete at `now` (unix seconds)."""
    wanted = await plan(store, catalogue, now)
    return await store.overdue(wanted.streams, wanted.devices)


async def retain(
    store: Store, catalogue: Catalogue, now: float, stop: asyncio.Event | None = None, rows: int = ROWS
) -> Removed:
    """Delete everything that is older than its record says, step by step; return how much. Raises StoreError.

    Ends early when `stop` is set; the next run goes on.
    """
    stop = stop or asyncio.Event()
    wanted = await plan(store, catalogue, now)
    removed = Removed()
    while not stop.is_set():
        before = removed.rows
        for some in together(await store.due(wanted.streams, wanted.devices, AT_ONCE), rows):
            removed.add(await store.age_out(some, now))
            await _pause(stop, PAUSE_S)
            if stop.is_set():
                break
        if removed.rows == before:
            break
    while removed.rows and not stop.is_set() and await store.give_back():
        await _pause(stop, PAUSE_S)
    return removed


async def expire(
    store: Store,
    catalogue: Catalogue,
    days: int,
    now: float,
    stop: asyncio.Event | None = None,
    rows: int = ROWS,
) -> tuple[int, int]:
    """Delete what was kept in the quarantine for longer than `days`, or than its record lets figures be kept;
    return how many messages, and how many rows that a platform rejected. Raises StoreError.
    """
    stop = stop or asyncio.Event()
    before = now - days * DAY_S
    until = Until(before, await _windows(store, catalogue, now))
    messages = rejected = 0
    while not stop.is_set() and (some := await store.expire_quarantined(until, rows, now)):
        messages += some
        await _pause(stop, PAUSE_S)
    while not stop.is_set() and (found := await store.rejected_by_platforms(until=before, limit=rows)):
        keys = [(row.sink, row.observation_id) for _, row in found]
        rejected += await store.unqueue(keys, EXPIRED, now)
        await _pause(stop, PAUSE_S)
    return messages, rejected


async def _windows(store: Store, catalogue: Catalogue, now: float) -> list[tuple[str, int, int, int]]:
    """Return since when each device's windows are kept, by the shortest term that its record has."""
    terms: dict[str, int] = {}
    for declared in catalogue.datastreams.values():
        device_id, days = declared.device.device_id, declared.datastream.retention_days
        terms[device_id] = min(terms.get(device_id, days), days)
    found = []
    for device_id in await store.quarantined_devices():
        mandate = catalogue.mandate(device_id)
        if mandate is not None and device_id in terms:
            since = _since(terms[device_id], now)
            found += [
                (device_id, kind, mandate.length_s(kind), since) for kind in (topics.REPORT, topics.DAY)
            ]
    return found


async def retain_loop(
    store: Store, catalogue: Catalogue, clock: Clock, stop: asyncio.Event, quarantine_days: int = 30
) -> None:
    """Retain at the start and every hour until `stop`; trouble with the store waits for the next hour."""
    while not stop.is_set():
        try:
            messages, rejected = await expire(store, catalogue, quarantine_days, clock.now(), stop)
            if messages or rejected:
                _log.info("kept in quarantine long enough, deleted", messages=messages, rejected=rejected)
            removed = await retain(store, catalogue, clock.now(), stop)
            if removed.rows:
                _log.info(
                    "older than their records say, deleted",
                    observations=removed.observations,
                    withheld=removed.withheld,
                    reports=removed.reports,
                )
            for device_id in await store.left_behind():
                erased = await store.erase(device_id, clock.now())
                _log.info("came back from a platform after its host was erased, deleted", rows=erased.rows)
            if gone := await store.forget_damaged(time.time() - KEPT_S):
                _log.info("damaged files of the store that were replaced, deleted", files=gone)
            # What waited or was kept for a while is in the journal, too, for as long as that is not emptied.
            while not stop.is_set() and await store.give_back():
                await _pause(stop, PAUSE_S)
        except (StoreError, OSError) as trouble:
            _log.error("retention not finished, trying again in an hour", reason=str(trouble))
        await _pause(stop, EVERY_S)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
