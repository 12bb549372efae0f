"""The bundle: same bytes every time, the digest boards attest, and bytecode that real MicroPython loads."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from peilmerk_provisioning import bundle as bundles
from peilmerk_provisioning.board import Inspection
from peilmerk_provisioning.bundle import Bundle, build, firmware_digest
from peilmerk_provisioning.errors import BundleError

ROOT = Path(__file__).parents[2]
MICROPYTHON = Path(sys.executable).with_name("micropython")


def board(version: tuple[int, ...] = (1, 28, 0), mpy: int = 6) -> Inspection:
    return Inspection(version, "test", mpy, None, None, False, {}, None, 0, 0)


@pytest.fixture(scope="module")
def made() -> Bundle:
    return build()


def test_holds_entry_points_as_source_and_the_rest_as_bytecode(made: Bundle) -> None:
    assert {path for path in made.files if path.endswith(".py")} == {"boot.py", "main.py"}
    assert made.files["main.py"] == (ROOT / "firmware/main.py").read_bytes()
    for source in (ROOT / "firmware/node").rglob("*.py"):
        path = source.relative_to(ROOT / "firmware").with_suffix(".mpy").as_posix()
        assert made.files[path][:2] == b"M\x06"
    assert "peilmerk_protocol/cose.mpy" in made.files


def test_leaves_out_what_only_the_gateway_reads(made: Bundle) -> None:
    assert not [
        path for path in made.files if "quantities_names" in path or "vectors" in path or "cddl" in path
    ]


def test_two_builds_in_different_places_give_the_same_bytes(made: Bundle, tmp_path: Path) -> None:
    firmware, protocol = tmp_path / "elsewhere/firmware", tmp_path / "other"
    shutil.copytree(ROOT / "firmware", firmware)
    shutil.copytree(ROOT / "protocol/peilmerk_protocol", protocol)
    again = build(firmware, protocol)
    assert again.files == made.files
    assert list(again.files) == sorted(again.files)
    assert again.digest == made.digest


def test_no_path_of_this_machine_is_embedded(made: Bundle) -> None:
    for path, data in made.files.items():
        assert os.fsencode(ROOT) not in data, path
    assert b"node/outbox.py" in made.files["node/outbox.mpy"]


def test_digest_is_over_paths_and_contents_in_the_order_of_paths() -> None:
    files = {"main.py": b"main", "boot.py": b"", "node/a.mpy": b"M\x06"}
    wanted = hashlib.sha256()
    for path in ("boot.py", "main.py", "node/a.mpy"):
        wanted.update(path.encode() + b"\x00" + hashlib.sha256(files[path]).digest())
    assert Bundle(files, 6).digest == wanted.hexdigest()
    # A name is as much part of it as a byte.
    assert firmware_digest({"node/ab": "00" * 32}) != firmware_digest({"node/a": "00" * 32})


def test_board_attests_the_digest_of_the_bundle(made: Bundle, tmp_path: Path) -> None:
    """The board's own bytecode, run by real MicroPython over the files as they lie on a board."""
    made.write(tmp_path)
    code = (
        "import sys; sys.path.insert(0, './a'); "
        "from node.attest import firmware_digest; print(firmware_digest('./').hex())"
    )
    found = subprocess.run(
        [MICROPYTHON, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == made.digest


def test_every_module_of_the_protocol_loads_on_micropython(made: Bundle, tmp_path: Path) -> None:
    made.write(tmp_path)
    names = [
        path.removesuffix(".mpy").replace("/", ".").removesuffix(".__init__")
        for path in made.files
        if path.startswith("peilmerk_protocol")
    ]
    code = "import sys; sys.path.insert(0, 'a')\n"
    code += "".join(f"import {name}\n" for name in names) + "print('loaded')"
    found = subprocess.run(
        [MICROPYTHON, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert found.stdout.strip() == "loaded", found


def test_is_found_inside_an_installed_package(made: Bundle, tmp_path: Path) -> None:
    """As the wheel lays it out: no source tree above the package, the firmware within it."""
    package = tmp_path / "peilmerk_provisioning"
    shutil.copytree(ROOT / "provisioning/peilmerk_provisioning", package)
    shutil.copytree(ROOT / "firmware", package / "_firmware")
    code = "from peilmerk_provisioning import bundle as b; print(b.firmware_folder(), b.build().digest)"
    path = os.pathsep.join([str(tmp_path), str(ROOT / "protocol"), str(ROOT / "gateway")])
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == [str(package / "_firmware"), made.digest]


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (board(mpy=5), "loads bytecode version 5, and mpy-cross here makes version 6"),
        (board(mpy=0), "loads no bytecode at all"),
        (board(version=(1, 23, 0)), "runs MicroPython 1.23.0, wanted 1.24 or newer"),
    ],
)
def test_refuses_a_board_that_would_not_load_it(made: Bundle, found: Inspection, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        made.check(found, "/dev/ttyUSB0")


@pytest.mark.parametrize("version", [(1, 24, 0), (1, 28, 0), (2, 0, 0)])
def test_takes_a_board_that_loads_it(made: Bundle, version: tuple[int, ...]) -> None:
    made.check(board(version=version), "/dev/ttyUSB0")


def test_what_does_not_compile_names_file_and_line(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "firmware", tmp_path / "firmware")
    (tmp_path / "firmware/node/broken.py").write_text("x = 1\nif x\n    pass\n")
    with pytest.raises(BundleError, match=r"node/broken.py: does not compile: SyntaxError.*line 2"):
        build(tmp_path / "firmware")


def test_missing_entry_point_is_named(tmp_path: Path) -> None:
    (tmp_path / "boot.py").write_text("")
    with pytest.raises(BundleError, match=r"main.py: No such file or directory, wanted the board's main.py"):
        build(tmp_path)


def test_missing_firmware_says_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "__file__", str(tmp_path / "site/peilmerk_provisioning/bundle.py"))
    with pytest.raises(BundleError, match=r"found no firmware, wanted it in .*_firmware or .*firmware"):
        bundles.firmware_folder()


def test_files_of_editors_and_caches_stay_off_the_board(tmp_path: Path) -> None:
    firmware = tmp_path / "firmware"
    shutil.copytree(ROOT / "firmware", firmware)
    clean = build(firmware)
    (firmware / "node/__pycache__").mkdir(exist_ok=True)
    (firmware / "node/__pycache__/app.cpython-311.pyc").write_bytes(b"x")
    (firmware / "node/.app.py.swp").write_bytes(b"x")
    (firmware / "node/README.md").write_text("about")
    assert build(firmware).files == clean.files
