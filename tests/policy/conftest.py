"""A trace of two days for the simulator's tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from all_that_is_seen import TRACE


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    file = tmp_path / "street.csv"
    file.write_text(TRACE)
    return file
