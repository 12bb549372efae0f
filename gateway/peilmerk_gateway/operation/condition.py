"""Whether a gateway can do its work, and what stands in its way, in words.

Two questions are kept apart. *Alive*: would a restart help? Only when the gateway has stopped looking after
itself or cannot read its own store. *Ready*: does what boards send reach the disk, and the platforms? A
broker or a platform that is away makes a gateway unready and not dead.

The looking is done by one task every few seconds, not by whoever asks: strangers who ask often cost nothing.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import structlog

from peilmerk_gateway.clock import Clock
from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.store import Backlog, Store, StoreError

LOOK_S = 5.0
# Sooner while something stands in the way: that it is gone is good news.
AGAIN_S = 1.0
# A look that is older than this says nothing any more.
STALE_S = 90.0
# How long the store may take for a small write.
WRITE_S = 20.0
# The broker is started anew when it dies; how long that may take before the gateway counts as unready.
BROKER_PATIENCE_S = 30.0
# How long rows may be due at a platform without one of them getting there.
STALLED_S = 900.0
PENDING_S = 15.0

CHECKS = ("store", "broker", "disk", "publish", "watch")
"""What is looked at; the words of `troubles` are under one of these."""

_log = structlog.get_logger(__name__)

Pending = Callable[[], Awaitable[int]]


class Condition:
    """What was last found. `watch` in a task looks again and again; the rest only tells.

    `broker_seen` tells when the broker was last there (wall clock, unix s), None for never; `pending` how
    much it still holds, where it can be asked.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        data_dir: Path,
        least_free_bytes: int,
        broker_seen: Callable[[], float | None],
        *,
        pending: Pending | None = None,
        stalled_s: float = STALLED_S,
    ) -> None:
        self._store = store
        self._clock = clock
        self._data_dir = data_dir
        self.least_free_bytes = least_free_bytes
        self._broker_seen = broker_seen
        self._pending = pending
        self._stalled_s = stalled_s
        self._found: dict[str, str] = {"watch": "nothing was looked at yet"}
        self._looked_at = time.monotonic()
        self._asked_at = float("-inf")
        # Of each sink: how many rows it had taken, and since when it is that many.
        self._published: dict[str, tuple[int, float]] = {}
        self.readable = True
        self.free_bytes: int | None = None
        self.store_bytes: int | None = None
        self.pending_messages: int | None = None
        self.backlog: dict[str, Backlog] = {}

    @property
    def broker_seen_ago(self) -> float | None:
        """How long ago the broker was last there, seconds; None for never."""
        seen = self._broker_seen()
        return None if seen is None else max(0.0, time.time() - seen)

    def troubles(self) -> dict[str, str]:
        """Return what stands in the way, a sentence a check of CHECKS; empty when nothing does."""
        ago = time.monotonic() - self._looked_at
        if ago > STALE_S:
            return self._found | {
                "watch": f"found the last look at it {ago:.0f} s ago, wanted one every {LOOK_S:.0f} s"
            }
        return dict(self._found)

    @property
    def alive(self) -> bool:
        """Whether a restart would not help."""
        return self.readable and time.monotonic() - self._looked_at <= STALE_S

    async def watch(self, stop: asyncio.Event, after: Callable[[], None] = lambda: None) -> None:
        """Look every few seconds until `stop`, and log what changed; call `after` after every look."""
        while not stop.is_set():
            before = self._found
            await self.look()
            for check, words in self._found.items():
                if check not in before and check != "watch":
                    _log.error("not ready", check=check, reason=words)
            for check in before:
                if check not in self._found and check != "watch":
                    _log.info("ready again", check=check)
            after()
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), AGAIN_S if self._found else LOOK_S)

    async def look(self) -> None:
        """Look at everything once."""
        found: dict[str, str] = {}
        for check, ask in (
            ("store", self._look_at_store),
            ("broker", self._look_at_broker),
            ("disk", self._look_at_disk),
            ("publish", self._look_at_publishing),
        ):
            if (words := await ask()) is not None:
                found[check] = words
        self._found = found
        self._looked_at = time.monotonic()

    async def _look_at_store(self) -> str | None:
        try:
            self.store_bytes = await asyncio.wait_for(self._store.size(), WRITE_S)
            self.readable = True
        except (StoreError, TimeoutError) as reason:
            self.readable = False
            return f"the store cannot be read: {_why(reason)}"
        try:
            await asyncio.wait_for(self._store.probe(), WRITE_S)
        except (StoreError, TimeoutError) as reason:
            return f"the store cannot be written: {_why(reason)}"
        return None

    async def _look_at_broker(self) -> str | None:
        ago = self.broker_seen_ago
        if ago is None:
            return "the broker was never there"
        if ago >= BROKER_PATIENCE_S:
            return f"the broker was last there {ago:.0f} s ago, wanted it within {BROKER_PATIENCE_S:.0f} s"
        if self._pending is not None and time.monotonic() - self._asked_at >= PENDING_S:
            self._asked_at = time.monotonic()
            try:
                self.pending_messages = await asyncio.wait_for(self._pending(), WRITE_S)
            except (PeilmerkError, TimeoutError):
                self.pending_messages = None
        return None

    async def _look_at_disk(self) -> str | None:
        try:
            self.free_bytes = (await asyncio.to_thread(shutil.disk_usage, self._data_dir)).free
        except OSError as reason:
            self.free_bytes = None
            return f"the disk cannot be asked: {reason.strerror}"
        if self.free_bytes < self.least_free_bytes:
            return (
                f"the disk is nearly full: found {self.free_bytes >> 20} MiB free, "
                f"wanted {self.least_free_bytes >> 20} MiB"
            )
        return None

    async def _look_at_publishing(self) -> str | None:
        """Find sinks that had something to take for long and took nothing."""
        try:
            self.backlog = await self._store.backlog(self._clock.now())
            sinks = (await self._store.figures()).sinks
        except StoreError:
            return None  # told as the store's trouble
        now = time.monotonic()
        stalled = []
        for name, backlog in self.backlog.items():
            published = sinks[name].published + sinks[name].rejected
            before, since = self._published.get(name, (-1, now))
            if published != before or not backlog.rows:
                since = now
            self._published[name] = (published, since)
            if backlog.rows and now - since >= self._stalled_s:
                stalled.append(f"{name}: {backlog.rows} rows are due, none was taken for {now - since:.0f} s")
        return "; ".join(stalled) or None


def _why(reason: Exception) -> str:
    """Say why in words without a path or an address: whoever is told may be a stranger."""
    if isinstance(reason, TimeoutError):
        return f"no answer within {WRITE_S:.0f} s"
    return str(reason).rpartition(": ")[2]
