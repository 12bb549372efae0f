"""The worker that empties the publish outbox into one sink: every row once, in order, whatever breaks.

What holds at every instant, also across SIGKILL of this process or of the platform:

- a row is `sending` on the disk before it is sent, and stays so until the platform's answer is on the disk;
- a row found `sending` (at a start, or after an answer got lost) is looked up on the platform, once that has
  had time to finish what it was doing, and is sent again only when it is not there;
- rows of a datastream go out in the order in which they were stored. A row that the platform refuses does not
  hold up those behind it; a platform that is away holds up everything, and nothing is lost meanwhile.

A refusal is final when the platform gave a cause, or when it took other rows in the same breath. A platform
that says no to everything without a cause is taken to be in trouble, for a while. Refused rows stay in the
store with the platform's words.

One worker per sink, each in a task of its own: a slow platform delays nobody else. Of several processes that
share a store one feeds the sinks, see `store.lead`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from peilmerk_gateway.clock import Clock
from peilmerk_gateway.publish import OutboxRow, Outcome, Sink, Unavailable, Verdict
from peilmerk_gateway.publish.describe import Describes
from peilmerk_gateway.store import Store, StoreError
from peilmerk_gateway.store.lead import Alone, Lead

_log = structlog.get_logger(__name__)

LOOKUP_ROWS = 500
# The longest pause when it is our own store that cannot be used.
STORE_PAUSE_S = 10.0
# How soon a gateway that does not lead notices that it does.
LEAD_POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a worker tries; all in seconds of the wall clock, except `hold_s`, which is in the gateway's
    time.

    first_s, most_s: the pause after the first failure and the longest one; each failure doubles it, and every
    pause is shortened by up to a half at random, so that many gateways do not come back at once.
    poll_s: how long to sleep when nothing is waiting and no news comes.
    hold_s: how long rows wait whose datastream may not be published now.
    patience: after how many attempts a row that the platform refuses without a cause is given up.
    """

    first_s: float = 1.0
    most_s: float = 300.0
    poll_s: float = 10.0
    hold_s: float = 300.0
    patience: int = 8

    def pause(self, failures: int, at_least_s: float = 0.0) -> float:
        """How long to wait after `failures` failures in a row (1, 2, ...), never less than `at_least_s`."""
        longest = min(self.most_s, self.first_s * 2.0 ** min(failures - 1, 30))
        return max(longest * random.uniform(0.5, 1.0), at_least_s)


async def publish_loop(
    store: Store,
    sink: Sink,
    catalogue: Describes,
    clock: Clock,
    stop: asyncio.Event,
    pace: Pace | None = None,
    lead: Lead | None = None,
) -> None:
    """Feed `sink` until `stop` is set; then finish the batch at hand and return.

    `catalogue` says what may be published of each datastream now: what it does not know waits. Whatever the
    platform does is waited out, and so is a store that cannot be used (a full disk): what was sent meanwhile
    is in doubt then. Of several gateways the one that leads does it; whoever takes over finds what was marked
    as being sent, and looks it up.
    """
    lead = lead or Alone()
    worker = _Worker(store, sink, catalogue, clock, pace or Pace(), lead)
    failures = 0
    doubt: bool | None = None
    """None for not known."""
    try:
        while not stop.is_set():
            if not await lead.held():
                doubt = None
                await _sleep(stop, LEAD_POLL_S)
                continue
            news = store.changes
            try:
                if doubt is None:
                    doubt = bool(await store.in_doubt(sink.name, 1))
                if doubt:
                    await _sleep(stop, sink.settle_s)
                    if stop.is_set():
                        break
                    await worker.settle()
                    doubt = False
                moved = await worker.send_batch()
            except Unavailable as trouble:
                failures += 1
                pause = worker.pace.pause(failures, trouble.retry_after_s)
                _log.warning(
                    "sink unavailable", sink=sink.name, reason=trouble.reason, pause_s=round(pause, 1)
                )
                doubt = None
                await _sleep(stop, pause)
                continue
            except StoreError as trouble:
                failures += 1
                pause = min(worker.pace.pause(failures), STORE_PAUSE_S)
                _log.error("publishing waits for the store", sink=sink.name, reason=str(trouble))
                doubt = None
                await _sleep(stop, pause)
                continue
            if failures:
                _log.info("sink is back", sink=sink.name, failures=failures)
            failures = 0
            if not moved:
                await _news(store, news, stop, worker.pace.poll_s)
    finally:
        await sink.close()


