"""Say what is on the board: MicroPython, firmware, identity, flash. Nothing is changed and no secret is
printed.
"""

# mypy: ignore-errors

import os
import sys
from binascii import hexlify

from .common import firmware_digest, program, read_json, say


def main(root, params):
    files = program(root)
    identity = read_json(root + "identity.json") or {}
    node = read_json(root + "node.json") or {}
    flash = os.statvfs(root)
    say(
        {
            "version": list(sys.implementation[1])[:3],
            "machine": getattr(sys.implementation, "_machine", ""),
            "mpy": getattr(sys.implementation, "_mpy", 0) & 0xFF,
            "device_id": identity.get("device_id"),
            "kind": node.get("kind"),
            "linked": bool(node.get("link")),
            "files": {path: hexlify(files[path]).decode() for path in files},
            "digest": firmware_digest(files) if files else None,
            # LittleFS can count more blocks used than there are; what is left is then said as a huge number.
            "flash_free": flash[0] * flash[3] if flash[3] <= flash[2] else 0,
            "flash_size": flash[1] * flash[2],
        }
    )
