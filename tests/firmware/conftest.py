"""The firmware's tests run it where it lives: on real MicroPython, the modules as they lie in firmware/."""

import json
import subprocess
import sys
import textwrap

import pytest
from on_micropython import FIRMWARE, MICROPYTHON, environment

# The outbox and the mark are read by the bench under CPython too.
sys.path.insert(0, str(FIRMWARE))


@pytest.fixture
def micropython(tmp_path):
    """run(source, *arguments, heap="512K", timeout=60): what the script printed last, read as JSON."""

    def run(source, *arguments, heap="512K", timeout=60):
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
