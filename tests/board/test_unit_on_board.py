"""`peilmerk bench test`: the firmware's unit tests, run on the board itself."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import shutil
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
from end_to_end.noise_by_hand import laplace

from peilmerk_bench.board import BoardError
from peilmerk_bench.unit import runner
from peilmerk_provisioning import bundle
from peilmerk_provisioning.board import Board
from peilmerk_provisioning.deploy import deploy

ROOT = Path(__file__).parents[2]


def case(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A case as this machine reads it."""
    monkeypatch.syspath_prepend(str(runner.CASES))
    spec = importlib.util.spec_from_file_location(name, runner.CASES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules.pop("unit", None)
    return module


def bits_of(stream):
    while True:
        yield stream(1)


def test_the_draws_that_are_wanted_are_those_of_other_code(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = case("case_noise", monkeypatch)
    bits = bits_of(noise.stream())
    assert tuple(laplace(bits, 7, 10) for _ in range(32)) == noise.LEAF
    assert tuple(laplace(bits, 3, 10) for _ in range(32)) == noise.DAY


@pytest.mark.parametrize("kind", ["counter", "air"])
async def test_every_case_passes_on_a_board(kind: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "peilmerk_gateway", "bench", "test", "--kind", kind, "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 600)
    assert process.returncode == 0, out + err
    told = json.loads(out)
    assert (told["name"], told["ok"], told["limits"]) == ("test", True, {"failed": 0})
    said = told["figures"]
    assert said["failed"] == 0
    assert {row["case"] for row in said["results"]} == set(runner.cases())
    # Who counts nothing carries no noise.
    noise = {"no module named 'node.laplace'", "no module named 'node.entropy'"}
    assert said["passed"] >= (17 if kind == "counter" else 16)
    skipped = {row["why"] for row in said["results"] if row["outcome"] == "skipped"}
    # What firmware never asks for, and the drivers of other kinds, are not on a board.
    absent = ("command.encode", "report.decode_day", "statement.decode", "topics.parse")
    wanted = {f"no peilmerk_protocol.{name} on this board" for name in absent}
    if kind == "counter":  # only a board on batteries reads one
        wanted.add("no peilmerk_protocol.profile.decode on this board")
    else:
        wanted |= noise
    assert {why for why in skipped if "sensing" not in why} == wanted
    assert len(said["firmware"]) == 64


async def test_a_spoilt_firmware_fails_and_is_named(start, tmp_path: Path) -> None:
    """The board's own code is what is tested: noise that forgets its sign, a window that forgets a sample."""
    firmware = tmp_path / "firmware"
    shutil.copytree(ROOT / "firmware", firmware)
    for name, spoilt in (
        ("laplace.py", "_e = discrete_laplace\ndef discrete_laplace(bits, p, q): return abs(_e(bits, p, q))"),
        ("window.py", "Tally.take_count = lambda self, quantity: 41"),
    ):
        source = firmware / "node" / name
        source.write_text(f"{source.read_text()}\n{spoilt}\n")
    bench = await start()
    await asyncio.to_thread(deploy, Board(bench.board.port), "counter", bundle.build(firmware))
    told: list[dict] = []
    outcome = await runner.run_on(bench.board.port, ["case_noise", "case_window"], told.append)
    assert told == outcome.results
    assert not outcome.ok
    assert [row["test"] for row in outcome.named("failed")] == [
        "the sampler draws what the paper says",
        "an exact count is read once",
    ]


async def test_a_board_without_firmware_says_what_is_missing(start) -> None:
    bench = await start()
    began = time.monotonic()
    with pytest.raises(BoardError, match=r"carries no firmware.*device deploy"):
        await runner.run_on(bench.board.port, ["case_board"], print)
    assert time.monotonic() - began < runner.SILENCE_S


def test_only_chooses_and_names_what_there_is() -> None:
    assert runner.cases("wire") == ["case_wire"]
    with pytest.raises(BoardError, match="found no case 'radio', wanted one of board, flash"):
        runner.cases("radio")


def test_vectors_travel_a_line_a_row() -> None:
    lines = [json.loads(line) for line in runner.lines_of({"about": "x", "vectors": [1, 2], "invalid": [3]})]
    assert lines == [["about", {"about": "x"}], ["vectors", 1], ["vectors", 2], ["invalid", 3]]
