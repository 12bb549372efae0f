"""Both kinds of store for the same tests: an SQLite file, and a database of a real PostgreSQL server.

A test that takes the fixture `store_place` runs on each. `StorePlace.raw` reads and changes a store past all
of our code; parameters are question marks on both.
"""

from __future__ import annotations

import itertools
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from peilmerk_bench.postgresql import PostgresServer, ServerError, programs
from peilmerk_gateway.store_place import Database

KINDS = ("sqlite", "postgresql")
_NUMBERS = itertools.count(1)


def is_ci() -> bool:
    """Whether a missing program is a failure: nothing is skipped in continuous integration."""
    return os.environ.get("CI", "").lower() == "true"


@dataclass(frozen=True)
class StorePlace:
    """Where a store is."""

    where: Path | Database

    @property
    def is_postgresql(self) -> bool:
        return isinstance(self.where, Database)

    @contextmanager
    def raw(self) -> Iterator[Any]:
        """Lend a connection with `execute`; what was done holds at the end."""
        if isinstance(self.where, Path):
            with closing(sqlite3.connect(self.where)) as db, db:
                yield db
            return
        with connected(self.where) as connection, connection:
            yield _Marked(connection)

    def remove(self) -> None:
        """Have no store there again."""
        if isinstance(self.where, Path):
            for file in self.where.parent.glob(f"{self.where.name}*"):
                file.unlink()
        else:
            with self.raw() as db:
                db.execute("DROP SCHEMA public CASCADE")
                db.execute("CREATE SCHEMA public")

    def dump(self, *tables: str) -> list[list[tuple[Any, ...]]]:
        """Every row of the tables, sorted."""
        with self.raw() as db:
            return [sorted(db.execute(f"SELECT * FROM {table}").fetchall(), key=repr) for table in tables]

    def tables(self) -> list[str]:
        """The names of the tables."""
        ask = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        if self.is_postgresql:
            ask = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        with self.raw() as db:
            return sorted(name for (name,) in db.execute(ask))

    def columns(self, table: str) -> list[str]:
        """The names of a table's columns."""
        with self.raw() as db:
            return [one[0] for one in db.execute(f"SELECT * FROM {table} LIMIT 0").description]


def connected(where: Database) -> Any:
    """Connect past all of our code."""
    import psycopg

    return psycopg.connect(where.url, password=where.password())


class _Marked:
    """A connection that takes question marks for its parameters."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
        return self._connection.execute(statement.replace("%", "%%").replace("?", "%s"), list(parameters))


def server_or_skip() -> PostgresServer:
    """Make a server for tests that ask what is stored, not whether a power cut leaves it there."""
    try:
        programs()
    except ServerError as reason:
        if is_ci():
            raise
        pytest.skip(str(reason))
    server = PostgresServer({"fsync": "off", "full_page_writes": "off"})
    server.start()
    return server


def new_place(kind: str, folder: Path, server: PostgresServer | None) -> StorePlace:
    """Return a place where no store is yet: in this folder, or on that server."""
    if server is None:
        return StorePlace(folder / "store.db")
    return StorePlace(server.database(f"store_{next(_NUMBERS)}"))
