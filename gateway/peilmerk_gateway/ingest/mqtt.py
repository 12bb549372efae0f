"""Ingest from any MQTT broker, 3.1.1 or 5: a persistent session, acknowledgements that wait for the store.

The broker keeps what devices publish in the gateway's session (clean start false, no expiry), and holds
each message until its PUBACK, which is sent when the batch is stored. What that is worth is the broker's
promise, not ours: whether its disk has a message when the device's PUBACK goes out, and how much a session
may hold. The session has to be there before the first device publishes; what nobody subscribes to is
acknowledged and dropped.

An acknowledgement belongs to the connection that its message came on (`_Epoch`): packet identifiers are used
again, and after a reconnection the same one may be another message's. So each connection is a client object
of its own that never connects twice, and what was not acknowledged on it comes again on the next one, marked
DUP.

MQTT redelivers on a new connection only. A batch that was dropped without `ack()` would keep its place in
the window for ever, so once the caller waits for more while a batch is older than `ack_wait`, the connection
is made anew.

What is in memory is bounded by a window of `batch * outstanding` messages, the receive maximum. MQTT 3.1.1
cannot ask for one and Mosquitto 2.0.11 goes beyond it (eclipse-mosquitto/mosquitto#2301), so with a full
window the line is not read until something was acknowledged, or for `HOLD_S` only, because the same thread
keeps the line alive. After that the rest is dropped unacknowledged, and fetched on a new connection once what
was taken is stored. QoS 0, which no broker holds for anybody, is not taken.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.ingest import Batch, Delivery, IngestError

FILTERS = tuple(f"peilmerk/1/+/{kind}" for kind in ("report", "statement", "ack", "day"))

BATCH = 256
OUTSTANDING = 4
WINDOW_MOST = 65_535
ACK_WAIT_S = 10.0
# Once one message is there, how long to wait for more: a store commits ten in the time of one.
LINGER_S = 0.01
CONNECT_S = 5.0
# A line that died in silence is noticed after one to two of these.
KEEP_ALIVE_S = 10
HOLD_S = KEEP_ALIVE_S / 2
BACKOFF_FIRST_S = 0.1
BACKOFF_MOST_S = 5.0
SESSION_FOR_EVER = 0xFFFF_FFFF
# Asked before leaving, see `_Epoch.close`; nobody ever subscribes to it.
FAREWELL = "peilmerk/1/none"
FAREWELL_S = 2.0
# A sealed report is some 50 bytes; what is larger than this is nobody's, and is not sent to us.
PACKET_MOST = 65_536 + 256

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MqttAccess:
    """The gateway's way into a broker that others run, over TLS; `ca_file` (PEM) vouches for `host`."""

    host: str
    port: int
    ca_file: Path
    user: str
    password: str = field(repr=False)
    client_id: str
    protocol: str = "5"
    """"5" or "3.1.1"."""


class _Over(Exception):
    """A connection ended, or is to be made anew; the text says why."""


