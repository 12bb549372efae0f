"""A day's total in the flow, beside its windows."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

from flow_messages import written
from sealed_street import DAY, NOW, Street


async def test_a_days_total_goes_all_the_way_beside_its_windows(street: Street) -> None:
    board = street.counters[0]
    midnight = DAY * 86_400 // 900
    async with await street.open() as store:
        flow = street.flow(store)
        # The first window of the day and the day begin at the same second.
        await flow.store([board.statement(1), board.day(3), board.report(2, midnight)])
        await flow.store([board.day(3, again=True), board.day(4), board.day(5, DAY + 1)])
        await flow.store([board.report(6, midnight + 96)])
        figures = await store.figures()
        assert (figures.reports, figures.days, figures.observations) == (2, 1, 6)
        assert street.refused() == [("window-repeated", True), ("window-ahead", True)]
        (towards, away) = await store.budget_today(DAY * 86_400 + 5)
        assert (towards.windows, towards.epsilon_sum_micro, towards.epsilon_window_micro) == (
            1,
            700_000,
            700_000,
        )
        assert towards.epsilon_day_micro == away.epsilon_day_micro == 300_000
        (window,) = await store.latest("street/fietspad-0/bicycle_towards/day", 5)
        assert (window.window_start, window.window_s, window.result) == (DAY * 86_400, 86_400, 400)
        # When a board was last heard is told by its windows.
        other = street.counters[1]
        await flow.store([other.statement(1), other.report(2, midnight - 1), other.day(3)])
        assert (await store.seen([other.id]))[other.id].window_s == 900
        seen = (await store.seen([board.id]))[board.id]
        assert (seen.window_start, seen.window_s) == ((midnight + 96) * 900, 900)
        rows = await store.claim("city", 100, NOW)
        described = {row.datastream: street.catalogue.describe(row.datastream) for row in rows}
        about = described["street/fietspad-0/bicycle_towards/day"]
        assert about is not None
        assert about.label == "Bicycles, towards, total of the day"
        assert about.facts["window_s"] == 86_400
        leaf = described["street/fietspad-0/bicycle_towards"]
        assert leaf is not None
        assert leaf.series_key != about.series_key


async def test_whatever_the_order_a_day_and_its_windows_are_written_and_paid_for_once(
    street: Street,
) -> None:
    board = street.counters[0]
    # A window of the very day, which may come after its total.
    inside = board.report(2, DAY * 96 + 5)
    said = [board.statement(1), inside, board.day(3, health=1), board.day(4, DAY - 1)]
    first = None
    for order in permutations(said):
        async with await street.open() as store:
            flow = street.flow(store)
            for one in order:
                await flow.store([one])
            await flow.store([replace(one, redelivered=True) for one in said])
            assert await store.parked() == []
            figures = await store.figures()
            assert (figures.reports, figures.days, figures.refused) == (1, 2, {})
        now = written(street)
        assert len(now["ledger"]) == 6
        first = first or now
        assert now == first
        street.place.remove()
