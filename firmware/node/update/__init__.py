"""Signed updates over the network and the cable (PROTOCOL, "Update").

An offer comes as an authenticated command and names one file by its manifest's SHA-256, its size and its
version. The file is fetched, the manifest is verified before anything is written, every file is verified
while it is written and again when all are there; then the other slot is tried at the next boot. Why an
update was not taken is a number, the detail of the acknowledgement (`peilmerk_protocol.update_names`).
"""

import gc
import sys

from micropython import const

from node.console import say

_UNREACHABLE = const(16)
_FLASH = const(17)


class UpdateError(Exception):
    """An update that is not taken: the number of the reason, what was found and what was wanted."""

    def __init__(self, reason, found, wanted):
        super().__init__("update: refused %d: found %s, wanted %s" % (reason, found, wanted))
        self.reason = reason


async def offer(config, slots, argument, vigil):
    """Take the update that a command offers: [manifest's SHA-256, size, version].

    Returns 0 when it is in its slot and the next boot tries it, else the reason.
    """
    gc.collect()
    try:
        from node.update.fetch import fetch
        from node.update.receive import Receiver

        receiver = Receiver(slots, config.kind, argument)
        await fetch(config, argument[0], argument[1], receiver, vigil)
        receiver.finish()
        return 0
    except UpdateError as fault:
        say("%s", fault)
        return fault.reason
    except OSError as fault:
        say("update: flash: %s", fault)
        return _FLASH
    except MemoryError as fault:
        say("update: %s", fault)
        return _UNREACHABLE
    finally:
        # Needed once in months: the heap has them back.
        for name in ("node.update.fetch", "node.update.receive", "node.update.rom"):
            sys.modules.pop(name, None)
        for name in ("manifest", "romfs"):
            sys.modules.pop("peilmerk_protocol." + name, None)
        gc.collect()
