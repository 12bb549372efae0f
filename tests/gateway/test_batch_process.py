"""Batches are written by a process of their own: the same rows, and nothing lost or doubled when it ends."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import pytest
from patience import DEADLINE_S
from stores import StorePlace

from peilmerk_gateway.flow import Poisoned
from peilmerk_gateway.refusal import Reason, Refusal
from peilmerk_gateway.store import (
    AnswerRow,
    AttestationRow,
    BatchRows,
    Entry,
    LedgerRow,
    Levels,
    ObservationRow,
    ParkedRow,
    QuarantinedRow,
    ReportRow,
    Store,
    StoreError,
    StoreRefused,
    WithheldRow,
    WriterFault,
)
from peilmerk_gateway.store.batch_process import PROGRAM, BatchProcess, from_plain, plain, receive, send
from peilmerk_gateway.store.quarantine import Bounds
from peilmerk_protocol import topics

DEVICE, OTHER = "a" * 16, "b" * 16
START = 1_800_000_000 // 86_400 * 86_400


def entry(seq: int, *, window: int = 0, device_id: str = DEVICE) -> Entry:
    start, thing = START + window * 900, device_id[0]
    return Entry(
        ReportRow(device_id, seq, start, 900, 1, 0, bytes([seq % 256]) * 32),
        (
            ObservationRow(
                f"street/{thing}/away", "street", thing, device_id, 5, start, 900, 17, None, None, 1.98
            ),
        ),
        (WithheldRow(f"street/{thing}/towards", start, "below-k"),),
        (
            LedgerRow("street", device_id, 5, start, 700_000),
            LedgerRow("street", device_id, 6, start, 700_000),
        ),
    )


def day_of(seq: int) -> Entry:
    """A day's total, to be weighed with the windows that are there."""
    key = "street/a/away-day"
    return Entry(
        ReportRow(DEVICE, seq, START, 86_400, 1, 0, b"d" * 32, topics.DAY),
        (ObservationRow(key, "street", "a", DEVICE, 5, START, 86_400, 1_600, noise_scale=2.8),),
        ledger=(LedgerRow("street", DEVICE, 5, START, 500_000, topics.DAY),),
        levels=(Levels(key, "street/a/away", 900, 700_000, Fraction(7, 10), Fraction(1, 2)),),
    )


# One of everything that can be in a batch.
FULL = BatchRows(
    [entry(seq, window=seq) for seq in range(96)] + [day_of(200)],
    [AttestationRow(DEVICE, 300, 1, b"f" * 32, b"p" * 32, 1, 4, 60)],
    [Refusal(Reason.G6, DEVICE, 90, 4.5), Refusal(Reason.FORGED, None, 80, 4.75)],
    received=105,
    redelivered=2,
    parked=[ParkedRow(OTHER, 1, b"sealed", b"e" * 32, 4.0)],
    answers=[AnswerRow(DEVICE, 1, 0, 0, is_beacon=True)],
    registry=(3, b"r" * 32),
    halts=0,
    quarantined=[QuarantinedRow(DEVICE, 301, topics.REPORT, 2_000_000, b"sealed", 90, Reason.G6, 4.5)],
)
AGAIN = BatchRows([entry(7, window=7), entry(1, device_id=OTHER)], received=2, unparked=[(OTHER, 1)], halts=0)


@pytest.fixture
async def apart(tmp_path: Path) -> AsyncIterator[Store]:
    async with await Store.open(tmp_path / "apart.db", ("city", "land"), apart=True) as opened:
        yield opened


def process_of(store: Store) -> BatchProcess:
    assert store._apart is not None
    return store._apart


def pid_of(store: Store) -> int:
    pid = process_of(store).pid
    assert pid is not None
    return pid


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


async def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not is_gone(pid):
        assert time.monotonic() < deadline, f"process {pid} is there still"
        await asyncio.sleep(0.02)


def rows_of(file: Path) -> dict[str, list[tuple[object, ...]]]:
    with closing(sqlite3.connect(file)) as db:
        ask = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        names = [name for (name,) in db.execute(ask).fetchall()]
        return {name: sorted(db.execute(f"SELECT * FROM {name}").fetchall(), key=repr) for name in names}


def test_a_batch_is_the_same_after_its_way() -> None:
    for batch in (FULL, AGAIN, BatchRows([])):
        assert from_plain(pickle.loads(pickle.dumps(plain(batch)))) == batch


async def test_the_same_rows_and_trail_as_in_one_process(apart: Store, tmp_path: Path) -> None:
    async with await Store.open(tmp_path / "one.db", ("city", "land")) as one:
        for batch, now in ((FULL, 5.0), (AGAIN, 6.5), (FULL, 7.0)):
            assert await apart.commit_batch(batch, now) == await one.commit_batch(batch, now)
        assert await apart.trail_head() == await one.trail_head()
    found, wanted = rows_of(tmp_path / "apart.db"), rows_of(tmp_path / "one.db")
    assert found == wanted
    counts = {name: len(rows) for name, rows in wanted.items() if not name.startswith(("audit_", "tally"))}
    assert {name: n for name, n in counts.items() if n} == {
        "alembic_version": 1,
        "report": 98,
        "observation": 98,
        "withheld": 97,
        "ledger": 195,
        "attestation": 1,
        "parked": 1,
        "refusal": 4,
        "quarantine": 1,
        "publish_outbox": 196,
        "device_stream": 3,
    }


async def test_whoever_waits_for_news_hears_of_a_batch(apart: Store) -> None:
    before = apart.changes
    waiting = asyncio.create_task(apart.changed(before))
    await apart.commit_batch(BatchRows([entry(1)]), 1.0)
    assert await asyncio.wait_for(waiting, DEADLINE_S) == before + 1


