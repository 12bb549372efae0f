"""What a report costs at the least: its HMAC, cbor2, and the same rows inserted in a bare loop.

The rows are those that the gateway wrote for the same reports, read back from its store, in its batches;
they go into a store of the same tables, indexes and settings, a transaction a batch, with nothing asked and
nothing checked.
"""

from __future__ import annotations

import hmac
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cbor2

from peilmerk_bench.measure.gateway.town import Board
from peilmerk_gateway.store.engine import migrate, open_engine
from peilmerk_protocol import VERSION, topics

# Table and what its rows are found by: the entry of the audit trail that tells of them.
_ROWS = {
    "report": "SELECT * FROM report WHERE audit_entry = ?",
    "ledger": "SELECT * FROM ledger WHERE audit_entry = ?",
    "observation": "SELECT * FROM observation WHERE audit_entry = ?",
    "withheld": "SELECT * FROM withheld WHERE audit_entry = ?",
    "publish_outbox": "SELECT publish_outbox.* FROM publish_outbox JOIN observation ON "
    "observation.id = publish_outbox.observation_id WHERE observation.audit_entry = ?",
    "audit_entry": "SELECT * FROM audit_entry WHERE number = ?",
}

# The rows of one batch, by table.
Rows = dict[str, list[tuple[Any, ...]]]


@dataclass(frozen=True)
class Bare:
    """Seconds of wall clock for so many reports, and of processor in all."""

    reports: int
    verify: float
    decode: float
    insert: float
    cpu: float
    rows: int

    @property
    def a_report_us(self) -> float:
        """Microseconds a report."""
        return (self.verify + self.decode + self.insert) / self.reports * 1e6


def measure(sent: Sequence[tuple[Board, Sequence[bytes]]], store: Path, scratch: Path, most: int) -> Bare:
    """Do the bare work of up to `most` reports, in whole batches; `scratch` is a file that is not there."""
    sealed = [(board, payload) for board, payloads in sent for payload in payloads]
    batches = _batches(store, most)
    reports = sum(len(batch["report"]) for batch in batches)
    sealed = sealed[:reports]
    (verify, one), (decode, two), (insert, three) = (
        _verify(sealed),
        _decode(sealed),
        _insert(batches, scratch),
    )
    return Bare(
        reports,
        verify,
        decode,
        insert,
        one + two + three,
        sum(len(rows) for batch in batches for rows in batch.values()),
    )


def _batches(store: Path, most: int) -> list[Rows]:
    found: list[Rows] = []
    db = sqlite3.connect(f"{store.absolute().as_uri()}?mode=ro", uri=True)
    try:
        left = most
        for (number,) in db.execute("SELECT DISTINCT audit_entry FROM report ORDER BY 1").fetchall():
            batch = {name: db.execute(ask, (number,)).fetchall() for name, ask in _ROWS.items()}
            if len(batch["report"]) > left and found:
                break
            left -= len(batch["report"])
            found.append(batch)
    finally:
        db.close()
    return found


@dataclass
class _Timer:
    """Seconds of wall clock and of this thread's processor, from making it until `read`."""

    wall: float = field(default_factory=time.perf_counter)
    cpu: float = field(default_factory=time.thread_time)

    def read(self) -> tuple[float, float]:
        return time.perf_counter() - self.wall, time.thread_time() - self.cpu


def _verify(sealed: Sequence[tuple[Board, bytes]]) -> tuple[float, float]:
    """Time comparing the tag of every message, computed over what it is said to be over."""
    made = []
    for board, payload in sealed:
        body = cbor2.loads(payload)[2]
        aad = cbor2.dumps([VERSION, topics.REPORT, board.device_id])
        made.append((board.key, cbor2.dumps(["MAC0", b"\xa1\x01\x04", aad, body]), payload[-8:]))
    timer = _Timer()
    good = sum(hmac.compare_digest(hmac.digest(key, data, "sha256")[:8], tag) for key, data, tag in made)
    took = timer.read()
    if good != len(made):
        raise ValueError(f"found {good} tags that hold, wanted {len(made)}")
    return took


