"""Updates are tried with the firmware's own code on MicroPython and releases signed as a city signs them."""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS / "firmware"))
sys.path.insert(0, str(TESTS.parent / "firmware"))
