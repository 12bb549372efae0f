"""A technician and an operator with the commands of the guides alone: from an empty folder to a board that
is known.

Nothing here runs faster than life, so it ends when the gateway has admitted what the board says of itself.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from patience import DEADLINE_S

from end_to_end.witness import free_port

PEILMERK = [sys.executable, "-m", "peilmerk_gateway"]
EXAMPLE = Path(__file__).parents[2] / "docs" / "deployment-example.toml"


def peilmerk(*words: str) -> Any:
    """Run a command to its end and return what it prints, read when it is JSON."""
    done = subprocess.run(
        [*PEILMERK, *words], capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return json.loads(done.stdout) if "--json" in words else done.stdout


@contextmanager
def running(*words: str) -> Iterator[dict[str, Any]]:
    """Start a command that goes on, and give the line of JSON with which it says that it is ready."""
    with subprocess.Popen(
        [*PEILMERK, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())
        finally:
            os.kill(process.pid, signal.SIGINT)
            process.wait(DEADLINE_S)


def test_from_an_empty_folder_to_an_admitted_board(tmp_path: Path) -> None:
    folder = tmp_path / "my-gateway"
    names = ("--mqtt-port", "--web-port", "--update-port")
    ports = [word for name in names for word in (name, str(free_port()))]
    peilmerk("gateway", "init", str(folder), *ports)
    digest = peilmerk("device", "bundle", "--kind", "counter", "--json")["figures"]["firmware_digest"]
    with running("gateway", "run", str(folder)), running("bench", "board", "--json") as board:
        where = ("--port", board["port"], "--json")
        ntp = f"127.0.0.1:{board['ntp_port']}"
        # An open network: virtual ones let anybody in.
        (tmp_path / "open").write_text("\n")
        wifi = ("--wifi", "street", "--wifi-password-file", str(tmp_path / "open"))
        enrolled = peilmerk("device", "enrol", *where, *wifi, "--gateway", str(folder), "--ntp", ntp)[
            "figures"
        ]
        # The operator fills in the example record and puts it where the gateway looks: before the board has
        # its firmware, since a quarter of an hour may end at any moment, and what it reports then is wanted.
        record = EXAMPLE.read_text("utf-8")
        record = record.replace("abcdefghij234567", enrolled["device_id"]).replace("0" * 64, digest)
        (folder / "deployments" / "cycle-path.toml").write_text(record, "utf-8")
        peilmerk("deployment", "check", str(folder / "deployments"))
        deployed = peilmerk("device", "deploy", *where, "--kind", "counter")["figures"]
        assert deployed["firmware_digest"] == digest
        assert peilmerk("device", "info", *where)["figures"]["device_id"] == enrolled["device_id"]
        deadline = time.monotonic() + DEADLINE_S
        while True:
            status = peilmerk("gateway", "status", str(folder), "--json")["figures"]
            if status["statements"] >= 1:
                break
            assert time.monotonic() < deadline, status
            time.sleep(1)
        assert status["refused"] in (0, {}), status


def test_the_example_record_is_complete() -> None:
    assert "ok" in peilmerk("deployment", "check", str(EXAMPLE))
