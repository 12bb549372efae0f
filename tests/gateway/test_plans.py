"""What the gateway does all day looks nothing up by reading a whole table, however large the store is."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from peilmerk_gateway.store import (
    STORE_FILE,
    BatchRows,
    Entry,
    LedgerRow,
    ObservationRow,
    Probe,
    ReportRow,
    Store,
    WithheldRow,
    quota,
    schema,
)
from peilmerk_gateway.store.removal import Term

DEVICE, OTHER = "a" * 16, "b" * 16
START = 1_800_000_000
STREAM = "street/a/towards"
# Small: what is queued and not sent yet.
UNFINISHED = "ix_publish_outbox_unfinished"
# Those that grow with the years.
GROWING = {"report", "observation", "publish_outbox", "ledger", "withheld", "audit_entry", "attestation"}
# Of an erasure, once: what is deleted for good does not rest on an index. Readers hold nobody up.
READ_WHOLE = {
    "SELECT DISTINCT observation.datastream FROM observation WHERE observation.device_id = ?",
    "SELECT DISTINCT withheld.datastream FROM withheld WHERE withheld.device_id = ?",
}


def entry(device: str, seq: int) -> Entry:
    start = START + seq * 900
    thing = device[0]
    return Entry(
        ReportRow(device, seq, start, 900, 1, 0, b"d" * 32),
        (ObservationRow(f"street/{thing}/towards", "street", thing, device, 5, start, 900, 17),),
        (WithheldRow(f"street/{thing}/away", start, "below-k"),),
        (LedgerRow("street", device, 5, start, 700_000), LedgerRow("street", device, 6, start, 700_000)),
    )


@contextmanager
def listening(store: Store) -> Iterator[list[tuple[str, Any]]]:
    """Tell every statement that is sent meanwhile, with parameters."""
    said: list[tuple[str, Any]] = []

    def hear(_c: Any, _k: Any, statement: str, parameters: Any, _x: Any, many: bool) -> None:
        said.append((statement, parameters[0] if many else parameters))

    engines = (store._writing, store._reading)
    for one in engines:
        sqlalchemy.event.listen(one, "before_cursor_execute", hear)
    yield said
    for one in engines:
        sqlalchemy.event.remove(one, "before_cursor_execute", hear)


async def every_day(store: Store) -> None:
    """Take, publish, show, age, erase."""
    for seq in range(2, 6):
        await store.known([Probe(device, seq, START + (seq + 1) * 900) for device in (DEVICE, OTHER)])
        batch = BatchRows([entry(DEVICE, seq), entry(OTHER, seq)], received=2)
        await store.commit_batch(batch, float(START))
        await store.commit_batch(batch, float(START))  # brought again
    rows = await store.claim("city", 5, START)
    await store.in_doubt("city")
    await store.mark_done("city", [(row.observation_id, None) for row in rows[:3]], START)
    await store.mark_again("city", [rows[3].observation_id], "503", START)
    await store.mark_rejected("city", [(rows[4].observation_id, "no")], START)
    await store.rejected("city")
    await store.send_again("city", [rows[4].observation_id], START)
    await store.enforce_quota("city", quota.Quota(rows=1, days=9), 10, START)
    await store.latest(STREAM, 4)
    await store.seen([DEVICE])
    await store.stated([DEVICE])
    await store.budget_today(START)
    await store.halt(DEVICE, "pause", START)
    await store.halt(DEVICE, "resume", START)
    await store.quarantined_devices()
    await store.note_rules("1", START)
    await store.figures()
    await store.halt(DEVICE, "withdraw", START)
    await store.overdue([Term(STREAM, START + 2700)], [Term(DEVICE, START + 2700)])
    await store.age_out(
        (await store.due([Term(STREAM, START + 2700)], [Term(DEVICE, START + 2700)], 10))[:10], START
    )
    while (await store.erase(DEVICE, START)).rows:
        pass


async def test_nothing_of_every_day_reads_a_table_that_grows(tmp_path: Path) -> None:
    async with await Store.open(tmp_path / STORE_FILE, sinks=("city",)) as store:
        # A trail counts all rows when it begins.
        await store.note_rules("0", START)
        with listening(store) as said:
            await every_day(store)
    assert len(said) > 100
    whole: set[str] = set()
    with closing(sqlite3.connect(tmp_path / STORE_FILE)) as db:
        for statement, parameters in dict(said).items():
            if statement.split()[0] in ("SELECT", "UPDATE", "DELETE", "INSERT", "WITH"):
                for *_, step in db.execute(f"EXPLAIN QUERY PLAN {statement}", parameters or ()):
                    words = step.split()
                    if words[0] == "SCAN" and words[1] in GROWING and UNFINISHED not in step:
                        whole.add(" ".join(statement.split()))
    assert whole == READ_WHOLE


@pytest.mark.parametrize("table", schema.metadata.sorted_tables, ids=lambda table: table.name)
def test_what_refers_to_a_row_is_found_by_it(table: sqlalchemy.Table) -> None:
    for key in table.foreign_keys:
        leading = [next(iter(one.columns)) for one in (table.primary_key, *table.indexes)]
        assert key.parent in leading, f"deleting a row of {key.column.table.name} reads all of {table.name}"
