"""A real gateway while it runs: what its logs tell, changed settings, being told to stop at a bad moment."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from mqtt_board import Board, until, village, with_password
from patience import DEADLINE_S
from running_gateway import Gateway, connected, gateway, reached
from sealed_street import Counter

from peilmerk_bench.platform import SensorThingsServer
from peilmerk_gateway import child, service
from peilmerk_gateway.free_port import free_port
from peilmerk_gateway.operation.backup import back_up
from peilmerk_gateway.operation.restore import restore
from peilmerk_gateway.settings import Settings, load
from peilmerk_gateway.store import Store
from peilmerk_gateway.trust import ensure_trust
from peilmerk_gateway.web import server
from peilmerk_protocol import topics

EMAIL = "canary-of-a-host@thuis.example"
SINK = '\n[[sinks]]\nname = "city"\nkind = "sensorthings"\nurl = "{url}"\n'


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return village(tmp_path / "village", web_port=0)


@contextmanager
def deaf_platform() -> Iterator[tuple[str, socket.socket]]:
    """A platform that takes every connection and answers nothing; its address, and who listens there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE_S)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1.1", listener


def add_sink(settings: Settings, url: str, more: str = "") -> None:
    with settings.file.open("a") as file:
        file.write(SINK.format(url=url) + more)


async def send(board: Board, counter: Counter, seqs: Iterator[int] | range, last: int) -> None:
    for seq in seqs:
        await asyncio.to_thread(board.report, counter.report(seq, last - 400 + seq).payload)


async def published(settings: Settings, wanted: int) -> None:
    async def there() -> int:
        async with await Store.look(settings.gateway.data_dir / "store.db") as store:
            sinks = (await store.figures()).sinks
            return sinks["city"].published if "city" in sinks else 0

    await eventually(there, wanted)


async def eventually(ask: Callable[[], Awaitable[object]], wanted: object) -> None:
    end = time.monotonic() + DEADLINE_S
    while (found := await ask()) != wanted:
        assert time.monotonic() < end, f"found {found}, wanted {wanted}"
        await asyncio.sleep(0.1)


# Logs.


def forms(canary: bytes | str) -> set[str]:
    """How something could stand in a log."""
    raw = canary.encode() if isinstance(canary, str) else canary
    found = {raw.hex(), raw.hex(" "), base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()}
    found |= {repr(raw), repr(raw)[2:-1], json.dumps(raw.decode("latin-1"))[1:-1]}
    return {form for form in found | {form.upper() for form in found} if len(form) >= 8}


