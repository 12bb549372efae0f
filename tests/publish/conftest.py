"""A real SensorThings service and a real store for the publishers' tests."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from patience import DEADLINE_S

from peilmerk_bench.platform import SensorThingsServer
from peilmerk_bench.postgresql import PostgresServer
from peilmerk_gateway.clock import SystemClock
from peilmerk_gateway.publish import Sink
from peilmerk_gateway.publish.describe import Describes
from peilmerk_gateway.publish.outbox import publish_loop
from peilmerk_gateway.store import Store

sys.path.insert(0, str(Path(__file__).parent))
# Behind everything else: of both folders there is a `conftest`.
sys.path.append(str(Path(__file__).parents[1] / "gateway"))

from publisher_process import QUICK, SINK
from stores import StorePlace, place_of, server_or_skip
from street import Words

Until = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


@pytest_asyncio.fixture
async def platform(tmp_path: Path) -> AsyncIterator[SensorThingsServer]:
    async with SensorThingsServer(tmp_path / "platform") as server:
        yield server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresServer]:
    """One server for all tests of this process."""
    server = server_or_skip()
    yield server
    server.close()


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> StorePlace:
    """Where the store is: a file, but for tests that ask for each kind (`indirect`)."""
    return place_of(getattr(request, "param", "sqlite"), tmp_path, request)


@pytest_asyncio.fixture
async def store(place: StorePlace) -> AsyncIterator[Store]:
    async with await Store.open(place.where, [SINK]) as opened:
        yield opened


@pytest.fixture
def words() -> Words:
    return Words()


async def until(holds: Callable[[], Awaitable[bool]], within_s: float = DEADLINE_S) -> None:
    """Wait until something holds; fail when it does not in time."""
    deadline = asyncio.get_running_loop().time() + within_s
    while not await holds():
        assert asyncio.get_running_loop().time() < deadline, f"not within {within_s} s"
        await asyncio.sleep(0.02)


async def settled(store: Store, sink: str = SINK) -> bool:
    """Whether nothing is on its way to the sink any more."""
    figures = (await store.figures()).sinks[sink]
    return figures.waiting == 0 and figures.sending == 0


@asynccontextmanager
async def publishing(store: Store, sink: Sink, words: Describes) -> AsyncIterator[None]:
    """A publisher at work; an error in it is the test's."""
    stop = asyncio.Event()
    task = asyncio.create_task(publish_loop(store, sink, words, SystemClock(), stop, QUICK))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, DEADLINE_S)
