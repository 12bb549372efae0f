"""A store in a file that a disk damages: what is on each of its pages, and all that can be read of it."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from sealed_street import WINDOW, Street

from peilmerk_gateway.store import Store

REPORTS = 40


async def filled(street: Street, file: Path) -> None:
    """A store in which every index has leaves of its own."""
    async with await Store.open(file, ("city",)) as store:
        for counter in street.counters:
            await street.flow(store).store(
                [counter.statement(1), *(counter.report(2 + n, WINDOW - REPORTS + n) for n in range(REPORTS))]
            )
        claimed = await store.claim("city", 5, 2e9)
        await store.mark_done("city", [(row.observation_id, None) for row in claimed], 2e9)
    all_in_the_file(file)


def all_in_the_file(file: Path) -> None:
    """Leave nothing in the journal: what is damaged in the file is damaged."""
    with closing(sqlite3.connect(file)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def looked_at(file: Path) -> closing[sqlite3.Connection]:
    """A connection that leaves the file and its journal as they are."""
    return closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True))


def damage(file: Path, page: int, size: int) -> None:
    """Overwrite a page of so many bytes; pages are numbered from 1."""
    with file.open("r+b") as opened:
        opened.seek((page - 1) * size)
        opened.write(random.Random(page).randbytes(size))


def roots(file: Path) -> tuple[int, dict[str, int], dict[str, int]]:
    """How large a page is, and the first one of every index and of every table that has rows."""
    with looked_at(file) as db:
        (size,) = db.execute("PRAGMA page_size").fetchone()
        found = db.execute("SELECT type, name, rootpage FROM sqlite_master WHERE rootpage").fetchall()
        tables = {name: page for kind, name, page in found if kind == "table"}
        # The key of a table without row numbers is the table.
        indexes = {name: page for kind, name, page in found if kind == "index"}
        tables = {n: p for n, p in tables.items() if db.execute(f"SELECT count(*) FROM {n}").fetchone()[0]}
    return size, indexes, tables


def by_page(file: Path) -> dict[int, str]:
    """Page -> the table or index that it is of, or what else it is for."""
    with looked_at(file) as db:
        (count,) = db.execute("PRAGMA page_count").fetchone()
        of = dict(db.execute("SELECT pageno, name FROM dbstat"))
        tables = dict(db.execute("SELECT name, tbl_name FROM sqlite_master"))
    return {page: tables.get(of.get(page, ""), of.get(page, "")) for page in range(1, count + 1)}


def everything(file: Path, *, look: bool = False) -> dict[str, list[Any]]:
    """Every row of every table. `look`: the journal stays as it is, which is emptied otherwise."""
    with looked_at(file) if look else closing(sqlite3.connect(file)) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: sorted(map(repr, db.execute(f"SELECT * FROM {name} NOT INDEXED"))) for name in tables}


def but_trail(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return {name: found for name, found in rows.items() if name not in ("audit_entry", "audit_head")}


def entries(file: Path) -> list[str]:
    """What the audit trail tells of, in order."""
    with looked_at(file) as db:
        return [kind for (kind,) in db.execute("SELECT kind FROM audit_entry ORDER BY number")]
