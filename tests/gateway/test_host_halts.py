"""A host's pause and withdrawal: in force at once and without a restart, whatever is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from sealed_street import NOW, WINDOW, Counter, Street
from stores import StorePlace

from peilmerk_gateway.clock import ScaledClock
from peilmerk_gateway.refusal import Reason, sentence
from peilmerk_gateway.retention import retain_loop
from peilmerk_gateway.store import Store, StoreError
from peilmerk_gateway.store.halts import PAUSE, RESUME, WITHDRAW, Halt, HaltRefused

HOUR = 3_600.0


@pytest.fixture
def street(tmp_path: Path, store_place: StorePlace) -> Iterator[Street]:
    made = Street(tmp_path, counters=2, place=store_place)
    yield made
    made.registry.close()


def at(street: Street, now: float) -> None:
    street.clock = ScaledClock(now, 0.0, 0.0)


async def begun(street: Street, store: Store) -> tuple[Counter, Counter]:
    """Both boards have stated what they run and reported one window, of which nothing is published yet."""
    for board in street.counters:
        await street.flow(store).store([board.statement(1), board.report(2, WINDOW - 8)])
    return street.counters[0], street.counters[1]


async def test_nothing_of_a_paused_device_is_admitted_or_published_and_others_go_on(street: Street) -> None:
    async with await street.open() as store:
        host, other = await begun(street, store)
        flow = street.flow(store)
        assert await store.halt(host.id, PAUSE, NOW)
        await flow.store([board.report(3) for board in (host, other)])
        await flow.store([host.day(4)])
        rows = await store.claim("city", 100, NOW)
        figures = await store.figures()
    assert street.refused() == [("host-paused", True), ("host-paused", True)]
    assert figures.refused == {"host-paused": 2}
    assert {row.thing for row in rows} == {"fietspad-1"}
    assert street.rows("report", "device_id, seq") == sorted([(host.id, 2), (other.id, 2), (other.id, 3)])
    # A paused device spends nothing.
    assert street.rows("ledger", "device_id").count((host.id,)) == 2


async def test_a_pause_is_of_another_process_and_ends_so(street: Street) -> None:
    """What the gateway asks of the store, a command may have written there meanwhile."""
    async with await street.open() as store:
        host, _ = await begun(street, store)
        flow = street.flow(store)
        async with await Store.look(street.place.where) as beside:
            await beside.halt(host.id, PAUSE, NOW - 3 * HOUR)
            await flow.store([host.report(3, WINDOW - 1)])
            await beside.halt(host.id, RESUME, NOW - HOUR)
        # Two windows from the time of the pause, one that it cut, and one after it.
        await flow.store([host.report(4, WINDOW - 7), host.report(5, WINDOW - 4), host.report(6)])
        waiting = await store.claim("city", 100, NOW)
    assert street.refused() == [("host-paused", True)] * 3
    assert street.rows("report", "seq").count((6,)) == 1
    assert [row.window_start // 900 for row in waiting if row.thing == "fietspad-0"] == [
        WINDOW - 8,
        WINDOW - 8,
        WINDOW,
        WINDOW,
    ]


async def test_what_was_measured_during_a_pause_stays_out_however_late_it_comes(street: Street) -> None:
    async with await street.open() as store:
        host, _ = await begun(street, store)
        start = (WINDOW - 4) * 900
        await store.halt(host.id, PAUSE, start)
        await store.halt(host.id, RESUME, start + 1_800)
        sent = [host.report(3 + n, WINDOW - 5 + n) for n in range(4)]
        await street.flow(store).store(sent)
        # The total of a day in which it was paused would tell of the pause too.
        await street.flow(store).store([host.day(9, int(start) // 86_400)])
    assert street.refused()[:2] == [("host-paused", True)] * 2
    kept = {seq for (_, seq) in street.rows("report", "device_id, seq") if seq in range(3, 7)}
    assert kept == {3, 6}


@pytest.mark.parametrize(
    ("start", "end", "barred"),
    [
        (50, 100, False),
        (50, 101, True),
        (199, 300, True),
        (200, 300, False),
        (120, 130, True),
        (0, 999, True),
    ],
)
def test_a_pause_that_is_over_bars_what_it_touches(start: float, end: float, barred: bool) -> None:
    assert Halt("paused", 100, 200).bars(start, end) is barred
    assert Halt("paused", 100, None).bars(start, end)


async def test_withdrawal_is_for_good_and_empties_the_queue(street: Street) -> None:
    async with await street.open() as store:
        host, other = await begun(street, store)
        flow = street.flow(store)
        (sent, *_) = await store.claim("city", 1, NOW)
        await store.halt(host.id, PAUSE, NOW)
        assert await store.halt(host.id, WITHDRAW, NOW)
        assert not await store.halt(host.id, WITHDRAW, NOW + 1)
        for action in (RESUME, PAUSE):
            with pytest.raises(HaltRefused, match="for good"):
                await store.halt(host.id, action, NOW + 2)
        at(street, NOW + 900 * 50)
        flow = street.flow(store)
        await flow.store([host.report(3, WINDOW + 49), host.statement(4), other.report(3, WINDOW + 49)])
        # A row that was on its way when the host withdrew: its answer is written down, it is sent no more.
        await store.mark_again("city", [sent.observation_id], "the answer got lost", NOW)
        rows = await store.claim("city", 100, NOW + 900 * 50)
    assert sent.thing == "fietspad-0"
    assert sorted(street.refused()) == [("host-withdrawn", True)] * 2
    assert {row.thing for row in rows} == {"fietspad-1"}
    left = "SELECT o.thing FROM publish_outbox p JOIN observation o ON o.id = p.observation_id"
    assert len(street.rows(f"({left} WHERE o.thing = 'fietspad-0') AS found")) == 1


async def test_what_comes_back_from_a_platform_after_an_erasure_is_erased_too(
    street: Street,
) -> None:
    async with await street.open() as store:
        host, other = await begun(street, store)
        claimed = await store.claim("city", 100, NOW)
        its = [row.observation_id for row in claimed if row.thing == "fietspad-0"]
        await store.halt(host.id, WITHDRAW, NOW)
        assert (await store.erase(host.id, NOW)).observations == 0
        assert len(its) == len((await store.held(host.id))["figures"]) == 2
        # Still on their way: what the platform will say of them is not known.
        assert await store.left_behind() == []
        await store.mark_done("city", [(its[0], "7")], NOW)
        await store.mark_again("city", its[1:], "away", NOW)
        assert await store.left_behind() == [host.id]
        # One who withdrew, and was not erased, keeps what is stored; and so do all others.
        await store.halt(other.id, WITHDRAW, NOW)
        await store.mark_again(
            "city", [row.observation_id for row in claimed if row.thing != "fietspad-0"], "", 0
        )
        stop = asyncio.Event()
        going = asyncio.create_task(retain_loop(store, street.catalogue, street.clock, stop))
        while await store.left_behind():
            await asyncio.sleep(0.01)
        stop.set()
        await going
        assert len((await store.held(host.id))["figures"]) == 1
        assert len((await store.held(other.id))["figures"]) == 2
        assert (await store.check_trail()).ok


async def test_a_batch_that_was_judged_before_a_pause_is_judged_anew(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between judging and writing lies a moment in which a host can pause."""
    async with await street.open() as store:
        host, _ = await begun(street, store)
        commit = store.commit_batch
        paused = False

        async def pauses_first(*arguments: object) -> object:
            nonlocal paused
            if not paused:
                paused = await store.halt(host.id, PAUSE, NOW)
            return await commit(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(store, "commit_batch", pauses_first)
        flow = street.flow(store)
        with pytest.raises(StoreError, match="judged anew"):
            await flow.store([host.report(3)])
        assert (await store.figures()).reports == 2
        stored = await flow.store([host.report(3)])
    assert (stored.reports, stored.refused) == (0, 1)
    assert street.refused() == [("host-paused", True)]


async def test_a_report_that_waits_is_not_taken_after_a_pause(street: Street) -> None:
    host = street.counters[0]
    async with await street.open() as store:
        flow = street.flow(store, patience_s=-1.0)
        await flow.store([host.report(2)])
        assert len(street.rows("parked")) == 1
        await store.halt(host.id, PAUSE, NOW)
        await flow.settle()
    assert street.refused() == [("host-paused", True)]
    assert street.rows("report") == street.rows("parked") == []


async def test_what_hosts_say_is_in_the_trail(street: Street) -> None:
    async with await street.open() as store:
        host, _ = await begun(street, store)
        for action in (PAUSE, PAUSE, RESUME, RESUME, WITHDRAW):
            await store.halt(host.id, action, NOW)
        verdict = await store.check_trail()
    assert verdict.ok
    assert verdict.by_kind["host"] == 3


@pytest.mark.parametrize("reason", [Reason.HOST_PAUSED, Reason.HOST_WITHDRAWN])
def test_the_reasons_are_told_in_both_languages(reason: Reason) -> None:
    assert sentence(reason, "nl") != sentence(reason, "en") != str(reason)
