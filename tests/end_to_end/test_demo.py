"""`peilmerk demo` as its user meets it: the report, Ctrl-C, a taken port, a folder that is something else."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from patience import DEADLINE_S

from end_to_end.witness import free_port

COMMAND = [sys.executable, "-m", "peilmerk_gateway", "demo"]


def processes_naming(text: str) -> list[str]:
    """Command lines of processes that name `text`, this one left out."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in line:
            found.append(line)
    return found


def until_none_names(text: str) -> list[str]:
    """What still runs a few seconds after the end: the kernel ends children of a dead parent, not at once."""
    deadline = time.monotonic() + DEADLINE_S
    while (left := processes_naming(text)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def test_a_short_run_prints_its_report_and_leaves_nothing(tmp_path: Path) -> None:
    street = tmp_path / "street"
    done = subprocess.run(
        [
            *COMMAND,
            "--for",
            "35",
            "--json",
            "--data",
            str(street),
            "--counters",
            "1",
            "--air",
            "1",
            "--port",
            str(free_port()),
        ],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report.keys() == {"name", "ok", "figures", "limits"}
    assert report["ok"] is True
    figures = report["figures"]
    assert figures["boards_booted"] == 2
    assert figures["windows_closed"] == figures["reports_sealed"] >= 2
    assert figures["reports_stored"] == figures["reports_sealed"] - figures["waiting_on_boards"]
    assert figures["stored"] == figures["on_platform"] == figures["published"] > 0
    assert (figures["lost"], figures["duplicated"], figures["missing_on_platform"]) == (0, 0, 0)
    assert figures["first_published_s"] > 0
    assert "its page: http://127.0.0.1:" in done.stderr.lower()
    assert until_none_names(str(street)) == []


def test_ctrl_c_ends_it_in_good_order_and_leaves_no_process(tmp_path: Path) -> None:
    street = tmp_path / "street"
    with subprocess.Popen(
        [
            *COMMAND,
            "--json",
            "--data",
            str(street),
            "--counters",
            "1",
            "--air",
            "0",
            "--port",
            str(free_port()),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "page" in line:
                break
        # The terminal sends it to everything in the foreground; the children must not mind.
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode in (0, 1), err
    assert json.loads(out)["name"] == "demo"
    assert until_none_names(str(street)) == []


def test_killed_it_leaves_no_process_either(tmp_path: Path) -> None:
    street = tmp_path / "street"
    with subprocess.Popen(
        [*COMMAND, "--data", str(street), "--counters", "1", "--air", "0", "--port", str(free_port())],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "page" in line:
                break
        process.kill()
    assert until_none_names(str(street)) == []


def test_a_taken_port_is_named_with_what_it_is_for(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [*COMMAND, "--for", "5", "--data", str(tmp_path / "street"), "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
    assert done.returncode == 2
    assert f"port {port} for the gateway's page" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "holiday.txt").write_text("photographs")
    done = subprocess.run(
        [*COMMAND, "--for", "5", "--data", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 2
    assert "found a folder with other things in it" in done.stderr
    assert (tmp_path / "holiday.txt").read_text() == "photographs"


def test_a_missing_package_is_named_with_what_to_install() -> None:
    without = "import sys; sys.modules['littlefs'] = None; from peilmerk_gateway.command import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", without, "demo", "--for", "1"],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 2
    assert "'littlefs'" in done.stderr
    assert "pip install 'peilmerk[bench]'" in done.stderr
    assert "Traceback" not in done.stderr
