"""Houses with virtual boards, and a browser in them."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).resolve().parents[1]
for folder in ("firmware", "web"):
    sys.path.append(str(TESTS / folder))
sys.path.append(str(TESTS.parent / "firmware"))

import browser  # noqa: E402
from house import House  # noqa: E402


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Callable[..., House]]:
    """house(kind, **options): a house whose board is off; it is taken down afterwards."""
    made: list[House] = []

    def make(kind: str = "counter", **options: Any) -> House:
        made.append(House(tmp_path, kind, **options))
        return made[-1]

    yield make
    for one in made:
        await one.board.stop()


@pytest.fixture
def phone() -> Callable[..., Any]:
    """phone(house, scripts=True): a browser for which every name and every address is the house's board."""

    @contextmanager
    def opened(place: House, *, scripts: bool = True) -> Iterator[browser.Browser]:
        if not browser.installed():
            if browser.required():
                pytest.fail(browser.MISSING, pytrace=False)
            pytest.skip(browser.MISSING)
        rules = f"--host-resolver-rules=MAP * 127.0.0.1:{place.port}"
        with browser.started(scripts=scripts, more=(rules,)) as window:
            window.shape(360, 780)
            yield window

    return opened
