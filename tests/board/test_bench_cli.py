"""`peilmerk bench board` as somebody at a terminal or a script meets it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import urllib.request
from pathlib import Path

import pytest
from patience import DEADLINE_S

from peilmerk_bench.board import SensorSpec


async def begin(*words: str, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "peilmerk_bench.cli", *words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_board_tells_its_port_runs_and_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    flash = tmp_path / "flash.img"
    process = await begin(
        "board", "--json", "--flash", str(flash), "--speed", "60", "--kind", "both", TMPDIR=str(tmp_path)
    )
    assert process.stdout is not None
    told = json.loads(await asyncio.wait_for(process.stdout.readline(), DEADLINE_S))
    assert told["kind"] == "both"
    assert told["clock"]["speed"] == 60.0
    assert told["flash"] == str(flash)
    mpremote = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "mpremote", "connect", told["port"], "exec", "print(1)"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert (await asyncio.wait_for(mpremote.communicate(), DEADLINE_S))[0] == b"1\r\n"
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.send_signal(number)
    assert await asyncio.wait_for(process.wait(), DEADLINE_S) == 0
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    assert [path.name for path in tmp_path.iterdir()] == ["flash.img"]


async def test_a_board_to_set_up_tells_where_its_page_is(tmp_path: Path) -> None:
    process = await begin("board", "--setup", "--json", TMPDIR=str(tmp_path))
    assert process.stdout is not None
    told = json.loads(await asyncio.wait_for(process.stdout.readline(), DEADLINE_S))

    def page() -> str:
        with urllib.request.urlopen(told["setup"], timeout=DEADLINE_S) as answer:
            return str(answer.read().decode())

    text = await asyncio.to_thread(page)
    for network, _password in told["wifi"]:
        assert network in text
    assert len(told["setup_password"]) == 14
    assert told["setup_password"] not in text
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), DEADLINE_S) == 0


async def test_sensors_are_added_one_by_one(tmp_path: Path) -> None:
    from peilmerk_bench.commands.board import MORE

    on_the_bus = [name for name in MORE if getattr(SensorSpec, name)().i2c is not None]
    words = [word for name in [*on_the_bus, "sds011", "pmsx003"] for word in ("--sensor", name)]
    process = await begin("board", "--json", "--kind", "bare", *words, TMPDIR=str(tmp_path))
    assert process.stdout is not None
    told = json.loads(await asyncio.wait_for(process.stdout.readline(), DEADLINE_S))
    source = "from machine import I2C, Pin\nprint(I2C(0, scl=Pin(22), sda=Pin(21)).scan())"
    mpremote = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "mpremote", "connect", told["port"], "exec", source),
        stdout=asyncio.subprocess.PIPE,
    )
    # VL53L1X, SHT3x, DNMS, SCD4x, SPS30, BME280
    said, _ = await asyncio.wait_for(mpremote.communicate(), DEADLINE_S)
    assert said == b"[41, 68, 85, 98, 105, 118]\r\n"
    process.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(process.wait(), DEADLINE_S) == 0


async def test_text_goes_to_people() -> None:
    process = await begin("board", "--world-start", "2026-03-02T07:30:00Z")
    assert process.stdout is not None
    line = (await asyncio.wait_for(process.stdout.readline(), DEADLINE_S)).decode()
    assert line.startswith("port /dev/")
    process.send_signal(signal.SIGINT)
    _, errors = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    assert process.returncode == 0
    assert b"Traceback" not in errors


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("--kind", "car"), "error: kind is 'car', wanted one of counter, air, both, bare"),
        (("--sensor", "nose"), "error: sensor is 'nose', wanted one of pmsx003, sps30, sps30_uart, scd4x,"),
        (
            ("--sensor", "pmsx003", "--sensor", "sps30_uart"),
            "error: sensors ['pmsx003', 'sps30_uart']: all on UART 2, wanted one there",
        ),
        (("--world-start", "noon"), "error: world start is 'noon', wanted ISO 8601"),
        (("--speed", "0"), "error: speed is 0.0, wanted 0.001 to 10000"),
        (("--counts", "/none.csv"), "error: /none.csv: No such file or directory"),
        (("--heap", "1"), "error: heap of 1 KiB: wanted at least 32"),
        (("--flash", "/none/flash.img"), "error: flash image /none/flash.img: No such file or directory"),
    ],
)
async def test_bad_input_is_told_in_one_line(words: tuple[str, ...], wanted: str) -> None:
    process = await begin("board", *words)
    _, errors = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    assert process.returncode == 2
    assert errors.decode().startswith(wanted)
    assert len(errors.decode().splitlines()) == 1


async def test_wire_prints_one_json_object() -> None:
    process = await begin("wire", "--json")
    output, errors = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    assert process.returncode == 0, errors
    assert set(json.loads(output)) == {"name", "ok", "figures", "limits"}
