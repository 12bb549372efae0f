"""The scripts that run on the board, run by real MicroPython over a folder that stands for the flash."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from peilmerk_provisioning.board import Script, _arguments
from peilmerk_provisioning.bundle import firmware_digest

MICROPYTHON = Path(sys.executable).with_name("micropython")


def run(flash: Path, tmp_path: Path, *scripts: Script, fails: str | None = None) -> list[dict[str, Any]]:
    """Run scripts in the order and form in which a board gets them; return what they said."""
    folder = tmp_path / "scripts"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    _arguments(scripts, folder)
    text = "".join(path.read_text() for path in sorted(folder.iterdir())).replace("main('/'", "main('./'")
    whole = folder / "whole.py"
    whole.write_text(text)
    done = subprocess.run([MICROPYTHON, whole], cwd=flash, capture_output=True, text=True, check=False)
    if fails is None:
        assert done.returncode == 0, done
    else:
        assert done.returncode != 0
        assert fails in done.stderr + done.stdout
    return [
        json.loads(line.removeprefix("peilmerk-says:"))
        for line in done.stdout.splitlines()
        if line.startswith("peilmerk-says:")
    ]


@pytest.fixture
def flash(tmp_path: Path) -> Path:
    folder = tmp_path / "flash"
    folder.mkdir()
    return folder


def stage(files: dict[str, bytes], fresh: bool = True) -> Script:
    pieces = [[name, True, base64.b64encode(data).decode()] for name, data in files.items()]
    return Script("stage", {"fresh": fresh, "pieces": pieces})


def digest_of(files: dict[str, bytes]) -> str:
    return firmware_digest({path: hashlib.sha256(data).hexdigest() for path, data in files.items()})


def install(
    firmware: dict[str, bytes] | None = None, staged: dict[str, str] | None = None, **sources: str
) -> Script:
    """Fill the slot that does not run: `staged` maps path to staged name, `sources` path's last part to where
    the board has it already.
    """
    rows = None
    if firmware is not None:
        rows = [
            [path, hashlib.sha256(data).hexdigest(), (staged or {}).get(path, ""), sources.get(path[-1], "")]
            for path, data in firmware.items()
        ]
    params = {"files": rows, "digest": digest_of(firmware or {}), "node": {"kind": "counter"}}
    return Script("install", params)


def test_empty_board_says_so(flash: Path, tmp_path: Path) -> None:
    (said,) = run(flash, tmp_path, Script("inspect_board"))
    assert said["files"] == {}
    assert said["digest"] is None
    assert said["device_id"] is None
    assert said["mpy"] == 6
    assert said["version"] >= [1, 24, 0]
    assert 0 < said["flash_free"] <= said["flash_size"]


def test_inspection_hashes_firmware_only_and_tells_no_secret(flash: Path, tmp_path: Path) -> None:
    (flash / "a/node/deep/er").mkdir(parents=True)
    (flash / "a/node/deep/er/x.mpy").write_bytes(b"x" * 1500)
    (flash / "main.py").write_bytes(b"")
    (flash / "data").mkdir()
    (flash / "data/outbox").write_bytes(b"sealed")
    (flash / "identity.json").write_text(
        '{"device_id": "abc", "root_key": "SECRET", "mqtt_password": "SECRET"}'
    )
    (flash / "node.json").write_text('{"kind": "air", "link": {"wifi": [["net", "SECRET"]]}}')
    (said,) = run(flash, tmp_path, Script("inspect_board"))
    assert said["files"] == {
        "main.py": hashlib.sha256(b"").hexdigest(),
        "node/deep/er/x.mpy": hashlib.sha256(b"x" * 1500).hexdigest(),
    }
    assert (said["device_id"], said["kind"], said["linked"]) == ("abc", "air", True)
    assert "SECRET" not in json.dumps(said)


@pytest.mark.parametrize("broken", ["", "[1]", "{", '{"device_id": nul'])
def test_broken_identity_counts_as_none(flash: Path, tmp_path: Path, broken: str) -> None:
    (flash / "identity.json").write_text(broken)
    (said,) = run(flash, tmp_path, Script("inspect_board"))
    assert said["device_id"] is None


def test_install_fills_the_other_slot_switches_and_removes(flash: Path, tmp_path: Path) -> None:
    (flash / "a/node/old").mkdir(parents=True)
    (flash / "a/node/old/gone.mpy").write_bytes(b"gone")
    (flash / "a/node/k").write_bytes(b"kept")
    (flash / "b/node").mkdir(parents=True)
    (flash / "b/node/stray.mpy").write_bytes(b"of an update that was cut short")
    (flash / "slots").write_bytes(b"a\x50\0")
    (flash / "main.py").write_bytes(b"before")
    (flash / "data").mkdir()
    (flash / "data/outbox").write_bytes(b"sealed")
    large = bytes(range(256)) * 20
    firmware = {"main.py": b"main", "node/k": b"kept", "node/new/at/x.mpy": large}
    said = run(
        flash,
        tmp_path,
        stage({"0": large[:3000], "1": b"main"}),
        Script("stage", {"fresh": False, "pieces": [["0", False, base64.b64encode(large[3000:]).decode()]]}),
        install(firmware, {"node/new/at/x.mpy": "0", "main.py": "1"}, k="a/node/k"),
    )
    assert [one.get("staged") for one in said[:2]] == [3004, len(large) - 3000]
    assert (flash / "b/node/new/at/x.mpy").read_bytes() == large
    assert (flash / "b/node/k").read_bytes() == b"kept"
    assert (flash / "main.py").read_bytes() == b"main"
    assert (flash / "slots").read_bytes() == b"b\0\0"
    assert not (flash / "a").exists()
    assert not (flash / "b/node/stray.mpy").exists()
    assert not (flash / ".stage").exists()
    assert (flash / "data/outbox").read_bytes() == b"sealed"
    assert said[-1] == {"digest": digest_of(firmware), "wrote_node": True}


def test_install_brings_a_board_without_slots_to_them(flash: Path, tmp_path: Path) -> None:
    (flash / "node").mkdir()
    (flash / "peilmerk_protocol").mkdir()
    (flash / "node/k").write_bytes(b"kept")
    (flash / "node/gone").write_bytes(b"gone")
    (before,) = run(flash, tmp_path, Script("inspect_board"))
    assert (before["slot"], sorted(before["files"])) == ("", ["node/gone", "node/k"])
    run(flash, tmp_path, stage({}), install({"node/k": b"kept"}, k="node/k"))
    (after,) = run(flash, tmp_path, Script("inspect_board"))
    assert (after["slot"], list(after["files"]), after["stray"]) == ("a", ["node/k"], False)
    assert sorted(path.name for path in flash.iterdir()) == ["a", "node.json", "slots"]


@pytest.mark.parametrize("slots", [b"", b"a", b"a\0\0\0", b"\xff\xff\xff", b"c\0\0"])
def test_slots_that_make_no_sense_are_those_of_a_first_deployment(
    flash: Path, tmp_path: Path, slots: bytes
) -> None:
    """As boot.py sees it, which must never stop at what it finds."""
    (flash / "a/node").mkdir(parents=True)
    (flash / "a/node/x.mpy").write_bytes(b"x")
    (flash / "slots").write_bytes(slots)
    (said,) = run(flash, tmp_path, Script("inspect_board"))
    assert (said["slot"], said["trial"], said["failed"]) == ("a", 0, 0)
    assert list(said["files"]) == ["node/x.mpy"]


def test_a_staged_file_that_reads_back_wrong_leaves_the_old_firmware_whole(
    flash: Path, tmp_path: Path
) -> None:
    (flash / "a/node").mkdir(parents=True)
    (flash / "a/node/x").write_bytes(b"before")
    (flash / "slots").write_bytes(b"a\0\0")
    (flash / "main.py").write_bytes(b"before")
    run(
        flash,
        tmp_path,
        stage({"0": b"good", "1": b"bad on flash"}),
        install({"main.py": b"good", "node/x": b"as it was sent"}, {"main.py": "0", "node/x": "1"}),
        fails="ValueError: flash holds",
    )
    assert (flash / "main.py").read_bytes() == b"before"
    assert (flash / "a/node/x").read_bytes() == b"before"
    assert (flash / "slots").read_bytes() == b"a\0\0"
    assert not (flash / "b").exists()


def test_fresh_staging_forgets_what_an_interrupted_run_left(flash: Path, tmp_path: Path) -> None:
    (flash / ".stage/inner").mkdir(parents=True)
    (flash / ".stage/7").write_bytes(b"left over")
    run(flash, tmp_path, stage({"0": b"new"}))
    assert sorted(path.name for path in (flash / ".stage").iterdir()) == ["0"]


def give(identity: str = '{"device_id": "abc"}', link: dict[str, Any] | None = None) -> Script:
    trust = base64.b64encode(b"\x30certificate").decode()
    return Script("give_identity", {"identity": identity, "trust": trust, "node": {"link": link or {}}})


def test_identity_is_written_and_read_back(flash: Path, tmp_path: Path) -> None:
    identity = '{"device_id": "abc", "root_key": "SECRET"}'
    (said,) = run(flash, tmp_path, give(identity, {"host": "a"}))
    assert said == {
        "device_id": "abc",
        "identity": hashlib.sha256(identity.encode()).hexdigest(),
        "trust": hashlib.sha256(b"\x30certificate").hexdigest(),
    }
    assert (flash / "identity.json").read_text() == identity
    assert (flash / "trust.der").read_bytes() == b"\x30certificate"
    assert not list(flash.glob("*.new"))


def test_identity_is_the_last_to_be_written(flash: Path, tmp_path: Path) -> None:
    (flash / "node.json").mkdir()
    run(flash, tmp_path, give(link={"host": "a"}), fails="OSError")
    assert not (flash / "identity.json").exists()


def test_link_and_kind_are_merged_in_either_order(flash: Path, tmp_path: Path) -> None:
    link = {"host": "a", "port": 1, "wifi": [["net", "one"]]}
    run(flash, tmp_path, give(link=link), Script("stage", {"fresh": True, "pieces": []}), install())
    enrolled_first = json.loads((flash / "node.json").read_text())
    (flash / "node.json").unlink()
    run(flash, tmp_path, Script("stage", {"fresh": True, "pieces": []}), install(), give(link=link))
    assert json.loads((flash / "node.json").read_text()) == enrolled_first
    assert enrolled_first == {"kind": "counter", "link": link}


def test_wifi_networks_are_joined_and_the_newer_password_counts(flash: Path, tmp_path: Path) -> None:
    run(flash, tmp_path, give(link={"host": "a", "wifi": [["home", "old"], ["street", "s"]]}))
    run(flash, tmp_path, give(link={"host": "b"}))
    run(flash, tmp_path, give(link={"wifi": [["home", "new"]]}))
    node = json.loads((flash / "node.json").read_text())
    assert node["link"] == {"host": "b", "wifi": [["street", "s"], ["home", "new"]]}


def test_node_json_is_written_only_when_it_changes(flash: Path, tmp_path: Path) -> None:
    first = run(flash, tmp_path, install())[-1]
    second = run(flash, tmp_path, install())[-1]
    assert (first["wrote_node"], second["wrote_node"]) == (True, False)
