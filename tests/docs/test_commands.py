"""Commands in the guides stay true: every `peilmerk` command names what exists, and the blocks marked as
run do run.

A fenced `sh` block is marked by the HTML comment above it: `<!-- run -->` is run to its end and must
succeed, `<!-- run: background -->` is started, must say something, and must end at Ctrl-C. Every other
command is held against the command line's own definition.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from patience import DEADLINE_S

from peilmerk_gateway import command

ROOT = Path(__file__).parents[2]
GUIDES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"(?:<!-- (?P<mark>run[^>]*) -->\n+)?```sh\n(?P<text>.*?)```", re.DOTALL)
INLINE = re.compile(r"`((?:\.venv/bin/)?peilmerk [^`]+)`")
INDENTED = re.compile(r"^    ((?:\.venv/bin/)?peilmerk .+)$", re.MULTILINE)
BIN = Path(sys.executable).parent


def commands() -> Iterator[tuple[str, str]]:
    """Yield (guide, command line) of every `peilmerk` command in the guides."""
    for guide in GUIDES:
        text = guide.read_text("utf-8")
        found = INLINE.findall(text) + INDENTED.findall(text)
        for fence in FENCE.finditer(text):
            found += [
                line for line in fence["text"].splitlines() if re.match(r"(\.venv/bin/)?peilmerk ", line)
            ]
        for line in found:
            yield guide.name, line.split("  #")[0].strip().removesuffix("…").strip()


def blocks(mark: str) -> list[tuple[str, str]]:
    """Return (guide, text) of the blocks with this mark."""
    return [
        (guide.name, fence["text"])
        for guide in GUIDES
        for fence in FENCE.finditer(guide.read_text("utf-8"))
        if (fence["mark"] or "").strip() == mark
    ]


ROOT_COMMAND = typer.main.get_command(command.app)


@pytest.mark.parametrize(("guide", "line"), sorted(set(commands())))
def test_every_command_in_the_guides_exists(guide: str, line: str) -> None:
    words = shlex.split(line)[1:]
    at: Any = ROOT_COMMAND
    while hasattr(at, "get_command") and words and not words[0].startswith("-"):
        name = words.pop(0)
        following = at.get_command(None, name)
        assert following is not None, f"{guide}: {line!r}: no command {name!r}"
        at = following
    known = {option for parameter in at.params for option in (*parameter.opts, *parameter.secondary_opts)}
    for word in words:
        if word.startswith("--"):
            assert word.split("=")[0] in known | {"--help"}, f"{guide}: {line!r}: no option {word!r}"


@pytest.mark.parametrize(("guide", "text"), blocks("run"))
def test_blocks_marked_as_run_succeed(guide: str, text: str, tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, f"{guide}:\n{text}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize(("guide", "text"), blocks("run: background"))
def test_blocks_marked_as_background_start_and_end_at_ctrl_c(guide: str, text: str, tmp_path: Path) -> None:
    with subprocess.Popen(
        ["bash", "-c", f"exec {text.strip()}"],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline(), f"{guide}: {text!r} said nothing"
            process.send_signal(signal.SIGINT)
            assert process.wait(DEADLINE_S) in (0, 130), f"{guide}: {text!r} did not end well at Ctrl-C"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
