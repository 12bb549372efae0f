"""Meter: a device that sends far more than any board can is kept out of the broker for a while.

Nothing that the broker acknowledged is ever refused for its number: a board has deleted it by then. So the
limit holds at the door. A device that has used up its bucket is left out of the broker's users, its
connection ends, and what it has not brought yet stays on its flash; after a pause it is let in again, and a
pause doubles when the same device needs one again soon.

The bucket, in messages, is filled by what an honest board can have: all the windows of a quarter of a year
(`admit.BEHIND_S`: nothing older is taken) with their days' totals and statements, which is more than its
outbox holds. It refills four times as fast as a board reports, and by one a minute at least, so that one that
boots again and again, and states itself each time, is no nuisance yet. What the broker brings again is not
counted.
A device is who the broker let in under that name: messages that are forged or malformed count too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass

import structlog

from peilmerk_gateway.admit import BEHIND_S
from peilmerk_gateway.clock import Clock
from peilmerk_gateway.ingest import Batch, Delivery, Ingest
from peilmerk_gateway.judge import Mandates
from peilmerk_gateway.store import Store, StoreError

DAY_S = 86_400
# Besides its windows a board tells the day's total and states itself; some of it comes twice.
MORE_A_DAY = 4
TIMES = 4
LEAST_A_DAY = 1_440
# Of a device that no record names, the shortest windows that a profile has.
SHORTEST_WINDOW_S = 300
PAUSE_FIRST_S = 600.0
PAUSE_MOST_S = 6 * 3_600.0
EVERY_S = 1.0
MOST_DEVICES = 100_000

_log = structlog.get_logger(__name__)

Bar = Callable[[frozenset[str]], None]


@dataclass(slots=True)
class _Bucket:
    """One device's: `left` messages at `at` (gateway's time); `pauses` it needed in a row."""

    left: float
    at: float
    burst: float
    a_second: float
    pauses: int = 0
    until: float = 0.0
    """Kept out until then, monotonic clock."""

    @property
    def pause(self) -> float:
        """How long its last pause is, seconds."""
        return min(PAUSE_MOST_S, PAUSE_FIRST_S * 2.0 ** min(self.pauses - 1, 30))


class Meter:
    """Counts what devices send, and says who is to be kept out."""

    def __init__(self, mandates: Mandates, clock: Clock, share: Callable[[], int] = lambda: 1) -> None:
        """`share` tells how many gateways take turns at the broker's messages: for each one that comes here,
        as many came in all.
        """
        self._share = share
        self._mandates = mandates
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}
        self._over: set[str] = set()

    def count(self, deliveries: Sequence[Delivery]) -> None:
        """Take a message out of its device's bucket for each delivery that is not the broker's repetition."""
        now, share = self._clock.now(), float(self._share())
        for delivery in deliveries:
            if delivery.device_id is None or delivery.redelivered:
                continue
            bucket = self._buckets.get(delivery.device_id)
            if bucket is None:
                bucket = self._add(delivery.device_id, now)
            if now > bucket.at:
                bucket.left = min(bucket.burst, bucket.left + (now - bucket.at) * bucket.a_second)
            bucket.at = now
            bucket.left -= share
            if bucket.left < 0.0:
                bucket.left = 0.0
                self._over.add(delivery.device_id)

    def _add(self, device_id: str, now: float) -> _Bucket:
        if len(self._buckets) >= MOST_DEVICES:
            # A broker of others may let anybody in under any name: those that are kept out are remembered.
            then = time.monotonic()
            self._buckets = {name: found for name, found in self._buckets.items() if found.until > then}
        bucket = self._buckets[device_id] = self._new(device_id, now)
        return bucket

    def _new(self, device_id: str, now: float) -> _Bucket:
        mandate = self._mandates.mandate(device_id)
        a_day = DAY_S / (mandate.window_s if mandate else SHORTEST_WINDOW_S) + MORE_A_DAY
        burst = a_day * (BEHIND_S / DAY_S)
        return _Bucket(burst, now, burst, max(TIMES * a_day, LEAST_A_DAY) / DAY_S)

    def judge(self, now: float) -> tuple[frozenset[str], list[str]]:
        """Return who is to be kept out at `now` (monotonic seconds), and who of them is only now."""
        newly = []
        for device_id in sorted(self._over):
            bucket = self._buckets.get(device_id)
            if bucket is None or bucket.until > now:
                continue  # it was thrown out just now, and what it had sent by then still comes in
            # One that was well for as long as its last pause begins anew.
            again = bucket.pauses and now < bucket.until + bucket.pause
            bucket.pauses = bucket.pauses + 1 if again else 1
            bucket.until = now + bucket.pause
            newly.append(device_id)
        self._over.clear()
        out = frozenset(device_id for device_id, bucket in self._buckets.items() if bucket.until > now)
        return out, newly


class MeteredIngest:
    """An ingest whose deliveries are counted on their way."""

    def __init__(self, ingest: Ingest, meter: Meter) -> None:
        self._ingest = ingest
        self._meter = meter

    async def batches(self) -> AsyncIterator[Batch]:
        """See `Ingest.batches`."""
        async with aclosing(self._ingest.batches()) as batches:  # type: ignore[type-var]
            async for batch in batches:
                self._meter.count(batch.deliveries)
                yield batch

    @property
    def connected(self) -> bool:
        """See `Ingest.connected`."""
        return self._ingest.connected

    async def close(self) -> None:
        """See `Ingest.close`."""
        await self._ingest.close()


async def meter_loop(meter: Meter, store: Store, bar: Bar | None, stop: asyncio.Event) -> None:
    """Keep out whom the meter says, and let them in again, until `stop`.

    Without `bar`, as with a broker that others run, it is only told and counted.
    """
    out: frozenset[str] = frozenset()
    while not stop.is_set():
        wanted, newly = meter.judge(time.monotonic())
        if wanted != out and bar is not None:
            bar(wanted)
        out = wanted
        if newly:
            _log.warning(
                "devices send far more than boards can", devices=len(newly), kept_out=bar is not None
            )
            try:
                await store.note_barred(newly)
            except StoreError as trouble:
                _log.error("not counted who is kept out", reason=str(trouble))
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), EVERY_S)
