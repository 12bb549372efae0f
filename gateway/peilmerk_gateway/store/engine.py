"""Connections to the store's database, and the migrations that bring it to this version's tables.

SQLite is used so that a transaction that was reported as committed is on the disk (write-ahead log,
synchronous=FULL), writers queue instead of failing (BEGIN IMMEDIATE, busy time-out), and readers see a steady
picture while the writer writes.

PostgreSQL is used to the same effect: a commit is on the disk before it is reported (synchronous_commit=on),
whoever writes holds one lock of the database from the beginning of its transaction (`WRITER`), and readers
see one moment (repeatable read). So what holds of one writer holds of the writers of many gateways: nothing
that a transaction read can be changed before it has written. A writer that goes silent in a transaction
loses it after half a minute, and the lock with it.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.store import mirror
from peilmerk_gateway.store.schema import metadata
from peilmerk_gateway.store_place import IDLE_S, PROBE_S, PROBES, UNHEARD_S, Database, Place

DRIVER = "postgresql+psycopg"
# The number of the lock that whoever writes holds; any number that nobody else takes.
WRITER = 0x7065696C
BUSY_MS = 30_000
CACHE_KIB, READER_CACHE_KIB = 65_536, 2_048
MIGRATIONS = Path(__file__).parent / "migrations"


class StoreError(PeilmerkError):
    """The store cannot be opened or used."""


def why(reason: BaseException | None) -> str:
    """Say what a driver complains of, and what can be done where it does not go over by itself."""
    # PostgreSQL tells of rows in the lines that follow.
    text = str(reason).partition("\n")[0]
    if is_damage(reason):
        text += (
            ": a page of the file is damaged. The gateway puts it right when it is started anew, from its "
            "mirror, or where only indexes are damaged; where its log says that neither can be, stop it and "
            "put the last backup in its place. What boards brought meanwhile waits at the broker"
        )
    return text


def is_damage(reason: BaseException | None) -> bool:
    """Whether a driver complains of what SQLite's file is made of."""
    code = getattr(reason, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class StoreDamaged(StoreError):
    """A page of an SQLite file is damaged: see `salvage`."""


class StoreRefused(StoreError):
    """The database will not have these rows, however often it is asked."""


def failed(url: URL, reason: DBAPIError) -> StoreError:
    """Return what to say of a statement that failed: StoreDamaged, StoreRefused or StoreError."""
    kind = StoreRefused if isinstance(reason, (IntegrityError, DataError)) else StoreError
    if is_damage(reason.orig):
        kind = StoreDamaged
    return kind(f"{url.render_as_string()}: {why(reason.orig)}")


def database_url(where: Place) -> URL:
    """Return the URL of a database or of an SQLite file."""
    if isinstance(where, Database):
        return make_url(where.url).set(drivername=DRIVER)
    return URL.create("sqlite", database=os.fspath(where))


def check_there(where: Place) -> None:
    """Raise StoreError when an SQLite file is not there: connecting would make an empty one."""
    url = database_url(where)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        raise StoreError(f"{url.database}: found no store, wanted one: 'peilmerk gateway run' makes it")


def is_there(where: Place) -> bool:
    """Whether there is a store, of whichever version; a first start makes one. Raises StoreError."""
    if not isinstance(where, Database):
        return Path(where).is_file()
    opened = open_engine(where, writer=False)
    try:
        return revisions(opened)[0] is not None
    finally:
        opened.dispose()


def open_engine(where: Place, *, writer: bool) -> Engine:
    """Make an engine; a writer's transactions take the write lock at their beginning.

    Raises StoreError when PostgreSQL's driver is not installed.
    """
    if isinstance(where, Database):
        return _open_postgresql(where, writer=writer)
    url, file = database_url(where), Path(where)
    engine = create_engine(url, connect_args={"timeout": BUSY_MS / 1000, "check_same_thread": False})
    begin = "BEGIN IMMEDIATE" if writer else "BEGIN"

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        # The driver's own idea of when a transaction begins would leave reads outside of it.
        connection.isolation_level = None
        for pragma in (
            # Pages, 64 MiB: the last page of each board is written often, and then into the file once. First
            # of all: what follows commits, and by SQLite's own measure would write a log of 1,000 pages past
            # the mirror.
            f"wal_autocheckpoint = {0 if mirror.is_wanted(file) else mirror.EVERY_FRAMES}",
            # Before the first table is made, or it takes a `rewrite` to hold. Writers only: it takes their
            # lock, and whoever only reads would wait behind a busy gateway.
            *(("auto_vacuum = INCREMENTAL",) if writer else ()),
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            f"busy_timeout = {BUSY_MS}",
            # What is deleted is overwritten, not only forgotten.
            "secure_delete = ON",
            # A batch touches a page of every index for each of its boards: the writer keeps those at hand.
            # What a reader keeps is thrown away at every commit of another.
            f"cache_size = -{CACHE_KIB if writer else READER_CACHE_KIB}",
        ):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _open_postgresql(where: Database, *, writer: bool) -> Engine:
    # As parameters of the connection, which a reset does not undo.
    held = {
        "synchronous_commit": "on",
        "lock_timeout": BUSY_MS,
        "idle_in_transaction_session_timeout": BUSY_MS,
        "timezone": "UTC",
        "jit": "off",
        # The server, too, lets go of locks of a machine that is not there any more.
        "tcp_keepalives_idle": IDLE_S,
        "tcp_keepalives_interval": PROBE_S,
        "tcp_keepalives_count": PROBES,
        "tcp_user_timeout": UNHEARD_S * 1000,
    }
    options = where.options() | {"options": " ".join(f"-c {name}={value}" for name, value in held.items())}
    try:
        engine = create_engine(
            database_url(where),
            connect_args=options,
            isolation_level="READ COMMITTED" if writer else "REPEATABLE READ",
            # A connection that a server's restart has ended is noticed before it is used.
            pool_pre_ping=True,
            hide_parameters=True,
            pool_size=1 if writer else 4,
        )
    except ModuleNotFoundError as missing:
        raise StoreError(
            f"found no driver {missing.name!r} for PostgreSQL, wanted it installed: "
            "pip install 'peilmerk[postgresql]'"
        ) from missing

    @event.listens_for(engine, "do_connect")
    def _let_in(_dialect: object, _record: object, _words: object, options: dict[str, Any]) -> None:
        if (password := where.password()) is not None:
            options["password"] = password

    if writer:

        @event.listens_for(engine, "begin")
        def _take_turns(connection: Connection) -> None:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITER})")

    return engine


