"""The sensors of this board: each is a task of its own, kept running whatever the others do.

A driver that fails, at its making, at start, at work or at a border, is told as such (health) and started
again after a pause that doubles from 10 s to 10 minutes. One that samples and says nothing at all for two
hours hangs, and is started again too. While the board is paused every sensor is stopped: nothing is
measured, not even to be thrown away. Where two sensors measure the same, the one that node.json names first
gives it.
"""

import asyncio
import gc
import sys
from time import ticks_diff, ticks_ms

from micropython import const

from node import sensing
from node.console import say
from node.window import Tally
from peilmerk_protocol import quantities

_RESTART_S = const(10)
_LONGEST_RESTART_S = const(600)
# Who ran so long without a fault is trusted again.
_STEADY_MS = const(1200000)
# Twice the longest cycle that a driver may have.
_SILENT_MS = const(7200000)
_ROUND_S = const(5)
_NEVER = -1


class Sensors:
    """Drivers of node.json's `specs`; record(quantity, value) gets the samples."""

    def __init__(self, specs, record):
        self.drivers = []
        self.settle_ms = 0
        self._record = record
        self._nowhere = Tally(())
        self._tasks: list = []
        self._heard: list = []
        # Unix ms of the last pause: from, and until (_NEVER while it lasts).
        self._pause_from = self._pause_end = 0
        for spec in specs:
            driver = None
            try:
                driver = sensing.load(spec)
                driver.quantities = tuple([n for n in driver.quantities if self._is_free(n)])
                self.settle_ms = max(self.settle_ms, driver.settle_ms)
            except sensing.SensingError as fault:
                say("%s", fault)
            except Exception as fault:
                _tell(fault)
            # None keeps the place of a sensor that is not there.
            self.drivers.append(driver)

    def _is_free(self, quantity):
        # Passages of two places are one sum, samples of two sensors are no mean.
        if quantities.is_count(quantity):
            return True
        for driver in self.drivers:
            if driver is not None and quantity in driver.quantities:
                return False
        return True

    def faulty(self):
        """Bit i is set when the i-th sensor of node.json is not healthy or not there."""
        bits = 0
        for place in range(len(self.drivers)):
            driver = self.drivers[place]
            if driver is None or not driver.healthy:
                bits |= 1 << place
        return bits

    async def run(self, control, clock):
        """Keep them running, and stopped while `control` says so, for ever."""
        while True:
            control.changed.clear()
            now_ms = clock.unix_ms() if clock.known else 0
            wait_ms = _ROUND_S * 1000
            if control.paused(now_ms // 1000):
                if self._tasks or not self._pause_from:
                    self._pause_from = now_ms or 1
                    self.stop()
                self._pause_end = _NEVER
                if now_ms:
                    wait_ms = max(1, min(wait_ms, control.paused_until() * 1000 - now_ms))
            elif not self._tasks:
                if self._pause_end == _NEVER:
                    # It may have been lifted before its end.
                    self._pause_end = min(now_ms, control.paused_until() * 1000) or now_ms
                self._begin()
            self._wake_the_silent()
            try:
                await asyncio.wait_for_ms(control.changed.wait(), wait_ms)
            except asyncio.TimeoutError:
                pass

    def paused_in(self, start_ms, end_ms):
        """Whether the board was paused at some moment of start_ms <= t < end_ms (unix)."""
        if not self._pause_from or self._pause_from >= end_ms:
            return False
        return self._pause_end == _NEVER or self._pause_end > start_ms

    def expected(self, quantity, window_s):
        """How many samples of `quantity` a window should have; 0 when no sensor here gives any."""
        most = 0
        for driver in self.drivers:
            if driver is not None and quantity in driver.quantities:
                most = max(most, driver.expected(window_s))
        return most

    def border(self, tick_ms):
        """Tell all that a window ends at `tick_ms`."""
        for driver in self.drivers:
            if driver is not None:
                try:
                    driver.border(tick_ms)
                except Exception as fault:
                    driver.failed()
                    _tell(fault)

    def take(self, tally):
        """Move what was counted until the border into `tally`; None throws it away."""
        for driver in self.drivers:
            if driver is not None:
                try:
                    driver.take(tally or self._nowhere)
                except Exception as fault:
                    driver.failed()
                    _tell(fault)

    def stop(self):
        """Let go of all sensors."""
        for task in self._tasks:
            task.cancel()
        self._tasks = []
        for driver in self.drivers:
            if driver is not None:
                try:
                    driver.stop()
                except Exception as fault:
                    _tell(fault)

    def _begin(self):
        self._tasks = [asyncio.create_task(self._keep(driver)) for driver in self.drivers]
        now = ticks_ms()
        self._heard = [(now, 0) for _ in self.drivers]

    async def _keep(self, driver):
        pause_s = _RESTART_S
        while driver is not None:
            began = ticks_ms()
            good = driver.good
            try:
                driver.start()
                await driver.run(self._record)
                return  # nothing to sample: it works by interrupts only
            except Exception as fault:
                driver.failed()
                _tell(fault)
            if driver.good != good or ticks_diff(ticks_ms(), began) > _STEADY_MS:
                pause_s = _RESTART_S
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_RESTART_S)

    def _wake_the_silent(self):
        now = ticks_ms()
        for place in range(len(self._tasks)):
            driver = self.drivers[place]
            if driver is None or not samples(driver):
                continue
            since, sign = self._heard[place]
            if sign != driver.good + driver.faults:
                self._heard[place] = (now, driver.good + driver.faults)
            elif ticks_diff(now, since) > _SILENT_MS:
                say("sensing: sensor %d says nothing: starts again", place)
                driver.failed()
                self._tasks[place].cancel()
                self._tasks[place] = asyncio.create_task(self._keep(driver))
                self._heard[place] = (now, driver.good + driver.faults)


def samples(driver):
    """Whether it gives anything but counts."""
    for quantity in driver.quantities:
        if not quantities.is_count(quantity):
            return True
    return False


def _tell(fault):
    say("sensing: %s", fault)
    if isinstance(fault, MemoryError):
        gc.collect()
    elif not isinstance(fault, (OSError, sensing.SensingError, sensing.SensorFault)):
        sys.print_exception(fault)
