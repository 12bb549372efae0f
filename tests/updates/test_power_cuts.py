"""A power cut at any flash write of an update leaves a board that boots old or new firmware, and it whole."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from on_micropython import MICROPYTHON, environment
from small_firmware import bundle, release, write_board

from peilmerk_provisioning import deploy as deploying
from peilmerk_provisioning.board import Inspection, Script, _arguments
from peilmerk_provisioning.bundle import Bundle, build, firmware_digest

CAMPAIGN = Path(__file__).with_name("campaign.py")
EMPTY = Inspection((1, 28, 0), "test", 6, None, None, False, {}, None, 0, 0)
STEP = int(os.environ.get("PEILMERK_CUT_STEP", "5"))
SOAK = os.environ.get("HYPOTHESIS_PROFILE") == "soak"


def cut_everywhere(
    folder: Path, old: Bundle, new: Bundle, *courses: str, blocks: int, rom: int = 0, step: int = 1
) -> dict[str, Any]:
    """Run the campaign on the board that lies in the folder; `rom`: blocks of its partition for
    a ROM file system; with `step` at every so many-th write and at all of the last ones.
    """
    made = release(new, (0, 2, 0))
    (folder / "release").write_bytes(made.signed + made.content)
    (folder / "deploy.py").write_text(script(folder, new, bool(rom)))
    (folder / "digests").write_text(" ".join(packages(one) for one in (old, new)))
    done = subprocess.run(
        [
            str(MICROPYTHON),
            "-X",
            "heapsize=16M",
            str(CAMPAIGN),
            str(folder),
            str(blocks),
            str(rom),
            str(step),
            *courses,
        ],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=3600 if SOAK else 800,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    result = json.loads(done.stdout.strip().splitlines()[-1])
    print(result)
    assert set(result) == set(courses)
    for course in result.values():
        # Each course has its moment before which the old firmware runs and after which the new one does.
        assert course["after"]["old"] > 0
        assert course["after"]["new"] > 0
    return result


def packages(made: Bundle) -> str:
    return firmware_digest({path: digest for path, digest in made.hashes.items() if "/" in path})


def script(folder: Path, new: Bundle, rom: bool) -> str:
    """What `peilmerk device deploy` runs on a board that has nothing of the new firmware yet."""
    steps = deploying.staging(new, tuple(new.files))
    rows = deploying.sources(new, EMPTY, tuple(new.files))
    heads = deploying._image(new)[0] if rom else None
    node = {"kind": "counter", "sensors": []}
    steps.append(Script("install", {"files": rows, "heads": heads, "digest": new.digest, "node": node}))
    scripts = folder / "scripts"
    scripts.mkdir()
    _arguments(steps, scripts)
    return "".join(path.read_text() for path in sorted(scripts.iterdir()))


def without_slots(folder: Path, old: Bundle) -> None:
    """A board that was deployed to before there were slots."""
    entry = {"boot.py": b"import gc\n", "main.py": b"from node import app\n\napp.main()\n"}
    for path, data in (old.files | entry).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)


def test_every_write_of_a_small_update(tmp_path: Path) -> None:
    old, new = bundle((0, 1, 0)), bundle((0, 2, 0))
    write_board(tmp_path / "flash", old)
    result = cut_everywhere(tmp_path, old, new, "back", "again", "cable", blocks=80)
    assert all(course["cuts"] == course["writes"] > 60 for course in result.values())


def test_every_write_of_a_small_update_into_a_rom_file_system(tmp_path: Path) -> None:
    """From a folder into the partition, from one half of it into the other, and by cable."""
    old, new = bundle((0, 1, 0)), bundle((0, 2, 0))
    write_board(tmp_path / "flash", old)
    result = cut_everywhere(tmp_path, old, new, "back", "again", "cable", blocks=60, rom=8)
    assert all(course["cuts"] == course["writes"] > 20 for course in result.values())


def test_an_update_that_has_no_room_is_refused_before_a_file_is_written(tmp_path: Path) -> None:
    old, new = bundle((0, 1, 0)), bundle((0, 2, 0))
    write_board(tmp_path / "flash", old)
    with pytest.raises(AssertionError, match="update: refused 9: found 20 blocks, wanted 30"):
        cut_everywhere(tmp_path, old, new, "forwards", blocks=48)


def test_every_write_of_a_deployment_that_brings_slots(tmp_path: Path) -> None:
    old, new = bundle((0, 1, 0), (300, 40, 20)), bundle((0, 2, 0), (300, 40, 20))
    without_slots(tmp_path / "flash", old)
    result = cut_everywhere(tmp_path, old, new, "cable", blocks=80)
    assert result["cable"]["cuts"] == result["cable"]["writes"] > 30


@pytest.mark.skipif(not SOAK, reason="writes of a whole counter's firmware takes a while: make soak")
@pytest.mark.timeout(3600)
def test_writes_of_the_whole_firmware(tmp_path: Path) -> None:
    def startable(version: tuple[int, int, int]) -> Bundle:
        """The real firmware but for the module that would start the sensors."""
        made = build(kind="counter", version=version, joined=False)
        files = {path: data for path, data in made.files.items() if path != "node/app.mpy"}
        files["node/app.py"] = b"def main():\n    pass\n"
        return Bundle(dict(sorted(files.items())), made.mpy)

    old, new = startable((0, 1, 0)), startable((0, 2, 0))
    write_board(tmp_path / "flash", old)
    cut_everywhere(tmp_path, old, new, "forwards", "back", blocks=240, step=STEP)
