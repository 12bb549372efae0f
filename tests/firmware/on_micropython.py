"""Where MicroPython is, and what it must find: shim, firmware, protocol and its own frozen modules."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIRMWARE = ROOT / "firmware"
PROTOCOL = ROOT / "protocol"
SHIM = Path(__file__).parent / "shim"
MICROPYTHON = Path(sys.executable).with_name("micropython")


def environment():
    """The environment for running MicroPython on the firmware's sources."""
    path = os.pathsep.join([str(SHIM), str(FIRMWARE), str(PROTOCOL), ".frozen"])
    return {**os.environ, "MICROPYPATH": path}
