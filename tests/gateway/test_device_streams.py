"""Which board has figures of which datastream: written with the first, kept for as long as there is one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from stores import StorePlace

from peilmerk_gateway.store import BatchRows, Entry, ObservationRow, ReportRow, Store, StoreRefused
from peilmerk_gateway.store import device_streams as ds
from peilmerk_gateway.store.removal import Term

DEVICE, OTHER = "a" * 16, "b" * 16
START = 1_800_000_000


def entry(seq: int, *, device_id: str = DEVICE, thing: str = "pole", result: int = 17) -> Entry:
    start = START + seq * 900
    rows = tuple(
        ObservationRow(
            f"street/{thing}/{name}", "street", thing, device_id, number, start, 900, result, is_public=public
        )
        for number, name, public in ((32, "pm10", True), (33, "pm2_5", False))
    )
    return Entry(ReportRow(device_id, seq, start, 900, 1, 0, b"d" * 32), rows)


def told(place: StorePlace) -> list[tuple[str, str]]:
    return sorted(place.dump("device_stream")[0])


PAIRS = [(DEVICE, "street/pole/pm10"), (DEVICE, "street/pole/pm2_5")]


@pytest.fixture
async def store(store_place: StorePlace) -> AsyncIterator[Store]:
    async with await Store.open(store_place.where, sinks=("city",)) as opened:
        yield opened


async def test_it_is_written_once(store: Store, store_place: StorePlace) -> None:
    for seq in (1, 2):
        await store.commit_batch(BatchRows([entry(seq)]), 1.0)
        assert told(store_place) == PAIRS
    # A board that takes another's place, and one that moves.
    await store.commit_batch(BatchRows([entry(3, device_id=OTHER), entry(4, thing="bridge")]), 1.0)
    moved = [(DEVICE, "street/bridge/pm10"), (DEVICE, "street/bridge/pm2_5")]
    assert told(store_place) == [*moved, *PAIRS, *((OTHER, key) for _, key in PAIRS)]
    assert (await store.kept())[0] == [
        "street/bridge/pm10",
        "street/bridge/pm2_5",
        "street/pole/pm10",
        "street/pole/pm2_5",
    ]
    held = await store.held(DEVICE)
    assert [row["window_start"] - START for row in held["figures"]] == [900, 900, 1800, 1800, 3600, 3600]
    assert len((await store.held(OTHER))["figures"]) == 2


async def test_a_batch_that_failed_is_not_taken_for_written(store: Store, store_place: StorePlace) -> None:
    bad = entry(2)
    bad = bad._replace(report=bad.report._replace(health=None))  # type: ignore[arg-type]
    late = entry(1)._replace(withheld=(None,))  # type: ignore[arg-type]
    for spoiled in (bad, late):
        with pytest.raises((StoreRefused, AttributeError)):
            await store.commit_batch(BatchRows([entry(3), spoiled]), 1.0)
        assert told(store_place) == []
    # One that fails after they were written, in the same transaction.
    store.sinks = ("x", "x")
    with pytest.raises(StoreRefused, match="publish_outbox"):
        await store.commit_batch(BatchRows([entry(3)]), 1.0)
    assert told(store_place) == []
    store.sinks = ("city",)
    await store.commit_batch(BatchRows([entry(3)]), 1.0)
    assert told(store_place) == PAIRS


async def test_what_is_remembered_is_bounded(
    store: Store, store_place: StorePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ds, "REMEMBERED", 4)
    things = [f"pole-{n}" for n in range(5)]
    for seq, thing in enumerate((*things, *things), 1):
        await store.commit_batch(BatchRows([entry(seq, thing=thing)]), 1.0)
        assert len(store._streams._known) <= 4
    assert len(told(store_place)) == 10


async def test_a_board_is_found_by_it_until_nothing_of_it_is_left(
    store: Store, store_place: StorePlace
) -> None:
    await store.commit_batch(BatchRows([entry(1), entry(2), entry(2, device_id=OTHER, thing="bridge")]), 1.0)
    claimed = await store.claim("city", 1, 1.0)
    await store.mark_done("city", [(claimed[0].observation_id, None)], 2.0)
    removed = await store.erase(DEVICE, 3.0)
    # What a platform has, stays, and is still found to be the board's.
    assert (removed.observations, removed.reports) == (3, 2)
    assert [row["window_start"] - START for row in (await store.held(DEVICE))["figures"]] == [900]
    assert told(store_place)[:2] == PAIRS
    await store.erase(OTHER, 3.0)
    assert told(store_place) == PAIRS
    assert (await store.held(OTHER))["figures"] == []
    # Age takes the last figure; then there is nothing to be found.
    terms = [Term(key, START + 10**6) for key in (await store.kept())[0]]
    assert (await store.age_out((await store.due(terms, [], 100))[:100], 4.0)).observations == 1
    await store.erase(DEVICE, 5.0)
    assert told(store_place) == []
    assert (await store.check_trail()).ok


async def test_what_is_not_written_down_is_found_and_erased_all_the_same(
    store: Store, store_place: StorePlace
) -> None:
    await store.commit_batch(BatchRows([entry(1), entry(2, device_id=OTHER)]), 1.0)
    with store_place.raw() as db:
        db.execute("DELETE FROM device_stream WHERE device_id = ?", (DEVICE,))
    assert (await store.check_trail()).faults == [
        (0, "figures: found 2 that are not among what their boards have told")
    ]
    assert (await store.erase(DEVICE, 3.0)).observations == 2
    assert (await store.check_trail()).ok
    assert told(store_place) == [(OTHER, key) for _, key in PAIRS]


async def test_the_number_of_a_rejected_figure_that_is_gone_may_be_anothers(store: Store) -> None:
    for round in range(3):
        await store.commit_batch(BatchRows([entry(round + 1)]), 1.0)
        (claimed,) = await store.claim("city", 5, 1.0)
        assert (await store.check_trail()).ok
        await store.mark_rejected("city", [(claimed.observation_id, "not wanted")], 2.0)
        assert (await store.check_trail()).ok
        terms = [Term(key, START + 10**6) for _, key in PAIRS]
        assert (await store.age_out((await store.due(terms, [], 100))[:100], 3.0)).observations == 2
        assert (await store.check_trail()).ok


async def test_one_datastream_of_a_thing_is_not_another(store: Store) -> None:
    await store.commit_batch(BatchRows([entry(1), entry(2)]), 1.0)
    found = await store.latest("street/pole/pm10", 5)
    assert [window.window_start - START for window in found] == [900, 1800]
    removed = await store.age_out(
        (await store.due([Term("street/pole/pm10", START + 10**6)], [], 100))[:100], 2.0
    )
    assert removed.observations == 2
    assert await store.latest("street/pole/pm10", 5) == []
    assert len(await store.latest("street/pole/pm2_5", 5)) == 2
