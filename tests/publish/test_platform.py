"""The SensorThings service as a child: it is the real one, keeps what it got, and leaves nothing running."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from patience import DEADLINE_S

from peilmerk_bench.platform import PlatformError, SensorThingsServer
from peilmerk_bench.street.tally import PAGE, observations_on


async def test_what_was_stored_is_there_after_a_kill_at_the_same_address(tmp_path: Path) -> None:
    server = SensorThingsServer(tmp_path / "made" / "here")
    await server.start()
    try:
        url = server.url
        async with httpx.AsyncClient(timeout=DEADLINE_S) as client:
            body = {"name": "canal bridge", "description": "kept"}
            assert (await client.post(f"{url}/Things", json=body)).status_code == 201
            conformance = (await client.get(f"{url}/")).json()["serverSettings"]["conformance"]
            assert any(uri.endswith("/data-array") for uri in conformance)
        await server.kill()
        assert not server.running
        await server.start()
        assert server.url == url
        async with httpx.AsyncClient(timeout=DEADLINE_S) as client:
            names = [thing["name"] for thing in (await client.get(f"{url}/Things")).json()["value"]]
        assert names == ["canal bridge"]
        assert ((tmp_path / "made" / "here" / "secret").stat().st_mode & 0o777) == 0o600
    finally:
        await server.stop()


async def test_what_a_page_repeats_is_one_observation(tmp_path: Path) -> None:
    """More than a page of them, read as the demo counts them: each once, and a real doubling twice."""
    observed = {"name": "count", "description": "-", "definition": "https://example.org/count"}
    unit = {"name": "one", "symbol": "1", "definition": "https://example.org/1"}
    sensor = {"name": "s", "description": "-", "encodingType": "text/html", "metadata": "-"}
    stream = {
        "name": "towards",
        "description": "-",
        "observationType": "http://www.opengis.net/def/observationType/OGC-OM/2.0/OM_Measurement",
        "unitOfMeasurement": unit,
        "ObservedProperty": observed,
        "Sensor": sensor,
    }
    place = {
        "name": "a",
        "description": "-",
        "encodingType": "application/geo+json",
        "location": {"type": "Point", "coordinates": [5.1, 52.0]},
    }
    async with SensorThingsServer(tmp_path) as server, httpx.AsyncClient(timeout=DEADLINE_S) as client:
        body = {"name": "bridge", "description": "-", "Locations": [place], "Datastreams": [stream]}
        assert (await client.post(f"{server.url}/Things", json=body)).status_code == 201
        (made,) = (await client.get(f"{server.url}/Datastreams")).json()["value"]
        hours = [f"2026-01-{1 + n // 24:02}T{n % 24:02}:00:00Z" for n in range(PAGE + 20)]
        rows = [[hour, hour, n] for n, hour in enumerate([*hours, hours[0]])]
        array = {
            "Datastream": {"@iot.id": made["@iot.id"]},
            "components": ["phenomenonTime", "resultTime", "result"],
            "dataArray": rows,
        }
        answer = await client.post(f"{server.url}/CreateObservations", json=[array])
        assert "error" not in answer.json()
        found = await observations_on(server.url)
    assert len(found) == PAGE + 21
    assert sorted(row["result"] for row in found) == list(range(PAGE + 21))


async def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PlatformError, match=f"cannot listen on 127.0.0.1:{port} .* in use"):
            await SensorThingsServer(tmp_path, port).start()


async def test_a_missing_package_is_named_with_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., Any] = importlib.util.find_spec

    def without(name: str, *rest: Any) -> Any:
        return None if name == "sensorthings" else real(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    with pytest.raises(PlatformError, match=r"needs django-ogc-sensorthings: .*'peilmerk\[bench\]'"):
        await SensorThingsServer(tmp_path).start()


async def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "platform.sqlite3").write_bytes(b"this is no database" * 100)
    server = SensorThingsServer(tmp_path)
    with pytest.raises(PlatformError, match="file is not a database"):
        await server.start()
    assert not server.running


async def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    program = (
        "import asyncio, os, sys\n"
        "from pathlib import Path\n"
        "from peilmerk_bench.platform import SensorThingsServer\n"
        "async def main():\n"
        "    server = SensorThingsServer(Path(sys.argv[1]))\n"
        "    await server.start()\n"
        "    print(server.url, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    ended = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", program, str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
        check=False,
        timeout=60,
    )
    assert ended.returncode == -9
    url = ended.stdout.decode().strip()
    async with httpx.AsyncClient(timeout=DEADLINE_S) as client:
        deadline = asyncio.get_running_loop().time() + DEADLINE_S
        while True:
            try:
                await client.get(f"{url}/")
            except httpx.TransportError:
                break
            assert asyncio.get_running_loop().time() < deadline, f"{url} still answers"
            await asyncio.sleep(0.05)
