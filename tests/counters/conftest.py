"""Boards for the tests of the counters' drivers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from stepped_street import Street, flash_image


@pytest.fixture(scope="session")
def firmware(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A flash image with what the drivers need, as bytecode."""
    return flash_image(tmp_path_factory.mktemp("mpy"))


@pytest.fixture
async def street(firmware: bytes, tmp_path: Path) -> AsyncIterator[Street]:
    """Boards that count; all are stopped afterwards."""
    it = Street(firmware, tmp_path)
    yield it
    for board in it.boards:
        await board.stop()
