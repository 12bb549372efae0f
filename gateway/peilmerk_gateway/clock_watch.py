"""Clock watch: a clock that jumps is not gone by until it was put right, or has stood there for a while.

By the clock windows are judged, figures held back, and old ones deleted. So when it stands elsewhere than it
should, by what it showed before and the time that has passed since (at a start: by the last entry of the
audit trail), everything that asks it is told `ClockDoubted` and waits, as it waits for a store that cannot be
used: the broker keeps what boards bring, and nothing is published or deleted. Put right, the work goes on by
itself; and so it does, with a warning, when the clock stays where it is for `hold_s`: it was wrong before.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

import structlog

from peilmerk_gateway.clock import Clock
from peilmerk_gateway.store import StoreError

# A step of a time server; what a board's own clock may be ahead (`admit.AHEAD_S`).
BACK_S = 120.0
AHEAD_S = 3_600.0
HOLD_S = 600.0
# Deleting cannot be taken back: it waits longer, and also when the gateway was away for long.
RETAIN_HOLD_S = 86_400.0
RETAIN_AHEAD_S = 7 * 86_400.0
LOOK_S = 5.0

_log = structlog.get_logger(__name__)


class ClockDoubted(StoreError):
    """The clock is not gone by now; the text says where it stands and where it should."""


def passed() -> float:
    """Return seconds that pass whatever is done to the clock, the machine's sleep included where it tells."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class WatchedClock:
    """A clock that raises ClockDoubted while it cannot be believed.

    `last` is when the gateway last wrote something down, None for never. `away_s`: how much later than that
    it may be at a start.
    """

    def __init__(
        self,
        clock: Clock,
        last: float | None,
        *,
        hold_s: float = HOLD_S,
        away_s: float = float("inf"),
        elapsed: Callable[[], float] = passed,
    ) -> None:
        self._clock = clock
        self._hold_s = hold_s
        self._ahead_s = away_s
        self._elapsed = elapsed
        self._run = elapsed()
        self._wall = clock.now() if last is None else last
        self._doubted_at: float | None = None

    def now(self) -> float:
        """Return unix seconds. Raises ClockDoubted."""
        wall, run = self._clock.now(), self._elapsed()
        wanted = self._wall + (run - self._run)
        if not -BACK_S <= wall - wanted <= self._ahead_s:
            if self._doubted_at is None:
                self._doubted_at = run
            left = self._hold_s - (run - self._doubted_at)
            if left > 0:
                raise ClockDoubted(
                    f"the clock: found {_iso(wall)}, wanted about {_iso(wanted)} or later by little; waiting "
                    f"until it is put right, or for {left:.0f} s more"
                )
            _log.warning(
                "the clock stayed where it is, and is believed", found=_iso(wall), wanted=_iso(wanted)
            )
        self._doubted_at = None
        self._wall, self._run, self._ahead_s = wall, run, AHEAD_S
        return wall


async def believed(clock: WatchedClock, stop: asyncio.Event) -> None:
    """Return once the clock can be believed, or `stop` is set."""
    while not stop.is_set():
        try:
            clock.now()
        except ClockDoubted as doubt:
            _log.error("not started yet", reason=str(doubt))
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), LOOK_S)
        else:
            return


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