class _Worker:
    """One sink's books; see the module's contract."""

    def __init__(
        self, store: Store, sink: Sink, catalogue: Describes, clock: Clock, pace: Pace, lead: Lead
    ) -> None:
        self.pace = pace
        self._lead = lead
        self._store = store
        self._sink = sink
        self._catalogue = catalogue
        self._clock = clock

    async def settle(self) -> None:
        """Ask the platform about every row that is in doubt. Raises Unavailable."""
        while rows := await self._store.in_doubt(self._sink.name, LOOKUP_ROWS):
            there = await self._sink.find(rows)
            found = [
                (row.observation_id, there[row.observation_id]) for row in rows if row.observation_id in there
            ]
            missing = [row.observation_id for row in rows if row.observation_id not in there]
            _log.info("rows in doubt looked up", sink=self._sink.name, there=len(found), missing=len(missing))
            now = self._clock.now()
            if found:
                await self._store.mark_done(self._sink.name, found, now)
            if missing:
                await self._store.mark_again(
                    self._sink.name, missing, "the answer got lost; not found on the platform", now
                )

    async def send_batch(self) -> int:
        """Send what is due; return how many rows changed their state. Raises Unavailable after writing down
        what is known."""
        rows = await self._store.claim(self._sink.name, self._sink.batch_rows, self._clock.now())
        if not rows:
            return 0
        try:
            barred = await self._prepare(rows)
        except Unavailable as trouble:
            # Nothing of these rows left the house.
            await self._again(rows, trouble.reason)
            raise
        held = [row for row in rows if row.datastream in barred]
        for reason in dict.fromkeys(barred.values()):
            await self._again(
                [row for row in held if barred[row.datastream] == reason], reason, self.pace.hold_s
            )
        free = [row for row in rows if row.datastream not in barred]
        if free and not await self._lead.held():
            # They stay marked as being sent: who leads now looks them up.
            raise Unavailable("another gateway leads now")
        if free:
            await self._write_down(free, await self._sink.send(free))
        return len(free)

    async def _prepare(self, rows: Sequence[OutboxRow]) -> dict[str, str]:
        """Prepare the sink for these rows; return the datastreams that have to wait, each with the reason."""
        barred, known = {}, []
        for key in dict.fromkeys(row.datastream for row in rows):
            description = self._catalogue.describe(key)
            if description is None:
                barred[key] = "no deployment record permits its publication now"
            else:
                known.append(description)
        return barred | dict(await self._sink.prepare(known))

    async def _again(self, rows: Sequence[OutboxRow], reason: str, hold_s: float = 0.0) -> None:
        ids = [row.observation_id for row in rows]
        await self._store.mark_again(self._sink.name, ids, reason, self._clock.now() + hold_s)

    async def _write_down(self, rows: Sequence[OutboxRow], outcomes: Sequence[Outcome]) -> None:
        """Write every row's outcome; rows in doubt stay as they are. Raises Unavailable if any waits."""
        by_id = {outcome.observation_id: outcome for outcome in outcomes}
        judged = [
            (
                row,
                by_id.get(
                    row.observation_id, Outcome(row.observation_id, Verdict.DOUBT, reason="no outcome")
                ),
            )
            for row in rows
        ]
        done = [(row.observation_id, out.remote_id) for row, out in judged if out.verdict is Verdict.DONE]
        if done:
            await self._store.mark_done(self._sink.name, done, self._clock.now())
        refused, waiting = [], []
        for row, outcome in judged:
            if outcome.verdict is Verdict.REFUSED:
                if outcome.certain or done or row.attempts >= self.pace.patience:
                    refused.append((row.observation_id, outcome.reason))
                else:
                    waiting.append((row, outcome))
            elif outcome.verdict is Verdict.AGAIN:
                waiting.append((row, outcome))
        if refused:
            await self._store.mark_rejected(self._sink.name, refused, self._clock.now())
            for _, reason in refused:
                _log.error("row rejected by the platform", sink=self._sink.name, reason=reason)
        for reason in dict.fromkeys(outcome.reason for _, outcome in waiting):
            await self._again([row for row, outcome in waiting if outcome.reason == reason], reason)
        late = [outcome for _, outcome in judged if outcome.verdict is Verdict.DOUBT]
        late += [outcome for _, outcome in waiting]
        if late:
            raise Unavailable(late[0].reason, max(outcome.retry_after_s for outcome in late))


async def _sleep(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


async def _news(store: Store, since: int, stop: asyncio.Event, at_most_s: float) -> None:
    """Return when the store changed after `since`, when told to stop, or after `at_most_s`."""
    waits = {asyncio.create_task(store.changed(since)), asyncio.create_task(stop.wait())}
    try:
        await asyncio.wait(waits, timeout=at_most_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waits:
            task.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
