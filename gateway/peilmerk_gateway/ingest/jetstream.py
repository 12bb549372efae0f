"""Ingest from the broker's own durable stream of MQTT publishes, by a JetStream pull consumer.

NATS keeps every MQTT publish of QoS 1 in its stream `$MQTT_msgs` before it acknowledges it to the device,
for as long as a consumer has interest in it. `ensure_consumer` makes the gateway's interest: one durable
consumer of all that devices publish. It has to be there before the first device connects,
because what nobody is interested in is acknowledged and dropped; the broker's start sees to that.

Deliveries are at least once. What was not acknowledged within `ack_wait` seconds, because the gateway or
its connection died, is delivered again. An acknowledgement is only ever sent on the connection that its
message came on: after the broker lost its disk the same sequence number may be another message.

The stream is pulled, never pushed: at most `outstanding` batches wait for their `ack()` and one more is under
way, so a slow store slows the reading and the broker's disk takes the difference. A batch that is dropped
without `ack()` frees its place when the broker takes it back.

A broker that syncs every write syncs the removal of every acknowledged message, one by one: that alone
held the gateway to 3,700 messages a second. So the only reader of a broker (`alone`) has the stream cut off
behind what it stored, a batch in one step. It cuts no further than the first message that it was given and
did not acknowledge, and not at all while the broker holds deliveries that went elsewhere: to an earlier
connection, or to one that is dead and still asks. Deliveries are numbered, so a number that is missing tells.
Until all of these came again and are acknowledged, every message is acknowledged by itself. Nothing of others
is in that stream: what goes to boards is never kept by the broker.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy
from nats.js.errors import Error as JetStreamError

from peilmerk_gateway.immutable import immutable
from peilmerk_gateway.ingest import Batch, Delivery, IngestError
from peilmerk_gateway.ingest.cutting import Cutter, Share

STREAM = "$MQTT_msgs"
SUBJECT_PREFIX = "$MQTT.msgs."
DURABLE = "peilmerk_gateway"
# All of the stream. Devices may publish on their own topics only, so nothing else is in it; and of several
# filters the broker tried each on every message: 105 of its 110 µs a message.
FILTER = f"{SUBJECT_PREFIX}>"

# As many as one transaction is to hold. A batch is smaller when no more is there, and where a full one takes
# so long that the broker would take back what waits behind it.
BATCH = 1_000
BATCH_LEAST = 50
OUTSTANDING = 4
ACK_WAIT_S = 10.0
MAX_UNACKNOWLEDGED = 16_384
BATCH_BYTES = 4 << 20
# How long a pull request stays open at the broker; as late as that again its answer may be, before the
# connection counts as dead. Of a cluster the server that had the request may have died, which nothing tells.
EXPIRY_S = 5.0
CLUSTER_EXPIRY_S = 1.5
# Once one message is there, how long to wait for the next and how long for all: a store commits ten in the
# time of one.
LINGER_S = 0.01
GATHER_S = 0.04
CONNECT_S = 5.0
# While a cluster elects who is to answer.
NOBODY_S = 0.2
_UNKNOWN = -1
BACKOFF_FIRST_S = 0.1
BACKOFF_MOST_S = 5.0

log = logging.getLogger(__name__)

# What an unusable connection or a broker that is just starting answers with.
Unreachable = (nats.errors.Error, JetStreamError, OSError, asyncio.TimeoutError)


@dataclass(frozen=True, slots=True)
class Access:
    """The gateway's way into the broker: its address, or those of all servers of a cluster, its own
    credential, and who vouches for servers elsewhere (PEM).
    """

    url: str
    user: str
    password: str = field(repr=False)
    others: tuple[str, ...] = ()
    ca_file: Path | None = None


async def connect(access: Access, closed: asyncio.Event | None = None) -> Client:
    """Open a connection that does not reconnect by itself: whoever uses it begins anew with all it needs.

    `closed` is set when it ends, however it does. Raises one of `Unreachable`.
    """

    async def note() -> None:
        if closed is not None:
            closed.set()

    context = None if access.ca_file is None else ssl.create_default_context(cafile=str(access.ca_file))
    # Any of them will do, and whoever connects anew is to meet another one.
    urls = random.sample([access.url, *access.others], 1 + len(access.others))
    for url in urls[:-1]:
        try:
            return await _connect(url, access, context, note)
        except Unreachable:
            continue
    return await _connect(urls[-1], access, context, note)


async def _connect(
    url: str, access: Access, context: ssl.SSLContext | None, closed: Callable[[], Awaitable[None]]
) -> Client:
    return await nats.connect(
        url,
        tls=context if url.startswith("tls:") else None,
        user=access.user,
        password=access.password,
        name="gateway",
        # Give up at once: the client's own loop would wait where its caller knows better how long.
        allow_reconnect=False,
        max_reconnect_attempts=1,
        reconnect_time_wait=0,
        connect_timeout=CONNECT_S,
        ping_interval=10,
        max_outstanding_pings=2,
        error_cb=_quiet,
        closed_cb=closed,
    )


async def _quiet(_: Exception) -> None:
    """Say nothing: every error of a connection also ends the call that used it."""


async def ensure_consumer(connection: Client, ack_wait: float = ACK_WAIT_S) -> ConsumerInfo:
    """Make the gateway's durable interest in what devices publish, or bring an older one up to date.

    The stream has to be there. Raises one of `Unreachable`.
    """
    return await connection.jetstream().add_consumer(
        STREAM,
        ConsumerConfig(
            durable_name=DURABLE,
            filter_subject=FILTER,
            deliver_policy=DeliverPolicy.ALL,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=ack_wait,
            max_deliver=-1,
            max_ack_pending=MAX_UNACKNOWLEDGED,
        ),
    )


def delivery(subject: str, payload: bytes, redelivered: bool = False) -> Delivery:
    """Read device and kind from a stream's subject; a subject that is not one of ours has no device."""
    topic = subject.removeprefix(SUBJECT_PREFIX).replace(".", "/")
    return Delivery.of_topic(topic, payload, redelivered)


