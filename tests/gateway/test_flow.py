"""The flow: nothing lost, doubled or spent twice, and what is refused spends nothing."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from flow_messages import messages, written
from sealed_street import NOW, WINDOW, Street

from peilmerk_gateway import judge as judge_module
from peilmerk_gateway.admit import Admitted
from peilmerk_gateway.ingest import Delivery
from peilmerk_gateway.refusal import Reason
from peilmerk_gateway.store import Entry, Stored
from peilmerk_protocol import topics


async def test_one_batch_goes_all_the_way(street: Street) -> None:
    async with await street.open() as store:
        stored = await street.flow(store).store(messages(street))
    assert stored == Stored(
        reports=12, statements=3, observations=16, withheld=4, refused=0, epsilon_micro=16 * 700_000
    )
    assert len(street.rows("publish_outbox")) == 16
    assert street.refused() == []


async def test_the_broker_may_bring_everything_again(street: Street) -> None:
    async with await street.open() as store:
        await street.flow(store).store(messages(street))
        before = written(street)
        again = [replace(delivery, redelivered=True) for delivery in messages(street)]
        assert await street.flow(store).store(again) == Stored()
        figures = await store.figures()
    assert written(street) == before
    assert street.refused() == []
    assert (figures.received, figures.redelivered) == (30, 15)


async def test_what_is_sent_again_is_refused_and_spends_nothing(street: Street) -> None:
    async with await street.open() as store:
        await street.flow(store).store(messages(street))
        before = written(street)
        await street.flow(store).store(messages(street))
    assert written(street) == before
    assert street.refused() == [("replayed", True)] * 15


async def test_a_number_with_another_content_is_refused(street: Street) -> None:
    board = street.counters[0]
    async with await street.open() as store:
        flow = street.flow(store)
        await flow.store([board.statement(1), board.report(2)])
        await flow.store([board.report(2, values={5: (99,), 6: (99,)})])
        await flow.store([board.report(1)])
        await flow.store([board.report(3)])
    assert street.refused() == [
        ("sequence-reused", True),
        ("sequence-reused", True),
        ("window-repeated", True),
    ]
    assert street.rows("ledger", "epsilon_micro") == [(700_000,), (700_000,)]


async def test_doubles_within_one_batch_are_seen(street: Street) -> None:
    board = street.counters[0]
    async with await street.open() as store:
        await street.flow(store).store(
            [board.report(2), board.report(2), board.report(3), board.statement(1), board.statement(1)]
        )
    assert sorted(street.refused()) == [("replayed", True), ("replayed", True), ("window-repeated", True)]
    assert len(street.rows("report")) == 1


async def test_spoofed_messages_spend_nothing_and_name_nobody(street: Street) -> None:
    first, second = street.counters
    forged = bytearray(first.report(9).payload)
    forged[-1] ^= 0x80
    async with await street.open() as store:
        await street.flow(store).store(
            [
                first.statement(1),
                Delivery(first.id, topics.REPORT, bytes(forged)),
                Delivery(second.id, topics.REPORT, first.report(9).payload),
                Delivery("z" * 16, topics.REPORT, first.report(9).payload),
                Delivery(None, 0, b"anything"),
                Delivery(first.id, topics.REPORT, b"\0" * 5000),
            ]
        )
        assert await store.budget_today(NOW) == []
    assert [named for _, named in street.refused()] == [False] * 5
    assert {reason for reason, _ in street.refused()} == {
        "forged",
        "unknown-device",
        "malformed",
        "too-large",
    }
    for table in ("report", "observation", "ledger"):
        assert street.rows(table) == []


async def test_no_payload_of_a_refused_message_is_on_the_disk(street: Street) -> None:
    board = street.counters[0]
    canary = bytes(range(200, 240))
    async with await street.open() as store:
        await street.flow(store).store([Delivery(board.id, topics.REPORT, canary)])
    assert street.refused() == [("malformed", False)]
    assert street.place.holds(b"malformed")
    assert not street.place.holds(canary)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("active_until = 2030-12-31\n", "", "G1"),
        ("themes = [", "themes = []#[", "G1"),
        ("contains_personal_data = false\n", "", "G1"),
        ("[location]\npoint = {", "[elsewhere]\npoint = {", "G1"),
        ('access = "', 'access = ""#', "G5"),
        ("k = 10", "k = 11", "G6"),
        ('epsilon_leaf = "7/10"', 'epsilon_leaf = "9/10"', "G6"),
        ('firmware_digest = "00', 'firmware_digest = "01', "G6"),
        ('measures = "bicycle_away"', 'measures = "pedestrian_away"', "G7"),
        ("k = 10", "k = ", "record-broken"),
        ('organisation = "', 'organization = "', "record-broken"),
    ],
)
async def test_what_its_record_does_not_permit_is_refused(
    tmp_path: Path, old: str, new: str, reason: str
) -> None:
    street = Street(tmp_path, counters=1, air=1)
    file = street.records / "street.toml"
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), "utf-8")
    street.catalogue.reload()
    board, neighbour = street.counters[0], street.air[0]
    async with await street.open() as store:
        await street.flow(store).store([board.statement(1), neighbour.statement(1)])
        await street.flow(store).store([board.report(2), neighbour.report(2, values={0: (100, 3), 4: (6,)})])
    assert street.refused() == [(reason, True)]
    assert [row[0] for row in street.rows("report")] == [neighbour.id]
    assert street.rows("ledger") == []


async def test_a_mended_record_is_in_force_with_the_next_batch(street: Street) -> None:
    board = street.counters[0]
    async with await street.open() as store:
        flow = street.flow(store)
        street.change("street", "k = 10", "k = 11")
        await flow.store([board.statement(1), board.report(2, WINDOW - 1)])
        street.change("street", "k = 11", "k = 10")
        await flow.store([board.report(3)])
    assert street.refused() == [("G6", True)]
    assert [row[1] for row in street.rows("report")] == [3]


async def test_a_fault_of_ours_costs_one_message_only(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = judge_module.account

    def faulty(admitted: Admitted) -> Entry:
        if admitted.report.seq == 3:
            raise ZeroDivisionError("a figure of the message might be in here")
        return real(admitted)

    monkeypatch.setattr(judge_module, "account", faulty)
    async with await street.open() as store:
        stored = await street.flow(store).store(messages(street))
    assert stored.reports == 9
    assert street.refused() == [("internal", True)] * 3


async def test_random_bytes_never_stop_a_batch(street: Street) -> None:
    source = random.Random(1)
    board = street.counters[0]
    noise = [
        Delivery(
            source.choice([board.id, None, "q" * 16]),
            source.randrange(6),
            source.randbytes(source.randrange(600)),
        )
        for _ in range(300)
    ]
    noise += [
        board.sealed(source.choice([1, 2, 3]), source.randbytes(source.randrange(60))) for _ in range(200)
    ]
    async with await street.open() as store:
        stored = await street.flow(store).store([*noise[:250], *messages(street), *noise[250:]])
    assert stored.reports == 12
    assert stored.refused == 500
    assert Reason.INTERNAL not in {reason for reason, _ in street.refused()}
