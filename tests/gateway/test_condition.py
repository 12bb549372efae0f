"""How a gateway says that it is well: what makes it unready, in words; its metrics; who may read them."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from sealed_street import NOW, WINDOW, Street
from stores import StorePlace

from peilmerk_gateway.operation import metrics
from peilmerk_gateway.operation.cli import FILES, KIT, Piece, piece
from peilmerk_gateway.operation.condition import Condition
from peilmerk_gateway.refusal import Reason
from peilmerk_gateway.settings import Settings, load, write_default
from peilmerk_gateway.store import Store, StoreError
from peilmerk_gateway.store.halts import PAUSE
from peilmerk_gateway.web import create_app
from peilmerk_gateway.web.insiders import Insiders


@pytest.fixture
def street(tmp_path: Path, store_place: StorePlace) -> Iterator[Street]:
    made = Street(tmp_path, place=store_place)
    yield made
    made.registry.close()


@pytest.fixture
async def store(street: Street) -> AsyncIterator[Store]:
    async with await street.open() as opened:
        yield opened


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load(write_default(tmp_path / "village"))


def condition(street: Street, store: Store, **options: Any) -> Condition:
    values: dict[str, Any] = {"least_free_bytes": 0, "broker_seen": time.time} | options
    return Condition(store, street.clock, street.folder, **values)


def cut(street: Street) -> None:
    """End every connection to the street's database."""
    assert street.place.server is not None
    street.place.server.cut_connections(street.place.name)


async def looked(made: Condition) -> dict[str, str]:
    await made.look()
    return made.troubles()


async def test_a_gateway_that_is_well_has_no_troubles(street: Street, store: Store) -> None:
    made = condition(street, store)
    assert made.troubles() == {"watch": "nothing was looked at yet"}
    assert await looked(made) == {}
    assert made.alive
    assert street.rows("tally") == [("probes", 1)]


async def test_a_store_that_cannot_be_written_is_told_in_words(street: Street, store: Store) -> None:
    made = condition(street, store)
    await made.look()
    if street.place.is_postgresql:
        street.place.run(f'ALTER DATABASE "{street.place.name}" SET default_transaction_read_only = on')
        cut(street)
        why = "cannot execute INSERT in a read-only transaction"
    else:
        with store._writing.begin() as connection:
            connection.exec_driver_sql("PRAGMA query_only = ON")
        why = "attempt to write a readonly database"
    assert await looked(made) == {"store": f"the store cannot be written: {why}"}
    # What can still be read is alive: a restart would change nothing.
    assert made.alive


async def test_a_store_that_cannot_be_read_is_dead(street: Street, store: Store) -> None:
    made = condition(street, store)
    await made.look()
    if street.place.is_postgresql:
        assert street.place.server is not None
        street.place.server.execute(f'ALTER DATABASE "{street.place.name}" ALLOW_CONNECTIONS false')
        cut(street)
        why = ".*not currently accepting connections"
    else:
        for file in street.folder.glob("store.db*"):
            file.write_bytes(b"spoilt" * 4_096)
        store._reading.dispose()
        why = "(disk I/O error|a page of the file is damaged. The gateway puts .*)"
    troubles = await looked(made)
    assert re.fullmatch(f"the store cannot be read: {why}", troubles["store"])
    assert str(street.folder) not in str(troubles)
    assert not made.alive


async def test_a_broker_that_is_away_makes_it_unready_and_not_dead(street: Street, store: Store) -> None:
    assert await looked(condition(street, store, broker_seen=lambda: None)) == {
        "broker": "the broker was never there"
    }
    made = condition(street, store, broker_seen=lambda: time.time() - 100)
    assert re.fullmatch(
        r"the broker was last there 1\d\d s ago, wanted it within 30 s", (await looked(made))["broker"]
    )
    assert made.alive
    assert await looked(condition(street, store, broker_seen=lambda: time.time() - 5)) == {}


async def test_a_disk_that_is_nearly_full_is_told_with_both_figures(street: Street, store: Store) -> None:
    free = shutil.disk_usage(street.folder).free
    troubles = await looked(condition(street, store, least_free_bytes=free + (1 << 33)))
    found, wanted = map(int, re.findall(r"(\d+) MiB", troubles["disk"]))
    assert abs(found - (free >> 20)) < 4_096
    assert wanted == (free + (1 << 33)) >> 20


