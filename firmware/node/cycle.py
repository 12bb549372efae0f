"""The cycle of every window: sensors fill it, it closes, is released, sealed and put into the outbox.

`app` makes one Cycle and attaches sensors, link and radio to it; `run` then works for ever.

One draw a window, whatever happens. The noise of a window is drawn when it begins and lives in RAM, like the
counts; what is sent is only what lies sealed in the outbox, and the record there is the memo that nothing is
drawn for that window again (`Outbox.has_window`). The board may die at any point:

* before the sealed report is on flash: counts and noise die together and nothing of either has left the
  board. What is counted of that window after the boot is another count with another draw; PARTIAL tells it.
* while it is being written: the record's CRC decides; either it is there whole (below) or not at all (above).
* after that: the window is known as released, and is sent with these bytes, as often as it takes.
* the day's total is brought up to date in the clock's memory only after that: a window that was reported and
  not added up leaves the day one window short, so PARTIAL; none is ever added twice, because a window that
  was reported is not released again. The day's message is a memo just as a window's is (`Outbox.has_day`).

A retry writes the same sealed bytes. When flash refuses them all, the report is lost and counted, and its
sequence number is not used again, as nobody knows how much of it did reach the flash.
"""

import asyncio
import gc
from time import ticks_ms

from micropython import const

from node import uptime
from node.console import say
from node.outbox import AlreadyReleased, OutboxError
from node.release import release
from node.window import Tally, Windows
from peilmerk_protocol import cose, quantities, report, topics
from peilmerk_protocol.profile import DAY_S

_DAY_MS = const(86400000)
_ROUND_S = const(5)
_ATTEMPTS = const(5)
# How soon it is seen that the time is known.
_WAIT_MS = const(500)
# A clock that is set by more than this disturbs the windows at hand.
_STEP_MS = const(2000)
# Percent of the expected samples below which a window is not as good as measured: what the European directive
# on ambient air asks of an hourly value (2008/50/EC, annexes VII.A and XI.A: 75 %, that is 45 minutes).
_ENOUGH = const(75)


