"""The ledger: every window of every count is paid for once and before anything of it can be sent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
from sealed_street import DAY, NOW, WINDOW, Street
from sqlalchemy import event
from stores import StorePlace

from peilmerk_gateway.ingest import Delivery
from peilmerk_gateway.store import Store, Stored
from peilmerk_gateway.store.batch import SPENT_BEFORE
from peilmerk_protocol import keys, topics

COLUMNS = "deployment, device_id, quantity, kind, window_start, epsilon_micro"


@pytest.fixture
def street(tmp_path: Path, store_place: StorePlace) -> Iterator[Street]:
    made = Street(tmp_path, counters=2, place=store_place)
    yield made
    made.registry.close()


def said(street: Street) -> list[Delivery]:
    """A statement, two windows and a day of two boards; some figures below the threshold."""
    found = []
    for board in street.counters:
        found += [board.statement(1), board.report(2, WINDOW - 1, {5: (3,), 6: (40,)})]
        found += [board.report(3, WINDOW, {5: (11,), 6: (12,)}), board.day(4, values={5: (400,), 6: (2,)})]
    return found


def wanted(street: Street) -> list[tuple[object, ...]]:
    """The lines that they cost: by the board, the direction and the window or day."""
    lines: list[tuple[object, ...]] = []
    for board in street.counters:
        for quantity in (5, 6):
            lines.append(("street", board.id, quantity, topics.DAY, DAY * 86_400, 300_000))
            for window in (WINDOW - 1, WINDOW):
                lines.append(("street", board.id, quantity, topics.REPORT, window * 900, 700_000))
    return sorted(lines, key=repr)


def unpaid(street: Street) -> int:
    """How many figures of counts are kept, or queued to be sent, without a line that pays for them."""
    with street.place.raw() as db:
        return int(
            db.execute(
                "SELECT count(*) FROM observation AS o WHERE o.quantity IN (5, 6) AND NOT EXISTS (SELECT 1"
                " FROM ledger AS l WHERE l.deployment = o.deployment AND l.device_id = o.device_id AND"
                " l.quantity = o.quantity AND l.window_start = o.window_start AND"
                " l.kind = CASE o.window_s WHEN 86400 THEN ? ELSE ? END)",
                (topics.DAY, topics.REPORT),
            ).fetchone()[0]
        )


EMPTIED = ("publish_outbox", "observation", "withheld", "ledger", "report", "attestation", "audit_entry")


def empty(street: Street) -> None:
    """Begin with an empty store."""
    with street.place.raw() as db:
        for table in (*EMPTIED, "audit_head", "tally", "parked", "refusal"):
            db.execute(f"DELETE FROM {table}")


class PowerCut(BaseException):
    """Everything ends here; what was not committed was never there."""


async def test_a_power_cut_before_any_statement_spends_everything_once(street: Street) -> None:
    messages = said(street)
    left = 0

    def one(*_: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise PowerCut

    async with await street.open() as store:
        for name in ("before_cursor_execute", "commit"):
            event.listen(store._writing, name, one)
        step = 0
        while left <= 0:
            step += 1
            left = step
            try:
                await street.flow(store).store(messages)
            except PowerCut:
                # All or nothing: the transaction is the only one.
                for table in EMPTIED:
                    assert street.rows(table) == [], (step, table)
                await street.flow(store).store([replace(one, redelivered=True) for one in messages])
            verdict = await store.check_trail()
            assert verdict.ok, (step, verdict.faults)
            assert street.rows("ledger", COLUMNS) == wanted(street), step
            assert (unpaid(street), street.refused()) == (0, []), step
            empty(street)
    assert step > 15


async def test_two_workers_with_the_same_messages_spend_once(street: Street) -> None:
    """Two gateways on one store, each brought everything in an order of its own: whoever is first spends."""
    messages = said(street)
    async with await street.open() as one, await street.open() as two:

        async def work(store: Store, parts: Sequence[Sequence[Delivery]]) -> list[Stored]:
            flow = street.flow(store)
            return [await flow.store(part) for part in parts]

        statements = [message for message in messages if message.kind == topics.STATEMENT]
        rest = [message for message in messages if message.kind != topics.STATEMENT]
        await street.flow(one).store(statements)
        stored = await asyncio.gather(
            work(one, [rest[:3], rest[3:], rest]),
            work(two, [list(reversed(rest))[:2], rest[:1], list(reversed(rest))]),
        )
        told = [batch for batches in stored for batch in batches]
        verdict = await two.check_trail()
        figures = await one.figures()
    assert verdict.ok, verdict.faults
    assert street.rows("ledger", COLUMNS) == wanted(street)
    assert sum(batch.epsilon_micro for batch in told) == sum(int(str(line[-1])) for line in wanted(street))
    assert (sum(batch.reports for batch in told), sum(batch.days for batch in told)) == (4, 2)
    assert (figures.reports, figures.days, figures.observations, figures.withheld) == (4, 2, 8, 4)
    assert unpaid(street) == 0
    # A resend is the only thing that either of them could find wrong.
    assert set(figures.refused) <= {"replayed"}


async def test_in_any_order_the_same_is_spent(street: Street) -> None:
    (statement, *rest) = said(street)[:4]
    async with await street.open() as store:
        for order in permutations(rest):
            flow = street.flow(store)
            for message in (*order, statement, *(replace(one, redelivered=True) for one in order)):
                await flow.store([message])
            spent = [line for line in wanted(street) if line[1] == street.counters[0].id]
            assert street.rows("ledger", COLUMNS) == spent, order
            assert street.refused() == []
            empty(street)


async def test_spoofed_replayed_and_refused_messages_spend_nothing(street: Street) -> None:
    first, second = street.counters
    async with await street.open() as store:
        flow = street.flow(store)
        await flow.store(said(street))
        before = street.rows("ledger"), await store.budget_today(NOW), await store.budget_today(DAY * 86_400)
        stranger = replace(first.device, root_key=bytes(32))
        forger = type(first)(stranger)
        window = WINDOW - 5
        await flow.store(
            [
                # Without the board's key, or under another's name.
                forger.report(9, window),
                forger.day(9, DAY - 1),
                Delivery(second.id, topics.REPORT, first.report(9, window).payload),
                Delivery(first.id, topics.DAY, first.report(9, window).payload),
                Delivery("z" * 16, topics.REPORT, first.report(9, window).payload),
                # Under the key for the other direction.
                type(first)(
                    replace(first.device, root_key=keys.derive(first.device.root_key, keys.DOWN))
                ).report(9, window),
                # Replayed, and drawn anew under a new number.
                *said(street),
                first.report(20, WINDOW, {5: (30,), 6: (30,)}),
                first.day(21, values={5: (30,), 6: (30,)}),
                # Outside of the record.
                first.report(22, window, {7: (30,)}),
                first.report(23, WINDOW + 5),
                first.report(24, window, revision=9),
            ]
        )
        assert len(street.refused()) == 6 + 8 + 2 + 3 - await _parked(store)
        assert (
            street.rows("ledger"),
            await store.budget_today(NOW),
            await store.budget_today(DAY * 86_400),
        ) == before


async def _parked(store: Store) -> int:
    return (await store.figures()).parked


async def test_what_was_paid_for_before_is_not_kept_again(street: Street) -> None:
    """Were the memory of a report gone, its line in the ledger would still stand: withheld."""
    board = street.counters[0]
    async with await street.open() as store:
        flow = street.flow(store)
        await flow.store([board.statement(1), board.report(2)])
        with street.place.raw() as db:
            db.execute("DELETE FROM publish_outbox")
            db.execute("DELETE FROM observation")
            db.execute("DELETE FROM report")
        stored = await flow.store([board.report(3, values={5: (40,), 6: (41,)})])
    assert (stored.reports, stored.observations, stored.withheld, stored.epsilon_micro) == (1, 0, 2, 0)
    assert street.rows("observation") == street.rows("publish_outbox") == []
    assert {row[0] for row in street.rows("withheld", "reason")} == {SPENT_BEFORE}
    # Nor does a digest tell the figure to who holds the key.
    assert street.rows("report", "seq, digest") == [(3, None)]


async def test_publishing_again_and_again_spends_nothing(street: Street) -> None:
    async with await street.open() as store:
        await street.flow(store).store(said(street))
        before = street.rows("ledger")
        rows = await store.claim("city", 100, NOW)
        await store.mark_again("city", [row.observation_id for row in rows], "away", NOW)
        again = await store.claim("city", 100, NOW)
        assert [row.result for row in again] == [row.result for row in rows]
        await store.mark_done("city", [(row.observation_id, None) for row in again], NOW)
    assert street.rows("ledger") == before
