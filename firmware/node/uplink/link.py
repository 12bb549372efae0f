"""Keeps the connection and empties the outbox: radio, time, TLS, MQTT, oldest message first, one in flight.

A message leaves the outbox only after the broker's PUBACK. A report is due at a fixed slot after its
window's end, which depends on the device id only: when it is sent tells nothing about what is in it, and a
street does not speak at once. Failures lead to a new connection after a pause that doubles up to a minute
and is jittered.
"""

import asyncio
import gc
import os

from micropython import const

from node.console import say
from node.uplink.clock import ClockError, begins
from node.uplink.mqtt import LinkError, MqttClient
from node.uplink.wifi import WifiError
from peilmerk_protocol import topics

_LONGEST_PAUSE_S = const(60)
_ROUND_S = const(5)
# The earliest slot leaves time for a passage under way at the border and for the release itself.
_FIRST_SLOT_S = const(5)
_SLOTS = const(55)
_SYNCHRONISE_S = const(3600)


def slot_s(device_id, window_s):
    """Seconds after the end of a window when this device reports it: 5 to 59, sooner for short ones."""
    number = 0
    for character in device_id:
        number = (number * 31 + ord(character)) & 0xFFFFFF
    return _FIRST_SLOT_S + number % max(1, min(_SLOTS, window_s // 2))


class Link:
    """The way out. `vigil` hears of every round; `clock` must be known before TLS is tried.

    `inbox`, when it is set, gets the commands that come in: take(payload) must copy and return at once.
    `on_acknowledged`, when it is set, is called with kind and sequence number of each message that left.
    """

    def __init__(self, config, clock, wifi, outbox, vigil):
        self._config = config
        self._clock = clock
        self._wifi = wifi
        self._outbox = outbox
        self._vigil = vigil
        self._slot_ms = slot_s(config.device_id, config.profile.window_s) * 1000
        self._tried = 0
        self._news = asyncio.Event()
        self._pause_s = 1
        self._untold = False
        self.inbox = None
        self.on_acknowledged = None
        # While set, the line is given up: an ESP32 has no memory for two TLS connections at a time.
        self.held = False
        # While set, reports wait: the clock that says when they are due is about to be set.
        self.unpunctual = False
        self.client = MqttClient(
            config.host,
            config.port,
            config.server_name,
            config.device_id,
            config.device_id,
            config.mqtt_password,
            config.authority,
            config.timeout_s,
            # A line that is dead is noticed within this.
            max(60, 2 * config.timeout_s),
            self._heard,
        )

    def wake(self):
        """There is something new in the outbox."""
        self._news.set()

    def due_in_ms(self, entry):
        """Milliseconds until `entry` may be sent; zero or less means now."""
        if entry.kind != topics.REPORT or not self._clock.known:
            return 0  # without a time, what lies there is from an earlier boot
        if self.unpunctual:
            return _ROUND_S * 1000
        return entry.window * 1000 + self._slot_ms - self._clock.unix_ms()

    async def send_now(self, kind, payload):
        """Publish past the outbox and return after the broker's PUBACK. Raises LinkError, at once when there
        is no connection.
        """
        try:
            await self.client.publish(topics.topic(self._config.device_id, kind), payload)
        finally:
            self._news.set()  # a connection that failed here is opened anew without waiting

    async def run(self):
        """Work for ever."""
        while True:
            self._vigil.done("link")
            if self.held:
                await asyncio.sleep(1)
                continue
            tried = False
            try:
                await self._wifi.join(self._config.timeout_s)
                # Where no server tells the time, the gateway may.
                tried = self._clock.known or (
                    self._untold and self._clock.guess(begins(self._config.authority))
                )
                if tried:
                    guessed = not self._clock.known
                    gc.collect()
                    await self.client.connect()
                    say(
                        "link: connected to %s:%d as %s%s",
                        self._config.host,
                        self._config.port,
                        self._config.server_name,
                        ", the time is not known" if guessed else "",
                    )
                    await self._subscribe()
                    await self._serve(guessed)
            except WifiError as fault:
                tried = True
                say("link: %s", fault)
            except LinkError as fault:
                say("link: %s", fault)
                if self._pause_s >= _LONGEST_PAUSE_S:
                    self._wifi.leave()
            await self._rest(tried)

    def _heard(self, topic, payload):
        # Without an inbox, or for another's topic: the client counts the failure.
        if self.inbox is None or topic != topics.topic(self._config.device_id, topics.COMMAND):
            raise LinkError("not for us")
        self.inbox.take(payload)

    async def _subscribe(self):
        """Ask for our commands; a broker that refuses costs us the commands, not the reports."""
        if self.inbox is None:
            return
        try:
            await self.client.subscribe(topics.topic(self._config.device_id, topics.COMMAND))
        except LinkError as fault:
            if not self.client.connected():
                raise
            say("link: %s", fault)

    async def _serve(self, guessed):
        asked = False
        while self._wifi.joined():
            self._vigil.done("link")
            if self.held:
                return
            entry = self._outbox.oldest()
            wait_ms = self.due_in_ms(entry) if entry else _ROUND_S * 1000
            if wait_ms > 0:
                self._news.clear()
                try:
                    await asyncio.wait_for_ms(self._news.wait(), min(wait_ms, _ROUND_S * 1000))
                except asyncio.TimeoutError:
                    pass
                await self.client.keep_alive()
                if guessed and self._clock.known:
                    self._pause_s = 1
                    raise LinkError("the time is known now, and with it whether the certificate holds")
                continue
            again = entry.seq == self._tried
            self._tried = entry.seq
            if entry.kind == topics.STATEMENT:
                if asked and guessed and not self._clock.known:
                    raise LinkError("no word of the time")
                asked = True
                self._clock.asked(4 * self._config.timeout_s)
            await self.client.publish(topics.topic(self._config.device_id, entry.kind), entry.payload, again)
            self._outbox.acknowledge(entry.seq)
            self._pause_s = 1
            if self.on_acknowledged is not None:
                self.on_acknowledged(entry.kind, entry.seq)
        raise WifiError("the access point is gone")

    async def _rest(self, tried):
        await self.client.close()
        if not tried:
            await asyncio.sleep(1)
            return
        # Half of the pause is certain, half is chance, so that a street does not come back at once.
        chance = os.urandom(2)
        await asyncio.sleep_ms(
            500 * self._pause_s + (chance[0] << 8 | chance[1]) * 500 * self._pause_s // 65536
        )
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)

    async def keep_time(self, moved):
        """Synchronise the clock now and every hour; moved(ms) is told by how much a known time was set."""
        self._clock.on_moved = moved
        pause_s = 1
        while True:
            if not self._wifi.joined():
                await asyncio.sleep_ms(100)
                continue
            try:
                doubt_ms = await self._clock.synchronise(
                    self._config.ntp, max(1, self._config.timeout_s // 6)
                )
            except ClockError as fault:
                self._untold = True
                say("clock: %s", fault)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                continue
            say("clock: synchronised within %d ms", doubt_ms)
            pause_s = 1
            await asyncio.sleep(_SYNCHRONISE_S)
