"""Puts the node together: sensing -> window -> release -> report -> seal -> outbox, and the link beside it.

Each part is a task of its own that is started again when it fails, so that a sensor that breaks, a broker
that is away or a flash that is full never stops the others. Ctrl-C ends everything cleanly: what is on
flash is whole at any time.
"""

import asyncio
import gc
import sys
import time

import machine
from micropython import const

from node import config as configuration
from node.commands import Commands
from node.console import say
from node.control import Control, finish_forgetting
from node.entropy import EntropyRefused
from node.health import Health, Vigil
from node.outbox import Outbox, OutboxError
from node.release import release
from node.sensors import Sensors
from node.uplink.clock import Clock
from node.uplink.link import Link
from node.uplink.wifi import Wifi
from node.window import Windows
from peilmerk_protocol import cose, quantities, report, topics

_DATA = "/data"
_ROUND_S = const(5)
_RESTART_S = const(10)
_ATTEMPTS = const(5)
# A clock that is set by more than this disturbs the windows at hand.
_STEP_MS = const(2000)
# Power-on: the board's own clock holds nothing (machine.PWRON_RESET of the ESP32 port).
_POWER_ON = const(1)


class Node:
    """One board at work. `root` is where the file system is mounted; ends with a slash."""

    def __init__(self, config, root="/", data=_DATA):
        self._config = config
        self._root = root
        self._health = Health(data)
        self._control = Control(data, root)
        config.profile = self._control.profile(config.issued_profile)
        self._outbox = Outbox(data + "/outbox")
        self._clock = Clock(self._outbox.last_window())
        if self._health.reset_cause > _POWER_ON:
            self._clock.keep()
        self._windows = Windows(config.profile.window_s, tuple(quantities.members(config.profile.set)))
        self._sensors = Sensors(config.sensors, self._record)
        # One attempt of the link may take: joining each network, connecting, publishing.
        rounds_s = (len(config.wifi) + 4) * config.timeout_s + 120
        # Whoever cannot be told anything any more has failed too, only later.
        self._vigil = Vigil({"windows": 60, "link": rounds_s, "commands": rounds_s}, config.watchdog_s)
        self._wifi = Wifi(config.wifi)
        self._wifi.switch_on()
        self._link = Link(config, self._clock, self._wifi, self._outbox, self._vigil)
        self._commands = Commands(config, self._clock, self._control, self._link, data)
        self._commands.vigil = self._vigil
        self._link.inbox = self._commands

    async def run(self):
        """Work for ever."""
        say("%s, boot %d, %d sensors", self._config.device_id, self._health.boots, len(self._config.sensors))
        tasks = [
            asyncio.create_task(_tend("windows", self._keep_windows)),
            asyncio.create_task(_tend("link", self._link.run)),
            asyncio.create_task(_tend("clock", self._keep_time)),
            asyncio.create_task(_tend("commands", self._commands.run)),
            asyncio.create_task(_tend("sensors", self._sense)),
        ]
        gc.collect()
        say("%d bytes of heap in use, %d free", gc.mem_alloc(), gc.mem_free())
        await asyncio.gather(*tasks)

    def stop(self):
        """Let go of sensors and network; flash needs nothing."""
        self._sensors.stop()
        self._link.client.drop()

    def rest(self):
        """The work ends by intention: give whoever is at the console time before the watchdog resets."""
        self._vigil.rest()

    async def _keep_time(self):
        await self._link.keep_time(self._moved)

    def _moved(self, milliseconds):
        if abs(milliseconds) > _STEP_MS:
            say("clock: moved by %d ms", milliseconds)
            self._windows.disturb()

    async def _sense(self):
        await self._sensors.run(self._control, self._clock)

    def _record(self, quantity, value):
        if self._clock.known:
            self._windows.sample(self._clock.unix_ms(), quantity, value)

    async def _keep_windows(self):
        while not self._clock.known:
            self._vigil.done("windows")
            await asyncio.sleep_ms(500)
        await self._state()
        # What was counted before there was a time belongs to no window.
        self._sensors.take(None)
        self._windows.start(self._clock.unix_ms())
        while True:
            await self._window_over(self._sensors.settle_ms)
            tally = self._windows.ended()
            end_ms = self._windows.end_ms()
            paused = self._sensors.paused_in(end_ms - self._windows.window_ms, end_ms)
            # A window in which the host said no, if only for a moment, is not measured.
            self._sensors.take(None if paused else tally)
            say("window %d closed", tally.index)
            await self._release(tally, paused)
            if self._config.next_profile is not None:
                await self._adopt()
            else:
                self._windows.advance(self._clock.unix_ms())
            gc.collect()

    async def _adopt(self):
        """The agreed profile holds from this border on."""
        config = self._config
        config.profile, config.next_profile = config.next_profile, None
        profile = config.profile
        say("profile: revision %d from now on", profile.revision)
        now_ms = self._clock.unix_ms()
        border = now_ms // self._windows.window_ms * self._windows.window_ms
        self._windows = Windows(profile.window_s, tuple(quantities.members(profile.set)))
        self._windows.start(now_ms)
        # A whole window if it begins at the border that was just seen.
        if self._windows.end_ms() - self._windows.window_ms == border:
            self._windows.ended().partial = False
        await self._state()

    async def _window_over(self, settle_ms):
        """Return when the open window has ended and what was under way at its end has settled."""
        while True:
            # Told every round, because the clock may have been set since.
            border = self._clock.tick_of(self._windows.end_ms())
            self._sensors.border(border)
            self._vigil.done("windows")
            now = self._clock.unix_ms()
            left = self._windows.end_ms() + settle_ms - now
            if left <= 0:
                return
            if self._windows.before(now):
                self._windows.start(now)
                self._windows.disturb()
                continue
            await asyncio.sleep_ms(min(left, _ROUND_S * 1000))

    async def _release(self, tally, paused):
        window = tally.index
        profile = self._config.profile
        end_s = (window + 1) * profile.window_s
        if self._outbox.has_window(end_s):
            say("window %d was released before: nothing is drawn", window)
            return
        values: dict | None = {} if paused else None
        for _attempt in range(0 if paused else _ATTEMPTS):
            try:
                values = release(tally, profile)
                break
            except EntropyRefused as fault:
                say("release: %s", fault)
                self._wifi.switch_on()
                await asyncio.sleep(1)
        if values is None:
            # Fail closed: no true randomness, no release. The tally is overwritten when the window advances.
            self._health.lost += 1
            return
        missing = not paused and (self._sensors.faulty() or len(values) < len(tally.quantities))
        bits = self._health.bits(tally, missing, (), self._outbox, self._clock)
        if paused:
            bits |= report.HEALTH_PAUSED

        def body(seq):
            return report.encode(seq, window, profile.revision, bits, values)

        if await self._put(topics.REPORT, end_s, body):
            self._health.reported()
            say(
                "window %d: %d of %d quantities released, %d waiting",
                window,
                len(values),
                len(tally.quantities),
                self._outbox.waiting(),
            )

    async def _state(self):
        def body(seq):
            return self._health.statement(seq, self._config.profile, self._root)

        await self._put(topics.STATEMENT, 0, body)

    async def _put(self, kind, end_s, body):
        """Seal and keep one message, the same bytes at each attempt; False when flash refused them all."""
        seq = self._outbox.next_seq()
        sealed = cose.seal(self._config.key, kind, self._config.device_id, body(seq))
        for _attempt in range(_ATTEMPTS):
            try:
                self._outbox.append(kind, seq, end_s, sealed)
                self._link.wake()
                return True
            except (OSError, OutboxError) as fault:
                say("outbox: %s", fault)
                await asyncio.sleep(1)
        self._health.lost += 1
        return False


async def _tend(name, work):
    """Run `work()` for ever, also when it fails."""
    while True:
        try:
            await work()
        except Exception as fault:
            say("%s: starts again in %d s", name, _RESTART_S)
            sys.print_exception(fault)
        await asyncio.sleep(_RESTART_S)


def main():
    """Run the node until Ctrl-C. A board that is not set up says what is missing and ends."""
    try:
        finish_forgetting()
        config = configuration.load()
    except configuration.ConfigError as fault:
        say("%s", fault)
        return
    node = Node(config)
    try:
        try:
            asyncio.run(node.run())
        except Exception as fault:
            # Every part restarts by itself; what comes here is the loop itself, out of memory perhaps.
            sys.print_exception(fault)
            say("starts again in %d s", _RESTART_S)
            time.sleep(_RESTART_S)
            machine.reset()
    except KeyboardInterrupt:
        node.rest()
        say("stopped; reset the board to start again")
    finally:
        node.stop()
        asyncio.new_event_loop()
