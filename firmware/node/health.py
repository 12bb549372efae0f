"""What the board knows about itself: the health bits of a report, the statement at boot, and the watchdog.

The watchdog is fed by the work that must happen: closing windows and keeping the link. Each of them says
`done` whenever it got round; only while all of them did so lately, the watchdog is fed. No task exists to
feed it.
"""

import gc
import os
import sys
from time import ticks_diff, ticks_ms

from micropython import const

from node import VERSION, uptime
from node.attest import firmware_digest
from node.mark import Mark, make_folder
from peilmerk_protocol import profile as profiles
from peilmerk_protocol import report, statement

# The largest figure that a statement carries.
_MOST = 0xFFFFFFFF
# After Ctrl-C: long enough to work on the board, and a board that was forgotten starts again by itself.
_MAINTENANCE_MS = 3600000
# The clock drifts about 2 s in this time (20 ppm); synchronisation is asked for every hour.
CLOCK_FRESH_S = 86400
# machine.DEEPSLEEP_RESET of the ESP32 port.
DEEPSLEEP = const(4)


class Vigil:
    """Feeds the watchdog from finished work. `limits` maps a task's name to the seconds it may take to get
    round.
    """

    def __init__(self, limits, timeout_s):
        self._limits = limits
        self._done = {name: ticks_ms() for name in limits}
        self._dog = _watchdog(timeout_s * 1000) if timeout_s else None

    def done(self, name):
        """Task `name` got round once more."""
        now = ticks_ms()
        self._done[name] = now
        for other in self._limits:
            if ticks_diff(now, self._done[other]) > self._limits[other] * 1000:
                return
        if self._dog is not None:
            self._dog.feed()

    def rest(self):
        """The work ends here by intention: give whoever is at the console an hour."""
        if self._dog is not None:
            self._dog = _watchdog(_MAINTENANCE_MS)
            if self._dog is not None:
                self._dog.feed()


class Health:
    """Counters of this boot; making it raises the boot counter. `folder` is where state is kept."""

    def __init__(self, folder):
        make_folder(folder)
        mark = Mark(folder + "/boot", "I")
        self.boots = (mark.load() or (0,))[0]
        self.reset_cause = _reset_cause()
        self._losses = Mark(folder + "/losses", "II")
        # Windows ever lost before they were sealed; of these and the dropped reports, how many were told.
        kept: tuple = self._losses.load() or (0, 0)
        self.lost, self._told = kept
        self._telling = self._told
        # A wake from deep sleep goes on with the boot before it.
        self.rebooted = self.reset_cause != DEEPSLEEP
        if self.rebooted:
            self.boots += 1
            mark.save(self.boots)

    def bits(self, partial, missing, outbox, clock):
        """The health bits of a report; `missing`: a sensor gave no valid value, or not enough of them."""
        bits = report.HEALTH_PARTIAL if partial else 0
        if missing:
            bits |= report.HEALTH_SENSOR
        self._telling = outbox.dropped() + self.lost
        if self._telling != self._told:
            bits |= report.HEALTH_DROPPED
        if clock.age_s() > CLOCK_FRESH_S:
            bits |= report.HEALTH_CLOCK
        if self.rebooted:
            bits |= report.HEALTH_REBOOT
        return bits

    def reported(self):
        """A report with these bits is on flash: the reboot has been told, and what was lost."""
        self.rebooted = False
        if self._telling != self._told:
            self._told = self._telling
            self.lose(0)

    def lose(self, windows=1):
        """So many windows are lost: kept on flash until a report has told it."""
        self.lost += windows
        try:
            self._losses.save(self.lost, self._told)
        except OSError:
            pass  # this boot's reports tell it all the same

    def statement(self, seq, profile, root="/"):
        """The body of the statement with number `seq` under `profile`, about the firmware below `root`."""
        digest = firmware_digest(root)
        gc.collect()
        flash = os.statvfs(root)
        return statement.encode(
            statement.Statement(
                seq,
                profile.revision,
                digest,
                profiles.digest(profile),
                self.reset_cause,
                VERSION,
                sys.implementation.version[:3],
                self.boots,
                min(uptime.ms() // 1000, _MOST),
                gc.mem_free(),
                min(flash[0] * flash[3], _MOST),
            )
        )


def _watchdog(timeout_ms):
    try:
        from machine import WDT

        return WDT(timeout=timeout_ms)
    except (ImportError, ValueError, OSError):
        return None


def _reset_cause():
    try:
        from machine import reset_cause
    except ImportError:
        return 0
    return reset_cause() & 15