class MqttIngest:
    """Batches of deliveries from a broker, for ever, across its restarts; also the way down to devices."""

    def __init__(
        self,
        access: Callable[[], MqttAccess],
        *,
        batch: int = BATCH,
        outstanding: int = OUTSTANDING,
        ack_wait: float = ACK_WAIT_S,
    ) -> None:
        """Take the way in from `access` at every connection; it may raise PeilmerkError or OSError."""
        if not 0 < batch * outstanding <= WINDOW_MOST:
            raise ValueError(f"found a window of {batch * outstanding} messages, wanted 1 to {WINDOW_MOST}")
        self._access = access
        self._batch = batch
        self._outstanding = outstanding
        self._ack_wait = ack_wait
        self._epoch: _Epoch | None = None
        self._closed = asyncio.Event()
        self.connections = 0
        """How often a connection was made."""
        self.sessions_lost = 0
        """How often the broker had forgotten the session that an earlier connection of this ingest had."""

    @property
    def connected(self) -> bool:
        """Whether there is a connection to the broker now."""
        return self._epoch is not None and self._epoch.subscribed and self._epoch.lost is None

    async def close(self) -> None:
        """End `batches()` and leave; what was not acknowledged stays with the broker."""
        self._closed.set()
        if self._epoch is not None:
            await self._epoch.close()

    async def batches(self) -> AsyncIterator[Batch]:
        """Yield batches until `close()`; one caller at a time."""
        pause = BACKOFF_FIRST_S
        while not self._closed.is_set():
            try:
                epoch = await self._open()
            except (_Over, PeilmerkError, OSError) as reason:
                log.warning("ingest: no broker (%s), next try within %.1f s", _said(reason), pause)
                pause = await self._rest(pause)
                continue
            try:
                while not self._closed.is_set():
                    taken = await epoch.take()
                    pause = BACKOFF_FIRST_S
                    yield taken
            except _Over as reason:
                if not self._closed.is_set():
                    log.warning("ingest: connecting anew: %s", reason)
                    # Two gateways on one session throw each other out; that must not become a loop.
                    pause = await self._rest(pause)
            finally:
                self._epoch = None
                await epoch.close()

    async def reach(self) -> None:
        """Raise IngestError unless there is a connection; `batches()` makes it."""
        if not self.connected:
            raise IngestError("there is no connection to the broker at this moment")

    async def tell(self, topic: str, payload: bytes) -> None:
        """Publish to a device at QoS 1; returns once the broker has it. Raises IngestError."""
        await self.reach()
        assert self._epoch is not None
        await self._epoch.publish(topic, payload)

    async def hang_up(self) -> None:
        """Do nothing: the connection is the ingest's."""

    async def _open(self) -> _Epoch:
        access = self._access()
        epoch = _Epoch(self._batch, self._outstanding, self._ack_wait)
        try:
            present = await epoch.open(access)
        except BaseException:
            await epoch.close()
            raise
        if not present and self.connections:
            self.sessions_lost += 1
            log.error(
                "ingest: the broker has forgotten this gateway's session: what devices published since the "
                "last connection may be lost; wanted a broker with persistence"
            )
        elif not present:
            log.info("ingest: a new session; the broker keeps what devices publish from now on")
        self._epoch = epoch
        self.connections += 1
        if self._closed.is_set():
            await epoch.close()
        return epoch

    async def _rest(self, pause: float) -> float:
        """Wait, up to `pause`; return how long to wait the next time."""
        try:
            await asyncio.wait_for(self._closed.wait(), pause * random.uniform(0.5, 1.0))
        except TimeoutError:
            pass
        return min(pause * 2, BACKOFF_MOST_S)


