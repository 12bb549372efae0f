"""What the gateway brings to be run and watched with: the systemd unit, and what Prometheus is given."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import prometheus_client
import pytest
from mqtt_board import village
from prometheus_client import CollectorRegistry
from running_gateway import gateway
from sealed_street import Street
from stores import is_ci
from typer.testing import CliRunner

from peilmerk_gateway import child
from peilmerk_gateway.cli import app
from peilmerk_gateway.operation import metrics, supervisor
from peilmerk_gateway.operation.cli import Piece, piece
from peilmerk_gateway.operation.condition import Condition
from peilmerk_gateway.operation.crew import Crew
from peilmerk_gateway.operation.process import ProcessCollector
from peilmerk_gateway.settings import Settings
from peilmerk_gateway.store import Store

GUIDE = (Path(__file__).parents[2] / "docs" / "operator.md").read_text("utf-8")


def needs(program: str) -> str:
    """The path of a program; skips the test where there is none, but in continuous integration."""
    found = shutil.which(program)
    if found is None:
        assert not is_ci(), f"found no {program}, wanted what 'make debian-for-tests' installs"
        pytest.skip(f"needs {program}")
    return found


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return village(tmp_path / "village", web_port=0)


# The unit.


def test_nothing_but_the_gateway_itself_decides_whether_the_unit_starts(tmp_path: Path) -> None:
    unit = piece(Piece.SYSTEMD, tmp_path)
    # A check of everything before the start would let one bad record, or a store that the start itself makes
    # whole, keep all deployments down.
    assert re.findall(r"^Exec\w+", unit, re.MULTILINE) == ["ExecStart", "ExecReload"]
    assert {"Type=notify", "Restart=on-failure", "RestartPreventExitStatus=2"} <= set(unit.splitlines())


def test_systemd_takes_the_unit_and_rates_it_as_the_guide_says(tmp_path: Path) -> None:
    analyze = needs("systemd-analyze")
    file = tmp_path / "peilmerk.service"
    # Verified is that the program is there, too.
    program = re.compile(r"^(ExecStart=)\S+", re.MULTILINE)
    file.write_text(program.sub(rf"\g<1>{sys.executable}", piece(Piece.SYSTEMD, tmp_path)))
    verified = subprocess.run([analyze, "verify", str(file)], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    rated = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=12", str(file)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"SYSTEMD_COLORS": "0", "LC_ALL": "C.UTF-8"},
    )
    assert rated.returncode == 0, rated.stdout
    found = re.search(r"Overall exposure level for peilmerk.service: (\S+) (\w+)", rated.stdout)
    assert found is not None, rated.stdout
    assert f'rates its exposure {found[1]}, "{found[2]}"' in GUIDE.replace("\n", " ")


# What systemd is told.


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Where systemd would listen."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        door.bind(str(tmp_path / "notify"))
        door.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield door


async def told(door: socket.socket, wanted: str) -> list[str]:
    """Everything that is told until `wanted`, with it."""
    heard: list[str] = []
    while not any(line.startswith(wanted) for line in heard):
        heard += (await asyncio.to_thread(door.recv, 1_000)).decode().splitlines()
    return heard


async def test_systemd_hears_of_start_reload_life_and_end(settings: Settings, systemd: socket.socket) -> None:
    async with gateway(settings) as running:
        starting = await told(systemd, "READY=1")
        assert starting[0] == "EXTEND_TIMEOUT_USEC=120000000"
        assert starting[-1] == "READY=1"
        await told(systemd, "WATCHDOG=1")
        running.process.send_signal(signal.SIGHUP)
        assert (await told(systemd, "RELOADING=1"))[-1].startswith("MONOTONIC_USEC=")
        await told(systemd, "READY=1")
        running.process.send_signal(signal.SIGTERM)
        assert "STOPPING=1" in await told(systemd, "STOPPING=1")
        assert await running.process.wait() == 0


async def test_a_start_that_waits_for_its_clock_says_so_and_can_be_stopped(
    settings: Settings, systemd: socket.socket, tmp_path: Path
) -> None:
    async with await Store.open(settings.gateway.data_dir / "store.db") as store:
        await store.note_rules("of a clock that was ahead", time.time() + 7_200)
    log = tmp_path / "log"
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "peilmerk_gateway", "gateway", "run", str(settings.file.parent)),
            stderr=stderr,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        try:
            assert await told(systemd, "EXTEND_TIMEOUT_USEC") == ["EXTEND_TIMEOUT_USEC=120000000"]
            end = time.monotonic() + 60
            while "not started yet" not in log.read_text():
                assert time.monotonic() < end, log.read_text()
                await asyncio.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 15) == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert "error:" not in log.read_text()
    systemd.setblocking(False)
    with pytest.raises(BlockingIOError):
        systemd.recv(1_000)


async def test_a_start_that_goes_on_tells_it_in_time_and_stops_telling(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "STARTING_S", 0.04)
    stop = asyncio.Event()
    telling = asyncio.create_task(supervisor.still_starting(stop))
    for _ in range(3):
        assert await told(systemd, "EXTEND") == ["EXTEND_TIMEOUT_USEC=40000"]
    stop.set()
    await telling
    monkeypatch.delenv("NOTIFY_SOCKET")
    # Where nobody listens it ends by itself.
    await supervisor.still_starting(asyncio.Event())


async def test_workers_do_not_talk_to_systemd(tmp_path: Path, systemd: socket.socket) -> None:
    said = tmp_path / "said"
    crew = Crew(tmp_path, 1)
    script = "import os, sys; open(sys.argv[1], 'w').write(os.environ.get('NOTIFY_SOCKET', 'nobody') + '\\n')"
    crew._command = [sys.executable, "-c", f"{script}; import time; time.sleep(600)", str(said)]
    stop = asyncio.Event()
    running = asyncio.create_task(crew.run(stop))
    while not said.exists() or not said.read_text().endswith("\n"):
        await asyncio.sleep(0.02)
    stop.set()
    await running
    assert said.read_text() == "nobody\n"


# What Prometheus is told, and its own opinion of that.


def test_the_process_is_told_as_the_librarys_own_collector_does() -> None:
    """And also where systemd hides /proc/stat, which that one needs and ours never opens."""
    ours, library = (
        {sample.name: sample.value for family in collector.collect() for sample in family.samples}
        for collector in (
            ProcessCollector(),
            prometheus_client.ProcessCollector(registry=CollectorRegistry()),
        )
    )
    assert set(ours) == set(library)
    assert ours["process_start_time_seconds"] == pytest.approx(library["process_start_time_seconds"], abs=2)
    assert ours["process_resident_memory_bytes"] == pytest.approx(
        library["process_resident_memory_bytes"], rel=0.1
    )
    assert ours["process_max_fds"] == library["process_max_fds"]


async def test_promtool_finds_nothing_wrong_with_the_metrics(tmp_path: Path) -> None:
    promtool = needs("promtool")
    street = Street(tmp_path)
    async with await street.open() as store:
        (board,) = street.counters
        await street.flow(store).store([board.statement(1), board.report(2)])
        made = Condition(store, street.clock, street.folder, least_free_bytes=0, broker_seen=time.time)
        await made.look()
        text = await metrics.exposition(store, made, metrics.Facts(certificate_ends=1.0))
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_promtool_fires_each_alert_when_it_is_due_and_not_before(tmp_path: Path) -> None:
    promtool = needs("promtool")
    (tmp_path / "peilmerk.rules.yml").write_text(piece(Piece.ALERTS, Path()))
    cases = Path(__file__).with_name("peilmerk.rules.test.yml").read_text()
    # A rule without a case is a rule that was never tried.
    alerts = set(re.findall(r"alert: (\w+)", piece(Piece.ALERTS, Path())))
    assert set(re.findall(r"alertname: (\w+)", cases)) == alerts
    (tmp_path / "cases.yml").write_text(cases)
    done = subprocess.run(
        [promtool, "test", "rules", "cases.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


# What is told before a start.


def check(settings: Settings) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["check", str(settings.file), "--json"])
    complaints = json.loads(done.stdout)["figures"]["complaints"]
    assert complaints == len(done.stderr.splitlines())
    return done.exit_code, done.stderr


def put(settings: Settings, before: str, after: str) -> None:
    text = settings.file.read_text()
    assert before in text
    settings.file.write_text(text.replace(before, after))


async def test_check_names_a_port_that_is_taken_unless_this_gateway_has_it(settings: Settings) -> None:
    assert await asyncio.to_thread(check, settings) == (0, "")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        put(settings, "mqtt_port = 0", f"mqtt_port = {port}")
        said = f"port {port} of 127.0.0.1 is taken, wanted a free one\n"
        found = await asyncio.to_thread(check, settings)
        assert found == (1, f"error: {settings.file}: broker.mqtt_port: {said}")
    put(settings, "client_port = 0", f"client_port = {port}")
    # Free, but named twice.
    found = await asyncio.to_thread(check, settings)
    assert found == (1, f"error: {settings.file}: broker.client_port: {said}")
    put(settings, f"client_port = {port}", "client_port = 0")
    async with gateway(settings):
        assert await asyncio.to_thread(check, settings) == (0, "")


def test_check_names_a_token_for_the_metrics_that_is_not_there(settings: Settings) -> None:
    put(settings, "# metrics_token_file", "metrics_token_file")
    folder = settings.file.parent
    assert check(settings) == (
        1,
        f"error: {settings.file}: web.metrics_token_file: found no file {folder / 'metrics.token'}, "
        "wanted the token for the metrics\n",
    )


def test_one_gateway_a_folder_also_where_others_run_the_broker(settings: Settings) -> None:
    put(settings, 'kind = "nats"', 'kind = "mqtt"')
    put(settings, "mqtt_port = 0", "mqtt_port = 8883")
    with settings.file.open("a") as file:
        file.write('\n[broker.mqtt]\npassword_file = "broker.password"\n')
    password = settings.file.parent / "broker.password"
    password.write_text("a password\n")
    password.chmod(0o600)
    lease = child.Lease(settings.gateway.data_dir / "broker")
    try:
        done = CliRunner().invoke(app, ["run", str(settings.file)])
    finally:
        lease.release()
    assert done.exit_code == 2
    assert "in use by another gateway, wanted one gateway a data_dir" in done.stderr.splitlines()[-1]


# The container file.


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"], ids=["plain", "TLS"])
async def test_the_containers_health_check_asks_the_page_however_it_is_served(
    tmp_path: Path, host: str
) -> None:
    settings = village(tmp_path / "village", web_port=0, web_host=host)
    (asks,) = re.findall(r"^HEALTHCHECK .*CMD (\[.*\])$", piece(Piece.CONTAINER, Path()), re.MULTILINE)
    program, *arguments = json.loads(asks)
    assert program == "python"

    async def healthy() -> int:
        script = [one.replace(":8080/", f":{port}/") for one in arguments]
        return await (await asyncio.create_subprocess_exec(sys.executable, *script)).wait()

    async with gateway(settings) as running:
        assert running.ready["web"].startswith("https:" if host == "0.0.0.0" else "http:")
        port = running.ready["web"].rpartition(":")[2].rstrip("/")
        assert await healthy() == 0
    assert await healthy() == 1