def _decode(sealed: Sequence[tuple[Board, bytes]]) -> tuple[float, float]:
    loads = cbor2.loads
    timer = _Timer()
    for _, payload in sealed:
        loads(loads(payload)[2])
    return timer.read()


def _insert(batches: Sequence[Rows], scratch: Path) -> tuple[float, float]:
    with _store(scratch) as db:
        statements = _statements(batches)
        timer = _Timer()
        for batch in batches:
            _insert_batch(db, statements, batch)
        return timer.read()


def insert_next(store: Path, batches: int) -> list[tuple[float, float]]:
    """Insert, into the store itself, the rows that would come next: those of its last batches, each a batch
    later. Return the seconds of wall clock and processor of a report of each batch. They are taken out again.

    Only for batches of one window of each board.
    """
    again = _next(store, batches)
    took = []
    with _store(store) as db:
        statements = _statements(again)
        for batch in again:
            timer = _Timer()
            _insert_batch(db, statements, batch)
            wall, cpu = timer.read()
            took.append((wall / len(batch["report"]), cpu / len(batch["report"])))
        db.execute("BEGIN IMMEDIATE")
        for batch in again:
            first, last = batch["observation"][0][0], batch["observation"][-1][0]
            db.execute("DELETE FROM publish_outbox WHERE observation_id BETWEEN ? AND ?", (first, last))
            for name in ("report", "withheld", "observation"):
                db.execute(f"DELETE FROM {name} WHERE audit_entry = ?", (batch["report"][0][-1],))
            *_, window_start, _, _, entry = batch["ledger"][0]
            db.execute("DELETE FROM ledger WHERE window_start = ? AND audit_entry = ?", (window_start, entry))
            db.execute("DELETE FROM audit_entry WHERE number = ?", (batch["audit_entry"][0][0],))
        db.execute("COMMIT")
    return took


def _next(store: Path, most: int) -> list[Rows]:
    found: list[Rows] = []
    with closing(sqlite3.connect(f"{store.absolute().as_uri()}?mode=ro", uri=True)) as db:
        newest = db.execute("SELECT max(number) FROM audit_entry").fetchone()[0]
        ask = "SELECT number FROM audit_entry WHERE kind = 'judged' ORDER BY number DESC LIMIT ?"
        numbers = sorted(number for (number,) in db.execute(ask, (most,)))
        for number in numbers:
            found.append({name: db.execute(ask, (number,)).fetchall() for name, ask in _ROWS.items()})
        places = {name: [column[1] for column in db.execute(f"PRAGMA table_info({name})")] for name in _ROWS}
    ids = [row[0] for batch in found for row in batch["observation"]]
    later = {
        "seq": len(found),
        "window_start": len(found) * found[0]["report"][0][places["report"].index("window_s")],
        "id": ids[-1] - ids[0] + 1,
        "observation_id": ids[-1] - ids[0] + 1,
        "audit_entry": newest - numbers[0] + 1,
        "number": newest - numbers[0] + 1,
    }
    return [
        {
            name: [
                tuple(
                    value + later[column] if column in later and value is not None else value
                    for column, value in zip(places[name], row, strict=True)
                )
                for row in rows
            ]
            for name, rows in batch.items()
        }
        for batch in found
    ]


@contextmanager
def _store(file: Path) -> Iterator[sqlite3.Connection]:
    """Lend a connection such as the gateway writes by; makes the tables where there are none."""
    engine = open_engine(file, writer=True)
    try:
        migrate(engine)
        lent = engine.raw_connection()
        assert isinstance(lent.driver_connection, sqlite3.Connection)
        yield lent.driver_connection
        lent.close()
    finally:
        engine.dispose()


def _statements(batches: Sequence[Rows]) -> dict[str, str]:
    return {
        name: f"INSERT INTO {name} VALUES ({', '.join('?' * len(rows[0]))})"
        for batch in batches
        for name, rows in batch.items()
        if rows
    }


def _insert_batch(db: sqlite3.Connection, statements: Mapping[str, str], batch: Rows) -> None:
    db.execute("BEGIN IMMEDIATE")
    for name, rows in batch.items():
        if rows:
            db.executemany(statements[name], rows)
    db.execute("COMMIT")
