"""The firmware's tests run it where it lives: on real MicroPython, the modules as they lie in firmware/."""

import json
import subprocess
import sys
import textwrap

import pytest
from on_micropython import FIRMWARE, MICROPYTHON, environment
from patience import DEADLINE_S

# The outbox and the mark are read by the bench under CPython too.
sys.path.insert(0, str(FIRMWARE))

from cycle_world import KEY, MIDNIGHT, WORLD, sealed


@pytest.fixture
def micropython(tmp_path):
    """run(source, *arguments, heap="512K", timeout=120.0): what the script printed last, read as JSON."""

    def run(source, *arguments, heap="512K", timeout=DEADLINE_S):
        script = tmp_path / "script.py"
        script.write_text(textwrap.dedent(source))
        done = subprocess.run(
            [str(MICROPYTHON), "-X", f"heapsize={heap}", str(script), *map(str, arguments)],
            env=environment(),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return json.loads(done.stdout.strip().splitlines()[-1])

    return run


@pytest.fixture
def world(micropython, tmp_path):
    """run(script, true_s): what the script said with `done`, and what lies in the outbox, opened."""

    def run(script, true_s=MIDNIGHT, **options):
        folder = tmp_path / "data"
        folder.mkdir(exist_ok=True)
        head = WORLD.replace("TRUE_MS", str(true_s * 1000)).replace("KEY_HEX", KEY.hex())
        said = micropython(head + script, folder, **{"heap": "4M", "timeout": 240, **options})
        return said, sealed(folder)

    return run