async def test_a_platform_that_takes_nothing_is_told_by_its_name(street: Street, store: Store) -> None:
    (board,) = street.counters
    made = condition(street, store, stalled_s=0.0)
    assert await looked(made) == {}, "nothing is due"
    await street.flow(store).store([board.statement(1), board.report(2)])
    found = (await looked(made))["publish"]
    assert re.fullmatch(r"city: 2 rows are due, none was taken for \d+ s", found)
    assert await looked(condition(street, store, stalled_s=900.0)) == {}
    # What a host has halted waits lawfully.
    await store.halt(board.id, PAUSE, NOW)
    assert await looked(made) == {}


async def test_rows_that_may_not_be_told_yet_are_not_due(street: Street, store: Store) -> None:
    (board,) = street.counters
    await street.flow(store).store([board.statement(1), board.report(2)])
    ids = [row.observation_id for row in await store.claim("city", 10, NOW)]
    await store.mark_again("city", ids, "held", NOW + 3_600)
    assert await looked(condition(street, store, stalled_s=0.0)) == {}


async def test_a_watch_that_stands_still_is_dead(street: Street, store: Store) -> None:
    made = condition(street, store)
    await made.look()
    made._looked_at -= 1_000
    assert list(made.troubles()) == ["watch"]
    assert not made.alive


# Who may read what.


def client(street: Street, store: Store, settings: Settings, **options: Any) -> httpx.AsyncClient:
    address = options.pop("address", "127.0.0.1")
    made = options.pop("condition", None) or condition(street, store)
    app = create_app(store, street.catalogue, street.clock, settings, condition=made, **options)
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app, client=(address, 1)), base_url="http://gateway.test"
    )


async def test_health_and_readiness_answer_with_their_status(
    street: Street, store: Store, settings: Settings
) -> None:
    made = condition(street, store, broker_seen=lambda: None)
    await made.look()
    async with client(street, store, settings, condition=made) as asks:
        healthy, ready = await asks.get("/healthz"), await asks.get("/readyz")
    assert (healthy.status_code, healthy.json()) == (200, {"ok": True})
    assert ready.status_code == 503
    assert ready.json() == {
        "ok": False,
        "checks": {"store": True, "broker": False, "disk": True, "publish": True, "watch": True},
        "reasons": {"broker": "the broker was never there"},
    }


@pytest.mark.parametrize(
    ("address", "headers", "may"),
    [
        ("127.0.0.1", {}, True),
        ("::1", {}, True),
        ("127.0.0.1", {"x-forwarded-for": "192.0.2.7"}, False),
        ("127.0.0.1", {"forwarded": "for=192.0.2.7"}, False),
        ("192.0.2.7", {}, False),
        ("192.0.2.7", {"authorization": "Bearer s3cret"}, True),
        ("192.0.2.7", {"authorization": "Bearer s3cre"}, False),
        ("192.0.2.7", {"authorization": "Bearer "}, False),
    ],
)
async def test_metrics_and_reasons_are_for_this_machine_or_with_the_token(
    street: Street,
    store: Store,
    settings: Settings,
    tmp_path: Path,
    address: str,
    headers: dict[str, str],
    may: bool,
) -> None:
    token = tmp_path / "metrics.token"
    token.write_text("s3cret\n")
    token.chmod(0o600)
    async with client(street, store, settings, address=address, insiders=Insiders(token)) as asks:
        told = await asks.get("/metrics", headers=headers)
        ready = await asks.get("/readyz", headers=headers)
    assert told.status_code == (200 if may else 404)
    assert ("reasons" in ready.json()) is may
    token.chmod(0o644)
    async with client(street, store, settings, address=address, insiders=Insiders(token)) as asks:
        told = await asks.get("/metrics", headers=headers)
    assert told.status_code == (200 if may and "authorization" not in headers else 404)


# Metrics.


async def exposed(street: Street, store: Store, made: Condition | None = None) -> dict[str, dict[str, float]]:
    """Return name -> labels in one text -> figure."""
    made = made or condition(street, store)
    await made.look()
    text = (await metrics.exposition(store, made, metrics.Facts(certificate_ends=NOW))).decode()
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


