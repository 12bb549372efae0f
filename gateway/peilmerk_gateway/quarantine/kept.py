"""What is kept of refusals, for an operator: chosen by device, reason and day, judged anew, or dropped.

Works beside a running gateway: what two processes judge at the same moment is written once, because a report,
its window and its line of the ledger can each be there once only (`store.batch`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version

from peilmerk_gateway.clock import Clock
from peilmerk_gateway.deployments.catalogue import Catalogue
from peilmerk_gateway.deployments.history import FOLDER as HISTORY
from peilmerk_gateway.deployments.history import History, Texts
from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.judge import Judge
from peilmerk_gateway.open import Keyring
from peilmerk_gateway.registry import Registry
from peilmerk_gateway.settings import Settings
from peilmerk_gateway.store import OutboxRow, QuarantinedRow, Store, StoreError
from peilmerk_gateway.store.quarantine import Key
from peilmerk_gateway.store.removal import DROPPED
from peilmerk_gateway.store.replay import Settled

# Messages, or rows, in one transaction.
AT_ONCE = 200
# A host's word may change in between; then it is judged anew.
TRIES = 5

Progress = Callable[[int], None]


class QuarantineError(PeilmerkError):
    """What was asked for is not in the quarantine, or cannot be done with it."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which of what is kept: all of it that fits. `keys` are messages, `rows` (sink, observation)."""

    device_id: str | None = None
    reason: str | None = None
    since: float | None = None
    sink: str | None = None
    keys: frozenset[Key] = frozenset()
    rows: frozenset[tuple[str, int]] = frozenset()


@dataclass(slots=True)
class Outcome:
    """What came of a replay or a drop: messages taken, rows queued again, and what stays, by reason."""

    messages: int = 0
    observations: int = 0
    rows: int = 0
    still: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Desk:
    """An operator's view of a gateway: its store, and the judgement that a running one would pass."""

    store: Store
    registry: Registry
    catalogue: Catalogue
    judge: Judge
    clock: Clock


@asynccontextmanager
async def desk(settings: Settings) -> AsyncIterator[Desk]:
    """Open the store beside a gateway that may run, with the records in force. Raises PeilmerkError."""
    clock = settings.make_clock()
    sinks = [sink.name for sink in settings.sinks]
    with Registry(settings.gateway.registry) as registry:
        async with await Store.look(settings.store_place, sinks) as store:
            history = History(Texts(settings.gateway.data_dir / HISTORY), await store.records_told())
            catalogue = await asyncio.to_thread(Catalogue, settings.deployments.directory, history)
            yield Desk(store, registry, catalogue, Judge(Keyring(registry), catalogue, store), clock)


async def messages(store: Store, choice: Choice) -> AsyncIterator[list[QuarantinedRow]]:
    """Yield the chosen messages, a few hundred at a time, by device and number."""
    if (choice.rows and not choice.keys) or choice.sink is not None:
        return
    after: Key | None = None
    while rows := await store.quarantined(
        choice.device_id, choice.reason, choice.since, limit=AT_ONCE, after=after
    ):
        after = rows[-1].device_id, rows[-1].seq
        some = [row for row in rows if not choice.keys or (row.device_id, row.seq) in choice.keys]
        if some:
            yield some


async def rejected(store: Store, choice: Choice, limit: int = 1_000_000) -> list[tuple[str, OutboxRow]]:
    """Return the chosen (device, row) that platforms rejected; a reason of ours is none of theirs."""
    if choice.reason is not None or (choice.keys and not choice.rows):
        return []
    rows = await store.rejected_by_platforms(choice.sink, choice.device_id, choice.since, limit=limit)
    return [
        found for found in rows if not choice.rows or (found[1].sink, found[1].observation_id) in choice.rows
    ]


async def replay(at: Desk, choice: Choice, progress: Progress = lambda _: None) -> Outcome:
    """Judge the chosen messages anew, and put the chosen rows back into their platforms' queues.

    Everything that a message costs is spent now, once; what is refused still stays, with its reason of now.
    """
    outcome = Outcome()
    now = at.clock.now()
    # In the trail first, so that nothing is judged by what the trail does not tell.
    await at.store.note_rules(version("peilmerk"), now)
    await at.store.note_records(at.catalogue.facts, now)
    async for some in messages(at.store, choice):
        await _replay(at, some, outcome)
        progress(len(some))
    chosen = await rejected(at.store, choice)
    for sink in sorted({row.sink for _, row in chosen}):
        ids = [row.observation_id for _, row in chosen if row.sink == sink]
        for first in range(0, len(ids), AT_ONCE):
            part = ids[first : first + AT_ONCE]
            outcome.rows += await at.store.send_again(sink, part, at.clock.now())
            progress(len(part))
    return outcome


async def _replay(at: Desk, some: Sequence[QuarantinedRow], outcome: Outcome) -> None:
    for tried in range(TRIES):
        now = at.clock.now()
        rows, still = await at.judge.again(some, now)
        taken = [key for row in some if (key := (row.device_id, row.seq)) not in still]
        settled = Settled(taken, {key: str(reason) for key, reason in still.items()})
        try:
            stored = await at.store.settle_replay(rows, settled, now)
        except StoreError:
            if tried == TRIES - 1:
                raise
            continue
        outcome.messages += len(taken)
        outcome.observations += stored.observations
        outcome.still.update(map(str, still.values()))
        return


async def drop(at: Desk, choice: Choice, progress: Progress = lambda _: None) -> Outcome:
    """Delete the chosen messages for good, and take the chosen rows out of their platforms' queues."""
    outcome = Outcome()
    store, now = at.store, at.clock.now()
    async for some in messages(store, choice):
        outcome.messages += await store.drop_quarantined([(row.device_id, row.seq) for row in some], now)
        progress(len(some))
    chosen = [(row.sink, row.observation_id) for _, row in await rejected(store, choice)]
    for first in range(0, len(chosen), AT_ONCE):
        outcome.rows += await store.unqueue(chosen[first : first + AT_ONCE], DROPPED, now)
        progress(len(chosen[first : first + AT_ONCE]))
    return outcome
