"""What the host and the gateway decided about this board, kept on flash: the pause and the agreed profile.

The host's pause (local page) and the gateway's (command) are kept apart: a command never lifts or shortens
what the host chose at the board itself. While either holds, nothing is measured. Where the time is not known,
a pause holds. Also here: identify, reboot and forget, for commands and the local page alike.
"""

import asyncio
import os
from binascii import crc32
from time import ticks_add, ticks_diff, ticks_ms

from micropython import const

from node.config import may_count
from node.mark import Mark, make_folder
from peilmerk_protocol import profile as profiles

# Until resumed.
FOR_EVER = const(0xFFFFFFFF)
_FORGET = "forget"


class Control:
    """The decisions in `folder`; `root` is where the file system is mounted and ends with a slash.

    changed: an asyncio.Event, set whenever a decision was taken.
    """

    def __init__(self, folder, root="/"):
        make_folder(folder)
        self.changed = asyncio.Event()
        self._root = root
        self._pause = Mark(folder + "/pause", "II")
        kept: tuple = self._pause.load() or (0, 0)
        self._host, self._gateway = kept
        # CRC-32 of the profile in node.json that was replaced, then the nine numbers of the agreed one.
        self._profile = Mark(folder + "/profile", "IBIIHHHHHB")
        self._blink_end = ticks_ms()
        self._blinks = False

    def pause(self, until_unix, remote=False):
        """Measure nothing until then (Unix seconds; 0: until resumed). In force even when OSError tells that
        flash could not keep it.
        """
        until = until_unix or FOR_EVER
        if remote:
            self._gateway = until
        else:
            self._host = until
        self.changed.set()
        self._pause.save(self._host, self._gateway)

    def resume(self, remote=False):
        """End the pause; a `remote` resume ends only a remote pause. Tells whether none is left. OSError."""
        host = self._host if remote else 0
        self._pause.save(host, 0)
        self._host, self._gateway = host, 0
        self.changed.set()
        return not host

    def paused(self, now_unix):
        """Whether a pause holds at `now_unix` (0: the time is not known)."""
        return now_unix < max(self._host, self._gateway)

    def paused_until(self):
        """Unix second at which the pause ends; FOR_EVER without an end; 0 or past when there is none."""
        return max(self._host, self._gateway)

    def profile(self, issued):
        """The profile in force, where node.json gives `issued`: the agreed one, unless a technician has
        written another into node.json since.
        """
        kept: tuple = self._profile.load() or (0,)
        if kept[0] == crc32(profiles.encode(issued)) and len(kept) > 1:
            try:
                agreed = profiles.from_fields(kept[1:])
                if may_count(agreed):
                    return agreed
            except profiles.ProfileError:
                pass  # firmware that permits less than the one that kept it
        return issued

    def agree(self, issued, profile):
        """Keep `profile` in place of node.json's `issued`, from now on and through power cuts. OSError."""
        self._profile.save(crc32(profiles.encode(issued)), *profile.fields())

    def identify(self, seconds):
        """Show which board this is for so long."""
        self._blink_end = ticks_add(ticks_ms(), seconds * 1000)
        self._blinks = True
        self.changed.set()

    def identifying(self):
        """Whether the board is to show itself now."""
        if self._blinks and ticks_diff(self._blink_end, ticks_ms()) <= 0:
            self._blinks = False
        return self._blinks

    def reboot(self):
        """Start anew. Does not return."""
        import machine

        machine.reset()

    def will_forget(self):
        """From now on the board forgets, at the next boot if not before. OSError: it will not."""
        with open(self._root + _FORGET, "wb"):
            pass

    def forget(self):
        """Erase keys, settings and everything measured, and start anew in factory state. Does not return."""
        self.will_forget()
        finish_forgetting(self._root)
        self.reboot()


def finish_forgetting(root="/"):
    """Erase what a board was told to forget; nothing happens on a board that was not."""
    try:
        os.stat(root + _FORGET)
    except OSError:
        return
    from node.forget import erase

    erase(root)
    os.remove(root + _FORGET)
