"""Running totals, raised in the transaction that does what they count; names: see `store.figures`."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection

from peilmerk_gateway.store import schema
from peilmerk_gateway.store.sql import insert


def raise_tally(connection: Connection, by: Mapping[str, int]) -> None:
    """Raise running totals within the transaction at hand; names that are new begin at nought."""
    # Always in the same order, so that two workers' transactions cannot wait for each other.
    rows = [{"name": name, "n": n} for name, n in sorted(by.items()) if n]
    if not rows:
        return
    statement = insert(connection, schema.tally)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[schema.tally.c.name], set_={"n": schema.tally.c.n + statement.excluded.n}
        ),
        rows,
    )
