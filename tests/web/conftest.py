"""A street with a real store, its app in this process, and a browser."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import browser
import httpx
import pytest
from street_of_test import TestStreet

from peilmerk_gateway.operation.condition import Condition
from peilmerk_gateway.web import create_app


@pytest.fixture
async def street(tmp_path: Path) -> AsyncIterator[TestStreet]:
    """An empty store and the records of three sensors."""
    made = await TestStreet.make(tmp_path)
    yield made
    await made.store.close()


@pytest.fixture
def visit(street: TestStreet) -> Callable[..., httpx.AsyncClient]:
    """Make a client that asks the street's app; keyword arguments go to `create_app`."""

    def make(**options: object) -> httpx.AsyncClient:
        condition = Condition(street.store, street.clock, street.settings.gateway.data_dir, 0, time.time)
        app = create_app(
            street.store,
            street.catalogue,
            street.clock,
            street.settings,
            **{"condition": condition} | options,
        )
        transport = httpx.ASGITransport(app=app)
        return httpx.AsyncClient(transport=transport, base_url="http://gateway.test")

    return make


@pytest.fixture(scope="session")
def chromium() -> Iterator[browser.Browser]:
    """A browser that runs scripts; a missing one fails the test in continuous integration."""
    yield from _browser(scripts=True)


@pytest.fixture(scope="session")
def chromium_without_scripts() -> Iterator[browser.Browser]:
    """A browser that runs no scripts."""
    yield from _browser(scripts=False)


def _browser(*, scripts: bool) -> Iterator[browser.Browser]:
    if not browser.installed():
        if browser.required():
            pytest.fail(browser.MISSING, pytrace=False)
        pytest.skip(browser.MISSING)
    with browser.started(scripts=scripts) as window:
        yield window
