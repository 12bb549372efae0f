"""Both kinds of store, see `stores`; and the settings of a gateway, with a counter that it knows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mqtt_board import village
from sealed_street import Counter, Street, record
from stores import KINDS, StorePlace, place_of, server_or_skip

from peilmerk_bench.postgresql import PostgresServer
from peilmerk_gateway.registry import Registry
from peilmerk_gateway.settings import Settings


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresServer]:
    """One server for all tests of this process."""
    server = server_or_skip()
    yield server
    server.close()


@pytest.fixture(params=KINDS)
def store_place(request: pytest.FixtureRequest, tmp_path: Path) -> StorePlace:
    """Where a store may be made, of each kind."""
    return place_of(request.param, tmp_path, request)


@pytest.fixture(params=KINDS)
def empty_place(request: pytest.FixtureRequest, tmp_path: Path) -> StorePlace:
    """Where not even a table is, of each kind."""
    return place_of(request.param, tmp_path, request, empty=True)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return village(tmp_path, web_port=0)


@pytest.fixture
def counter(settings: Settings) -> Counter:
    """An enrolled counter with a record."""
    with Registry(settings.gateway.registry) as registry:
        counter = Counter(registry.enrol("counter", "the one"))
    text = record("street", [("fietspad-1", counter.id)])
    (settings.deployments.directory / "street.toml").write_text(text)
    return counter


@pytest.fixture
def street(tmp_path: Path, store_place: StorePlace) -> Iterator[Street]:
    """Two counters and an air node, with a store of each kind."""
    made = Street(tmp_path, counters=2, air=1, place=store_place)
    yield made
    made.registry.close()
