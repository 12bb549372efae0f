"""Quarantine: what a person can mend is kept, and replayed once; what anybody can make is only counted."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sealed_street import FIRMWARE, NOW, WINDOW, Street
from stores import KINDS, StorePlace, place_of
from typer.testing import CliRunner

from peilmerk_gateway import retention, settings
from peilmerk_gateway.cli import app
from peilmerk_gateway.clock import ScaledClock
from peilmerk_gateway.ingest import Delivery
from peilmerk_gateway.judge import Judge
from peilmerk_gateway.open import Keyring
from peilmerk_gateway.quarantine import kept
from peilmerk_gateway.quarantine.kept import Choice, Desk
from peilmerk_gateway.store import Store
from peilmerk_gateway.store.quarantine import Bounds
from peilmerk_protocol import topics

OTHER = bytes(reversed(range(32)))


@pytest.fixture
def street(tmp_path: Path, store_place: StorePlace) -> Iterator[Street]:
    made = Street(tmp_path, counters=2, place=store_place)
    yield made
    made.registry.close()


def desk(street: Street, store: Store) -> Desk:
    judge = Judge(Keyring(street.registry), street.catalogue, store)
    return Desk(store, street.registry, street.catalogue, judge, street.clock)


def mend(street: Street) -> None:
    """Name the firmware that the boards run."""
    text = (street.records / "street.toml").read_text()
    text = text.replace(OTHER.hex(), FIRMWARE.hex())
    (street.records / "street.toml").write_text(text)
    assert street.catalogue.reload()


def break_record(street: Street) -> None:
    text = (street.records / "street.toml").read_text()
    (street.records / "street.toml").write_text(text.replace(FIRMWARE.hex(), OTHER.hex()))
    assert street.catalogue.reload()


async def refused(street: Street, store: Store, reports: int = 3) -> None:
    """Have one board's reports, and a day, refused as G6."""
    break_record(street)
    board = street.counters[0]
    flow = street.flow(store)
    await flow.store([board.statement(1)])
    await flow.store([board.report(2 + n, WINDOW - n, {5: (17,), 6: (3,)}) for n in range(reports)])
    await flow.store([board.day(2 + reports)])


async def settle(street: Street, store: Store) -> None:
    """Judge for good what waits for a statement."""
    await street.flow(store, patience_s=-1.0).settle()


async def test_a_mended_record_replays_everything_and_pays_once(street: Street) -> None:
    async with await street.open() as store:
        await refused(street, store)
        await settle(street, store)
        assert (await store.figures()).quarantined == {"G6": 4}
        assert street.rows("ledger") == street.rows("report") == []
        at = desk(street, store)
        outcome = await kept.replay(at, Choice())
        assert (outcome.messages, outcome.still) == (0, {"G6": 4})
        mend(street)
        outcome = await kept.replay(at, Choice())
        # Three windows with one figure below the threshold each, and a day with two.
        assert (outcome.messages, outcome.observations, outcome.still.total()) == (4, 5, 0)
        again = await kept.replay(at, Choice())
        assert (again.messages, again.observations) == (0, 0)
        figures, verdict = await store.figures(), await store.check_trail()
    assert street.rows("quarantine") == []
    assert sorted(street.rows("ledger", "epsilon_micro")) == [(300_000,)] * 2 + [(700_000,)] * 6
    assert len(street.rows("publish_outbox")) == 5
    assert (figures.quarantined, dict(figures.quarantine)) == ({}, {"kept": 4, "replayed": 4})
    # Refused once each, however often they were judged.
    assert figures.refused == {"G6": 4}
    assert (verdict.faults, verdict.by_kind["quarantine"]) == ([], 1)
    # The figure below the threshold is in no byte of the store, and no digest gives it away.
    assert [digest for (digest,) in street.rows("report", "digest") if digest is not None] != []
    assert len([1 for (digest,) in street.rows("report", "digest") if digest is None]) == 3


async def test_the_gateway_and_an_operator_at_once_write_it_once(street: Street) -> None:
    async with await street.open() as store, await street.open() as other:
        await refused(street, store)
        await settle(street, store)
        mend(street)
        board = street.counters[0]
        flow = street.flow(other)
        # The broker brings the same again while an operator replays.
        again = [board.report(2 + n, WINDOW - n, {5: (17,), 6: (3,)}, again=True) for n in range(3)]
        await asyncio.gather(
            kept.replay(desk(street, store), Choice()),
            kept.replay(desk(street, other), Choice()),
            flow.store(again),
        )
        verdict = await store.check_trail()
    assert verdict.faults == []
    assert len(street.rows("report")) == 4
    assert len(street.rows("ledger")) == 8
    assert street.rows("quarantine") == []


