"""Moves a store from the file in a gateway's data folder to the PostgreSQL database of its settings.

Every row as it is, in one transaction of the database: the audit trail there ends with the same head, and is
verified before the file is put aside. Nothing that is in the database is overwritten.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, func, select

from peilmerk_gateway.child import Lease
from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.settings import Settings
from peilmerk_gateway.store import Store, engine, mirror, upkeep
from peilmerk_gateway.store.schema import metadata
from peilmerk_gateway.store.sql import insert_all
from peilmerk_gateway.store_place import STORE_FILE, Database

AT_ONCE = 5_000


class MoveError(PeilmerkError):
    """A store cannot be moved; the text says what was found and what was wanted."""


@dataclass(frozen=True, slots=True)
class Moved:
    """What was moved: rows by table, the trail's last entry, its faults, and where the file is now."""

    rows: dict[str, int]
    head: tuple[int, str]
    faults: int
    put_aside: Path


async def move(settings: Settings) -> Moved:
    """Move a store, while no gateway runs on it. Raises PeilmerkError, having changed nothing there."""
    file, place = settings.gateway.data_dir / STORE_FILE, settings.store_place
    if not isinstance(place, Database):
        raise MoveError(f"{settings.file}: found no [store], wanted the database to move to")
    engine.check_there(file)
    lease = Lease(settings.gateway.data_dir / "broker")
    try:
        # Both at this version's tables first.
        async with await Store.open(file), await Store.open(place):
            pass
        rows, head = _copy(file, place)
        async with await Store.look(place) as store:
            verdict = await store.check_trail(head if head[0] else None)
        put_aside = file.with_name(f"{STORE_FILE}.moved")
        if verdict.ok:
            file.rename(put_aside)
            mirror.remove(file)
    finally:
        lease.release()
    return Moved(rows, head, len(verdict.faults), put_aside if verdict.ok else file)


def _copy(file: Path, place: Database) -> tuple[dict[str, int], tuple[int, str]]:
    source, target = engine.open_engine(file, writer=False), engine.open_engine(place, writer=True)
    try:
        with source.begin() as here, target.begin() as there:
            for table in metadata.sorted_tables:
                if there.execute(select(func.count()).select_from(table)).scalar_one():
                    raise MoveError(f"{place}: found rows in {table.name}, wanted an empty database")
            rows = {table.name: _copy_table(here, there, table.name) for table in metadata.sorted_tables}
            for name in ("observation", "refusal"):
                last = f"SELECT coalesce(max(id), 1) FROM {name}"
                there.exec_driver_sql(f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), ({last}))")
            return rows, upkeep.head(there)
    finally:
        source.dispose()
        target.dispose()


def _copy_table(here: Connection, there: Connection, name: str) -> int:
    table = metadata.tables[name]
    found = here.execution_options(yield_per=AT_ONCE).execute(select(table).order_by(*table.primary_key))
    n = 0
    for some in found.partitions(AT_ONCE):
        insert_all(there, table, table.columns.keys(), [tuple(row) for row in some])
        n += len(some)
    return n
