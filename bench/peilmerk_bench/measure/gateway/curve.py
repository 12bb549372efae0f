"""What a report costs as registry and store grow: the stages from `open` to `store`, without a broker.

Each device has one report a turn, so a batch touches as many places of every index as it has reports: what a
town does all day, and the most that a store is asked. One measurement is the median batch of several, of a
store whose journal has its size, as that of a gateway has after its first minutes. Beside each, the bare
cost: the rows that would come next, inserted into the same store in a bare loop, and taken out again.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from peilmerk_bench.measure.gateway import bare
from peilmerk_bench.measure.gateway.town import SINK, Board, Town, enrol
from peilmerk_gateway import collector
from peilmerk_gateway.clock import SystemClock
from peilmerk_gateway.deployments.catalogue import Catalogue
from peilmerk_gateway.flow import Flow
from peilmerk_gateway.ingest import Delivery
from peilmerk_gateway.open import Keyring
from peilmerk_gateway.registry import Registry
from peilmerk_gateway.store import Store
from peilmerk_gateway.store.device_streams import place_of
from peilmerk_protocol import topics

BATCHES = 7
A_BATCH = 1_000
# Numbers of messages: those of the years that are put into the store lie below.
FIRST_NUMBER = 1 << 31
# What a journal grows to, see `engine`, and how many batches that may take.
_JOURNAL_BYTES = 60 << 20
_MOST_BATCHES = 60


@dataclass(frozen=True)
class Point:
    """Microseconds a report, wall clock and processor, with so many devices enrolled and figures stored; and
    of its rows in a bare loop.
    """

    devices: int
    observations: int
    wall_us: float
    cpu_us: float
    bare_wall_us: float
    bare_cpu_us: float
    store_mib: float

    def as_dict(self) -> dict[str, object]:
        """Return it for JSON."""
        return {
            "devices": self.devices,
            "observations": self.observations,
            "wall_us": round(self.wall_us, 1),
            "cpu_us": round(self.cpu_us, 1),
            "bare_wall_us": round(self.bare_wall_us, 1),
            "bare_cpu_us": round(self.bare_cpu_us, 1),
            "store_mib": round(self.store_mib),
        }


async def measure(town: Town, devices: int, observations: int, told: Callable[[str], None]) -> list[Point]:
    """Grow the registry to `devices`, then the store to `observations`; return what a report costs at each
    step, the first being the town as it is.
    """
    points: list[Point] = []
    draw = random.Random(3)
    for board in town.boards:
        board.seq = FIRST_NUMBER
    turns = _turns(town.boards, draw)
    async with await Store.open(town.store, sinks=(SINK,)) as store:
        for step in _steps(len(town.boards), devices):
            enrol(town.settings.gateway.registry, step)
            total = _count(town.settings.gateway.registry, "device")
            with Registry(town.settings.gateway.registry) as registry:
                flow = Flow(
                    Keyring(registry), Catalogue(town.settings.deployments.directory), store, SystemClock()
                )
                if not points:
                    await flow.store(
                        [_delivery(board, topics.STATEMENT, board.statement()) for board in town.boards]
                    )
                told(f"{total:,} devices")
                points.append(await _point(flow, turns, town, total))
        for step in _steps(points[-1].observations, observations):
            _grow(town, step, told)
            with Registry(town.settings.gateway.registry) as registry:
                flow = Flow(
                    Keyring(registry), Catalogue(town.settings.deployments.directory), store, SystemClock()
                )
                points.append(await _point(flow, turns, town, total))
    return points


def _steps(start: int, end: int) -> list[int]:
    """Return what to add, step by step: nothing, then so that each step ends four times as high."""
    marks = [end]
    while marks[-1] > max(start, 1) * 10:
        marks.append(marks[-1] // 4)
    marks = [mark for mark in reversed(marks) if mark > start]
    return [0, *(mark - before for before, mark in zip([start, *marks], marks, strict=False))]


async def _point(flow: Flow, turns: Iterator[list[Delivery]], town: Town, devices: int) -> Point:
    walls, cpus = [], []
    # As a gateway does at its start; else what the bench itself holds would count as the gateway's.
    collector.spare()
    await flow.store(next(turns))
    await _fill_journal(flow, turns, town)
    for _ in range(BATCHES):
        batch = next(turns)
        wall, cpu = time.perf_counter(), time.process_time()
        stored = await flow.store(batch)
        walls.append((time.perf_counter() - wall) / len(batch))
        cpus.append((time.process_time() - cpu) / len(batch))
        if stored.reports != len(batch):
            raise ValueError(f"found {stored.reports} reports stored, wanted {len(batch)}")
    rows = await asyncio.to_thread(bare.insert_next, town.store, BATCHES)
    return Point(
        devices,
        _count(town.store, "observation"),
        statistics.median(walls) * 1e6,
        statistics.median(cpus) * 1e6,
        statistics.median(wall for wall, _ in rows) * 1e6,
        statistics.median(cpu for _, cpu in rows) * 1e6,
        town.store.stat().st_size / 2**20,
    )


async def _fill_journal(flow: Flow, turns: Iterator[list[Delivery]], town: Town) -> None:
    """Write on until the journal is written from its beginning again: making a file longer costs more."""
    journal = town.store.with_name(town.store.name + "-wal")
    for _ in range(_MOST_BATCHES if len(town.boards) >= A_BATCH else 0):
        before = journal.stat().st_size
        await flow.store(next(turns))
        if journal.stat().st_size == before >= _JOURNAL_BYTES:
            break


def _turns(boards: Sequence[Board], draw: random.Random) -> Iterator[list[Delivery]]:
    """Yield batches without end: a report of each board in turn."""
    batch: list[Delivery] = []
    while True:
        for board in boards:
            batch.append(_delivery(board, topics.REPORT, board.report(draw)))
            if len(batch) == min(A_BATCH, len(boards)):
                yield batch
                batch = []


def _delivery(board: Board, kind: int, payload: bytes) -> Delivery:
    return Delivery(board.device_id, kind, payload)


def _count(file: Path, table: str) -> int:
    with closing(sqlite3.connect(file)) as db:
        # Rows are numbered without gaps here, and counting millions takes long.
        column = "rowid" if table == "observation" else "count(*)"
        ask = f"SELECT max({column}) FROM {table}" if column == "rowid" else f"SELECT {column} FROM {table}"
        return int(db.execute(ask).fetchone()[0] or 0)


def _grow(town: Town, observations: int, told: Callable[[str], None]) -> None:
    """Put figures of years past into the store, two a report, published, with all rows that belong to them.

    Written as rows and not through the stages, each table in its own order: that would take as many hours as
    the years have.
    """
    with closing(sqlite3.connect(town.store, isolation_level=None)) as db:
        for pragma in ("synchronous = OFF", "cache_size = -262144", "foreign_keys = OFF"):
            db.execute(f"PRAGMA {pragma}")
        taken, begun = db.execute(
            "SELECT min(window_start), (SELECT max(id) FROM observation) FROM report"
        ).fetchone()
        last = int(taken) // 900 - 1
        each = max(1, observations // 2 // len(town.boards))
        db.execute("CREATE TEMP TABLE span (w INTEGER PRIMARY KEY)")
        db.executemany("INSERT INTO span VALUES (?)", ((w,) for w in range(last - each + 1, last + 1)))
        db.execute("CREATE TEMP TABLE whose (device, deployment, thing)")
        streams = db.execute("SELECT device_id, min(datastream) FROM device_stream GROUP BY 1").fetchall()
        db.executemany(
            "INSERT INTO whose VALUES (?, ?, ?)", ((one, *place_of(stream)) for one, stream in streams)
        )
        for number, (device,) in enumerate(sorted((device,) for device, _ in streams), 1):
            _in_one(db, _FIGURES, {"device": device})
            if number % 100 == 0:
                told(f"curve: figures and reports of {number:,} of {len(streams):,} boards are written")
        # So many at a time that the journal stays small.
        for first in range(last - each + 1, last + 1, _WINDOWS):
            _in_one(db, (_LEDGER,), {"first": first, "end": first + _WINDOWS})
        told("curve: the ledger is written")
        newest = db.execute("SELECT max(id) FROM observation").fetchone()[0]
        for first in range(begun, newest, _FIGURES_AT_ONCE):
            _in_one(db, (_QUEUE,), {"sink": SINK, "first": first, "end": first + _FIGURES_AT_ONCE})
        told("curve: the platform's queue is written")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


_WINDOWS, _FIGURES_AT_ONCE = 100, 500_000
# Of one board: what it reported and two counts of each.
_FIGURES = (
    "INSERT INTO report SELECT :device, w, 1, w * 900, 900, 1, 0, randomblob(32), w * 900.0 + 901, 1"
    " FROM span",
    "INSERT INTO observation (datastream, deployment, thing, device_id, quantity, window_start, window_s,"
    " result, noise_scale, stored_at, audit_entry) SELECT deployment || '/' || thing || '/' || name,"
    " deployment, thing, device, number, w * 900, 900, 25, 1.98, w * 900.0 + 901, 1 FROM span"
    " CROSS JOIN (SELECT 5 AS number, 'bicycle_towards' AS name UNION ALL SELECT 6, 'bicycle_away')"
    " JOIN whose ON device = :device",
)
_LEDGER = (
    "INSERT INTO ledger SELECT deployment, device, number, 1, w * 900, 700000, w * 900.0 + 901, 1 FROM span"
    " CROSS JOIN (SELECT * FROM whose ORDER BY deployment, device) CROSS JOIN (SELECT 5 AS number UNION ALL"
    " SELECT 6) WHERE w >= :first AND w < :end"
)
_QUEUE = (
    "INSERT INTO publish_outbox SELECT :sink, id, 'done', 1, 0, NULL, 'https://sensors.example.org/v1.1/"
    "Observations(' || id || ')', stored_at, 1 FROM observation WHERE id > :first AND id <= :end"
)


def _in_one(db: sqlite3.Connection, statements: Sequence[str], given: dict[str, object]) -> None:
    db.execute("BEGIN IMMEDIATE")
    for statement in statements:
        db.execute(statement, given)
    db.execute("COMMIT")
