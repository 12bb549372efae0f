"""Say what is on the board: MicroPython, firmware, identity, flash. Nothing is changed and no secret is
printed.
"""

# mypy: ignore-errors

import os
import sys
from binascii import hexlify

from .common import (
    BLOCK,
    PROGRAM_FOLDERS,
    exists,
    firmware_digest,
    mount_rom,
    other,
    program,
    read_json,
    rom_half,
    say,
    slots,
    unmount_rom,
)


def version(folder):
    """Return the firmware's own version, or None."""
    before = list(sys.path)
    sys.path.insert(0, folder)
    try:
        from node import VERSION

        return list(VERSION)
    except Exception:
        return None
    finally:
        sys.path[:] = before


def main(root, params):
    good, trial, failed = slots(root)
    in_place = bool(good) and mount_rom(root, good)
    files = program(root, good)
    if good:
        unmount_rom(root, other(good))
    rival = program(root, other(good)) if good else {}
    half = rom_half("a")
    identity = read_json(root + "identity.json") or {}
    node = read_json(root + "node.json") or {}
    power = node.get("power")
    flash = os.statvfs(root)
    say(
        {
            "version": list(sys.implementation[1])[:3],
            "machine": getattr(sys.implementation, "_machine", ""),
            "mpy": getattr(sys.implementation, "_mpy", 0) & 0xFF,
            "device_id": identity.get("device_id"),
            "kind": node.get("kind"),
            "linked": bool(node.get("link")),
            "battery": isinstance(power, dict) and power.get("mode") == "battery",
            "files": {path: hexlify(files[path]).decode() for path in files},
            "digest": firmware_digest(files) if files else None,
            "slot": good,
            "trial": trial,
            "failed": failed,
            "romfs": half[2] * BLOCK if half else 0,
            "in_place": in_place,
            "firmware": version(root + good),
            "rival": {path: hexlify(rival[path]).decode() for path in rival if "/" in path},
            # Firmware beside the slots, from before there were any.
            "stray": bool(good) and any(exists(root + folder) for folder in PROGRAM_FOLDERS),
            # LittleFS can count more blocks used than there are; what is left is then said as a huge number.
            "flash_free": flash[0] * flash[3] if flash[3] <= flash[2] else 0,
            "flash_size": flash[1] * flash[2],
        }
    )