async def test_what_anybody_can_make_is_counted_and_not_kept(street: Street) -> None:
    board, other = street.counters
    stranger = Delivery("a2a2a2a2a2a2a2a2", topics.REPORT, board.report(2).payload)
    forged = Delivery(other.id, topics.REPORT, board.report(2).payload)
    async with await street.open() as store:
        flow = street.flow(store)
        await flow.store([other.statement(1), board.statement(1)])
        await flow.store(
            [stranger, forged, replace(forged, payload=b"\x83"), board.sealed(topics.REPORT, b"\x80")]
        )
        # Told before, or measured out of range: nothing that a record could mend.
        await flow.store([board.report(2), board.report(2), board.report(3), board.report(2, WINDOW - 5)])
        street.registry.revoke(other.id)
        await flow.store([other.report(2)])
        figures = await store.figures()
    assert figures.refused == {
        "unknown-device": 1,
        "forged": 1,
        "malformed": 2,
        "replayed": 1,
        "window-repeated": 1,
        "sequence-reused": 1,
        "revoked-device": 1,
    }
    assert (figures.quarantined, street.rows("quarantine")) == ({}, [])


async def test_the_oldest_go_first_and_one_device_pushes_out_only_its_own(street: Street) -> None:
    first, second = street.counters
    for record in street.records.glob("*.toml"):
        record.unlink()
    street.catalogue.reload()
    async with await street.open() as store:
        store.bounds = Bounds(messages=5, of_device=3, size=1 << 20)
        flow = street.flow(store)
        await flow.store([second.report(n, WINDOW - 9 + n) for n in range(1, 3)])
        for n in range(1, 6):
            street.clock = ScaledClock(NOW + n, 0.0, 0.0)
            await street.flow(store).store([first.report(n, WINDOW - 9 + n)])
        rows = await store.quarantined()
        assert [(row.device_id, row.seq) for row in rows] == sorted(
            [(first.id, 3), (first.id, 4), (first.id, 5), (second.id, 1), (second.id, 2)]
        )
        store.bounds = Bounds(messages=100, size=sum(row.size for row in rows))
        await flow.store([second.report(3, WINDOW - 6)])
        verdict, figures = await store.check_trail(), await store.figures()
    assert len(street.rows("quarantine")) == 5
    assert figures.quarantine == {"kept": 8, "full": 3}
    assert verdict.faults == []


async def test_time_and_the_records_own_retention_end_it(street: Street) -> None:
    async with await street.open() as store:
        await refused(street, store)
        await settle(street, store)
        assert await retention.expire(store, street.catalogue, 30, NOW + 29 * 86_400) == (0, 0)
        street.change("street", 'measures = "bicycle_away"', 'measures = "bicycle_away"\nretention_days = 2')
        ends = float(WINDOW * 900 + 900 + 2 * 86_400)
        assert await retention.expire(store, street.catalogue, 30, ends - 1, rows=1) == (3, 0)
        assert [row.seq for row in await store.quarantined()] == [2]
        assert await retention.expire(store, street.catalogue, 30, ends) == (1, 0)
        await street.flow(store).store([street.counters[1].report(9)])
        assert await retention.expire(store, street.catalogue, 30, NOW + 31 * 86_400) == (0, 0)
        await settle(street, store)
        assert await retention.expire(store, street.catalogue, 30, NOW + 31 * 86_400) == (1, 0)
        assert (await store.check_trail()).faults == []
        assert (await store.figures()).quarantine == {"kept": 5, "expired": 5}


async def test_a_withdrawn_host_and_an_erased_one_leave_nothing(street: Street) -> None:
    async with await street.open() as store:
        await refused(street, store)
        await settle(street, store)
        device = street.counters[0].id
        assert len((await store.held(device))["quarantined"]) == 4
        assert all("sealed" not in row for row in (await store.held(device))["quarantined"])
        await store.halt(device, "withdraw", NOW)
        assert street.rows("quarantine") == []
        mend(street)
        assert (await kept.replay(desk(street, store), Choice())).messages == 0
        await store.erase(device, NOW)
        assert (await store.check_trail()).faults == []
    assert street.rows("report") == []