async def test_metrics_count_what_the_store_counted(street: Street, store: Store) -> None:
    (board,) = street.counters
    await street.flow(store).store(
        [
            board.statement(1),
            board.report(2),
            board.report(2),
            board.report(3, WINDOW - 1, {5: (2,), 6: (20,)}),
        ]
    )
    made = condition(street, store, broker_seen=lambda: None)
    found = await exposed(street, store, made)
    assert found["peilmerk_messages_received_total"] == {"": 4}
    assert found["peilmerk_reports_stored_total"] == {"": 2}
    assert found["peilmerk_figures_withheld_total"] == {"": 1}
    assert found["peilmerk_messages_refused_total"]["reason=replayed"] == 1
    assert found["peilmerk_outbox_rows"]["sink=city,state=waiting"] == 3
    assert found["peilmerk_outbox_due_rows"] == {"sink=city": 3}
    assert found["peilmerk_ready"] == {"": 0}
    assert found["peilmerk_check_ok"] == {
        "check=store": 1,
        "check=broker": 0,
        "check=disk": 1,
        "check=publish": 1,
        "check=watch": 1,
    }
    assert found["process_resident_memory_bytes"][""] > 0


async def test_labels_come_from_closed_sets_and_name_nobody(street: Street, store: Store) -> None:
    (board,) = street.counters
    before = await exposed(street, store)
    await street.flow(store).store([board.statement(1), board.report(2), board.report(2)])
    after = await exposed(street, store)
    assert {name: set(rows) for name, rows in before.items()} == {
        name: set(rows) for name, rows in after.items()
    }
    assert set(after["peilmerk_messages_refused_total"]) == {f"reason={reason}" for reason in Reason}
    text = json.dumps(after)
    for private in (board.id, "street", "fietspad", str(street.folder)):
        assert private not in text


async def test_a_store_that_fails_leaves_the_rest_of_the_metrics(
    street: Street, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> None:
        raise StoreError("x: disk I/O error")

    made = condition(street, store)
    await made.look()
    monkeypatch.setattr(store, "figures", broken)
    text = (await metrics.exposition(store, made, metrics.Facts())).decode()
    assert "peilmerk_ready" in text
    assert "peilmerk_messages_received_total" not in text


# What is printed to watch it with.

NAME = re.compile(r"\b(?:peilmerk|process)_[a-z_]+\b")


async def known(street: Street, store: Store) -> set[str]:
    made = condition(street, store, pending=lambda: asyncio.sleep(0, 7))
    return set(await exposed(street, store, made))


async def test_alert_rules_are_yaml_and_ask_for_metrics_that_there_are(street: Street, store: Store) -> None:
    there = await known(street, store)
    rules = [
        rule for group in yaml.safe_load(piece(Piece.ALERTS, Path()))["groups"] for rule in group["rules"]
    ]
    assert len({rule["alert"] for rule in rules}) == len(rules) >= 8
    for rule in rules:
        asked = set(NAME.findall(rule["expr"]))
        assert asked, rule
        assert asked <= there, rule
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["what_to_do"]


async def test_the_dashboard_is_json_and_shows_metrics_that_there_are(street: Street, store: Store) -> None:
    there = await known(street, store)
    board = json.loads(piece(Piece.DASHBOARD, Path()))
    asked: set[str] = set()
    for panel in board["panels"]:
        for target in panel["targets"]:
            names = set(NAME.findall(target["expr"]))
            assert names, panel["title"]
            asked |= names
    assert asked <= there
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids) >= 10
    # Nothing lies over anything else in the grid of 24 columns.
    places = [
        (x, y)
        for panel in board["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(places) == len(set(places))
    assert max(x for x, _ in places) < 24


def test_every_piece_is_there_and_carries_the_paths(tmp_path: Path) -> None:
    assert {file.name for file in KIT.iterdir()} == set(FILES.values())
    unit = piece(Piece.SYSTEMD, tmp_path)
    assert "@FOLDER@" not in unit
    assert re.search(rf"^ExecStart=/\S+ gateway run {re.escape(str(tmp_path))}$", unit, re.MULTILINE)
    assert "UNTESTED" in piece(Piece.CONTAINER, tmp_path)


# Every address has a reason.


async def test_every_endpoint_is_in_the_guide_with_its_reason(
    street: Street, store: Store, settings: Settings, tmp_path: Path
) -> None:
    from peilmerk_gateway.updates.server import create_app as firmware_app

    page = create_app(store, street.catalogue, street.clock, settings, condition=condition(street, store))
    served = {route.path for route in (*page.routes, *firmware_app(tmp_path).routes)}  # type: ignore[attr-defined]
    guide = (Path(__file__).parents[2] / "docs" / "operator.md").read_text("utf-8")
    table = guide.split("<!-- endpoints -->")[1].split("\n\n")[1]
    told = {row.split("|")[1].strip().strip("`"): row.split("|")[3].strip() for row in table.splitlines()[2:]}
    assert set(told) == served
    assert all(told.values())
