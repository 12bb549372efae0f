"""Judge a batch: open, admit and account each message of it, in the light of all of them.

Statements are judged before reports, because a report rests on the statement before it. A report whose
statement is still under way waits in the store (a broker that brings a crash's leftovers again brings them
late), and is judged again when the statement comes, or for good when patience ends.

What goes wrong with one message is that message's refusal; the rest goes on.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import structlog

from peilmerk_gateway.account import account
from peilmerk_gateway.admit import Admitted, Redelivered, admit_ack, admit_report, admit_statement, may_wait
from peilmerk_gateway.deployments.mandate import Mandate
from peilmerk_gateway.immutable import immutable
from peilmerk_gateway.ingest import Delivery
from peilmerk_gateway.memory import BatchMemory
from peilmerk_gateway.open import Keyring, Opened, open_delivery
from peilmerk_gateway.refusal import Reason, Refusal
from peilmerk_gateway.store import (
    AnswerRow,
    AttestationRow,
    BatchRows,
    Entry,
    ParkedRow,
    Probe,
    QuarantinedRow,
    Store,
)
from peilmerk_gateway.store.halts import Halt
from peilmerk_gateway.store.quarantine import KEPT, Key
from peilmerk_protocol.command import Ack
from peilmerk_protocol.report import Report
from peilmerk_protocol.statement import Statement

# Four times what the broker waits for an acknowledgement before it brings a message again; wall clock.
PATIENCE_S = 120.0

_log = structlog.get_logger(__name__)

Terms = Mapping[str, Mandate | Reason]


class Mandates(Protocol):
    """What is in force: terms by device, and why a device has none."""

    def mandate(self, device_id: str) -> Mandate | None:
        """Return the terms of a device, or None when no usable record names it."""
        ...

    def refusal(self, device_id: str) -> Reason:
        """Say why a device without terms has none."""
        ...


@immutable
class _Case:
    """One authentic message to judge; `waited` is its row when it comes from waiting."""

    opened: Opened
    sealed: bytes = field(repr=False)
    waited: ParkedRow | None = None

    @property
    def rank(self) -> int:
        """Statements first, then what waited, then what is new."""
        if isinstance(self.opened.message, Statement):
            return 0
        return 2 if self.waited is None else 1


@dataclass(slots=True)
class _Verdicts:
    """What becomes of a batch, as it is being judged."""

    entries: list[Entry] = field(default_factory=list)
    attestations: list[AttestationRow] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    parked: list[ParkedRow] = field(default_factory=list)
    unparked: list[tuple[str, int]] = field(default_factory=list)
    answers: list[AnswerRow] = field(default_factory=list)
    turned_away: list[QuarantinedRow] = field(default_factory=list)
    """Reports among the refusals, as they were sealed."""
    redelivered: int = 0
    asked_at: int | None = None
    waiting: Sequence[tuple[str, int]] = ()
    halts: int | None = None
    memory: BatchMemory | None = None

    def rows(self, received: int, registry: tuple[int, bytes] | None) -> BatchRows:
        """Return it as rows for the store, `registry` being the registry it was judged by."""
        return BatchRows(
            self.entries,
            self.attestations,
            self.refusals,
            received,
            self.redelivered,
            self.parked,
            self.unparked,
            self.answers,
            registry,
            self.halts,
            [row for row in self.turned_away if row.reason in KEPT],
            self.asked_at,
            self.waiting,
        )


@dataclass(frozen=True, slots=True)
class Judged:
    """A batch as it is to be written, and the memory of it for the judging of the next."""

    rows: BatchRows
    memory: BatchMemory | None

    @property
    def may_be_followed(self) -> bool:
        """Whether the next batch may be judged before this one is written: what it needs to know is all in
        the memory. Of what waits for a statement, and of what commands were answered, the store tells.
        """
        rows = self.rows
        return not (rows.parked or rows.unparked or rows.answers)


class Judge:
    """Judges by the keys of the registry, the mandates in force and what the store knows."""

    def __init__(
        self, keyring: Keyring, mandates: Mandates, store: Store, patience_s: float = PATIENCE_S
    ) -> None:
        self._keyring = keyring
        self._mandates = mandates
        self._store = store
        self._patience_s = patience_s

    async def batch(
        self, deliveries: Sequence[Delivery], now: float, before: Sequence[BatchMemory] = ()
    ) -> Judged:
        """Judge deliveries at the gateway's time `now`; `before` are of the batches that are not written yet.

        Raises StoreError when the store cannot be asked.
        """
        self._keyring.refresh()
        verdicts = _Verdicts(asked_at=await self._store.as_of())
        cases = self._open(deliveries, verdicts, now)
        stating = {case.opened.device_id for case in cases if isinstance(case.opened.message, Statement)}
        if stating:
            waiting = await self._store.parked(sorted(stating))
            verdicts.waiting = [(row.device_id, row.seq) for row in waiting]
            cases += self._open_waiting(waiting, verdicts, now)
        await self._admit(cases, verdicts, now, before)
        return Judged(verdicts.rows(len(deliveries), self._keyring.trail_head), verdicts.memory)

    async def overdue(self, now: float) -> BatchRows:
        """Judge for good what has waited too long. Raises StoreError when the store cannot be asked."""
        self._keyring.refresh()
        verdicts = _Verdicts(asked_at=await self._store.as_of())
        waiting = await self._store.parked(before=time.time() - self._patience_s)
        await self._admit(self._open_waiting(waiting, verdicts, now), verdicts, now)
        return verdicts.rows(0, self._keyring.trail_head)

    def spoiled(self, delivery: Delivery, now: float) -> BatchRows:
        """Refuse what cannot be stored as a fault of ours; a report that opens is kept."""
        verdicts = _Verdicts()
        for case in self._open([delivery], verdicts, now):
            refusal = Refusal(Reason.INTERNAL, case.opened.device_id, case.opened.size, now)
            verdicts.refusals.append(refusal)
            _turn_away(case, refusal, verdicts)
        return verdicts.rows(1, self._keyring.trail_head)

    async def again(self, kept: Sequence[QuarantinedRow], now: float) -> tuple[BatchRows, dict[Key, Reason]]:
        """Judge for good what was refused and kept, as if it came now; return what to write, and why some of
        it is refused still. What is in neither is stored already. Raises StoreError.
        """
        self._keyring.refresh()
        verdicts = _Verdicts(asked_at=await self._store.as_of())
        cases: list[_Case] = []
        still: dict[Key, Reason] = {}
        for row in kept:
            # Waiting since ever: it waits for no statement.
            waited = ParkedRow(row.device_id, row.seq, row.sealed, b"", 0.0, row.kind)
            opened = self._open_waiting([waited], verdicts, now)
            cases += opened
            if not opened:
                still[row.device_id, row.seq] = verdicts.refusals[-1].reason
        await self._admit(cases, verdicts, now)
        still |= {(row.device_id, row.seq): Reason(row.reason) for row in verdicts.turned_away}
        already = {key for key, reason in still.items() if reason is Reason.REPLAYED}
        rows = BatchRows(
            verdicts.entries,
            registry=self._keyring.trail_head,
            halts=verdicts.halts,
            asked_at=verdicts.asked_at,
        )
        return rows, {key: reason for key, reason in still.items() if key not in already}

    def _open(self, deliveries: Iterable[Delivery], verdicts: _Verdicts, now: float) -> list[_Case]:
        cases = []
        for delivery in deliveries:
            try:
                opened = open_delivery(delivery, self._keyring, now)
            except Exception as fault:
                opened = _fault(fault, None, len(delivery.payload), now)
            if isinstance(opened, Refusal):
                verdicts.refusals.append(opened)
            else:
                cases.append(_Case(opened, delivery.payload))
        return cases

    def _open_waiting(self, rows: Sequence[ParkedRow], verdicts: _Verdicts, now: float) -> list[_Case]:
        """Open again what waited; what no longer opens (a revoked device) is refused and waits no more."""
        cases = []
        for row in rows:
            delivery = Delivery(row.device_id, row.kind, row.sealed)
            opened = self._open([delivery], verdicts, now)
            if opened:
                cases.append(replace(opened[0], waited=row))
            else:
                verdicts.unparked.append((row.device_id, row.seq))
        return cases

    async def _admit(
        self, cases: Sequence[_Case], verdicts: _Verdicts, now: float, before: Sequence[BatchMemory] = ()
    ) -> None:
        if not cases:
            return
        # Fixed for the batch: records may change while the store is asked.
        terms = {case.opened.device_id: self._terms(case.opened.device_id) for case in cases}
        asking = [(case, _probe(case.opened, terms)) for case in cases]
        asked = [
            (case.opened.device_id, case.opened.message.counter)
            for case in cases
            if isinstance(case.opened.message, Ack)
        ]
        memory = BatchMemory(
            await self._store.known([probe for _, probe in asking if probe is not None]),
            await self._store.known_commands(asked),
            before,
        )
        verdicts.memory = memory
        halts = await self._store.halts(sorted(terms))
        verdicts.halts = halts.revision
        too_long = time.time() - self._patience_s
        for case, probe in sorted(asking, key=lambda one: one[0].rank):
            try:
                halted = halts.by_device.get(case.opened.device_id, ())
                _judge(case, probe, terms, halted, memory, verdicts, now, too_long)
            except Exception as fault:
                opened = case.opened
                refusal = _fault(fault, opened.device_id, opened.size, now)
                verdicts.refusals.append(refusal)
                _turn_away(case, refusal, verdicts)
                if case.waited is not None:
                    verdicts.unparked.append((case.waited.device_id, case.waited.seq))

    def _terms(self, device_id: str) -> Mandate | Reason:
        mandate = self._mandates.mandate(device_id)
        return self._mandates.refusal(device_id) if mandate is None else mandate


def _probe(opened: Opened, terms: Terms) -> Probe | None:
    """Return what to ask the store about a message: its number, for a report with its window's end."""
    message = opened.message
    if isinstance(message, Report):
        mandate = terms[opened.device_id]
        end = 0 if isinstance(mandate, Reason) else (message.window + 1) * mandate.length_s(opened.kind)
        return Probe(opened.device_id, message.seq, end, opened.kind)
    if isinstance(message, Statement):
        return Probe(opened.device_id, message.seq)
    return None


