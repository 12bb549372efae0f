"""Brings queued commands to their devices, again and again, until they are answered or too late.

A command is a publish on the broker, sealed for its device: it arrives when the device is connected and
listening, or not at all, and nobody tells which. So what counts is the device's own acknowledgement, and
until that is stored the same command goes out again: whenever the device shows that it lives, and otherwise
after growing pauses. That it is about to be sent is on the disk before it is sent, so a gateway that dies in
between sends it again; the device carries out a counter once, whatever it hears twice.

Commands go out one at a time for each device and in the order in which they were given. Of several gateways
that share a store the one that leads sends again after pauses, and whoever hears a device sends it at once;
what a device hears twice it carries out once. After each statement
the device is told the time (a beacon), which needs no answer and is not sent again.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import structlog

from peilmerk_gateway.clock import Clock
from peilmerk_gateway.ingest import Courier, IngestError
from peilmerk_gateway.registry import Registry
from peilmerk_gateway.store import CommandRow, Store, StoreError
from peilmerk_gateway.store.lead import Alone, Lead
from peilmerk_protocol import cbor, cose, keys, topics
from peilmerk_protocol import command as protocol

# How soon a command that another process queued is noticed; all of these in seconds of the wall clock.
POLL_S = 1.0
FIRST_PAUSE_S = 5.0
MOST_PAUSE_S = 300.0
# A device that shows life is sent its command again, unless it was sent just now and may be answering.
ANSWER_S = 1.0
# How long a beacon may be under way, seconds in the gateway's time.
BEACON_LIFE_S = 300
# To how many devices a beacon is sent by one transaction of the store: after an outage all state at once.
BEACONS = 200

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Pace:
    """When a device's command goes out next, by the monotonic clock."""

    counter: int
    due: float = 0.0
    last: float = 0.0


class Sender:
    """Sends what waits in the store. `run` in a task; `heard` tells it which devices show life."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        clock: Clock,
        courier: Courier,
        *,
        poll_s: float = POLL_S,
        lead: Lead | None = None,
    ) -> None:
        self._lead = lead or Alone()
        self._store = store
        self._registry = registry
        self._clock = clock
        self._courier = courier
        self._poll_s = poll_s
        self._paces: dict[str, _Pace] = {}
        self._heard: set[str] = set()
        self._stated: set[str] = set()
        self._poke = asyncio.Event()

    def heard(self, heard: Collection[str], stated: Collection[str]) -> None:
        """Take note that these devices are there, and that some of them made a statement."""
        self._heard.update(heard)
        self._stated.update(stated)
        if heard or stated:
            self._poke.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Send until `stop` is set; the broker and the store may go and come back meanwhile."""
        try:
            while not stop.is_set():
                try:
                    await self._round()
                except StoreError as trouble:
                    _log.error("commands not read, trying again", reason=str(trouble))
                except IngestError as trouble:
                    _log.info("commands wait for the broker", reason=str(trouble))
                await self._news(stop)
        finally:
            await self._courier.hang_up()

    async def _news(self, stop: asyncio.Event) -> None:
        """Return when a device was heard, when told to stop, or when it is time to look again."""
        waits = {asyncio.create_task(self._poke.wait()), asyncio.create_task(stop.wait())}
        try:
            await asyncio.wait(waits, timeout=self._poll_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def _round(self) -> None:
        """Send what is due. What could not be sent for want of a broker is due again the next time."""
        self._poke.clear()
        now = self._clock.now()
        waiting = await self._store.waiting_commands()
        if any(row.expiry < now for row in waiting):
            await self._store.expire_commands(now)
            waiting = [row for row in waiting if row.expiry >= now]
        # Beacons first: a device without a clock carries out nothing else.
        while some := sorted(self._stated)[:BEACONS]:
            await self._beacons(some)
            self._stated.difference_update(some)
        heard, self._heard = self._heard, set()
        first: dict[str, CommandRow] = {}
        for row in waiting:
            first.setdefault(row.device_id, row)
        self._paces = {device_id: pace for device_id, pace in self._paces.items() if device_id in first}
        for device_id, row in first.items():
            pace = self._paces.get(device_id)
            if pace is None or pace.counter != row.counter:
                pace = self._paces[device_id] = _Pace(row.counter)
                if not self._lead.leads and row.sent_at is not None:
                    # Another one sent it, and may have just now.
                    pace.last = time.monotonic() - max(0.0, now - row.sent_at)
            if device_id in heard:
                pace.due = min(pace.due, pace.last + ANSWER_S)
        for device_id, row in first.items():
            due = self._lead.leads or device_id in heard
            if due and time.monotonic() >= self._paces[device_id].due:
                await self._send(row, self._paces[device_id])

    async def _send(self, row: CommandRow, pace: _Pace) -> None:
        if not await self._store.command_sent(row.device_id, row.counter, self._clock.now()):
            return  # withdrawn meanwhile
        order = protocol.Command(row.counter, row.expiry, row.verb, cbor.decode(row.argument))
        if not await self._publish(row.device_id, order):
            pace.due = time.monotonic() + MOST_PAUSE_S
            return
        pace.last = time.monotonic()
        pause = min(MOST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(row.attempts, 20))
        pace.due = pace.last + pause * random.uniform(0.75, 1.0)
        _log.info("command sent", verb=protocol.VERB_NAMES[row.verb], attempt=row.attempts + 1)

    async def _beacons(self, device_ids: Sequence[str]) -> None:
        await self._courier.reach()
        for device_id, counter in (await self._store.beacon_counters(device_ids)).items():
            now = int(self._clock.now())
            await self._publish(device_id, protocol.Command(counter, now + BEACON_LIFE_S, protocol.TIME, now))

    async def _publish(self, device_id: str, order: protocol.Command) -> bool:
        """Hand a command to the broker; False when the device may not be told anything any more."""
        device = self._registry.get(device_id)
        if device is None or device.revoked:
            return False
        key = keys.derive(device.root_key, keys.DOWN)
        sealed = cose.seal(key, topics.COMMAND, device_id, protocol.encode(order))
        await self._courier.tell(topics.topic(device_id, topics.COMMAND), sealed)
        return True
