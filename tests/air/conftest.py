"""Boards for the tests of the drivers that sample; the same as those of the counters."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "counters"))

from stepped_street import flash_image
from world_of_air import Air


@pytest.fixture(scope="session")
def firmware(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A flash image with what the drivers need, as bytecode."""
    return flash_image(tmp_path_factory.mktemp("mpy"))


@pytest.fixture
async def air(firmware: bytes, tmp_path: Path) -> AsyncIterator[Air]:
    """Boards that sample; all are stopped afterwards."""
    it = Air(firmware, tmp_path)
    yield it
    for board in it.boards:
        await board.stop()