def _judge(
    case: _Case,
    probe: Probe | None,
    terms: Terms,
    halts: Sequence[Halt],
    memory: BatchMemory,
    verdicts: _Verdicts,
    now: float,
    too_long: float,
) -> None:
    """Judge one message and write the verdict down; `halts` are its device's, `too_long` is since when
    nothing waits any longer.
    """
    opened = case.opened
    if isinstance(opened.message, Ack):
        _judge_ack(opened, opened.message, memory, verdicts, now)
        return
    assert probe is not None
    known = memory.known(probe)
    if isinstance(opened.message, Statement):
        stated = admit_statement(opened, opened.message, known, now, halts)
        if isinstance(stated, AttestationRow):
            verdicts.attestations.append(stated)
            memory.add_statement(stated)
        elif isinstance(stated, Redelivered):
            verdicts.redelivered += 1
        else:
            verdicts.refusals.append(stated)
        return
    assert isinstance(opened.message, Report)
    if case.waited is not None:
        # What waits is known to the store as waiting; that is no reason against itself.
        known = known._replace(parked_digest=None)
    judged = admit_report(opened, opened.message, known, terms[opened.device_id], now, halts)
    if isinstance(judged, Refusal) and may_wait(judged, known):
        if case.waited is None:
            row = ParkedRow(
                opened.device_id, opened.message.seq, case.sealed, opened.digest, time.time(), opened.kind
            )
            verdicts.parked.append(row)
            memory.add_parked(row)
            return
        if case.waited.at >= too_long:
            return
    if case.waited is not None:
        verdicts.unparked.append((opened.device_id, opened.message.seq))
    if isinstance(judged, Admitted):
        entry = account(judged)
        verdicts.entries.append(entry)
        memory.add_report(entry.report, judged.digest)
    elif isinstance(judged, Redelivered):
        verdicts.redelivered += 1
    else:
        verdicts.refusals.append(judged)
        _turn_away(case, judged, verdicts)


