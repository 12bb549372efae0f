"""The cycle of every window: sensors fill it, it closes, is released, sealed and put into the outbox.

`app` makes one Cycle and attaches sensors, link and radio to it; `run` then works for ever.
"""

import asyncio
import gc

from micropython import const

from node.console import say
from node.entropy import EntropyRefused
from node.outbox import OutboxError
from node.release import release
from node.window import Windows
from peilmerk_protocol import cose, quantities, report, topics

_ROUND_S = const(5)
_ATTEMPTS = const(5)
# A clock that is set by more than this disturbs the windows at hand.
_STEP_MS = const(2000)


class Cycle:
    """The windows of one board under config.profile. `root` is where the firmware lies; ends with a slash."""

    def __init__(self, config, clock, outbox, health, vigil, root="/"):
        self._config = config
        self._clock = clock
        self._outbox = outbox
        self._health = health
        self._vigil = vigil
        self._root = root
        self.windows = Windows(config.profile.window_s, tuple(quantities.members(config.profile.set)))

    def attach(self, sensors, link, radio):
        """Where counts come from, whom to wake for what is sealed, and what makes the entropy true."""
        self._sensors = sensors
        self._link = link
        self._radio = radio

    def record(self, quantity, value):
        """A sensor gives a sample, now."""
        if self._clock.known:
            self.windows.sample(self._clock.unix_ms(), quantity, value)

    def moved(self, milliseconds):
        """The clock was set and had been off by so much."""
        if abs(milliseconds) > _STEP_MS:
            say("clock: moved by %d ms", milliseconds)
            self.windows.disturb()

    async def run(self):
        """Work for ever."""
        while not self._clock.known:
            self._vigil.done("windows")
            await asyncio.sleep_ms(500)
        await self.state()
        # What was counted before there was a time belongs to no window.
        self._sensors.take(None)
        self.windows.start(self._clock.unix_ms())
        while True:
            await self._window_over(self._sensors.settle_ms)
            tally = self.windows.ended()
            end_ms = self.windows.end_ms()
            paused = self._sensors.paused_in(end_ms - self.windows.window_ms, end_ms)
            # A window in which the host said no, if only for a moment, is not measured.
            self._sensors.take(None if paused else tally)
            say("window %d closed", tally.index)
            await self._release(tally, paused)
            if self._config.next_profile is not None:
                await self._adopt()
            else:
                self.windows.advance(self._clock.unix_ms())
            gc.collect()

    async def _adopt(self):
        """The agreed profile holds from this border on."""
        config = self._config
        config.profile, config.next_profile = config.next_profile, None
        profile = config.profile
        say("profile: revision %d from now on", profile.revision)
        now_ms = self._clock.unix_ms()
        border = now_ms // self.windows.window_ms * self.windows.window_ms
        self.windows = Windows(profile.window_s, tuple(quantities.members(profile.set)))
        self.windows.start(now_ms)
        # A whole window if it begins at the border that was just seen.
        if self.windows.end_ms() - self.windows.window_ms == border:
            self.windows.ended().partial = False
        await self.state()

    async def _window_over(self, settle_ms):
        """Return when the open window has ended and what was under way at its end has settled."""
        while True:
            # Told every round, because the clock may have been set since.
            border = self._clock.tick_of(self.windows.end_ms())
            self._sensors.border(border)
            self._vigil.done("windows")
            now = self._clock.unix_ms()
            left = self.windows.end_ms() + settle_ms - now
            if left <= 0:
                return
            if self.windows.before(now):
                self.windows.start(now)
                self.windows.disturb()
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
                self._radio.switch_on()
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

    async def state(self):
        """Put a statement into the outbox."""

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
