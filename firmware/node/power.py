"""A battery node: wakes, samples, reports at its slot, and sleeps again; loaded only where node.json says so.

The samples of a window of `window_s` lie evenly in it, each half a step away from the borders, so that a
clock that drifts in sleep (ESP32's 150 kHz oscillator: up to 5 %, ESP32 Series Datasheet) does not carry one
over. Reports go out at the device's slot after each `send_s`, and the clock is set by then. What must survive
sleep lies in the memory of the board's own clock: the open window's sums, what is due when, and what was
told. While sensors warm up the chip sleeps lightly.

After power-on and reset the board stays awake for `reachable_s`, so that a technician can reach it.

node.json: "power": {"mode": "battery", "every_s": 300, "send_s": 900, "reachable_s": 120}.
"""

import asyncio
import struct
import time
from array import array
from asyncio import core  # type: ignore[attr-defined]
from time import ticks_diff, ticks_ms

import machine
from micropython import const

from node import rtc, uptime
from node.console import say
from node.health import DEEPSLEEP
from node.uplink.link import slot_s
from peilmerk_protocol import profile as profiles

_TAG = "power"
# due sample, due sending, clock set (Unix s); statement told, up since (s); window; faulty sensors; failed
# sendings; flags; length of the profile that follows, and then the window's figures.
_STATE = "<IIIiIIIBBB"
_STATE_BYTES = const(31)
_PARTIAL = const(1)
_PAUSED = const(2)
_REBOOTED = const(4)

# Due so soon is due now.
_EARLY_MS = const(2000)
_SOON_MS = const(5000)
_SAMPLE_MS = const(60000)
_SESSION_MS = const(45000)
# An access point that does not answer by then is tried again later.
_JOIN_MS = const(12000)
# So long commands are waited for when all is told.
_HEAR_MS = const(1000)
_SET_AFTER_S = const(600)
_TIME_MS = const(10000)
_NO_TIME_S = const(900)
_MOST_FAILURES = const(3)
_NAP_MS = const(900)


