"""The little in which the dialects differ."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import chain
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Float,
    Integer,
    LargeBinary,
    Select,
    String,
    Table,
    bindparam,
    column,
    func,
    select,
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
    if connection.dialect.name == "sqlite":
        whole = [(*row, audit_entry) for row in rows]
        new = _insert(connection, table, table.columns.keys(), whole, " ON CONFLICT DO NOTHING")
    else:
        words = f"{_insert_arrays(table, tuple(columns_of(table)), True)} ON CONFLICT DO NOTHING"
        new = connection.exec_driver_sql(words, (audit_entry, *_arrays(rows))).rowcount
    if new == len(rows):
        return rows
    return _those_there(connection, table, rows, audit_entry)


def insert_all(connection: Connection, table: Table, names: Sequence[str], rows: Sequence[Row]) -> None:
    """Insert rows of these columns, none of which may be there."""
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        _insert(connection, table, names, rows)
    else:
        connection.exec_driver_sql(_insert_arrays(table, tuple(names), False), tuple(_arrays(rows)))


def next_ids(connection: Connection, id: Column[int], count: int) -> Sequence[int]:
    """Return the numbers of the next rows, rising in the order of writing, since writers take turns."""
    if connection.dialect.name == "sqlite":
        first = (connection.execute(select(func.max(id))).scalar_one() or 0) + 1
        return range(first, first + count)
    sequence = f"nextval(pg_get_serial_sequence('{id.table.name}', '{id.name}'))"
    found = connection.exec_driver_sql(f"SELECT {sequence} FROM generate_series(1, %s)", (count,))
    return list(found.scalars())


def ask(
    connection: Connection,
    about: Callable[[CTE], Select[Any]],
    rows: Sequence[Row],
    columns: Mapping[str, type[Any]],
) -> Sequence[Any]:
    """Ask about rows of whole numbers and words, of which the statement makes a table: `columns`, and `at`,
    the row's place in `rows`. Return the rows of the answer as the database has them.
    """
    if connection.dialect.name == "sqlite":
        # One parameter, so that the statement is the same whatever the number of rows. Past SQLAlchemy, which
        # would handle every value of the answer: that took as long as SQLite itself.
        words, values = _compiled(about, tuple(columns))
        given = json.dumps(rows)
        return connection.exec_driver_sql(
            words, tuple(given if value is _ROWS else value for value in values)
        ).all()
    statement = _asked_as_arrays(tuple(columns.items()))
    named = {f"asked_{name}": list(of) for name, of in zip(columns, zip(*rows, strict=True), strict=True)}
    return connection.execute(about(_table_of(statement.params(named)))).all()


_ROWS = object()


@cache
def _compiled(about: Callable[[CTE], Select[Any]], names: tuple[str, ...]) -> tuple[str, tuple[Any, ...]]:
    """Return SQLite's words, and the values of their parameters; _ROWS stands for the rows."""
    statement = about(_table_of(_asked_as_json(names)))
    words = statement.compile(dialect=sqlite.dialect())
    values = words.construct_params({"rows": _ROWS})
    return str(words), tuple(values[name] for name in words.positiontup or ())


def _table_of(rows: Any) -> CTE:
    table: CTE = rows.cte("asked").prefix_with("MATERIALIZED")
    return table


@cache
def _asked_as_arrays(columns: tuple[tuple[str, type[Any]], ...]) -> Any:
    types = {str: String, int: BigInteger}
    arrays: list[Any] = [
        bindparam(f"asked_{name}", type_=postgresql.ARRAY(types[kind])) for name, kind in columns
    ]
    given = (
        func.unnest(*arrays)
        .table_valued(*(column(name, types[kind]) for name, kind in columns), with_ordinality="place")
        .render_derived(name="given")
    )
    return select(*(given.c[name] for name, _ in columns), (given.c.place - 1).label("at"))


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


@cache
def _insert_arrays(table: Table, names: tuple[str, ...], audited: bool) -> str:
    """PostgreSQL's INSERT of any number of rows: a parameter a column, and one for all their entries."""
    quoted = ", ".join(f'"{name}"' for name in names)
    arrays = ", ".join(f"%b::{_ARRAYS[type(table.c[name].type)]}[]" for name in names)
    more, one = (', "audit_entry"', ", %s::bigint") if audited else ("", "")
    return f"INSERT INTO {table.name} ({quoted}{more}) SELECT given.*{one} FROM unnest({arrays}) AS given"


_ARRAYS: Mapping[type[Any], str] = {
    String: "text",
    Integer: "integer",
    BigInteger: "bigint",
    Float: "float8",
    LargeBinary: "bytea",
}


def _arrays(rows: Sequence[Row]) -> list[list[Any]]:
    return [list(one) for one in zip(*rows, strict=True)]


def _those_there(
    connection: Connection, table: Table, rows: Sequence[Row], audit_entry: int
) -> Sequence[Row]:
    """Return which of these rows this entry has written: of several with one key the first."""
    keys = [n for n, one in enumerate(table.columns[:-1]) if one.primary_key]
    if connection.dialect.name == "postgresql":
        return _those_there_by_arrays(connection, table, keys, rows, audit_entry)
    wheres = " AND ".join(f"{table.columns[n].name} = ?" for n in keys)
    ask = f"SELECT 1 FROM {table.name} WHERE {wheres} AND audit_entry = ?"
    found: dict[Row, Row] = {}
    for row in rows:
        key = tuple(row[n] for n in keys)
        if key not in found and connection.exec_driver_sql(ask, (*key, audit_entry)).first() is not None:
            found[key] = row
    return list(found.values())


def _those_there_by_arrays(
    connection: Connection, table: Table, keys: Sequence[int], rows: Sequence[Row], audit_entry: int
) -> Sequence[Row]:
    names = [table.columns[n].name for n in keys]
    arrays = ", ".join(f"%s::{_ARRAYS[type(table.columns[n].type)]}[]" for n in keys)
    ons = " AND ".join(f"t.{name} = given.{name}" for name in names)
    ask = (
        f"SELECT min(place) FROM unnest({arrays}) WITH ORDINALITY AS given ({', '.join(names)}, place)"
        f" JOIN {table.name} t ON {ons} WHERE t.audit_entry = %s"
        f" GROUP BY {', '.join(f'given.{name}' for name in names)} ORDER BY 1"
    )
    by_key = _arrays([tuple(row[n] for n in keys) for row in rows])
    return [rows[place - 1] for place in connection.exec_driver_sql(ask, (*by_key, audit_entry)).scalars()]