def open_session(where: Database) -> Engine:
    """Make an engine for one connection that is kept, each statement a transaction of its own."""
    return _open_postgresql(where, writer=False).execution_options(isolation_level="AUTOCOMMIT")


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def migrate(engine: Engine) -> None:
    """Bring the database to this version's tables, in one transaction.

    Raises StoreError when the database is not a store of ours or is of a newer version, StoreDamaged when its
    file cannot be read.
    """
    try:
        with engine.begin() as connection:
            command.upgrade(_config(connection), "head")
    except CommandError as reason:
        raise StoreError(
            f"{engine.url.render_as_string()}: the store was written by a newer peilmerk: {reason}"
        ) from reason
    except DBAPIError as reason:
        raise _unusable(engine, reason) from reason


def _unusable(engine: Engine, reason: DBAPIError) -> StoreError:
    kind = StoreDamaged if is_damage(reason.orig) else StoreError
    return kind(f"{engine.url.render_as_string()}: cannot open the store: {why(reason.orig)}")


def revisions(engine: Engine) -> tuple[str | None, str | None]:
    """Return the revision the database is at and the one this version wants. Raises StoreError."""
    try:
        with engine.connect() as connection:
            found = MigrationContext.configure(connection).get_current_revision()
            return found, ScriptDirectory.from_config(_config(connection)).get_current_head()
    except DBAPIError as reason:
        raise _unusable(engine, reason) from reason


def size(connection: Connection) -> int:
    """Return how many bytes the store takes on its disk, its journal included where it has one of its own."""
    if connection.dialect.name == "postgresql":
        return int(connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one())
    connection.exec_driver_sql("SELECT 1")
    found, file = 0, Path(connection.engine.url.database or "")
    for part in file.parent.glob(file.name + "*"):
        with suppress(FileNotFoundError):  # a journal that went a moment ago
            found += part.stat().st_size
    return found


def damaged(connection: Connection) -> list[str]:
    """Return what SQLite finds wrong with its file, five things at most; reads the whole of it."""
    if connection.dialect.name != "sqlite":
        return []
    found = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA quick_check(5)")]
    return [] if found == ["ok"] else found


def give_back(engine: Engine, most_pages: int, mirrored: Callable[[], bool]) -> int:
    """Give up to so many empty pages of an SQLite file back to the disk; return how many are left.

    `mirrored` is asked before the journal is emptied: whether its mirror, if any, has all of it.
    """
    if engine.dialect.name != "sqlite":
        return 0
    with _outside(engine) as connection:
        left = 0
        if connection.execute("PRAGMA auto_vacuum").fetchone()[0] == 2:
            # As a script, which is run to its end: of such a statement alone the driver takes one step, a
            # page.
            connection.executescript(f"PRAGMA incremental_vacuum({int(most_pages)})")
            left = int(connection.execute("PRAGMA freelist_count").fetchone()[0])
        # What was deleted is also in the journal, until it is emptied; where somebody reads, later.
        if not left and mirrored():
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return left


def rewrite(engine: Engine, mirrored: Callable[[], bool]) -> None:
    """Write the store anew: what was deleted is in no byte of it, nor of the journal of an SQLite file.

    PostgreSQL's own journal, its copies and dumps are the operator's. `mirrored` is asked before the journal
    is emptied, see `give_back`. Raises StoreError when somebody else reads on and on: then it is to be done
    again.
    """
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for table in metadata.sorted_tables:
                connection.exec_driver_sql(f"VACUUM (FULL) {table.name}")
    if engine.dialect.name == "sqlite":
        with _outside(engine) as connection:
            connection.execute("VACUUM")
            until = time.monotonic() + BUSY_MS / 1000
            while not (may := mirrored()) and time.monotonic() < until:
                time.sleep(0.05)
            busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() if may else (1,)
            if busy:
                raise StoreError(f"{engine.url.database}: found others at work in it, wanted it for a moment")


@contextmanager
def _outside(engine: Engine) -> Iterator[Any]:
    """Lend the driver's own connection, outside of any transaction."""
    lent = engine.raw_connection()
    try:
        yield lent.driver_connection
    finally:
        lent.close()
