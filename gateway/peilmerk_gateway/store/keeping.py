"""The store's side door: what was refused and kept, and what platforms' queues may hold.

Part of `Store`, which knows how to read and to write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.engine import URL

from peilmerk_gateway.store import (
    engine,
    halts,
    outbox,
    quarantine,
    quota,
    removal,
    replay,
    salvage,
    tally,
    trail,
)
from peilmerk_gateway.store.restated import Left
from peilmerk_gateway.store.rows import BatchRows, OutboxRow, QuarantinedRow, Stored

T = TypeVar("T")


class Keeping:
    """The methods of `Store` about quarantine and quota."""

    url: URL
    sinks: tuple[str, ...]
    _left: Left

    async def _read(self, ask: Callable[[Connection], T]) -> T:
        raise NotImplementedError

    async def _write(self, change: Callable[[Connection], T], *, tell: bool = True) -> T:
        raise NotImplementedError

    async def quarantined(
        self,
        device_id: str | None = None,
        reason: str | None = None,
        since: float | None = None,
        *,
        limit: int = 1_000,
        after: quarantine.Key | None = None,
    ) -> list[QuarantinedRow]:
        """Return kept messages by device and number: of a device, a reason, refused since, behind a key."""
        return await self._read(lambda c: quarantine.listed(c, device_id, reason, since, limit, after))

    async def quarantined_devices(self) -> list[str]:
        """Return the devices of which something is kept."""
        return await self._read(quarantine.devices)

    async def settle_replay(self, rows: BatchRows, settled: replay.Settled, now: float) -> Stored:
        """Write what became of kept messages that were judged anew, in one transaction."""
        return await self._write(lambda c: replay.write(c, rows, settled, self.sinks, now))

    async def drop_quarantined(self, keys: Sequence[quarantine.Key], now: float) -> int:
        """Delete kept messages for good; return how many there were."""
        return await self._write(lambda c: quarantine.remove(c, keys, quarantine.DROPPED, now))

    async def expire_quarantined(self, until: quarantine.Until, limit: int, now: float) -> int:
        """Delete up to `limit` kept messages whose time is over; return how many."""
        return await self._write(lambda c: quarantine.expire(c, until, limit, now))

    async def rejected_by_platforms(
        self,
        sink: str | None = None,
        device_id: str | None = None,
        since: float | None = None,
        until: float | None = None,
        limit: int = 1_000,
    ) -> list[tuple[str, OutboxRow]]:
        """Return (device, row) of what platforms rejected for good, oldest first."""
        return await self._read(lambda c: outbox.rejected_rows(c, sink, device_id, since, until, limit))

    async def send_again(self, sink: str, observations: Sequence[int], now: float) -> int:
        """Put rows that a platform rejected back into its queue; return how many."""
        return await self._write(lambda c: replay.send_again(c, sink, observations, now))

    async def unqueue(self, rows: Sequence[tuple[str, int]], why: str, now: float) -> int:
        """Take (sink, observation) that wait or were rejected out of the queues; return how many."""
        return await self._write(lambda c: removal.unqueue_rows(c, self._left, rows, why, now))

    async def last_written(self) -> float | None:
        """Return when the last entry of the audit trail was written, unix seconds; None before the first."""
        return await self._read(trail.last_at)

    async def damaged(self) -> list[str]:
        """Return what is wrong with an SQLite file, page by page; nothing for any other database."""
        return await self._read(engine.damaged)

    async def forget_damaged(self, until: float) -> int:
        """Delete the damaged SQLite files that were replaced until then (unix seconds); return how many."""
        if self.url.get_backend_name() != "sqlite" or self.url.database is None:
            return 0
        return await asyncio.to_thread(salvage.forget, Path(self.url.database), until)

    async def left_behind(self) -> list[str]:
        """Return erased devices of which a figure came back that was on its way to a platform meanwhile."""
        return await self._read(halts.left_behind)

    async def waiting_sinks(self) -> list[str]:
        """Return the platforms for which something waits."""
        return await self._read(quota.sinks)

    async def enforce_quota(self, sink: str, limits: quota.Quota, limit: int, now: float) -> int:
        """Drop up to `limit` of the oldest rows beyond a platform's quota; return how many."""
        going = await self._read(lambda c: quota.beyond(c, sink, limits, limit, now))
        if not going:
            return 0
        return await self._write(lambda c: quota.drop(c, self._left, sink, going, now))

    async def note_barred(self, device_ids: Sequence[str]) -> None:
        """Count that these devices are kept out for a while."""
        by = {f"barred:{device_id}": 1 for device_id in device_ids}
        await self._write(lambda connection: tally.raise_tally(connection, by))
