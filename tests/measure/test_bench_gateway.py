"""`peilmerk bench gateway` on a small town: that it measures what it says, and never how fast."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from peilmerk_bench.cli import app

PEILMERK = Path(sys.executable).with_name("peilmerk")
DRAIN = {"reports_a_second", "us", "gateway_cpu_us", "broker_cpu_us", "times_bare", "times_bare_by_cpu"}


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PEILMERK, "bench", "gateway", *words],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env=os.environ | {"NO_COLOR": "1"},
    )


def test_what_is_drained_adds_up_and_a_steady_load_is_seen_to_its_last_report() -> None:
    sizes = ("--reports", "300", "--devices", "5", "--rate", "50", "--seconds", "1")
    done = bench("--only", "drain", "--only", "latency", *sizes, "--json")
    assert done.returncode in (0, 1), done.stderr
    told = json.loads(done.stdout)
    assert (told["name"], set(told)) == ("gateway", {"name", "ok", "figures", "limits"})
    assert told["limits"] == {
        "reports_a_second": 10_000,
        "times_bare": 3.0,
        "p99_ms": 250.0,
        "resident_mib": 250.0,
        "growth": 1.5,
    }
    drained = told["figures"]["drain"]
    assert drained.keys() > DRAIN
    assert (drained["reports"], drained["statements"], drained["refused"]) == (300, 5, 0)
    assert drained["received"] - drained["redelivered"] == 305
    assert drained["observations"] + drained["withheld"] == 600
    assert drained["withheld"] > 0
    assert drained["adds_up"] is True
    bare = drained["bare"]
    # A report and two lines of the ledger each, a figure with its place in the queue or a withheld window,
    # and an entry of the audit trail a batch.
    rows = 300 * 3 + drained["observations"] * 2 + drained["withheld"]
    assert bare["reports"] == 300
    assert rows < bare["rows"] <= rows + 300
    assert min(bare["hmac_us"], bare["cbor2_us"], bare["insert_us"]) > 0
    late = told["figures"]["latency"]
    assert (late["published"], late["unseen"]) == (50, 0)
    assert 0 < late["p50_ms"] <= late["p90_ms"] <= late["p99_ms"] <= late["most_ms"]
    assert told["figures"]["resident_mib"] > 20
    fast = drained["reports_a_second"] >= 10_000 and drained["times_bare"] <= 3
    assert told["ok"] is (fast and late["p99_ms"] <= 250 and told["figures"]["resident_mib"] <= 250)
    assert done.returncode == (0 if told["ok"] else 1)


def test_the_curve_grows_registry_and_store() -> None:
    done = bench(*("--only", "curve", "--devices", "4", "--registry", "9", "--observations", "400"), "--json")
    assert done.returncode in (0, 1), done.stderr
    points = json.loads(done.stdout)["figures"]["curve"]["points"]
    assert [point["devices"] for point in points][:: len(points) - 1] == [4, 9]
    assert points[0]["observations"] < 100 < 390 <= points[-1]["observations"]
    assert all(point["wall_us"] > 0 and point["cpu_us"] > 0 for point in points)


def test_an_unknown_part_is_bad_input() -> None:
    done = CliRunner().invoke(app, ["gateway", "--only", "speed"])
    assert done.exit_code == 2
    assert "part is 'speed', wanted one of drain, latency, curve" in done.output
