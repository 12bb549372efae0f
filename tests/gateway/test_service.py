"""The gateway as an operator runs it: real broker, real boards' messages, killed and started again."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import sys
import time
from pathlib import Path

import httpx
from mqtt_board import until, village
from patience import DEADLINE_S
from running_gateway import connected, figures, gateway, reached
from sealed_street import Counter

from peilmerk_gateway.child import command_line
from peilmerk_gateway.settings import ClockSettings, Settings
from peilmerk_protocol import topics


async def test_reports_arrive_and_the_page_answers(settings: Settings, counter: Counter) -> None:
    window = int(time.time()) // 900 - 1
    async with gateway(settings) as running:
        assert running.ready["event"] == "gateway.ready"
        assert running.ready["deployments"] == 1
        async with (
            connected(settings, running, counter) as one,
            httpx.AsyncClient(timeout=DEADLINE_S) as client,
        ):
            await asyncio.to_thread(
                one.publish, topics.topic(counter.id, topics.STATEMENT), counter.statement(1).payload
            )
            await asyncio.to_thread(one.report, counter.report(2, window - 1).payload)
            await asyncio.to_thread(one.report, counter.report(3, window, {5: (2,), 6: (20,)}).payload)
            await asyncio.to_thread(one.report, counter.report(3, window).payload)
            await asyncio.to_thread(one.report, b"rubbish")
            now = await reached(settings, 2, {"malformed": 1, "sequence-reused": 1})
            assert (now.statements, now.observations, now.withheld) == (1, 3, 1)
            health = await client.get(running.ready["web"] + "healthz")
            assert health.status_code == 200, health.text
            page = await client.get(running.ready["web"])
            assert page.status_code == 200
            assert "fietspad-1" in page.text
            assert counter.id not in page.text
        began = time.monotonic()
        assert await running.end(signal.SIGTERM) == 0
        assert time.monotonic() - began < 10
    said = running.log.read_text()
    assert counter.id not in said
    assert counter.device.root_key.hex() not in said
    assert "127.0.0.1:" not in said.replace(running.ready["web"], "")


async def test_killed_in_mid_run_it_loses_and_doubles_nothing(settings: Settings, counter: Counter) -> None:
    window = int(time.time()) // 900
    reports = 60
    sent = 0
    async with gateway(settings) as running, connected(settings, running, counter) as one:
        await asyncio.to_thread(
            one.publish, topics.topic(counter.id, topics.STATEMENT), counter.statement(1).payload
        )
        while sent < reports // 2:
            await asyncio.to_thread(one.report, counter.report(2 + sent, window - 200 + sent).payload)
            sent += 1
        # The broker has them all; the gateway may have any part of them.
        await running.end(signal.SIGKILL)
    async with gateway(settings) as running, connected(settings, running, counter) as one:
        while sent < reports:
            await asyncio.to_thread(one.report, counter.report(2 + sent, window - 200 + sent).payload)
            sent += 1
        await reached(settings, reports)
        assert await running.end(signal.SIGTERM) == 0
    now = await figures(settings)
    assert (now.reports, now.observations, now.refused) == (reports, 2 * reports, {})
    assert now.received - now.redelivered == reports + 1


async def test_records_are_taken_into_force_while_it_runs(settings: Settings, counter: Counter) -> None:
    window = int(time.time()) // 900
    file = settings.deployments.directory / "street.toml"
    good = file.read_text()
    file.write_text(good.replace("contains_personal_data = false\n", ""))
    async with gateway(settings) as running, connected(settings, running, counter) as one:
        assert running.ready["broken"] == 1
        assert "G1: contains_personal_data: not found, wanted an answer" in running.log.read_text()
        await asyncio.to_thread(
            one.publish, topics.topic(counter.id, topics.STATEMENT), counter.statement(1).payload
        )
        await asyncio.to_thread(one.report, counter.report(2, window - 3).payload)
        await reached(settings, 0, {"G1": 1})
        # Whole or not at all: the gateway may look at any moment.
        draft = file.with_suffix(".draft")
        draft.write_text(good)
        draft.replace(file)
        await until(lambda: running.log.read_text().count("read anew") == 1, "the record to be read anew")
        await asyncio.to_thread(one.report, counter.report(3, window - 2).payload)
        await reached(settings, 1, {"G1": 1})


async def test_what_ends_a_running_gateway_has_it_started_anew(settings: Settings, counter: Counter) -> None:
    """Not by 2, at which the unit leaves it stopped: nothing that was given is wrong."""
    window = int(time.time()) // 900 - 1
    async with gateway(settings) as running:
        async with connected(settings, running, counter) as one:
            one.publish(topics.topic(counter.id, topics.STATEMENT), counter.statement(1).payload)
            await reached(settings, 0)
            assert running.process.pid is not None
            # Whatever it opens from now on cannot be opened.
            resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, (3, 4_096))
            # What is committed all the same is acknowledged.
            await asyncio.to_thread(
                one.publish, topics.topic(counter.id, topics.REPORT), counter.report(2, window).payload
            )
            assert await asyncio.wait_for(running.process.wait(), DEADLINE_S) == 1
        last = running.log.read_text().splitlines()[-1]
    assert last.startswith("error: the gateway ended: ")
    assert "Too many open files" in last
    async with gateway(settings) as running:
        await reached(settings, 1)


async def test_ctrl_c_leaves_nothing_behind(settings: Settings) -> None:
    async with gateway(settings) as running:
        pid = int((settings.gateway.data_dir / "broker" / "child.pid").read_text().split()[0])
        assert command_line(pid)
        assert await running.end(signal.SIGINT) == 0
        assert not command_line(pid)


async def test_a_taken_port_is_named_and_nothing_is_left(settings: Settings, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        other = village(tmp_path / "other", web_port=port)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "peilmerk_gateway",
            "gateway",
            "run",
            str(other.file.parent),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        said, errors = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    assert process.returncode == 2
    assert said == b""
    last = errors.decode().strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert str(port) in last
    assert "Traceback" not in errors.decode()
    pid = int((other.gateway.data_dir / "broker" / "child.pid").read_text())
    assert not command_line(pid)


async def test_a_scaled_clock_is_announced(tmp_path: Path) -> None:
    now = time.time()
    settings = village(tmp_path, web_port=0, clock=ClockSettings(world_start=now, wall_start=now, speed=60))
    async with gateway(settings) as running:
        assert "bench clock" in running.log.read_text()
        assert await running.end(signal.SIGTERM) == 0
