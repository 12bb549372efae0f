"""Several readers of one stream have it cut off behind what all of them stored, many messages in one step.

A broker that syncs every write syncs the removal of every acknowledged message, one by one. The only reader
of a broker spares that (`jetstream`); several readers do so together. Each tells the places of what it stored
(`Share`), on a subject that no device may say or hear. The gateway that runs the broker listens (`Cutter`):
when every place up to one is stored, it has the stream cut off behind that, and says so. A reader that does
not hear of it in time acknowledges its messages itself, one by one, as if there were no cutting.

Nothing is cut that somebody did not say he stored, or that the broker counts as acknowledged: a place that is
with a reader who died holds the cutting up, until the broker brought it to another one. What is known ends
with the connection, because after the broker lost its disk the same place may be another message.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Sequence

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import ConsumerInfo

STORED, CUT = "peilmerk.gateway.stored", "peilmerk.gateway.cut"
# Seconds: how long a reader waits to hear of its places, and does without waiting once it did not; after how
# long without a step the broker is asked what it counts as acknowledged.
PATIENCE_S = 3.0
SULK_S = 3.0
STUCK_S = 0.2
CUT_S = 5.0

log = logging.getLogger(__name__)


class Cutter:
    """Cuts the stream off, for as long as a connection lasts. `run` in a task."""

    def __init__(self, connection: Client, stream: str, consumer: str) -> None:
        self._connection = connection
        self._stream = stream
        self._consumer = consumer
        self._stored: set[int] = set()
        self._end = 0
        self._cut = 0
        self._news = asyncio.Event()

    async def open(self, info: ConsumerInfo) -> None:
        """Listen; `info` is of now."""
        self._end = self._cut = _floor(info)
        await self._connection.subscribe(STORED, cb=self._hear)

    async def run(self) -> None:
        """Cut until the connection ends."""
        while not self._connection.is_closed:
            try:
                await asyncio.wait_for(self._news.wait(), STUCK_S)
            except TimeoutError:
                if self._stored:
                    # Of places that were acknowledged one by one nobody tells here, the broker knows.
                    info = await self._connection.jetstream().consumer_info(self._stream, self._consumer)
                    self._step(_floor(info))
            self._news.clear()
            if self._end > self._cut:
                await self._cut_off(self._end)

    async def _hear(self, message: Msg) -> None:
        try:
            places = [int(place) for place in json.loads(message.data)]
        except (ValueError, TypeError):
            log.warning("ingest: found no list of places, wanted one: not cut by it")
            return
        self._stored.update(place for place in places if place > self._end)
        self._step(self._end)

    def _step(self, end: int) -> None:
        self._end = max(self._end, end)
        while self._end + 1 in self._stored:
            self._end += 1
        if self._end > self._cut:
            self._stored = {place for place in self._stored if place > self._end}
            self._news.set()

    async def _cut_off(self, end: int) -> None:
        answer = await self._connection.request(
            f"$JS.API.STREAM.PURGE.{self._stream}", json.dumps({"seq": end + 1}).encode(), timeout=CUT_S
        )
        if (error := json.loads(answer.data).get("error")) is not None:
            log.warning("ingest: the broker does not cut its stream off: %s", error.get("description"))
            return
        self._cut = end
        await self._connection.publish(CUT, str(end).encode())


class Share:
    """One reader's part, for as long as a connection lasts."""

    def __init__(self, connection: Client) -> None:
        self._connection = connection
        self._cut = 0
        self._changed = asyncio.Event()
        self._sulks_until = 0.0

    async def open(self) -> None:
        """Listen."""
        await self._connection.subscribe(CUT, cb=self._hear)

    async def _hear(self, message: Msg) -> None:
        try:
            self._cut = max(self._cut, int(message.data))
        except ValueError:
            return
        self._changed.set()
        self._changed = asyncio.Event()

    async def stored(self, places: Sequence[int]) -> bool:
        """Tell what is stored; return whether it was cut off, which leaves nothing to acknowledge."""
        await self._connection.publish(STORED, json.dumps(sorted(places)).encode())
        last, deadline = max(places), time.monotonic() + PATIENCE_S
        while self._cut < last:
            patience = deadline - time.monotonic()
            if patience <= 0 or time.monotonic() < self._sulks_until:
                # Also these were told of, so that others' need not wait for them.
                self._sulks_until = max(
                    self._sulks_until, time.monotonic() + SULK_S if patience <= 0 else 0.0
                )
                return False
            try:
                await asyncio.wait_for(self._changed.wait(), patience)
            except TimeoutError:
                continue
        return True


def _floor(info: ConsumerInfo) -> int:
    return int(info.ack_floor.stream_seq) if info.ack_floor else 0