class JetStreamIngest:
    """Batches of deliveries from the broker, for ever, across its restarts."""

    def __init__(
        self,
        access: Callable[[], Access],
        *,
        batch: int = BATCH,
        outstanding: int = OUTSTANDING,
        ack_wait: float = ACK_WAIT_S,
        alone: bool = False,
        cutting: bool | None = None,
        expiry_s: float = EXPIRY_S,
    ) -> None:
        """Take the way in from `access` at every connection, since a broker may come back on another port.

        `alone` promises that nobody else reads by the same consumer: several workers must not say so.
        `cutting` has readers of one broker cut its stream off together, see `cutting`: True for the one that
        cuts, False for the others, None for none of that.
        `expiry_s` is how long a request stays open; after twice that without an answer nobody has it.
        """
        self._expiry_s = expiry_s
        self._alone = alone
        self._cutting = cutting
        self._access = access
        self._batch = batch
        self._outstanding = outstanding
        self._ack_wait = ack_wait
        self._connection: Client | None = None
        self._closed = asyncio.Event()
        self.connections = 0
        """How often a connection was made."""

    @property
    def connected(self) -> bool:
        """Whether there is a connection to the broker now."""
        return self._connection is not None and self._connection.is_connected

    async def pending(self) -> int:
        """Return how many messages the broker still holds for the gateway.

        Delivered but unacknowledged ones are included; an acknowledgement counts some milliseconds after it
        was sent. Asked on a connection of its own, so that it does not matter what `batches()` is doing.
        Raises IngestError when the broker cannot be asked.
        """
        try:
            connection = await connect(self._access())
            try:
                return _held(await connection.jetstream().consumer_info(STREAM, DURABLE))
            finally:
                await connection.close()
        except Unreachable as reason:
            raise IngestError(f"the broker does not answer: {reason!r}") from reason

    async def close(self) -> None:
        """End `batches()` and leave; what was not acknowledged stays with the broker."""
        self._closed.set()
        if self._connection is not None:
            await self._connection.close()

    async def batches(self) -> AsyncIterator[Batch]:
        """Yield batches until `close()`; one caller at a time."""
        pause = BACKOFF_FIRST_S
        while not self._closed.is_set():
            try:
                pull = await self._open()
            except Unreachable as reason:
                log.info("ingest: no broker (%r), next try within %.1f s", reason, pause)
                await self._sleep(pause * random.uniform(0.5, 1.0))
                pause = min(pause * 2, BACKOFF_MOST_S)
                continue
            pause = BACKOFF_FIRST_S
            try:
                while not self._closed.is_set():
                    if (taken := await pull.take()) is not None:
                        yield taken
            except Unreachable as reason:
                if not self._closed.is_set():
                    log.warning("ingest: connection to the broker lost (%r)", reason)
            finally:
                self._connection = None
                await pull.close()

    async def _open(self) -> _Pull:
        news = asyncio.Event()
        connection = await connect(self._access(), news)
        try:
            info = await ensure_consumer(connection, self._ack_wait)
            pull = _Pull(connection, news, self._batch, self._outstanding, self._ack_wait, self._expiry_s)
            if self._alone:
                pull.cut_behind(info)
            if self._cutting is not None:
                await pull.cut_together(info if self._cutting else None)
            await pull.open()
        except BaseException:
            await connection.close()
            raise
        self._connection = connection
        self.connections += 1
        return pull

    async def _sleep(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._closed.wait(), seconds)
        except TimeoutError:
            pass