async def test_what_was_measured_in_a_pause_is_not_replayed(street: Street) -> None:
    async with await street.open() as store:
        await refused(street, store, reports=1)
        await settle(street, store)
        mend(street)
        device = street.counters[0].id
        await store.halt(device, "pause", NOW)
        outcome = await kept.replay(desk(street, store), Choice())
        assert (outcome.messages, outcome.still) == (0, {"host-paused": 2})
        await store.halt(device, "resume", NOW)
        assert (await kept.replay(desk(street, store), Choice())).messages == 2


async def test_a_fault_of_ours_keeps_the_message(street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    from peilmerk_gateway import judge

    def breaks(*_: Any) -> Any:
        raise ZeroDivisionError

    board = street.counters[0]
    async with await street.open() as store:
        flow = street.flow(store)
        with monkeypatch.context() as patched:
            patched.setattr(judge, "account", breaks)
            await flow.store([board.statement(1), board.report(2)])
        assert (await store.figures()).quarantined == {"internal": 1}
        assert (await kept.replay(desk(street, store), Choice())).messages == 1
        assert (await store.check_trail()).faults == []


@pytest.fixture(scope="module", params=KINDS)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Street:
    """A gateway's folder with four refused messages, and two figures that a platform rejected."""
    folder = tmp_path_factory.mktemp("gateway")
    then = settings.ClockSettings(world_start=NOW, wall_start=0.0, speed=1e-9)
    city = settings.SinkSettings(name="city", kind="sensorthings", url="https://city.example/v1.1")
    settings.write_default(folder, clock=then, sinks=[city])
    (folder / "data").mkdir()
    made = Street(folder, counters=2)
    made.registry.close()
    for file in folder.glob("registry.db*"):
        file.rename(folder / "data" / file.name)
    made = made.moved(folder)
    made.registry.close()
    from peilmerk_gateway.registry import Registry

    made.registry = Registry(folder / "data" / "registry.db")
    made._place = place_of(request.param, folder / "data", request)
    made.place.serve(folder / "gateway.toml")

    async def live() -> None:
        async with await made.open() as store:
            board = made.counters[1]
            await made.flow(store).store([board.statement(1), board.report(2)])
            ids = [row.observation_id for row in await store.claim("city", 10, NOW)]
            await store.mark_rejected("city", [(number, "no such thing") for number in ids], NOW)
            await refused(made, store)
            await settle(made, store)

    asyncio.run(live())
    made.registry.close()
    return made


def copied(built: Street, folder: Path) -> StorePlace:
    """The gateway once more, for a test of its own, in this folder; where its store is."""
    shutil.copytree(built.folder, folder)
    place = built.place.copied(folder / "data")
    place.serve(folder / "gateway.toml")
    return place


def run(folder: Path, *words: str) -> tuple[int, dict[str, Any], str]:
    done = CliRunner().invoke(app, ["quarantine", *words, "-g", str(folder), "--json"])
    return done.exit_code, json.loads(done.stdout) if done.stdout.startswith("{") else {}, done.output


def test_the_commands_list_explain_replay_and_drop(built: Street, tmp_path: Path) -> None:
    folder = tmp_path / "gateway"
    place = copied(built, folder)
    device = built.counters[0].id
    code, told, _ = run(folder, "list")
    assert code == 0
    assert told["figures"] | {"items": []} == {
        "messages": 4,
        "reasons": {"G6": 4},
        "rejected": 2,
        "items": [],
    }
    assert [item["item"] for item in told["figures"]["items"]] == [
        *(f"{device}/{number}" for number in range(2, 6)),
        "city:1",
        "city:2",
    ]
    assert run(folder, "list", "--sink", "city")[1]["figures"]["messages"] == 0
    assert run(folder, "list", "--reason", "G6", "--device", "fietspad-0")[1]["figures"]["messages"] == 4
    assert run(folder, "list", "--since", "2033-01-01T00:00")[1]["figures"]["items"] == []

    code, told, _ = run(folder, "explain", f"{device}/2")
    figures = told["figures"]
    assert (figures["reason"], figures["would"], figures["sensor"]) == ("G6", "G6", "fietspad-0")
    assert figures["firmware"] == {"stated": FIRMWARE.hex(), "record": [OTHER.hex()]}
    assert not any(str(value) == "17" for value in figures.values())
    assert run(folder, "explain", "city:1")[1]["figures"]["because"] == "no such thing"

    code, told, _ = run(folder, "replay", f"{device}/2")
    assert (code, told["figures"]["refused_still"]) == (1, {"G6": 1})
    assert run(folder, "replay")[0] == run(folder, "drop", "nonsense")[0] == 2
    assert "found 0 of 1 items" in run(folder, "drop", "--yes", f"{device}/77")[2]
    assert run(folder, "drop", "--yes", f"{device}/2")[1]["figures"] == {"messages": 1, "unqueued": 0}
    assert run(folder, "drop", "--yes", "city:1")[1]["figures"] == {"messages": 0, "unqueued": 1}

    record = folder / "deployments" / "street.toml"
    text = record.read_text().replace(OTHER.hex(), FIRMWARE.hex())
    assert text.count('version = "1"') == 1
    record.write_text(text.replace('version = "1"', 'version = "2"'))
    code, told, _ = run(folder, "replay", "--all")
    assert (code, told["ok"]) == (0, True)
    assert told["figures"] == {"messages": 3, "observations": 4, "queued_again": 1, "refused_still": {}}

    async def look() -> tuple[list[int], list[tuple[int, str]]]:
        async with await Store.look(place.where, ("city",)) as store:
            ids = [row.observation_id for row in await store.claim("city", 10, 4e9)]
            # Taken this time, and told so.
            await store.mark_done("city", [(number, f"remote-{number}") for number in ids], NOW)
            return ids, (await store.check_trail()).faults

    ids, faults = asyncio.run(look())
    assert 2 in ids
    assert 1 not in ids
    assert faults == []


def test_a_platform_that_there_is_not_is_bad_input(built: Street, tmp_path: Path) -> None:
    folder = tmp_path / "gateway"
    copied(built, folder)
    before = run(folder, "list")[1]["figures"]
    assert (before["messages"], before["rejected"]) == (4, 2)
    wanted = "error: found platform 'nobody', wanted one of city\n"
    for words in (("list",), ("replay",), ("drop", "--yes")):
        assert run(folder, *words, "--sink", "nobody") == (2, {}, wanted), words
    assert run(folder, "replay", "nobody:1") == (2, {}, wanted)
    # One that the settings named once: nothing is sent there, and what it rejected can be looked at and left.
    file = folder / "gateway.toml"
    file.write_text(file.read_text().replace('name = "city"', 'name = "region"'))
    wanted = "error: found platform 'city', wanted one of region\n"
    assert run(folder, "replay", "--sink", "city") == run(folder, "replay", "city:1") == (2, {}, wanted)
    assert run(folder, "list")[1]["figures"] == before
    code, told, _ = run(folder, "list", "--sink", "city")
    assert (code, [item["item"] for item in told["figures"]["items"]]) == (0, ["city:1", "city:2"])
    assert run(folder, "list", "--sink", "region")[1]["figures"]["items"] == []
    assert run(folder, "replay", "--sink", "region")[1]["figures"]["queued_again"] == 0
    assert "wanted one of city, region" in run(folder, "list", "--sink", "nobody")[2]
    assert run(folder, "drop", "--yes", "--sink", "city")[1]["figures"] == {"messages": 0, "unqueued": 2}
    assert "found platform 'city', wanted one of region" in run(folder, "drop", "--yes", "--sink", "city")[2]
    # None at all.
    file.write_text(file.read_text().partition("[[sinks]]")[0])
    code, _, said = run(folder, "replay", "--sink", "city")
    assert (code, said) == (2, f"error: found platform 'city', {file} names none\n")


async def test_rejected_figures_expire_and_the_trail_tells_it(built: Street, tmp_path: Path) -> None:
    place = copied(built, tmp_path / "gateway")
    async with await Store.open(place.where, ("city",)) as store:
        assert await retention.expire(store, built.catalogue, 30, NOW + 30 * 86_400) == (0, 0)
        assert await retention.expire(store, built.catalogue, 30, NOW + 30 * 86_400 + 1) == (4, 2)
        assert (await store.figures()).sinks["city"].rejected == 0
        assert (await store.check_trail()).faults == []
