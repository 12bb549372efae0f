"""Both kinds of store, see `stores`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from stores import KINDS, StorePlace, place_of, server_or_skip

from peilmerk_bench.postgresql import PostgresServer


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
