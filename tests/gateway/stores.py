"""Both kinds of store for the same tests: an SQLite file, and a database of a real PostgreSQL server.

A test that takes the fixture `store_place` runs on each; of a module's own fixture that is made once the
parameters are `KINDS`. `StorePlace.raw` reads and changes a store past all of our code; parameters are
question marks on both. A database of PostgreSQL is a copy of one that has this version's tables, since making
them takes longer than most tests; a file is made by the store itself, and so is what `empty_place` gives.
"""

from __future__ import annotations

import itertools
import os
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from peilmerk_bench.postgresql import PostgresServer, ServerError, programs
from peilmerk_gateway import settings
from peilmerk_gateway.settings import Settings
from peilmerk_gateway.store import engine, trail_check
from peilmerk_gateway.store_place import STORE_FILE, Database

KINDS = ("sqlite", "postgresql")
_NUMBERS = itertools.count(1)
_MADE = "made"
UNBOUND = "SET session_replication_role = replica"


def is_ci() -> bool:
    """Whether a missing program is a failure: nothing is skipped in continuous integration."""
    return os.environ.get("CI", "").lower() == "true"


@dataclass(frozen=True)
class StorePlace:
    """Where a store is, and on which server if on any."""

    where: Path | Database
    server: PostgresServer | None = None

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
            # As on a file, where nobody asked for it: what one row says of another is not held.
            connection.execute(UNBOUND)
            yield _Marked(connection)

    def run(self, script: str) -> int:
        """Do one statement after the other; return how many rows the last one touched."""
        with self.raw() as db:
            touched = 0
            for statement in script.split(";"):
                touched = db.execute(statement).rowcount
            return touched

    def copied(self, folder: Path) -> StorePlace:
        """Return the store of a copy of its folder; a database, which nobody may be using, is copied now."""
        if isinstance(self.where, Path):
            return StorePlace(folder / self.where.name)
        assert self.server is not None
        name = f"store_{next(_NUMBERS)}"
        return StorePlace(self.server.database(name, self.name), self.server)

    @property
    def name(self) -> str:
        """The name of the database."""
        assert isinstance(self.where, Database)
        return self.where.url.partition("?")[0].rpartition("/")[2]

    def serve(self, file: Path) -> None:
        """Have the gateway of these settings keep its store here; a file lies there anyhow."""
        if isinstance(self.where, Database):
            others = re.sub(r"\n\[store\]\n([^\[\n].*\n)*", "", file.read_text("utf-8"))
            store = f'url = "{self.where.url}"\npassword_file = "{self.where.password_file}"'
            file.write_text(f"{others}\n[store]\n{store}\n", "utf-8")
            assert settings.load(file).store_place == self.where

    def holds(self, what: bytes) -> bool:
        """Whether its bytes on the disk hold these: a file's journal counts, PostgreSQL's does not."""
        if isinstance(self.where, Path):
            files = self.where.parent.glob(f"{self.where.name}*")
            return any(what in file.read_bytes() for file in files)
        assert self.server is not None
        self.server.execute("CHECKPOINT")
        ((oid,),) = self.server.execute(f"SELECT oid FROM pg_database WHERE datname = '{self.name}'")
        files = (self.server.folder / "data" / "base" / str(oid)).iterdir()
        return any(what in file.read_bytes() for file in files)

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
    """A connection that takes question marks for its parameters, and bytes as SQLite writes them."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
        words = as_postgresql(statement).replace("%", "%%").replace("?", "%s")
        return self._connection.execute(words, list(parameters))


def as_postgresql(statement: str) -> str:
    """Return a statement with its bytes (x'00') as PostgreSQL writes them."""
    return re.sub(r"\bx'([0-9a-f]*)'", r"'\\x\1'::bytea", statement)


@contextmanager
def tampering(place: StorePlace) -> Iterator[Callable[[str], list[tuple[int, str]]]]:
    """Do one thing past all of our code, no row bound to another, check the trail, and undo it."""
    if isinstance(place.where, Path):
        opened = create_engine(f"sqlite:///{place.where}")
    else:
        opened = engine.open_engine(place.where, writer=True)

    def faults(script: str) -> list[tuple[int, str]]:
        with opened.connect() as connection, connection.begin() as transaction:
            if place.is_postgresql:
                connection.exec_driver_sql(UNBOUND)
                script = as_postgresql(script)
            for statement in script.split(";"):
                assert connection.exec_driver_sql(statement).rowcount, statement
            found = trail_check.check(connection).faults
            transaction.rollback()
        return found

    yield faults
    opened.dispose()


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
    made = engine.open_engine(server.database(_MADE), writer=True)
    engine.migrate(made)
    made.dispose()
    return server


def new_place(folder: Path, server: PostgresServer | None, *, empty: bool = False) -> StorePlace:
    """Return a place for a new store: in this folder, where none is, or on that server, with empty tables or,
    `empty`, none.
    """
    if server is None:
        return StorePlace(folder / STORE_FILE)
    name = f"store_{next(_NUMBERS)}"
    return StorePlace(server.database(name, "template1" if empty else _MADE), server)


def place_of(kind: str, folder: Path, request: pytest.FixtureRequest, *, empty: bool = False) -> StorePlace:
    """Return a place of this kind, for fixtures of any scope."""
    server = request.getfixturevalue("postgresql") if kind == "postgresql" else None
    return new_place(folder, server, empty=empty)


def served(kind: str, file: Path, request: pytest.FixtureRequest) -> Settings:
    """Return the settings of a gateway whose store is of this kind, which is said in their file."""
    place_of(kind, settings.load(file).gateway.data_dir, request).serve(file)
    return settings.load(file)