class _Pull:
    """One connection's pulling: at most one open request, at most `outstanding` unacknowledged batches."""

    def __init__(
        self,
        connection: Client,
        news: asyncio.Event,
        batch: int,
        outstanding: int,
        ack_wait: float,
        expiry_s: float = EXPIRY_S,
    ) -> None:
        """`news` is set by whoever has any, the end of the connection among them."""
        self._expiry_s = expiry_s
        self.connection = connection
        self._news = news
        self._inbox = connection.new_inbox()
        self._most = batch
        self._batch = min(batch, 4 * BATCH_LEAST)
        self._outstanding = outstanding
        self._ack_wait = ack_wait
        self._wanted = 0  # messages that the open request may still bring
        self._request_dead_at = 0.0
        self._arrived: list[_Message] = []
        # Places in the stream: what was given and is not acknowledged, the last that was given, up to where
        # it is cut, and up to where deliveries to others may be open (nought for none, None for not cutting).
        self._open: set[int] = set()
        self._last = 0
        self._cut = 0
        self._elsewhere: int | None = None
        # The number of the last delivery.
        self._given = 0
        self._held: dict[int, float] = {}  # unacknowledged batches -> when the broker takes them back
        self._freed = asyncio.Event()
        self._number = 0
        self._nobody = False
        self._share: Share | None = None
        self._cutter: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Listen for what requests bring. Raises `Unreachable`."""
        # Called for each message: waiting for one at a time would cost more than everything else together.
        await self.connection.subscribe(self._inbox, cb=self._arrive)

    async def _arrive(self, message: Msg) -> None:
        if message.reply:
            self._wanted -= 1
            place, deliveries, number = _told(message.reply)
            self._arrived.append(_Message(message.subject, message.data, message.reply, place, deliveries))
            self._open.add(place)
            self._last = max(self._last, place)
            if number != self._given + 1 and self._elsewhere is not None:
                self._elsewhere = _UNKNOWN
            self._given = number
        else:
            # The request ended: its time is up (408), it is full in bytes or its consumer is gone (409), or
            # nobody is there to take it (503), as while a cluster elects.
            self._wanted = 0
            self._nobody = (message.headers or {}).get("Status") == "503"
        self._news.set()

    async def take(self) -> Batch | None:
        """Wait for the next batch; None when nothing came within a request's life. Raises `Unreachable`."""
        await self._place()
        if self._wanted <= 0 and len(self._arrived) < self._batch:
            await self._request()
        full_at = 0.0
        while len(self._arrived) < self._batch and self._wanted > 0:
            now = time.monotonic()
            if self._arrived:
                full_at = full_at or now + GATHER_S
                patience = min(LINGER_S, full_at - now)
            else:
                patience = self._request_dead_at - now
            if patience <= 0 or not await self._more(patience):
                if self._arrived:
                    break
                # Not even the end of the request was told: nobody is there any more.
                raise nats.errors.TimeoutError
        if self._nobody and not self._arrived:
            self._nobody = False
            await asyncio.sleep(NOBODY_S)
        messages, self._arrived = self._arrived[: self._batch], self._arrived[self._batch :]
        if self._wanted <= 0 and len(self._held) + 1 < self._outstanding:
            # What comes next is under way while this batch is worked on.
            await self._request()
        return self._hold(messages) if messages else None

    async def _more(self, patience: float) -> bool:
        """Wait until something arrives; False when nothing did. Raises `Unreachable`."""
        self._news.clear()
        if not self.connection.is_closed:
            try:
                await asyncio.wait_for(self._news.wait(), patience)
            except TimeoutError:
                return False
        if self.connection.is_closed:
            raise nats.errors.ConnectionClosedError
        return True

    async def _place(self) -> None:
        """Wait until fewer than `outstanding` batches are unacknowledged, or the broker took one back."""
        while True:
            now = time.monotonic()
            self._held = {number: until for number, until in self._held.items() if until > now}
            if len(self._held) < self._outstanding:
                return
            if self.connection.is_closed:
                raise nats.errors.ConnectionClosedError
            self._freed.clear()
            try:
                await asyncio.wait_for(self._freed.wait(), min(1.0, min(self._held.values()) - now))
            except TimeoutError:
                pass

    async def _request(self) -> None:
        request = {"batch": self._batch, "max_bytes": BATCH_BYTES, "expires": int(self._expiry_s * 1e9)}
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{DURABLE}"
        await self.connection.publish(subject, json.dumps(request).encode(), reply=self._inbox)
        self._wanted = self._batch
        self._request_dead_at = time.monotonic() + 2 * self._expiry_s

    async def cut_together(self, info: ConsumerInfo | None) -> None:
        """Cut the stream off with others; `info` is given to who does it. Raises `Unreachable`."""
        if info is not None:
            cutter = Cutter(self.connection, STREAM, DURABLE)
            await cutter.open(info)
            self._cutter = asyncio.create_task(self._cut_all(cutter), name="cutter")
        self._share = Share(self.connection)
        await self._share.open()

    async def _cut_all(self, cutter: Cutter) -> None:
        """Cut until the connection ends; what goes wrong meanwhile is no more than slow."""
        while not self.connection.is_closed:
            try:
                await cutter.run()
            except Unreachable as reason:
                log.info("ingest: the stream is not cut off (%r), trying again", reason)
                await asyncio.sleep(NOBODY_S)

    async def close(self) -> None:
        """Leave."""
        if self._cutter is not None:
            self._cutter.cancel()
            await asyncio.gather(self._cutter, return_exceptions=True)
        await self.connection.close()

    def cut_behind(self, info: ConsumerInfo) -> None:
        """Cut the stream off behind what is stored from now on; `info` is of before the first request."""
        self._given = int(info.delivered.consumer_seq) if info.delivered else 0
        self._elsewhere = _UNKNOWN if info.num_ack_pending else 0

    def _hold(self, messages: list[_Message]) -> Batch:
        self._number += 1
        number = self._number
        taken_back_at = self._held[number] = time.monotonic() + self._ack_wait

        async def ack() -> None:
            self._open.difference_update(message.place for message in messages)
            self._learn(len(messages), time.monotonic() + self._ack_wait - taken_back_at)
            try:
                if self._share is not None:
                    gone = await self._share.stored([message.place for message in messages])
                else:
                    gone = await self._cut_off(max(message.place for message in messages))
                if not gone:
                    for message in messages:
                        await self.connection.publish(message.reply, b"+ACK")
                    await self.connection.flush(timeout=int(CONNECT_S))
            except Unreachable as reason:
                log.info("ingest: %d acknowledgements not heard (%r): delivered again", len(messages), reason)
            self._held.pop(number, None)
            self._freed.set()

        deliveries = tuple(
            delivery(message.subject, message.payload, message.deliveries > 1) for message in messages
        )
        return Batch(deliveries, ack)

    def _learn(self, messages: int, seconds: float) -> None:
        """Choose the size of a batch by how long the last full one took to be stored."""
        if messages == self._batch:
            share = seconds * self._outstanding / self._ack_wait
            if share > 0.5:
                self._batch = max(min(BATCH_LEAST, self._most), self._batch // 2)
            elif share < 0.2:
                self._batch = min(self._most, self._batch * 2)

    async def _cut_off(self, place: int) -> bool:
        """Have everything up to a place removed, if all of it is stored. Raises `Unreachable`."""
        if self._elsewhere is None:
            return False
        if self._elsewhere:
            info = await self.connection.jetstream().consumer_info(STREAM, DURABLE)
            if self._elsewhere == _UNKNOWN:
                self._elsewhere = int(info.delivered.stream_seq) if info.delivered else 0
            if not info.ack_floor or info.ack_floor.stream_seq < self._elsewhere:
                return False
            self._elsewhere = 0
        end = min(self._open, default=self._last + 1)
        if place >= end:
            return False
        if place >= self._cut:
            self._cut = end
            answer = await self.connection.request(
                f"$JS.API.STREAM.PURGE.{STREAM}", json.dumps({"seq": end}).encode(), timeout=CONNECT_S
            )
            if (error := json.loads(answer.data).get("error")) is not None:
                log.warning("ingest: the broker does not cut its stream off: %s", error.get("description"))
                self._elsewhere = None
                return False
        return True


@immutable
class _Message:
    """One delivery: `place` in the stream, `deliveries` so far, `reply` for its acknowledgement."""

    subject: str
    payload: bytes
    reply: str
    place: int
    deliveries: int


def _told(reply: str) -> tuple[int, int, int]:
    """Return a message's place in the stream, how often it was delivered, and the number of this delivery, as
    its reply subject tells.

    `$JS.ACK.<stream>.<consumer>.<deliveries>.<place>.<number>.…`, with domain and account before the stream
    where it has more than nine words (NATS ADR 15). Read here because the client reads all of it, at thrice
    the cost.
    """
    words = reply.split(".")
    first = 4 if len(words) <= 9 else 6
    return int(words[first + 1]), int(words[first]), int(words[first + 2])


def _held(info: ConsumerInfo) -> int:
    return int(info.num_pending or 0) + int(info.num_ack_pending or 0)
