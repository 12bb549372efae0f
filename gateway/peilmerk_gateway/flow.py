"""The way through the gateway: a batch is opened, admitted, accounted, stored, and then acknowledged.

Nothing is acknowledged before it is on the disk. What goes wrong with one message is that message's refusal;
what goes wrong with the store holds the batch until the store is well again, or the broker gives the batch to
somebody else. Since storing is idempotent, neither loses nor doubles anything.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable, Collection, Sequence
from contextlib import aclosing, suppress

import structlog

from peilmerk_gateway.clock import Clock
from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.ingest import Batch, Delivery, Ingest
from peilmerk_gateway.judge import PATIENCE_S, Judge, Mandates
from peilmerk_gateway.open import Keyring
from peilmerk_gateway.store import Store, Stored, StoreError, StoreRefused

BACKOFF_FIRST_S = 0.2
BACKOFF_MOST_S = 10.0
SETTLE_S = 5.0
# After so many tries a batch that fails, while the store is well, is taken apart.
POISON_TRIES = 2

_log = structlog.get_logger(__name__)


Listener = Callable[[Collection[str], Collection[str]], None]


def _nobody(heard: Collection[str], stated: Collection[str]) -> None:
    """Tell nobody."""


class Poisoned(PeilmerkError):
    """A message of a batch makes it fail, and will again; the text tells what kind of fault it is."""

    def __init__(self, fault: Exception) -> None:
        super().__init__(type(fault).__name__)


class Flow:
    """Takes deliveries from an ingest to the store.

    `listener` is told, once a batch is stored, which devices were heard and which of them made a statement.
    """

    def __init__(
        self,
        keyring: Keyring,
        mandates: Mandates,
        store: Store,
        clock: Clock,
        *,
        patience_s: float = PATIENCE_S,
        listener: Listener = _nobody,
    ) -> None:
        self._store = store
        self._listener = listener
        self._clock = clock
        self._judge = Judge(keyring, mandates, store, patience_s)
        # Two judgements at a time would not see each other's reports.
        self._one_at_a_time = asyncio.Lock()

    async def run(self, ingest: Ingest, stop: asyncio.Event) -> None:
        """Take batches until the ingest ends or `stop` is set; the batch at hand is finished first."""
        async with aclosing(ingest.batches()) as batches:  # type: ignore[type-var]
            async for batch in batches:
                await self._take(batch, stop)
                if stop.is_set():
                    return

    async def _take(self, batch: Batch, stop: asyncio.Event) -> None:
        """Store a batch and acknowledge it; give up, unacknowledged, only when told to stop."""
        pause = BACKOFF_FIRST_S
        tries = 0
        while True:
            try:
                # One that spoils its batch is found by taking each alone.
                alone = tries >= POISON_TRIES
                stored = await (self._each(batch.deliveries) if alone else self.store(batch.deliveries))
            except (PeilmerkError, OSError, sqlite3.Error) as trouble:
                tries += isinstance(trouble, Poisoned)
                _log.error("batch not stored, trying again", reason=str(trouble), pause_s=pause)
                try:
                    await asyncio.wait_for(stop.wait(), pause * random.uniform(0.5, 1.0))
                    return
                except TimeoutError:
                    pause = min(pause * 2, BACKOFF_MOST_S)
            else:
                await batch.ack()
                _log.info(
                    "batch stored",
                    received=len(batch.deliveries),
                    reports=stored.reports,
                    statements=stored.statements,
                    observations=stored.observations,
                    withheld=stored.withheld,
                    refused=stored.refused,
                )
                return

    async def store(self, deliveries: Sequence[Delivery]) -> Stored:
        """Judge deliveries and write the outcome in one transaction.

        Raises StoreError, RegistryError or OSError for what may pass, Poisoned for what does not.
        """
        async with self._one_at_a_time:
            now = self._clock.now()
            try:
                rows = await self._judge.batch(deliveries, now)
                stored = await self._store.commit_batch(rows, now)
            except StoreRefused as refused:
                raise Poisoned(refused) from refused
            except (PeilmerkError, OSError, sqlite3.Error):
                raise
            except Exception as fault:
                raise Poisoned(fault) from fault
        self._listener(rows.heard, {row.device_id for row in rows.attestations})
        return stored

    async def _each(self, deliveries: Sequence[Delivery]) -> Stored:
        """Store each alone; what cannot be stored even so is refused as a fault of ours, and kept."""
        stored = Stored()
        for delivery in deliveries:
            try:
                some = await self.store([delivery])
            except Poisoned as fault:
                _log.error("message cannot be stored, kept in quarantine", fault=str(fault))
                async with self._one_at_a_time:
                    now = self._clock.now()
                    some = await self._store.commit_batch(self._judge.spoiled(delivery, now), now)
            stored = stored.plus(some)
        return stored

    async def settle(self) -> Stored:
        """Judge for good what has waited longer than patience. Raises StoreError and nothing else."""
        async with self._one_at_a_time:
            now = self._clock.now()
            return await self._store.commit_batch(await self._judge.overdue(now), now)

    async def settle_loop(self, stop: asyncio.Event) -> None:
        """Settle every few seconds until `stop`."""
        while not stop.is_set():
            try:
                stored = await self.settle()
                if stored.reports or stored.refused:
                    _log.info("waited reports judged", reports=stored.reports, refused=stored.refused)
            except StoreError as trouble:
                _log.error("waiting reports not judged, trying again", reason=str(trouble))
            except Exception as fault:  # whatever it is, what devices bring goes on
                _log.error("waiting reports not judged, trying again", fault=type(fault).__name__)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), SETTLE_S)