class Cycle:
    """The windows of one board under config.profile. `root` is where the firmware lies; ends with a slash."""

    def __init__(self, config, clock, outbox, health, vigil, root="/"):
        self._config = config
        self._clock = clock
        self._outbox = outbox
        self._health = health
        self._vigil = vigil
        self._root = root
        # The last sample of each quantity, for the host's own page; None without one. Counts never come here.
        self.latest: dict | None = None
        self._early = None
        # When it last made a statement, by uptime.ms.
        self.stated = -_DAY_MS
        self._refused = False
        self.renew()

    def attach(self, sensors, link, radio):
        """Where counts come from, whom to wake for what is sealed, and what makes the entropy true."""
        self._sensors = sensors
        self._link = link
        self._radio = radio

    def record(self, quantity, value):
        """A sensor gives a sample, now."""
        if self.latest is not None:
            self.latest[quantity] = value
        if self._early is not None:
            self._early.open.sample(quantity, value)
        elif self._clock.known:
            self.windows.sample(self._clock.unix_ms(), quantity, value)

    def moved(self, milliseconds):
        """The clock was set and had been off by so much."""
        if abs(milliseconds) > _STEP_MS:
            say("clock: moved by %d ms", milliseconds)
            self.windows.disturb()

    async def run(self):
        """Work for ever."""
        # It may have failed before, at any point: what was at hand then is forgotten.
        self._early = None
        if self._clock.known:
            # What was counted until now belongs to no window.
            self._sensors.take(None)
            self.windows.start(self._clock.unix_ms())
        else:
            await self._before_time()
        while True:
            await self._open()
            await self._window_over(self._sensors.settle_ms)
            await self.close()

    async def close(self, paused=False):
        """Release the window that has ended and open the next one; `paused`: the host said no in it."""
        tally = self.windows.ended()
        self._sensors.take(tally)
        await self._finish(tally, paused)
        if self._config.next_profile is not None:
            await self._adopt()
        else:
            self.windows.advance(self._clock.unix_ms())
        gc.collect()

    async def ask(self):
        """While the time is not known: state, since the gateway answers with it; again where it did not."""
        if not self._outbox.waiting():
            await self.state(5000 * self._config.timeout_s)

    async def state(self, every_ms=_DAY_MS):
        """Put a statement into the outbox, unless the last one is younger than `every_ms`."""
        if uptime.ms() - self.stated < every_ms:
            return

        def body(seq):
            return self._health.statement(seq, self._config.profile, self._root)

        self.stated = uptime.ms()
        await self.put(topics.STATEMENT, 0, body)

    def renew(self):
        """Take on config.profile: nothing of a window or day at hand is kept."""
        profile = self._config.profile
        members = tuple(quantities.members(profile.set))
        self.windows = Windows(profile.window_s, members)
        # Noise, of a profile that counts: a board that never counts carries no code for it.
        self._pool = self._day = None
        counts = profile.set & quantities.COUNTS
        if counts:
            from node.day import Day
            from node.pool import Pool

            self._pool = Pool(len(quantities.members(counts)), profile.epsilon_leaf)
            self._day = Day(profile)

    async def _before_time(self):
        """Keep by ticks what comes until the time is known, then release the windows that it belongs to."""
        from node.early import Early

        members = self.windows.ended().quantities
        early = self._early = Early(self._config.profile.window_s, members)
        early.begin(uptime.ms())
        while not self._clock.known:
            self._vigil.done("windows")
            await self.ask()
            left = early.left_ms(uptime.ms())
            if left > 0:
                await asyncio.sleep_ms(min(left, _WAIT_MS))
            else:
                self._end_bin(early)
        self._end_bin(early)
        self._early = None
        now = self._clock.unix_ms()
        ahead = now - uptime.ms()
        self.windows.start(now)
        if early.lost:
            self._health.lose(-(-early.lost * early.bin_ms // self.windows.window_ms))
        tally = Tally(members)
        while True:
            middle = early.next_ms()
            index = 0 if middle is None else (middle + ahead) // self.windows.window_ms
            if tally.index and index != tally.index:
                await self._finish(tally)
                tally.begin(0, True)
            if middle is None:
                return
            if index >= self.windows.index():
                early.place(self.windows.ended())
                continue
            if not tally.index:
                tally.begin(index, True)
            early.place(tally)

    def _end_bin(self, early):
        self._sensors.border(ticks_ms())
        self._sensors.take(early.open)
        early.close(uptime.ms())

    async def _open(self):
        """A window begins, perhaps a day with it. Their noise is drawn at once, by `_window_over`."""
        if self._pool:
            self._pool.clear()
        self._refused = False
        await self.state()
        await self._turn(self.windows.index() * self.windows.window_ms // 1000 // DAY_S)

    def _draw(self):
        """Draw what is not drawn yet; tells whether all is there."""
        if not self._pool:
            return True
        from node.entropy import EntropyRefused

        try:
            self._day.draw()  # type: ignore[union-attr]
            self._pool.fill()
        except EntropyRefused as fault:
            if not self._refused:
                say("release: %s", fault)
                self._refused = True
            self._radio.switch_on()
            return False
        return True

    async def _window_over(self, settle_ms):
        """Return when the open window has ended and what was under way at its end has settled."""
        while True:
            # Told every round, because the clock may have been set since.
            self._sensors.border(self._clock.tick_of(self.windows.end_ms()))
            self._vigil.done("windows")
            uptime.ms()
            if self._pool and not self._pool.ready():
                self._draw()
            now = self._clock.unix_ms()
            left = self.windows.end_ms() + settle_ms - now
            if left <= 0:
                return
            if self.windows.before(now):
                self.windows.start(now)
                self.windows.disturb()
                continue
            await asyncio.sleep_ms(min(left, _ROUND_S * 1000))

    async def _finish(self, tally, paused=False):
        """Release, seal and keep the window of `tally`, which ends empty."""
        profile = self._config.profile
        window = tally.index
        start_s = window * profile.window_s
        end_s = start_s + profile.window_s
        say("window %d closed", window)
        await self._turn(start_s // DAY_S)
        if self._outbox.has_window(end_s):
            say("window %d was released before: nothing is drawn", window)
            tally.wipe()
            # Whatever it held: to tell only of what was not empty would tell what it held.
            self._health.lose()
            return
        # A window in which the host said no, if only for a moment, is not measured.
        paused = paused or self._sensors.paused_in(start_s * 1000, end_s * 1000)
        values: dict = {}
        share = None
        if not paused:
            for _attempt in range(_ATTEMPTS):
                if self._draw():
                    break
                await asyncio.sleep(1)
            else:
                self._health.lose()
            noise = self._pool.take() if self._pool else None
            values, share = release(tally, noise, self._day, self._expected)
        missing = self._sensors.faulty() or len(values) < len(tally.quantities)
        if share is not None and share < _ENOUGH and not tally.partial:
            missing = True
        bits = self._health.bits(tally.partial, missing and not paused, self._outbox, self._clock)
        if paused:
            bits |= report.HEALTH_PAUSED
        if tally.placed:
            bits |= report.HEALTH_CLOCK
        whole = not (paused or tally.partial)
        tally.wipe()

        def body(seq):
            return report.encode(seq, window, profile.revision, bits, values)

        if await self.put(topics.REPORT, end_s, body):
            self._health.reported()
            say(
                "window %d: %d of %d quantities released, %d waiting",
                window,
                len(values),
                len(tally.quantities),
                self._outbox.waiting(),
            )
        if self._day:
            self._day.close(whole)
        if end_s % DAY_S == 0:
            await self._turn(end_s // DAY_S)

    def _expected(self, quantity):
        return self._sensors.expected(quantity, self._config.profile.window_s)

    async def _turn(self, index):
        if self._day:
            await self._day.turn(index, self._outbox, self.put)

    async def _adopt(self):
        """The agreed profile holds from this border on. Totals of the old one are forgotten unreleased."""
        config = self._config
        config.profile, config.next_profile = config.next_profile, None
        say("profile: revision %d from now on", config.profile.revision)
        now_ms = self._clock.unix_ms()
        border = now_ms // self.windows.window_ms * self.windows.window_ms
        if self._pool:
            self._pool.clear()
            self._day.begin(0)  # type: ignore[union-attr]
        self.renew()
        self.windows.start(now_ms)
        # A whole window if it begins at the border that was just seen.
        if self.windows.end_ms() - self.windows.window_ms == border:
            self.windows.ended().partial = False
        await self.state(0)

    async def put(self, kind, end_s, body):
        """Seal and keep one message, the same bytes at each attempt; False when flash refused them all."""
        seq = self._outbox.next_seq()
        sealed = cose.seal(self._config.key, kind, self._config.device_id, body(seq))
        for _attempt in range(_ATTEMPTS):
            try:
                self._outbox.append(kind, seq, end_s, sealed)
                self._link.wake()
                return True
            except AlreadyReleased as fault:
                say("outbox: %s", fault)
                break
            except (OSError, OutboxError) as fault:
                say("outbox: %s", fault)
                await asyncio.sleep(1)
        self._outbox.skip(seq)
        self._health.lose()
        return False
