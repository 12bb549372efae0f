"""The way through the gateway: a batch is opened, admitted, accounted, stored, and then acknowledged.

Nothing is acknowledged before it is on the disk. What goes wrong with one message is that message's refusal;
what goes wrong with the store holds the batch until the store is well again, or the broker gives the batch to
somebody else. Since storing is idempotent, neither loses nor doubles anything.

While a batch is being written the next ones are judged, in the light of those before as if they were stored
already: one more may wait to be written, so that neither judging nor writing waits for the other's slow ones.
Batches are written in the order in which they came; where one is not written at once and as it was judged,
those after it are judged anew.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, replace

import structlog

from peilmerk_gateway.clock import Clock
from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.ingest import Batch, Delivery, Ingest
from peilmerk_gateway.judge import PATIENCE_S, Judge, Judged, Mandates
from peilmerk_gateway.open import Keyring
from peilmerk_gateway.store import Store, Stored, StoreError, StoreRefused, WriterFault
from peilmerk_gateway.store.meanwhile import Overtaken

BACKOFF_FIRST_S = 0.2
BACKOFF_MOST_S = 10.0
SETTLE_S = 5.0
# After so many tries a batch that fails, while the store is well, is taken apart.
POISON_TRIES = 2
# How many batches may be written, or wait for it, while another one is judged.
AHEAD = 2

_log = structlog.get_logger(__name__)


Listener = Callable[[Collection[str], Collection[str]], None]


def _nobody(heard: Collection[str], stated: Collection[str]) -> None:
    """Tell nobody."""


class Poisoned(PeilmerkError):
    """A message of a batch makes it fail, and will again; the text tells what kind of fault it is."""

    def __init__(self, fault: Exception) -> None:
        super().__init__(fault.kind if isinstance(fault, WriterFault) else type(fault).__name__)


@dataclass(frozen=True, slots=True)
class _UnderWay:
    """A batch that is written now or next. `written` becomes whether that was at once, as it was judged."""

    judged: Judged | None
    written: asyncio.Future[bool]

    @property
    def may_be_followed(self) -> bool:
        """Whether the next batch may be judged meanwhile."""
        return self.judged is not None and self.judged.may_be_followed


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
        # Two judgements at a time would not see each other's reports: who judges and writes has the lock, and
        # batches that follow each other in `run` have it together, `_together` of them.
        self._one_at_a_time = asyncio.Lock()
        self._together = 0
        self._others = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, ingest: Ingest, stop: asyncio.Event) -> None:
        """Take batches until the ingest ends or `stop` is set; the batch at hand is finished first."""
        async with aclosing(ingest.batches()) as batches:  # type: ignore[type-var]
            coming = asyncio.ensure_future(anext(batches, None))
            before: list[_UnderWay] = []
            try:
                while True:
                    await asyncio.wait({coming, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
                    self._look_at_tasks()
                    if stop.is_set():
                        break
                    if not coming.done():
                        continue
                    if (batch := coming.result()) is None:
                        break
                    coming = asyncio.ensure_future(anext(batches, None))
                    before = [one for one in before if not one.written.done()]
                    before.append(await self._take(batch, before, stop))
                while self._tasks:
                    await asyncio.wait(self._tasks)
                    self._look_at_tasks()
            finally:
                left = [coming, *self._tasks]
                for task in left:
                    task.cancel()
                await asyncio.gather(*left, return_exceptions=True)

    def _look_at_tasks(self) -> None:
        """Forget what is finished, and raise what should not have happened."""
        done = {task for task in self._tasks if task.done()}
        self._tasks -= done
        for task in done:
            task.result()

    async def _take(self, batch: Batch, before: list[_UnderWay], stop: asyncio.Event) -> _UnderWay:
        """Judge a batch while those `before` it are written; then have it written and acknowledged."""
        if before and (self._others or not all(one.may_be_followed for one in before)):
            await asyncio.wait([before[-1].written])
        elif len(before) > AHEAD:
            await asyncio.wait([before[-AHEAD - 1].written])
        before = [one for one in before if not one.written.done()]
        if not self._together:
            await self._one_at_a_time.acquire()
        self._together += 1
        try:
            now = 0.0
            judged: Judged | None = None
            # Whatever is in the way is met again, and told, when the batch is judged to be written.
            with suppress(Exception):
                now = self._clock.now()
                memories = [one.judged.memory for one in before if one.judged and one.judged.memory]
                judged = await self._judge.batch(batch.deliveries, now, memories)
        except BaseException:
            self._let_go()
            raise
        under_way = _UnderWay(judged, asyncio.get_running_loop().create_future())
        last = before[-1].written if before else None
        self._tasks.add(asyncio.create_task(self._finish(batch, under_way, last, now, stop), name="batch"))
        return under_way

    def _let_go(self) -> None:
        self._together -= 1
        if not self._together:
            self._one_at_a_time.release()

    async def _finish(
        self,
        batch: Batch,
        under_way: _UnderWay,
        before: asyncio.Future[bool] | None,
        now: float,
        stop: asyncio.Event,
    ) -> None:
        """Write a batch, after the one `before`, and acknowledge it; give up, unacknowledged, only when told
        to stop.
        """
        at_once = False
        deliveries: Sequence[Delivery] = batch.deliveries
        try:
            pause = BACKOFF_FIRST_S
            tries = 0
            judged = under_way.judged
            if before is not None:
                await asyncio.wait([before])
                if not before.result():
                    judged = None
            at_once = judged is not None
            while True:
                try:
                    if tries < POISON_TRIES:
                        stored = await self._write(deliveries, judged, now)
                    else:
                        # One that spoils its batch is found by taking each alone.
                        stored = await self._each(deliveries)
                    break
                except Overtaken as trouble:
                    judged, at_once = None, False
                    # The broker gave somebody else what was stored meanwhile.
                    deliveries = [replace(one, redelivered=True) for one in deliveries]
                    _log.info("batch judged anew", reason=str(trouble))
                except (PeilmerkError, OSError, sqlite3.Error) as trouble:
                    tries += isinstance(trouble, Poisoned)
                    judged, at_once = None, False
                    if not isinstance(trouble, Poisoned):
                        # It is stored all the same where only the answer got lost, and no replay then.
                        deliveries = [replace(one, redelivered=True) for one in deliveries]
                    _log.error("batch not stored, trying again", reason=str(trouble), pause_s=pause)
                    with suppress(TimeoutError):
                        await asyncio.wait_for(stop.wait(), pause * random.uniform(0.5, 1.0))
                        return
                    pause = min(pause * 2, BACKOFF_MOST_S)
        except BaseException:
            at_once = False
            raise
        finally:
            under_way.written.set_result(at_once)
            self._let_go()
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

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Judge and write while nobody else does; batches that follow each other make room for it."""
        self._others += 1
        try:
            async with self._one_at_a_time:
                yield
        finally:
            self._others -= 1

    async def store(self, deliveries: Sequence[Delivery]) -> Stored:
        """Judge deliveries and write the outcome in one transaction.

        Raises StoreError, RegistryError or OSError for what may pass, Poisoned for what does not.
        """
        async with self._alone():
            while True:
                try:
                    return await self._write(deliveries)
                except Overtaken:
                    deliveries = [replace(one, redelivered=True) for one in deliveries]

    async def _write(
        self, deliveries: Sequence[Delivery], judged: Judged | None = None, now: float = 0.0
    ) -> Stored:
        """Write what was judged at `now`, or judge it first; raises as `store` does. For who has the lock."""
        try:
            if judged is None:
                now = self._clock.now()
                judged = await self._judge.batch(deliveries, now)
            stored = await self._store.commit_batch(judged.rows, now)
        except StoreRefused as refused:
            raise Poisoned(refused) from refused
        except (PeilmerkError, OSError, sqlite3.Error):
            raise
        except Exception as fault:
            raise Poisoned(fault) from fault
        self._listener(judged.rows.heard, {row.device_id for row in judged.rows.attestations})
        return stored

    async def _each(self, deliveries: Sequence[Delivery]) -> Stored:
        """Store each alone; what cannot be stored even so is refused as a fault of ours, and kept.

        For who has the lock.
        """
        stored = Stored()
        for delivery in deliveries:
            try:
                some = await self._write([delivery])
            except Poisoned as fault:
                _log.error("message cannot be stored, kept in quarantine", fault=str(fault))
                now = self._clock.now()
                some = await self._store.commit_batch(self._judge.spoiled(delivery, now), now)
            stored = stored.plus(some)
        return stored

    async def settle(self) -> Stored:
        """Judge for good what has waited longer than patience. Raises StoreError and nothing else."""
        async with self._alone():
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
