"""Two slots for the firmware, /a and /b: which one runs, whether on trial, and whether boots keep failing.

boot.py and main.py read and write the same three bytes in /slots: the slot that is good, what is left of the
trial of the other one (_TRIAL; a boot costs a third, a wake from deep sleep 1), and how many boots in a row
were not proven good. LittleFS replaces such a small file as a whole or not at all. Boards whose firmware lies
in no slot (a developer's folder) have no trial and no safe mode.
"""

import sys

from micropython import const

from node import VERSION
from node.mark import Mark

_TRIAL = const(240)
# So many boots in a row that were not good, this one included, and the board only listens; main.py counts
# no further.
_SAFE = const(9)


def folder(root="/"):
    """Where the firmware that runs lies below `root`, with a slash at the end: a slot, or `root` itself."""
    for path in sys.path:
        if path == root + "a" or path == root + "b":
            return path + "/"
    return root


class Slots:
    """The slots below `root` (ends with a slash) as this boot found them; `data` is where state is kept.

    running: "a", "b" or "" when the firmware lies in no slot; trial: whether it has yet to prove itself;
    safe_mode: whether too many boots failed. Methods raise OSError when flash refuses.
    """

    def __init__(self, root="/", data="/data"):
        self.root = root
        self.running = folder(root)[len(root) : -1]
        self.trial = False
        # Reports from this sequence number on prove what runs; those before were sealed by what ran before.
        self.since = 0
        self._proven = Mark(data + "/proven", "HHHI")
        self._failed = 0
        try:
            with open(root + "slots", "rb") as file:
                good, _, self._failed = file.read(4)
            self.trial = self.running not in ("", chr(good))
        except (OSError, ValueError):
            pass
        self.safe_mode = self._failed >= _SAFE and not self.trial

    def rival(self):
        """The slot that does not run."""
        return "a" if self.running == "b" else "b"

    def floor(self):
        """The highest version that ever proved itself: no update at or below it is taken."""
        return max(self._kept()[:3], VERSION)

    def begin(self, seq):
        """This boot runs; the next message takes `seq`. A trial goes on from where it began."""
        if self.trial:
            kept = self._kept()
            self.since = kept[3] or seq
            if not kept[3]:
                self._proven.save(*kept[:3], seq)

    def good(self):
        """What runs has proven itself: it is what boots from now on, and failed boots are forgotten."""
        if self.trial:
            self._proven.save(*VERSION, 0)
        if self.running and (self.trial or self._failed):
            self._write(0)
            self.trial = False

    def interrupted(self):
        """A technician ended this boot: it did not fail."""
        if self.running and not self.trial and 0 < self._failed < _SAFE:
            self._write(self._failed - 1)

    def retry(self):
        """Let the next boot be an ordinary one; when that fails too, the board is back in safe mode."""
        if self.safe_mode:
            self._write(_SAFE - 2)

    def try_rival(self):
        """From the next boot on, try what lies in the other slot."""
        self._proven.save(*self.floor(), 0)
        self._write(0, _TRIAL)

    def _kept(self):
        # The highest version that proved itself, and where the trial at hand began: 0 before its first boot.
        kept: tuple = self._proven.load() or (0, 0, 0, 0)
        return kept

    def _write(self, failed, trial=0):
        with open(self.root + "slots", "wb") as file:
            file.write(bytes((ord(self.running), trial, failed)))
        self._failed = failed