async def test_a_database_has_no_process_beside_it(store_place: StorePlace) -> None:
    async with await Store.open(store_place.where, apart=True) as store:
        assert (store._apart is None) is store_place.is_postgresql
        assert (await store.commit_batch(BatchRows([entry(1)]), 1.0)).reports == 1


async def test_one_that_died_is_started_anew(apart: Store, tmp_path: Path) -> None:
    await apart.commit_batch(BatchRows([entry(1)]), 1.0)
    first = pid_of(apart)
    os.kill(first, signal.SIGKILL)
    await wait_until_gone(first)
    stored = await apart.commit_batch(BatchRows([entry(1), entry(2, window=2)]), 2.0)
    assert stored.reports == 1
    assert pid_of(apart) != first
    assert len(rows_of(tmp_path / "apart.db")["report"]) == 2


async def test_killed_in_the_middle_of_a_batch_nothing_of_it_is_there(apart: Store, tmp_path: Path) -> None:
    file, first = tmp_path / "apart.db", pid_of(apart)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        writing = asyncio.create_task(apart.commit_batch(BatchRows([entry(2)]), 2.0))
        while not _has_open(first, file):
            assert not writing.done()
            await asyncio.sleep(0.02)
        os.kill(first, signal.SIGKILL)
        with pytest.raises(StoreError, match=r"the process that writes ended \(signal 9\)"):
            await asyncio.wait_for(writing, DEADLINE_S)
        other.execute("ROLLBACK")
    assert rows_of(file)["report"] == []
    assert (await apart.commit_batch(BatchRows([entry(2)]), 3.0)).reports == 1
    assert (await apart.commit_batch(BatchRows([entry(2)]), 4.0)).reports == 0


def _has_open(pid: int, file: Path) -> bool:
    """Whether it has a batch in hand: it opens the file with the first one."""
    return any(os.path.realpath(one) == str(file) for one in Path(f"/proc/{pid}/fd").iterdir())


async def test_what_cannot_be_written_is_told_apart(apart: Store, tmp_path: Path) -> None:
    good, bad = entry(1), entry(2, window=2)
    null = bad._replace(ledger=(bad.ledger[0]._replace(epsilon_micro=None),))  # type: ignore[arg-type]
    with pytest.raises(StoreRefused, match="epsilon_micro"):
        await apart.commit_batch(BatchRows([good, null]), 1.0)
    odd = bad._replace(levels=("a-secret",))  # type: ignore[arg-type]
    with pytest.raises(WriterFault, match="AttributeError") as fault:
        await apart.commit_batch(BatchRows([good, odd]), 1.0)
    assert "a-secret" not in str(fault.value)
    assert str(Poisoned(fault.value)) == "AttributeError"
    with pytest.raises(StoreError, match="a host paused, resumed or withdrew meanwhile"):
        await apart.commit_batch(BatchRows([good], halts=5), 1.0)
    assert rows_of(tmp_path / "apart.db")["report"] == []
    assert (await apart.commit_batch(BatchRows([good]), 1.0)).reports == 1


_HOLDS = """
import asyncio, sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from test_batch_process import BatchRows, Store, entry, pid_of

async def main():
    store = await Store.open(Path(sys.argv[1]), apart=True)
    await store.commit_batch(BatchRows([entry(n, window=n) for n in range(50)]), 1.0)
    print(pid_of(store), flush=True)
    await asyncio.sleep(1_000)

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT])
async def test_it_ends_with_its_gateway_and_leaves_the_log(tmp_path: Path, number: signal.Signals) -> None:
    file = tmp_path / "store.db"
    tests = Path(__file__).parent
    gateway = subprocess.Popen(
        [sys.executable, "-c", _HOLDS, str(file), str(tests), str(tests.parent)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with gateway:
        assert gateway.stdout is not None
        pid = int(await asyncio.to_thread(gateway.stdout.readline))
        log = file.with_name("store.db-wal")
        before = log.stat().st_size
        assert before > 0
        gateway.send_signal(number)
        await asyncio.to_thread(gateway.wait, DEADLINE_S)
    await wait_until_gone(pid)
    # Had it closed its connection, the last one, SQLite would have written the log into the file.
    assert log.stat().st_size == before
    assert len(rows_of(file)["report"]) == 50


async def test_it_ends_at_once_when_nobody_asks_any_more(tmp_path: Path) -> None:
    """By itself, where no kernel ends it: it lets go of nothing."""
    file = tmp_path / "store.db"
    await (await Store.open(file)).close()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        program = subprocess.Popen(
            [sys.executable, "-m", PROGRAM, str(file), str(theirs.fileno())], pass_fds=(theirs.fileno(),)
        )
        theirs.close()
        with program:
            send(ours, pickle.dumps((plain(BatchRows([entry(1)])), (), 1.0, Bounds())))
            assert pickle.loads(await asyncio.to_thread(receive, ours)).reports == 1
            log = file.with_name("store.db-wal")
            before = log.read_bytes()
            ours.close()
            assert await asyncio.to_thread(program.wait, DEADLINE_S) == 0
    assert log.read_bytes() == before
    assert len(rows_of(file)["report"]) == 1


async def test_it_is_gone_once_the_store_is_closed(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "store.db", apart=True)
    pid = pid_of(store)
    await store.commit_batch(BatchRows([entry(1)]), 1.0)
    await store.close()
    assert is_gone(pid)
    assert not (tmp_path / "store.db-wal").exists()
