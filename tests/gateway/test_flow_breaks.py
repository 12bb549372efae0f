"""The flow when store or gateway break: acknowledged is stored, in any order, with any doubles."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from flow_messages import messages, written
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from patience import DEADLINE_S
from sealed_street import WINDOW, Street

from peilmerk_gateway import flow as flow_module
from peilmerk_gateway.flow import AHEAD
from peilmerk_gateway.ingest import Batch, Delivery
from peilmerk_gateway.store import BatchRows, Probe, Store, Stored, StoreError


class Broker:
    """Keeps what was not acknowledged and brings it again: what a broker does, without one."""

    def __init__(self, batches: Sequence[Sequence[Delivery]]) -> None:
        self.waiting = [list(batch) for batch in batches]
        self.acknowledged = 0

    async def batches(self) -> AsyncIterator[Batch]:
        for batch in list(self.waiting):

            async def ack(batch: list[Delivery] = batch) -> None:
                self.waiting.remove(batch)
                self.acknowledged += len(batch)

            yield Batch(tuple(batch), ack)

    def redeliver(self) -> None:
        self.waiting = [[replace(one, redelivered=True) for one in batch] for batch in self.waiting]

    async def pending(self) -> int:
        return sum(map(len, self.waiting))

    async def close(self) -> None:
        pass


class Crash(BaseException):
    """The process ends here."""


class Crashing:
    """A store that ends the process before or after some commit."""

    def __init__(self, store: Store, at: int, after: bool) -> None:
        self._store, self._at, self._after = store, at, after

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def commit_batch(self, rows: BatchRows, now: float) -> Stored:
        self._at -= 1
        if self._at == 0 and not self._after:
            raise Crash
        stored = await self._store.commit_batch(rows, now)
        if self._at == 0:
            raise Crash
        return stored


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_order_any_doubles_any_crashes_give_the_same_rows(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_same_rows(Path(folder), data))


async def _same_rows(folder: Path, data: st.DataObject) -> None:
    street = Street(folder, counters=1, air=1)
    board = street.counters[0]
    statements = [board.statement(1), street.air[0].statement(1)]
    reports = [board.report(n, WINDOW - 5 + n, {5: (7 + n,), 6: (30,)}) for n in range(2, 6)]
    reports += [street.air[0].report(n, WINDOW - 5 + n, {0: (100, 3), 4: (6,)}) for n in range(2, 6)]
    extra = data.draw(st.lists(st.sampled_from(reports), max_size=6))
    # A statement, too, may come again and late: last of all when the gateway died with it in hand.
    order = data.draw(st.permutations(statements + reports + extra))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(order)), max_size=4)))
    parts = [order[a:b] for a, b in zip([0, *cuts], [*cuts, len(order)], strict=True) if order[a:b]]
    broker = Broker(parts)
    crashes = data.draw(st.lists(st.tuples(st.integers(1, 4), st.booleans()), max_size=3))
    stop = asyncio.Event()
    for at, after in crashes:
        async with await street.open() as store:
            crashing: Store = Crashing(store, at, after)  # type: ignore[assignment]
            try:
                await street.flow(crashing).run(broker, stop)
            except Crash:
                broker.redeliver()
    async with await street.open() as store:
        await street.flow(store).run(broker, stop)
        figures = await store.figures()
    assert await broker.pending() == 0
    rows = written(street)
    assert [row[1] for row in rows["report"] if row[0] == board.id] == [2, 3, 4, 5]
    assert len(rows["report"]) == 8
    assert street.rows("parked") == []
    assert len(rows["ledger"]) == 8
    assert sum(int(str(row[-1])) for row in rows["ledger"]) == 8 * 700_000
    assert len(rows["withheld"]) == 1
    assert len(rows["observation"]) == len(rows["publish_outbox"]) == 4 + 4 + 3
    # Nothing but a second sending is ever refused; how many depends on what the broker marked as its own.
    assert set(figures.refused) <= {"replayed"}
    assert figures.refused.get("replayed", 0) <= len(extra) * (len(crashes) + 1)
    street.registry.close()


async def test_acknowledged_means_stored(street: Street) -> None:
    broker = Broker([messages(street)])
    async with await street.open() as store:
        with pytest.raises(Crash):
            await street.flow(Crashing(store, 1, after=False)).run(broker, asyncio.Event())  # type: ignore[arg-type]
        assert broker.acknowledged == 0
        assert street.rows("report") == []
        with pytest.raises(Crash):
            await street.flow(Crashing(store, 1, after=True)).run(broker, asyncio.Event())  # type: ignore[arg-type]
        assert broker.acknowledged == 0
        assert len(street.rows("report")) == 12
        broker.redeliver()
        await street.flow(store).run(broker, asyncio.Event())
    assert broker.acknowledged == 15
    assert len(street.rows("ledger")) == 16
    assert street.refused() == []


async def test_a_store_in_trouble_holds_the_batch(street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_module, "BACKOFF_FIRST_S", 0.001)
    broker = Broker([messages(street)])
    async with await street.open() as store:
        real, failures = store.commit_batch, iter([True, True, False])

        async def sometimes(rows: BatchRows, now: float) -> Stored:
            if next(failures):
                assert broker.acknowledged == 0
                raise StoreError("disk full")
            return await real(rows, now)

        monkeypatch.setattr(store, "commit_batch", sometimes)
        await asyncio.wait_for(street.flow(store).run(broker, asyncio.Event()), DEADLINE_S)
    assert broker.acknowledged == 15
    assert len(street.rows("report")) == 12


async def judged_ahead(
    street: Street,
    monkeypatch: pytest.MonkeyPatch,
    batches: Sequence[Sequence[Delivery]],
    first_time: Callable[[], None] = lambda: None,
) -> tuple[Broker, int]:
    """Have nothing written before all of the batches were judged once, then call `first_time`; return the
    broker when it is over, and how many were judged.
    """
    broker, judged = Broker(batches), 0
    async with await street.open() as store:
        real, known = store.commit_batch, store.known
        all_of_them, begun = asyncio.Event(), False

        async def counted(probes: Sequence[Probe]) -> object:
            nonlocal judged
            answer = await known(probes)
            judged += 1
            if judged == len(batches):
                assert street.rows("report") == []
                all_of_them.set()
            return answer

        async def late(rows: BatchRows, now: float) -> Stored:
            nonlocal begun
            await asyncio.wait_for(all_of_them.wait(), DEADLINE_S)
            if not begun:
                begun = True
                first_time()
            return await real(rows, now)

        monkeypatch.setattr(store, "known", counted)
        monkeypatch.setattr(store, "commit_batch", late)
        await asyncio.wait_for(street.flow(store).run(broker, asyncio.Event()), DEADLINE_S)
    return broker, judged


@pytest.mark.parametrize("between", [0, AHEAD - 1])
async def test_a_batch_is_judged_while_those_before_are_written(
    street: Street, monkeypatch: pytest.MonkeyPatch, between: int
) -> None:
    """And sees them: what is not in the store yet is known all the same."""
    board = street.counters[0]
    first = [board.statement(1), board.report(2, WINDOW - 1)]
    others = [[board.report(10 + n, WINDOW - 10 + n)] for n in range(between)]
    last = [board.report(2, WINDOW - 1, {5: (1,)}), board.report(3, WINDOW - 1), board.report(4)]
    broker, judged = await judged_ahead(street, monkeypatch, [first, *others, last])
    assert (broker.acknowledged, judged) == (5 + between, 2 + between)
    assert street.refused() == [("sequence-reused", True), ("window-repeated", True)]
    assert sorted(row[1] for row in street.rows("report")) == [2, 4, *range(10, 10 + between)]


@pytest.mark.parametrize("between", [0, AHEAD - 1])
async def test_those_after_one_that_was_not_written_as_judged_are_judged_anew(
    street: Street, monkeypatch: pytest.MonkeyPatch, between: int
) -> None:
    monkeypatch.setattr(flow_module, "BACKOFF_FIRST_S", 0.001)
    board = street.counters[0]

    def fails() -> None:
        # From here on the record is over before what they measured.
        street.change("street", "2030-12-31", "2023-02-01")
        raise StoreError("disk full")

    first = [board.statement(1), board.report(2, WINDOW - 1)]
    others = [[board.report(10 + n, WINDOW - 10 + n)] for n in range(between)]
    broker, judged = await judged_ahead(street, monkeypatch, [first, *others, [board.report(3)]], fails)
    assert (broker.acknowledged, judged) == (3 + between, 2 * (2 + between))
    assert street.refused() == [("G3", True)] * (2 + between)
    assert street.rows("report") == []


async def test_no_more_than_so_many_batches_are_judged_ahead(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = street.counters[0]
    batches = [[board.statement(1), board.report(2, WINDOW - 20)]]
    batches += [[board.report(3 + n, WINDOW - 19 + n)] for n in range(9)]
    broker, judged, written = Broker(batches), 0, 0
    async with await street.open() as store:
        real, known = store.commit_batch, store.known

        async def counted(probes: Sequence[Probe]) -> object:
            nonlocal judged
            assert judged - written <= AHEAD
            judged += 1
            return await known(probes)

        async def slow(rows: BatchRows, now: float) -> Stored:
            nonlocal written
            # As far ahead as may be, or to the end.
            while judged < min(written + 1 + AHEAD, len(batches)):
                await asyncio.sleep(0)
            stored = await real(rows, now)
            written += 1
            return stored

        monkeypatch.setattr(store, "known", counted)
        monkeypatch.setattr(store, "commit_batch", slow)
        await asyncio.wait_for(street.flow(store).run(broker, asyncio.Event()), DEADLINE_S)
    assert (judged, written, broker.acknowledged) == (10, 10, 11)


async def test_told_to_stop_in_trouble_it_leaves_the_batch_with_the_broker(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker, stop = Broker([messages(street)]), asyncio.Event()
    async with await street.open() as store:

        async def never(rows: BatchRows, now: float) -> Stored:
            stop.set()
            raise StoreError("disk full")

        monkeypatch.setattr(store, "commit_batch", never)
        await asyncio.wait_for(street.flow(store).run(broker, stop), DEADLINE_S)
    assert broker.acknowledged == 0
    assert await broker.pending() == 15