def _turn_away(case: _Case, refusal: Refusal, verdicts: _Verdicts) -> None:
    """Note a refused report as it was sealed; a message of another kind cannot be judged anew."""
    opened, message = case.opened, case.opened.message
    if isinstance(message, Report):
        verdicts.turned_away.append(
            QuarantinedRow(
                opened.device_id,
                message.seq,
                opened.kind,
                message.window,
                case.sealed,
                opened.size,
                refusal.reason,
                refusal.at,
            )
        )


def _judge_ack(opened: Opened, message: Ack, memory: BatchMemory, verdicts: _Verdicts, now: float) -> None:
    judged = admit_ack(opened, message, memory.known_command(opened.device_id, message.counter), now)
    if isinstance(judged, AnswerRow):
        verdicts.answers.append(judged)
        memory.add_answer(judged)
    elif isinstance(judged, Redelivered):
        verdicts.redelivered += 1
    else:
        verdicts.refusals.append(judged)


def _fault(fault: Exception, device_id: str | None, size: int, now: float) -> Refusal:
    """Log what kind of fault happened where; its text may repeat what was in the message."""
    where = fault.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    place = f"{where.tb_frame.f_code.co_filename}:{where.tb_lineno}" if where else "?"
    _log.error("message refused by a fault of ours", fault=type(fault).__name__, place=place)
    return Refusal(Reason.INTERNAL, device_id, size, now)