async def test_no_canary_is_in_any_log_when_it_takes_refuses_and_crashes(
    settings: Settings, counter: Counter
) -> None:
    token = settings.file.parent / "city.token"
    token.write_text("canary-of-the-citys-token\n")
    token.chmod(0o600)
    window = int(time.time()) // 900 - 1
    accepted = counter.report(2, window - 1).payload
    rubbish = b"canary-in-a-message-that-is-refused"
    forged = accepted[:-1] + bytes([accepted[-1] ^ 1])
    wrong = "canary-of-a-wrong-password"
    good = (settings.deployments.directory / "street.toml").read_text()
    assert counter.device.mqtt_password is not None
    canaries: dict[str, bytes | str] = {
        "device key": counter.device.root_key,
        "MQTT password": counter.device.mqtt_password,
        "wrong MQTT password": wrong,
        "payload that was taken": accepted,
        "payload that was refused": rubbish,
        "forged payload": forged,
        "e-mail": EMAIL,
        "token": "canary-of-the-citys-token",
        "token that was shown": "canary-of-a-shown-token",
        "device": counter.id,
    }
    with deaf_platform() as (url, _):
        add_sink(settings, url, 'token_file = "city.token"\n')
        async with (
            gateway(settings) as running,
            connected(settings, running, counter) as one,
            httpx.AsyncClient(timeout=DEADLINE_S) as client,
        ):
            await asyncio.to_thread(
                one.publish, topics.topic(counter.id, topics.STATEMENT), counter.statement(1).payload
            )
            for payload in (accepted, rubbish, forged, accepted):
                await asyncio.to_thread(one.report, payload)
            await reached(settings, 1, {"malformed": 1, "forged": 1, "replayed": 1})
            stranger = Board(_place(settings, running), with_password(counter.device, wrong))
            assert await asyncio.to_thread(stranger.connect) == "Not authorized"
            shown = {"authorization": "Bearer canary-of-a-shown-token"}
            await client.get(running.ready["web"] + "metrics", headers=shown)
            canaries["broker password"] = (
                settings.gateway.data_dir / "broker" / "gateway.credential"
            ).read_text()
            # A record that cannot be used: what stands in it is a person's.
            broken = good.replace(
                'organisation = "Gemeente Voorbeeld"', f'organisation = "G"\nemail = ["{EMAIL}"]'
            )
            assert broken != good
            (settings.deployments.directory / "street.toml").write_text(broken)
            await until(lambda: "its record is unusable" in running.log.read_text(), "the record to break")
            # The store goes away under it: what comes is held, and the log says why, again and again.
            for file in settings.gateway.data_dir.glob("store.db*"):
                # Nothing is cut off: a part of a file that is in a process's memory and is gone would end it.
                with file.open("r+b") as opened:
                    opened.write(b"spoilt" * (10_000 + file.stat().st_size // 6))
            await asyncio.to_thread(one.report, counter.report(3, window).payload)
            os.kill(int((settings.gateway.data_dir / "broker" / "child.pid").read_text()), signal.SIGKILL)
            # Held, or found damaged first: then it ends, to be looked at when it is started anew.
            await until(
                lambda: re.search("trying again|found a damaged page", running.log.read_text()),
                "the store to be missed",
            )
        said = running.log.read_text()
    assert "Traceback" not in said
    # The log has what an operator needs all the same.
    assert {"batch stored", "deployment stopped: its record is unusable"} <= {
        json.loads(line)["event"] for line in said.splitlines() if line.startswith("{")
    }
    for name, canary in canaries.items():
        found = [form for form in forms(canary) if form in said]
        assert not found, f"{name}: {found}"


def _place(settings: Settings, running: Gateway) -> Any:
    from types import SimpleNamespace

    return SimpleNamespace(mqtt_port=running.ready["mqtt_port"], trust=ensure_trust(settings))


def test_the_search_for_canaries_finds_them() -> None:
    for said in (
        bytes(range(40, 60)).hex(),
        base64.b64encode(bytes(range(40, 60))).decode(),
        repr(bytes(range(40, 60))),
    ):
        assert any(form in f"x {said} y" for form in forms(bytes(range(40, 60))))


# Stopping.


async def test_told_to_stop_with_batches_in_flight_it_ends_all_the_same_and_loses_nothing(
    settings: Settings, counter: Counter
) -> None:
    window = int(time.time()) // 900
    with deaf_platform() as (url, platform):
        add_sink(settings, url)
        async with gateway(settings) as running, connected(settings, running, counter) as one:
            await asyncio.to_thread(
                one.publish, topics.topic(counter.id, topics.STATEMENT), counter.statement(1).payload
            )
            await asyncio.to_thread(one.report, counter.report(2, window - 398).payload)
            await reached(settings, 1)
            publisher, _ = await asyncio.to_thread(platform.accept)
            # Sent without waiting: some are stored, some on their way, some with the broker.
            sent = [
                one.send(topics.REPORT, counter.report(seq, window - 400 + seq).payload)
                for seq in range(3, 103)
            ]
            assert await asyncio.to_thread(one.wait, lambda: len(one.acknowledged) > 20)
            running.process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(running.process.wait(), DEADLINE_S) == 0
            publisher.close()
            # The platform would keep a publisher waiting for half a minute; nobody waits for that.
            late = [json.loads(line) for line in running.log.read_text().splitlines() if "in time" in line]
            assert [line["part"] for line in late] == ["publish"]
            kept = {mid for mid in sent if mid in one.acknowledged}
            assert "gateway stopped" in running.log.read_text()
        assert kept
        # What was not acknowledged the board keeps, and sends again.
        async with gateway(settings) as running, connected(settings, running, counter) as one:
            for mid, seq in zip(sent, range(3, 103), strict=True):
                if mid not in kept:
                    await asyncio.to_thread(one.report, counter.report(seq, window - 400 + seq).payload)
            end = time.monotonic() + DEADLINE_S
            async with await Store.look(settings.gateway.data_dir / "store.db") as store:
                while (now := await store.figures()).reports < 101:
                    assert time.monotonic() < end, now
                    await asyncio.sleep(0.1)
                assert now.observations == 202
                # What came twice was known by its number.
                assert set(now.refused) <= {"replayed"}
                assert (await store.check_trail()).ok
            assert await running.end(signal.SIGTERM) == 0


def test_what_a_stop_waits_for_is_less_than_ten_seconds() -> None:
    assert service.FINISH_S + child.TERM_S < 10
    assert service.FINISH_S > server.GRACE


# Changed settings, and a platform that outlives a gateway.


async def test_platforms_come_and_go_by_sighup_and_a_restored_gateway_publishes_nothing_twice(
    settings: Settings, counter: Counter, tmp_path: Path
) -> None:
    window = int(time.time()) // 900
    async with SensorThingsServer(tmp_path / "platform") as platform:
        async with gateway(settings) as running, connected(settings, running, counter) as one:
            await asyncio.to_thread(
                one.publish, topics.topic(counter.id, topics.STATEMENT), counter.statement(1).payload
            )
            plain = settings.file.read_text()
            settings.file.write_text(
                plain.replace("client_port = 0", "client_port = 1").replace(
                    "least_free_mib = 512", "least_free_mib = 1"
                )
            )
            add_sink(settings, platform.url)
            running.process.send_signal(signal.SIGHUP)
            await until(
                lambda: "settings read anew" in running.log.read_text(), "the settings to be read anew"
            )
            (told,) = [
                json.loads(line) for line in running.log.read_text().splitlines() if "read anew" in line
            ]
            assert told["changed"] == [
                "gateway.least_free_mib",
                "sinks.city.kind",
                "sinks.city.name",
                "sinks.city.quota_days",
                "sinks.city.quota_rows",
                "sinks.city.token_file",
                "sinks.city.url",
            ]
            assert told["needs_restart"] == ["broker.client_port"]
            await send(one, counter, range(2, 5), window)
            await published(settings, 6)
            back_up(load(settings.file.parent), tmp_path / "monday", time.time())
            # What is published after the backup, the backup does not know.
            await send(one, counter, range(5, 8), window)
            await published(settings, 12)
            # A file that cannot be used changes nothing.
            settings.file.write_text(settings.file.read_text() + "nonsense\n")
            running.process.send_signal(signal.SIGHUP)
            await until(lambda: "settings not taken" in running.log.read_text(), "the settings to be refused")
            await send(one, counter, range(8, 9), window)
            await published(settings, 14)
            async with httpx.AsyncClient(timeout=DEADLINE_S) as client:
                told = (await client.get(running.ready["web"] + "metrics")).text
                assert 'peilmerk_settings_reloads_total{result="taken"} 1.0' in told
                assert 'peilmerk_settings_reloads_total{result="refused"} 1.0' in told
                # Looked at every few seconds, and what was in the way at first may still be told.
                end = time.monotonic() + DEADLINE_S
                while (said := await client.get(running.ready["web"] + "readyz")).status_code != 200:
                    assert time.monotonic() < end, said.text
                    await asyncio.sleep(0.1)
            # Without the platform nothing is queued for it.
            settings.file.write_text(plain)
            running.process.send_signal(signal.SIGHUP)
            await until(
                lambda: running.log.read_text().count("settings read anew") == 2, "the platform to go"
            )
            await send(one, counter, range(9, 10), window)
            await reached(settings, 8)
            await published(settings, 14)
            assert await running.end(signal.SIGTERM) == 0

        restored = await restore(tmp_path / "monday", tmp_path / "restored")
        assert restored.verdict.ok
        text = restored.settings.file.read_text()
        text = text.replace("client_port = 1\n", f"client_port = {free_port()}\n")
        restored.settings.file.write_text(text)
        older = restored.settings
        async with gateway(older) as running, connected(older, running, counter) as one:
            # The reports of 5 to 8 come again, as if nobody had stored them: the platform has their figures.
            await send(one, counter, range(5, 9), window)
            await reached(older, 7)
            await send(one, counter, range(10, 11), window)
            await published(older, 16)
            assert await running.end(signal.SIGTERM) == 0
        async with httpx.AsyncClient(timeout=DEADLINE_S) as client:
            answer = await client.get(f"{platform.url}/Observations", params={"$count": "true", "$top": "1"})
            assert answer.json()["@iot.count"] == 16
            things = await client.get(f"{platform.url}/Things", params={"$count": "true"})
            assert things.json()["@iot.count"] == 1
