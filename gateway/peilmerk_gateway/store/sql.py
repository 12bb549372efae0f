"""The little in which the dialects differ."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import chain
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    String,
    Table,
    bindparam,
    column,
    func,
    select,
    values,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.selectable import CTE

Row = tuple[Any, ...]


def insert(connection: Connection, table: Table) -> Any:
    """Return the dialect's own INSERT, the one that knows ON CONFLICT."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def columns_of(table: Table) -> list[str]:
    """Return the names of a table's columns, without its last one, `audit_entry`."""
    return table.columns.keys()[:-1]


def insert_new(connection: Connection, table: Table, rows: Sequence[Row], audit_entry: int) -> Sequence[Row]:
    """Insert what is not there yet; return it. Rows are of all columns of `table` in their order, but for
    the last one, `audit_entry`, which is given once.
    """
    if not rows:
        return []
    if connection.dialect.name != "sqlite":
        statement = insert(connection, table).on_conflict_do_nothing().returning(*table.columns[:-1])
        named = [
            {
                name: value
                for name, value in zip(table.columns.keys(), (*row, audit_entry), strict=True)
                # A number that the database gives.
                if name != "id"
            }
            for row in rows
        ]
        return [tuple(row) for row in connection.execute(statement, named)]
    whole = [(*row, audit_entry) for row in rows]
    if _insert(connection, table, table.columns.keys(), whole, " ON CONFLICT DO NOTHING") == len(rows):
        return rows
    return _those_there(connection, table, rows, audit_entry)


def insert_all(connection: Connection, table: Table, names: Sequence[str], rows: Sequence[Row]) -> None:
    """Insert rows of these columns, none of which may be there."""
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        _insert(connection, table, names, rows)
    else:
        connection.execute(insert(connection, table), [dict(zip(names, row, strict=True)) for row in rows])


def next_ids(connection: Connection, id: Column[int], count: int) -> Sequence[int | None]:
    """Return the numbers of the next rows: SQLite's, whose writer is alone; elsewhere the database gives
    them.
    """
    if connection.dialect.name != "sqlite":
        return [None] * count
    first = (connection.execute(select(func.max(id))).scalar_one() or 0) + 1
    return range(first, first + count)


def asked(connection: Connection, rows: Sequence[Row], columns: Mapping[str, type[Any]]) -> CTE:
    """Return rows of whole numbers and words as a table of the statement: `columns`, and `at`, the row's
    place in `rows`.
    """
    if connection.dialect.name == "sqlite":
        # One parameter, so that the statement is the same whatever the number of rows, and compiled once.
        statement = _asked_as_json(tuple(columns))
        given: CTE = statement.params(rows=json.dumps(rows)).cte("asked").prefix_with("MATERIALIZED")
        return given
    types = {str: String, int: BigInteger}
    table = values(
        *(column(name, types[kind]) for name, kind in columns.items()), column("at", Integer), name="v"
    )
    return table.data([(*row, at) for at, row in enumerate(rows)]).cte("asked")


@cache
def _asked_as_json(names: tuple[str, ...]) -> Any:
    given = func.json_each(bindparam("rows", type_=String)).table_valued("key", "value")
    return select(
        *(func.json_extract(given.c.value, f"$[{n}]").label(name) for n, name in enumerate(names)),
        given.c.key.label("at"),
    )


# How many rows a statement takes. The driver lets other threads run while SQLite is at a statement, and then
# waits for them, up to 5 ms each time: so a batch is a few statements, not one a row. Few sizes, so that each
# is compiled once; the largest stays below SQLite's 32,766 parameters for tables of up to 63 columns.
AT_A_TIME = (512, 64, 8, 1)


def _insert(
    connection: Connection, table: Table, names: Sequence[str], rows: Sequence[Row], otherwise: str = ""
) -> int:
    """Insert rows into SQLite, past SQLAlchemy, which would handle every value; return how many were new."""
    inserted = first = 0
    for size in AT_A_TIME:
        words = _insert_words(table, tuple(names), size, otherwise)
        while len(rows) - first >= size:
            values = tuple(chain.from_iterable(rows[first : first + size]))
            inserted += connection.exec_driver_sql(words, values).rowcount
            first += size
    return inserted


@cache
def _insert_words(table: Table, names: tuple[str, ...], rows: int, otherwise: str) -> str:
    marks = f"({', '.join('?' * len(names))})"
    # Or fail: whatever fails ends the transaction. Without it SQLite keeps a copy of each page that a
    # statement of several rows changes, to undo that statement alone.
    return (
        f"INSERT OR FAIL INTO {table.name} ({', '.join(names)}) VALUES {', '.join([marks] * rows)}{otherwise}"
    )


def _those_there(
    connection: Connection, table: Table, rows: Sequence[Row], audit_entry: int
) -> Sequence[Row]:
    """Return which of these rows this entry has written: of several with one key the first."""
    keys = [n for n, one in enumerate(table.columns[:-1]) if one.primary_key]
    wheres = " AND ".join(f"{table.columns[n].name} = ?" for n in keys)
    ask = f"SELECT 1 FROM {table.name} WHERE {wheres} AND audit_entry = ?"
    found: dict[Row, Row] = {}
    for row in rows:
        key = tuple(row[n] for n in keys)
        if key not in found and connection.exec_driver_sql(ask, (*key, audit_entry)).first() is not None:
            found[key] = row
    return list(found.values())
