"""What waits for its statement: judged by the one before it, whenever the broker brings that."""

from __future__ import annotations

from dataclasses import replace

from sealed_street import WINDOW, Street

from peilmerk_gateway.store import Stored


async def test_a_report_is_judged_by_the_statement_before_it(street: Street) -> None:
    board = street.counters[0]
    async with await street.open() as store:
        flow = street.flow(store)
        await flow.store([board.statement(3), board.statement(6, firmware=bytes(32))])
        await flow.store([board.report(4, WINDOW - 1), board.report(7)])
    assert street.refused() == [("G6", True)]
    assert [row[1] for row in street.rows("report")] == [4]


async def test_a_report_waits_for_a_statement_that_the_broker_brings_later(street: Street) -> None:
    board = street.counters[0]
    async with await street.open() as store:
        flow = street.flow(store)
        early = [board.report(2, WINDOW - 1), board.report(3)]
        assert await flow.store(early) == Stored()
        assert await flow.settle() == Stored()
        assert (await store.figures()).parked == 2
        # What waits is known: again is again.
        await flow.store([replace(early[0], redelivered=True), early[1], board.report(3, values={5: (1,)})])
        assert await street.flow(store).store([board.statement(1)]) == Stored(
            reports=2, statements=1, observations=4, epsilon_micro=4 * 700_000
        )
        figures = await store.figures()
        await flow.store([replace(one, redelivered=True) for one in early])
    assert (figures.parked, figures.received, figures.redelivered) == (0, 6, 1)
    assert street.rows("parked") == []
    assert street.refused() == [("replayed", True), ("sequence-reused", True)]
    assert len(street.rows("ledger")) == 4


async def test_doubles_of_what_waits_are_seen_within_one_batch(street: Street) -> None:
    board = street.counters[0]
    async with await street.open() as store:
        await street.flow(store).store([board.report(2), board.report(2)])
        assert (await store.figures()).parked == 1
    assert street.refused() == [("replayed", True)]


async def test_what_waits_is_not_refused_by_a_statement_that_is_not_the_one(street: Street) -> None:
    board = street.counters[0]
    async with await street.open() as store:
        flow = street.flow(store)
        await flow.store([board.report(5)])
        await flow.store([board.statement(2, revision=9)])
        assert (await store.figures()).parked == 1
        await flow.store([board.statement(4)])
    assert street.refused() == []
    assert [row[1] for row in street.rows("report")] == [5]


async def test_patience_ends(street: Street) -> None:
    board = street.counters[0]
    async with await street.open() as store:
        await street.flow(store).store([board.report(2)])
        await street.flow(store, patience_s=3600).settle()
        assert street.refused() == []
        await street.flow(store, patience_s=-1).settle()
        assert street.refused() == [("not-attested", True)]
        assert (await store.figures()).parked == 0
    for table in ("report", "ledger", "parked"):
        assert street.rows(table) == []


async def test_other_firmware_is_final_unless_a_statement_may_be_missing(street: Street) -> None:
    board = street.counters[0]
    async with await street.open() as store:
        flow = street.flow(store)
        await flow.store([board.statement(1, firmware=bytes(32)), board.report(2, WINDOW - 2)])
        assert street.refused() == [("G6", True)]
        # The board was flashed and restarted; its numbers went on at the next block.
        await flow.store([board.report(17, WINDOW - 1), board.report(18)])
        assert (await store.figures()).parked == 2
        await flow.store([board.statement(16)])
    assert street.refused() == [("G6", True)]
    assert [row[1] for row in street.rows("report")] == [17, 18]


async def test_who_is_revoked_waits_in_vain(street: Street) -> None:
    board = street.counters[0]
    async with await street.open() as store:
        flow = street.flow(store, patience_s=-1)
        await flow.store([board.report(2)])
        street.registry.revoke(board.id)
        await flow.settle()
    assert street.refused() == [("revoked-device", False)]
    assert street.rows("parked") == []