class _Epoch:
    """One connection, from its CONNECT to its end. What came on it is acknowledged on it, or never.

    paho's thread hands over what it reads; everything else happens in the event loop.
    """

    def __init__(self, batch: int, outstanding: int, ack_wait: float) -> None:
        self._batch = batch
        self._outstanding = outstanding
        self._window = batch * outstanding
        self._ack_wait = ack_wait
        self._loop = asyncio.get_running_loop()
        self._client: paho.Client | None = None
        self.lost: str | None = None
        """Why the connection is no more; None while it stands."""
        self.subscribed = False
        """Whether the broker granted what the gateway listens to."""
        self._answers: dict[tuple[str, int], asyncio.Future[Any]] = {}
        self._held: dict[int, float] = {}  # unacknowledged batches -> when waiting for their ack() ends
        self._number = 0
        self._news = asyncio.Event()
        # Shared with paho's thread, under this lock; never held while paho is called, which has locks too.
        self._room = threading.Condition()
        self._arrived: deque[tuple[int, Delivery]] = deque()
        self._unacknowledged = 0
        self._overrun = False
        self._closing = False
        self._leaving = asyncio.Lock()
        self._let_in = False
        self._left = False

    async def open(self, access: MqttAccess) -> bool:
        """Connect and subscribe; tells whether the broker had the session. Raises _Over or OSError."""
        client = self._client = self._make_client(access)
        properties = None
        options: dict[str, Any] = {}
        if access.protocol == "5":
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = SESSION_FOR_EVER
            properties.ReceiveMaximum = self._window
            properties.MaximumPacketSize = PACKET_MOST
            options = {"clean_start": False, "properties": properties}
        connack = self._expect("CONNACK", 0)
        await asyncio.to_thread(client.connect, access.host, access.port, KEEP_ALIVE_S, **options)
        client.loop_start()
        flags, reason = await self._hear("CONNACK", connack)
        if reason.is_failure:
            raise _Over(f"it answered: {reason}")
        self._let_in = True
        # On every connection: a broker may have kept the session and lost its subscriptions.
        _, mid = client.subscribe([(one, 1) for one in FILTERS])
        if mid is None:
            raise _Over("the connection ended before the subscription")
        # Not waited for: a window full of what the session held may come before it.
        self._expect("SUBACK", mid).add_done_callback(self._on_suback)
        return bool(flags.session_present)

    def _on_suback(self, answer: asyncio.Future[Any]) -> None:
        if answer.cancelled() or answer.exception() is not None:
            return
        for one, granted in zip(FILTERS, answer.result(), strict=True):
            if granted.value != 1:
                self._end(f"of no use: {one}: found {granted}, wanted QoS 1 granted: see the broker's ACL")
                return
        self.subscribed = True

    def _make_client(self, access: MqttAccess) -> paho.Client:
        v5 = access.protocol == "5"
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=access.client_id,
            clean_session=None if v5 else False,
            protocol=paho.MQTTv5 if v5 else paho.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.connect_timeout = CONNECT_S
        client.username_pw_set(access.user, access.password)
        client.tls_set_context(ssl.create_default_context(cafile=str(access.ca_file)))
        client.on_connect = lambda _c, _u, flags, reason, _p: self._tell("CONNACK", 0, (flags, reason))
        client.on_subscribe = lambda _c, _u, mid, reasons, _p: self._tell("SUBACK", mid, reasons)
        client.on_unsubscribe = lambda _c, _u, mid, reasons, _p: self._tell("UNSUBACK", mid, reasons)
        client.on_publish = lambda _c, _u, mid, reason, _p: self._tell("PUBACK", mid, reason)
        client.on_disconnect = lambda _c, _u, _f, reason, _p: self._in_loop(self._end, f"lost ({reason})")
        client.on_message = self._on_message
        return client

    # In paho's thread.

    def _on_message(self, _client: paho.Client, _userdata: Any, message: paho.MQTTMessage) -> None:
        if message.qos == 0:
            return
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""
        with self._room:
            if not self._overrun:
                # From then on all of it is left: what comes later must not be stored before it.
                self._overrun = not self._room.wait_for(self._may_take, HOLD_S)
            if self._overrun or self._closing:
                return
            self._unacknowledged += 1
            self._arrived.append((message.mid, Delivery.of_topic(topic, bytes(message.payload), message.dup)))
            first = len(self._arrived) == 1
        if first:
            self._in_loop(self._news.set)

    def _may_take(self) -> bool:
        return self._unacknowledged < self._window or self._closing

    def _tell(self, packet: str, mid: int, answer: Any) -> None:
        self._in_loop(self._told, packet, mid, answer)

    def _in_loop(self, call: Callable[..., None], *values: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *values)
        except RuntimeError:
            pass  # the loop ended before the connection did

    # In the event loop.

    def _told(self, packet: str, mid: int, answer: Any) -> None:
        waiting = self._answers.pop((packet, mid), None)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def _end(self, why: str) -> None:
        if self.lost is None:
            self.lost = why
        self._news.set()
        for waiting in self._answers.values():
            if not waiting.done():
                waiting.set_exception(_Over(f"the connection was {self.lost}"))
                waiting.exception()  # whoever gave up waiting is not told twice
        self._answers.clear()

    def _expect(self, packet: str, mid: int) -> asyncio.Future[Any]:
        """Wait for an answer from now on; called before the loop can have heard it."""
        future = self._answers[packet, mid] = self._loop.create_future()
        if self.lost is not None:
            self._end(self.lost)
        return future

    async def _hear(self, packet: str, answer: Awaitable[Any], patience: float = CONNECT_S) -> Any:
        try:
            return await asyncio.wait_for(answer, patience)
        except TimeoutError:
            raise _Over(f"no {packet} within {patience:.0f} s") from None

    async def publish(self, topic: str, payload: bytes) -> None:
        """Publish at QoS 1 and wait for the broker's word. Raises IngestError."""
        assert self._client is not None
        sent = self._client.publish(topic, payload, 1)
        try:
            reason = await self._hear("PUBACK", self._expect("PUBACK", sent.mid))
        except _Over as over:
            raise IngestError(str(over)) from over
        if reason.is_failure:
            raise IngestError(f"the broker refused a command: {reason}: see its ACL")

    async def take(self) -> Batch:
        """Wait for the next batch. Raises _Over when the connection is no more or is to be made anew."""
        while len(self._held) >= self._outstanding or not self._arrived:
            if self._overrun and not self._unacknowledged:
                raise _Over(
                    f"the broker sent more than {self._window} messages ahead while none were stored; "
                    "the rest is fetched now"
                )
            await self._wait()
        if len(self._arrived) < self._batch:
            await asyncio.sleep(LINGER_S)
        if self.lost is not None:
            raise _Over(f"the connection was {self.lost}")
        with self._room:
            taken = [self._arrived.popleft() for _ in range(min(self._batch, len(self._arrived)))]
        return self._hold(taken)

    async def _wait(self) -> None:
        """Wait for news: a message, an acknowledgement, or the end."""
        if self.lost is not None:
            raise _Over(f"the connection was {self.lost}")
        patience = None
        if self._held:
            patience = min(self._held.values()) - time.monotonic()
            if patience <= 0:
                raise _Over(f"a batch was not acknowledged within {self._ack_wait:g} s")
        self._news.clear()
        if self._arrived and len(self._held) < self._outstanding:
            return
        try:
            await asyncio.wait_for(self._news.wait(), patience)
        except TimeoutError:
            pass

    def _hold(self, taken: list[tuple[int, Delivery]]) -> Batch:
        self._number += 1
        number = self._number
        self._held[number] = time.monotonic() + self._ack_wait

        async def ack() -> None:
            if self._held.pop(number, None) is None:
                return
            if self.lost is not None or self._client is None:
                log.info("ingest: %d acknowledgements not sent (%s): delivered again", len(taken), self.lost)
                return
            # First, because the broker may answer the first acknowledgement with the next message.
            with self._room:
                self._unacknowledged -= len(taken)
                self._room.notify_all()
            for mid, _ in taken:
                self._client.ack(mid, 1)
            self._news.set()

        return Batch(tuple(delivery for _, delivery in taken), ack)

    async def close(self) -> None:
        """Leave, and wait for paho's thread; harmless when done twice.

        A connection that is closed with something unread is reset, and the broker may lose the last
        acknowledgements by that. So it is asked something first: what it answers, it has heard all before it.
        """
        with self._room:
            self._closing = True
            self._room.notify_all()
        async with self._leaving:
            client = self._client
            if client is None or self._left:
                return
            self._left = True
            if self._let_in and self.lost is None:
                _, mid = client.unsubscribe(FAREWELL)
                if mid is not None:
                    with suppress(_Over):
                        await self._hear("UNSUBACK", self._expect("UNSUBACK", mid), FAREWELL_S)
            client.disconnect()
            await asyncio.to_thread(client.loop_stop)
            self._end("closed")


def _said(reason: BaseException) -> str:
    return str(reason) or type(reason).__name__