class Battery:
    """The life of one wake, over the parts of the node."""

    def __init__(self, config, clock, cycle, sensors, link, commands, control, outbox, health, wifi, vigil):
        self._config = config
        self._clock = clock
        self._cycle = cycle
        self._sensors = sensors
        self._link = link
        self._commands = commands
        self._control = control
        self._outbox = outbox
        self._health = health
        self._wifi = wifi
        self._vigil = vigil
        self._due_sample = self._due_send = self._failures = 0
        self._paused = False
        for driver in sensors.drivers:
            if driver is not None:
                driver.every_s = config.every_s
        if health.reset_cause == DEEPSLEEP:
            self._wake()
        else:
            # They work since the power came, and nobody listens yet.
            sensors.stop()

    async def run(self):
        """Do what is due, then sleep. Does not return."""
        windows = self._cycle.windows
        while True:
            self._live()
            if not self._clock.known:
                await self._talk()
                if not self._clock.known:
                    await self._sleep(_NO_TIME_S * 1000)
                    continue
            now_ms = self._clock.unix_ms()
            if not windows.started:
                windows.start(now_ms)
                self._plan(now_ms)
            if self._control.paused(now_ms // 1000):
                self._paused = True
            if now_ms >= windows.end_ms():
                await self._cycle.close(self._paused)
                windows = self._cycle.windows
                self._paused = self._control.paused(now_ms // 1000)
            if now_ms + _EARLY_MS >= self._due_sample * 1000:
                if not self._paused:
                    await self._sample()
                self._due_sample = self._next_sample(self._clock.unix_ms() + _EARLY_MS)
            if now_ms + _EARLY_MS >= self._due_send * 1000:
                await self._talk()
                self._plan(self._clock.unix_ms())
            await self._sleep(min(self._due_sample, self._due_send) * 1000 - self._clock.unix_ms())

    def _live(self):
        for name in ("windows", "link", "commands"):
            self._vigil.done(name)

    def _plan(self, now_ms):
        """When to sample and to send next; a sending that failed waits for 2, 4 or 8 turns."""
        self._due_sample = self._next_sample(now_ms + _EARLY_MS)
        turn_s = self._config.send_s
        slot = slot_s(self._config.device_id, self._config.profile.window_s)
        turns = (now_ms // 1000 + _EARLY_MS // 1000 - slot) // turn_s + (1 << self._failures)
        self._due_send = turns * turn_s + slot

    def _next_sample(self, now_ms):
        window_s = self._config.profile.window_s
        step_ms = window_s * 1000 // max(1, window_s // self._config.every_s)
        return ((now_ms + step_ms // 2) // step_ms * step_ms + step_ms // 2) // 1000

    async def _sample(self):
        queue = getattr(core, "_io_queue", None)
        poller = queue.poller if queue else None
        # Light sleep cuts the console off: not while a technician may be there.
        if queue and self._health.reset_cause == DEEPSLEEP:
            queue.poller = _Napper()
        try:
            drivers = [driver for driver in self._sensors.drivers if driver is not None]
            await asyncio.gather(*[self._sample_one(driver) for driver in drivers])
        finally:
            if queue:
                queue.poller = poller

    async def _sample_one(self, driver):
        """One sample of one sensor, whatever it does; it is told as faulty when there is none."""
        left = list(driver.quantities)
        done = asyncio.Event()

        def record(quantity, value):
            self._cycle.record(quantity, value)
            if quantity in left:
                left.remove(quantity)
            if not left:
                done.set()

        task = None
        faults = driver.faults
        began = ticks_ms()
        try:
            driver.start()
            task = asyncio.create_task(driver.run(record))
            while left and driver.faults == faults and ticks_diff(ticks_ms(), began) < _SAMPLE_MS:
                self._live()
                try:
                    await asyncio.wait_for_ms(done.wait(), 1000)
                except asyncio.TimeoutError:
                    pass
        except Exception as fault:
            say("sensing: %s", fault)
        if left:
            driver.failed()
        if task is not None:
            task.cancel()
        try:
            driver.stop()
        except Exception as fault:
            say("sensing: %s", fault)

    async def _talk(self):
        """Set the clock, send what is due, hear commands; ends by itself."""
        clock = self._clock
        tasks = [asyncio.create_task(self._link.run()), asyncio.create_task(self._commands.run())]
        self._link.unpunctual = not clock.known or clock.age_s() > _SET_AFTER_S
        if self._link.unpunctual:
            tasks.append(asyncio.create_task(self._link.keep_time(self._moved)))
        began = ticks_ms()
        quiet = None
        self._failures = min(self._failures + 1, _MOST_FAILURES)
        while True:
            await asyncio.sleep_ms(100)
            spent = ticks_diff(ticks_ms(), began)
            self._live()
            if self._commands.waiting():
                quiet = None
                continue  # an update takes as long as it takes
            if spent > (_SESSION_MS if self._wifi.joined() else _JOIN_MS):
                break
            if not clock.known:
                await self._cycle.ask()
                continue
            if clock.age_s() > _SET_AFTER_S and spent < _TIME_MS:
                continue
            if self._link.unpunctual:
                self._link.unpunctual = False
                self._link.wake()
            await self._cycle.state()
            entry = self._outbox.oldest()
            if entry and self._link.due_in_ms(entry) <= _SOON_MS:
                quiet = None
            elif self._link.client.connected():
                self._failures = 0
                if quiet is None:
                    quiet = ticks_ms()
                elif ticks_diff(ticks_ms(), quiet) > _HEAR_MS:
                    break
        for task in tasks:
            task.cancel()
        await self._link.client.close(True)
        self._wifi.switch_off()

    def _moved(self, milliseconds):
        # Samples lie half a step away from the borders: what moves the clock by less moves none across.
        if abs(milliseconds) > self._config.every_s * 250:
            self._cycle.moved(milliseconds)

    async def _sleep(self, milliseconds):
        awake_ms = (
            self._config.reachable_s * 1000 - uptime.ms() if self._health.reset_cause != DEEPSLEEP else 0
        )
        if milliseconds <= _EARLY_MS or awake_ms > 0:
            await asyncio.sleep_ms(max(1, min(milliseconds, _SOON_MS)))
            return
        self._keep(milliseconds)
        say("sleeps for %d s", milliseconds // 1000)
        machine.deepsleep(milliseconds)

    def _keep(self, milliseconds):
        if not self._cycle.windows.started:
            return
        tally = self._cycle.windows.ended()
        flags = (
            (_PARTIAL if tally.partial else 0)
            | (_PAUSED if self._paused else 0)
            | (_REBOOTED if self._health.rebooted else 0)
        )
        profile = profiles.encode(self._config.profile)
        rtc.save(
            _TAG,
            struct.pack(
                _STATE,
                self._due_sample,
                self._due_send,
                self._clock.synchronised_s(),
                self._cycle.stated // 1000,
                (uptime.ms() + milliseconds) // 1000,
                tally.index,
                self._sensors.faulty(),
                self._failures,
                flags,
                len(profile),
            )
            + profile
            + bytes(tally.figures() or b""),
        )

    def _wake(self):
        """Take up again what `_keep` left."""
        data = rtc.load(_TAG)
        if data is None:
            return
        (
            self._due_sample,
            self._due_send,
            synchronised_s,
            stated_s,
            uptime_s,
            index,
            faulty,
            self._failures,
            flags,
            length,
        ) = struct.unpack_from(_STATE, data)
        profile = profiles.decode(data[_STATE_BYTES : _STATE_BYTES + length])
        self._clock.resume(synchronised_s)
        uptime.resume(uptime_s * 1000)
        self._cycle.stated = stated_s * 1000
        self._health.rebooted = bool(flags & _REBOOTED)
        self._paused = bool(flags & _PAUSED)
        config = self._config
        if profile != config.profile:
            # Agreed while this window was open: it holds from the next one on.
            config.next_profile = config.profile
            config.profile = profile
            self._cycle.renew()
        windows = self._cycle.windows
        windows.start(index * windows.window_ms)
        windows.ended().partial = bool(flags & _PARTIAL)
        figures = data[_STATE_BYTES + length :]
        if figures:
            windows.ended().add(array("q", figures))
        drivers = self._sensors.drivers
        for place in range(len(drivers)):
            if drivers[place] is not None and faulty >> place & 1:
                drivers[place].healthy = False


class _Napper:
    """In the place of asyncio's poller while only sensors are waited for: long waits are light sleep."""

    def ipoll(self, milliseconds):
        if milliseconds >= _NAP_MS:
            machine.lightsleep(milliseconds)
        elif milliseconds > 0:
            time.sleep_ms(milliseconds)
        return ()
