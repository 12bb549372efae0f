"""The way through the gateway: a batch is opened, admitted, accounted, stored, and then acknowledged.

Nothing is acknowledged before it is on the disk. What goes wrong with one message is that message's refusal;
what goes wrong with the store holds the batch until the store is well again, or the broker gives the batch to
somebody else. Since storing is idempotent, neither loses nor doubles anything.

Statements of a batch are judged before its reports: a report must not be refused because the broker brought
it before the statement that it rests on.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Protocol

import structlog

from peilmerk_gateway.account import account
from peilmerk_gateway.admit import Admitted, Redelivered, admit_report, admit_statement
from peilmerk_gateway.clock import Clock
from peilmerk_gateway.deployments.mandate import Mandate
from peilmerk_gateway.ingest import Batch, Delivery, Ingest
from peilmerk_gateway.memory import BatchMemory
from peilmerk_gateway.open import Keyring, Opened, open_delivery
from peilmerk_gateway.refusal import Reason, Refusal
from peilmerk_gateway.store import (
    AttestationRow,
    BatchRows,
    Entry,
    Probe,
    Store,
    Stored,
    StoreError,
)
from peilmerk_protocol.report import Report
from peilmerk_protocol.statement import Statement

BACKOFF_FIRST_S = 0.2
BACKOFF_MOST_S = 10.0

_log = structlog.get_logger(__name__)

Judged = Admitted | AttestationRow | Redelivered | Refusal


class Mandates(Protocol):
    """What is in force: terms by device, and why a device has none."""

    def mandate(self, device_id: str) -> Mandate | None:
        """Return the terms of a device, or None when no usable record names it."""
        ...

    def refusal(self, device_id: str) -> Reason:
        """Say why a device without terms has none."""
        ...


class Flow:
    """Takes deliveries from an ingest to the store."""

    def __init__(self, keyring: Keyring, mandates: Mandates, store: Store, clock: Clock) -> None:
        self._keyring = keyring
        self._mandates = mandates
        self._store = store
        self._clock = clock

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
        while True:
            try:
                stored = await self.store(batch.deliveries)
            except StoreError as trouble:
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
        """Judge deliveries and write the outcome in one transaction. Raises StoreError and nothing else."""
        now = self._clock.now()
        return await self._store.commit_batch(await self.judge(deliveries, now), now)

    async def judge(self, deliveries: Sequence[Delivery], now: float) -> BatchRows:
        """Open, admit and account deliveries. Raises StoreError when the store cannot be asked."""
        self._keyring.refresh()
        opened: list[Opened] = []
        refusals: list[Refusal] = []
        for delivery in deliveries:
            message = self._guard(delivery, now)
            if isinstance(message, Refusal):
                refusals.append(message)
            else:
                opened.append(message)
        # Fixed for the batch: records may change while the store is asked.
        terms = {one.device_id: self._terms(one.device_id) for one in opened}
        probes = [probe for one in opened if (probe := _probe(one, terms)) is not None]
        memory = BatchMemory(await self._store.known(probes))
        attestations: list[AttestationRow] = []
        entries: list[Entry] = []
        redelivered = 0
        for one in sorted(opened, key=lambda one: not isinstance(one.message, Statement)):
            try:
                judged = _admit(one, terms, memory, now)
                if isinstance(judged, Admitted):
                    entry = account(judged)
                    entries.append(entry)
                    memory.add_report(entry.report, judged.digest)
                elif isinstance(judged, AttestationRow):
                    attestations.append(judged)
                    memory.add_statement(judged)
                elif isinstance(judged, Redelivered):
                    redelivered += 1
                elif judged is not None:
                    refusals.append(judged)
            except Exception as fault:
                refusals.append(self._fault(fault, one.device_id, one.size, now))
        return BatchRows(entries, attestations, refusals, len(deliveries), redelivered)

    def _guard(self, delivery: Delivery, now: float) -> Opened | Refusal:
        try:
            return open_delivery(delivery, self._keyring, now)
        except Exception as fault:
            return self._fault(fault, None, len(delivery.payload), now)

    def _fault(self, fault: Exception, device_id: str | None, size: int, now: float) -> Refusal:
        # The kind of the fault and where it happened; its text may repeat what was in the message.
        where = fault.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        place = f"{where.tb_frame.f_code.co_filename}:{where.tb_lineno}" if where else "?"
        _log.error("message refused by a fault of ours", fault=type(fault).__name__, place=place)
        return Refusal(Reason.INTERNAL, device_id, size, now)

    def _terms(self, device_id: str) -> Mandate | Reason:
        mandate = self._mandates.mandate(device_id)
        return self._mandates.refusal(device_id) if mandate is None else mandate


Terms = Mapping[str, Mandate | Reason]


def _probe(one: Opened, terms: Terms) -> Probe | None:
    """Return what to ask the store about a message: its number, for a report with its window's end."""
    if isinstance(one.message, Report):
        mandate = terms[one.device_id]
        end = 0 if isinstance(mandate, Reason) else (one.message.window + 1) * mandate.window_s
        return Probe(one.device_id, one.message.seq, end)
    if isinstance(one.message, Statement):
        return Probe(one.device_id, one.message.seq)
    return None


def _admit(one: Opened, terms: Terms, memory: BatchMemory, now: float) -> Judged | None:
    """Judge one message; None for an answer to a command that nobody waits for."""
    probe = _probe(one, terms)
    if probe is None:
        return None
    known = memory.known(probe)
    if isinstance(one.message, Statement):
        return admit_statement(one, one.message, known, now)
    if isinstance(one.message, Report):
        return admit_report(one, one.message, known, terms[one.device_id], now)
    return None
