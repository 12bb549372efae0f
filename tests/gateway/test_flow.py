"""The flow: nothing lost, doubled or spent twice, whatever comes in which order and breaks when."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from patience import DEADLINE_S
from sealed_street import DAY, NOW, WINDOW, Street
from stores import StorePlace

from peilmerk_gateway import flow as flow_module
from peilmerk_gateway import judge as judge_module
from peilmerk_gateway.admit import Admitted
from peilmerk_gateway.ingest import Batch, Delivery
from peilmerk_gateway.refusal import Reason
from peilmerk_gateway.store import BatchRows, Entry, Probe, Store, Stored, StoreError
from peilmerk_protocol import topics

TABLES = ("report", "observation", "withheld", "ledger", "attestation", "publish_outbox")
# Times of writing and row numbers depend on the order of arrival; what was written must not.
WHAT = {
    "report": "device_id, seq, window_start, window_s, revision, health, digest",
    "observation": "datastream, device_id, quantity, window_start, window_s, result, spread, samples",
    "withheld": "datastream, window_start, reason",
    "ledger": "deployment, device_id, quantity, kind, window_start, epsilon_micro",
    "attestation": "device_id, seq, revision, firmware_digest, profile_digest",
    "publish_outbox": "sink, state, attempts",
}


def written(street: Street) -> dict[str, list[tuple[object, ...]]]:
    return {table: street.rows(table, WHAT[table]) for table in TABLES}


@pytest.fixture
def street(tmp_path: Path, store_place: StorePlace) -> Iterator[Street]:
    made = Street(tmp_path, counters=2, air=1, place=store_place)
    yield made
    made.registry.close()


def day(street: Street) -> list[Delivery]:
    """Three boards' statements and four reports each, some figures below the threshold."""
    deliveries = []
    for board in (*street.counters, *street.air):
        deliveries.append(board.statement(1))
        for number in range(4):
            values = {0: (100 + number, 3), 4: (6,)} if board in street.air else {5: (8 + number,), 6: (40,)}
            deliveries.append(board.report(2 + number, WINDOW - 3 + number, values))
    return deliveries


async def test_one_batch_goes_all_the_way(street: Street) -> None:
    async with await street.open() as store:
        stored = await street.flow(store).store(day(street))
    assert stored == Stored(
        reports=12, statements=3, observations=16, withheld=4, refused=0, epsilon_micro=16 * 700_000
    )
    assert len(street.rows("publish_outbox")) == 16
    assert street.refused() == []


async def test_the_broker_may_bring_everything_again(street: Street) -> None:
    async with await street.open() as store:
        await street.flow(store).store(day(street))
        before = written(street)
        again = [replace(delivery, redelivered=True) for delivery in day(street)]
        assert await street.flow(store).store(again) == Stored()
        figures = await store.figures()
    assert written(street) == before
    assert street.refused() == []
    assert (figures.received, figures.redelivered) == (30, 15)


async def test_what_is_sent_again_is_refused_and_spends_nothing(street: Street) -> None:
    async with await street.open() as store:
        await street.flow(store).store(day(street))
        before = written(street)
        await street.flow(store).store(day(street))
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
        stored = await street.flow(store).store(day(street))
    assert stored.reports == 9
    assert street.refused() == [("internal", True)] * 3


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
    broker = Broker([day(street)])
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
    broker = Broker([day(street)])
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


async def test_a_batch_is_judged_while_the_one_before_is_written(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And sees it: what is not in the store yet is known all the same."""
    board = street.counters[0]
    first = [board.statement(1), board.report(2, WINDOW - 1)]
    second = [board.report(2, WINDOW - 1, {5: (1,)}), board.report(3, WINDOW - 1), board.report(4)]
    broker = Broker([first, second])
    async with await street.open() as store:
        real, known, judged = store.commit_batch, store.known, 0
        both = asyncio.Event()

        async def counted(probes: Sequence[Probe]) -> object:
            nonlocal judged
            answer = await known(probes)
            judged += 1
            if judged == 2:
                assert street.rows("report") == []
                both.set()
            return answer

        async def late(rows: BatchRows, now: float) -> Stored:
            await asyncio.wait_for(both.wait(), DEADLINE_S)
            return await real(rows, now)

        monkeypatch.setattr(store, "known", counted)
        monkeypatch.setattr(store, "commit_batch", late)
        await asyncio.wait_for(street.flow(store).run(broker, asyncio.Event()), DEADLINE_S)
    assert (broker.acknowledged, judged) == (5, 2)
    assert street.refused() == [("sequence-reused", True), ("window-repeated", True)]
    assert [row[1] for row in street.rows("report")] == [2, 4]


async def test_a_batch_is_judged_anew_when_the_one_before_was_not_written_as_judged(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_module, "BACKOFF_FIRST_S", 0.001)
    board = street.counters[0]
    broker = Broker([[board.statement(1), board.report(2, WINDOW - 1)], [board.report(3)]])
    async with await street.open() as store:
        real, known, judged = store.commit_batch, store.known, 0
        both = asyncio.Event()

        async def counted(probes: Sequence[Probe]) -> object:
            nonlocal judged
            answer = await known(probes)
            judged += 1
            if judged == 2:
                both.set()
            return answer

        async def changed(rows: BatchRows, now: float) -> Stored:
            await asyncio.wait_for(both.wait(), DEADLINE_S)
            if judged == 2:
                # From here on the record is over before what they measured.
                street.change("street", "2030-12-31", "2023-02-01")
                raise StoreError("disk full")
            return await real(rows, now)

        monkeypatch.setattr(store, "known", counted)
        monkeypatch.setattr(store, "commit_batch", changed)
        await asyncio.wait_for(street.flow(store).run(broker, asyncio.Event()), DEADLINE_S)
    assert (broker.acknowledged, judged) == (3, 4)
    assert street.refused() == [("G3", True), ("G3", True)]
    assert street.rows("report") == []


async def test_told_to_stop_in_trouble_it_leaves_the_batch_with_the_broker(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker, stop = Broker([day(street)]), asyncio.Event()
    async with await street.open() as store:

        async def never(rows: BatchRows, now: float) -> Stored:
            stop.set()
            raise StoreError("disk full")

        monkeypatch.setattr(store, "commit_batch", never)
        await asyncio.wait_for(street.flow(store).run(broker, stop), DEADLINE_S)
    assert broker.acknowledged == 0
    assert await broker.pending() == 15


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
        stored = await street.flow(store).store([*noise[:250], *day(street), *noise[250:]])
    assert stored.reports == 12
    assert stored.refused == 500
    assert Reason.INTERNAL not in {reason for reason, _ in street.refused()}


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
