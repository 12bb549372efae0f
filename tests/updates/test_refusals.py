"""Each reason for which a board refuses an update has its own number, and then nothing has changed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from on_micropython import MICROPYTHON, environment
from patience import DEADLINE_S
from small_firmware import bundle, release, release_key, write_board

from peilmerk_protocol import manifest as manifests
from peilmerk_protocol.update_names import REASONS, TRIED
from peilmerk_provisioning import release as releases
from peilmerk_provisioning.release import Release

RECEIVING = Path(__file__).with_name("receiving.py")
NEW = bundle((0, 2, 0))
GOOD = release(NEW, (0, 2, 0))
ACCEPTED = 0


def feed(
    folder: Path, data: bytes, *, kind: str = "counter", piece: int = 700, offer: Any = None
) -> dict[str, Any]:
    (folder.parent / f"{folder.name}.release").write_bytes(data)
    (folder / "data").mkdir(exist_ok=True)
    words = [] if offer is None else [json.dumps(offer)]
    done = subprocess.run(
        [str(MICROPYTHON), "-X", "heapsize=512K", str(RECEIVING), str(folder), kind, str(piece), *words],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.fixture
def flash(tmp_path: Path) -> Path:
    folder = tmp_path / "flash"
    write_board(folder, bundle((0, 1, 0)))
    return folder


def whole(made: Release) -> bytes:
    return made.signed + made.content


def signed(key: str = "release", **fields: Any) -> bytes:
    """A release as good as the good one but for some fields of its manifest, rightly signed."""
    m = GOOD.manifest
    values = {
        "version": list(m.version),
        "chips": m.chips,
        "mpy": m.mpy,
        "micropython": list(m.micropython),
        "kind": m.kind,
        "digest": m.digest,
        "files": [list(one) for one in m.files],
    }
    payload = manifests.encode(manifests.Manifest(list((values | fields).values())))
    return releases.sign(payload, release_key(key)) + GOOD.content


def signed_path(path: bytes) -> bytes:
    payload = manifests.encode(GOOD.manifest).replace(b"node/app.py", path)
    return releases.sign(payload, release_key()) + GOOD.content


def offer(made: Release = GOOD, **changes: Any) -> list[Any]:
    fields = {"manifest": made.name, "size": made.size, "version": list(made.manifest.version)} | changes
    return list(fields.values())


@pytest.mark.parametrize("piece", [1, 17, 700, 100_000])
def test_what_is_right_is_taken_in_pieces_of_any_size(flash: Path, piece: int) -> None:
    found = feed(flash, whole(GOOD), piece=piece, offer=offer())
    assert (found["reason"], found["slots"]) == (ACCEPTED, [97, 240, 0])
    for path, data in NEW.files.items():
        if "/" in path:
            assert (flash / "b" / path).read_bytes() == data
    assert len([path for path in (flash / "b").rglob("*") if path.is_file()]) == len(NEW.files) - 2


REFUSED: list[tuple[str, int, Callable[[], bytes]]] = [
    ("no manifest", 1, lambda: b"M\x06" + bytes(2000)),
    ("a path that leads elsewhere", 1, lambda: signed_path(b"../boot.pyx")),
    ("a key that is not known", 2, lambda: signed("next")),
    ("a bit of the signature", 3, lambda: flipped(len(GOOD.signed) - 1)),
    ("a bit of the manifest", 3, lambda: flipped(60)),
    ("another chip", 4, lambda: whole(release(NEW, (0, 2, 0), ("esp32", "esp32s3")))),
    ("other bytecode", 5, lambda: signed(mpy=5)),
    ("native code of another chip", 5, lambda: signed(mpy=0x1E06)),
    ("a newer MicroPython", 6, lambda: signed(micropython=[9, 0, 0])),
    ("another kind", 7, lambda: signed(kind=2)),
    ("the same version", 8, lambda: signed(version=[0, 1, 0])),
    ("a lower version", 8, lambda: signed(version=[0, 0, 65535])),
    ("cut short in a file", 10, lambda: whole(GOOD)[:-1]),
    ("cut short in the manifest", 10, lambda: whole(GOOD)[:500]),
    ("nothing at all", 10, lambda: b""),
    ("a bit of a file", 11, lambda: flipped(len(GOOD.signed) + 3)),
    ("a bit of the last file", 11, lambda: flipped(-1)),
    ("a byte more", 11, lambda: whole(GOOD) + b"\0"),
    ("for another boot.py", 12, lambda: signed(digest=bytes(32))),
]


def flipped(at: int) -> bytes:
    data = bytearray(whole(GOOD))
    data[at] ^= 0x10
    return bytes(data)


@pytest.mark.parametrize(("what", "reason", "make"), REFUSED, ids=[row[0] for row in REFUSED])
def test_each_refusal_has_its_number_and_leaves_the_board_as_it_was(
    flash: Path, what: str, reason: int, make: Callable[[], bytes]
) -> None:
    found = feed(flash, make())
    assert found["reason"] == reason, found
    assert found["text"].startswith(f"update: refused {reason}: found ")
    assert found["slots"] == [97, 0, 0]
    assert reason in REASONS
    assert reason < TRIED


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"manifest": "00" * 32}, 11),
        ({"size": GOOD.size - 1}, 10),
        ({"size": GOOD.size + 1}, 10),
        ({"version": [0, 3, 0]}, 11),
        ({"version": [0, 1, 0]}, 8),
    ],
)
def test_what_comes_must_be_what_was_offered(flash: Path, change: dict[str, Any], reason: int) -> None:
    found = feed(flash, whole(GOOD), offer=offer(**change))
    assert (found["reason"], found["slots"]) == (reason, [97, 0, 0])
    assert not (flash / "b").exists()


def test_nothing_is_written_before_the_manifest_is_verified(flash: Path) -> None:
    (flash / "b/node").mkdir(parents=True)
    (flash / "b/node/old").write_bytes(b"what was there")
    assert feed(flash, flipped(len(GOOD.signed) - 1))["reason"] == 3
    assert (flash / "b/node/old").read_bytes() == b"what was there"
    assert feed(flash, whole(GOOD))["reason"] == ACCEPTED
    assert not (flash / "b/node/old").exists()


def test_what_the_flash_does_not_give_back_is_never_tried(flash: Path) -> None:
    found = feed(flash, whole(GOOD), piece=701)
    assert (found["reason"], found["text"], found["slots"]) == (17, "reads back otherwise", [97, 0, 0])


def test_a_board_without_a_release_key_takes_nothing(flash: Path) -> None:
    (flash / "release.der").unlink()
    assert feed(flash, whole(GOOD))["reason"] == 13


@pytest.mark.parametrize("keys", [b"", b"\x30\x82" + bytes(419), bytes(422), bytes(5000)])
def test_a_release_key_that_is_none_believes_nobody(flash: Path, keys: bytes) -> None:
    (flash / "release.der").write_bytes(keys)
    assert feed(flash, whole(GOOD))["reason"] == 2


def test_either_of_two_keys_will_do(flash: Path) -> None:
    frames = [releases.public_frame(release_key(name)) for name in ("next", "release")]
    (flash / "release.der").write_bytes(b"".join(frames))
    assert feed(flash, whole(GOOD))["reason"] == ACCEPTED
    (flash / "slots").write_bytes(b"a\0\0")
    assert feed(flash, signed("next"))["reason"] == ACCEPTED


def test_firmware_on_trial_takes_no_update(flash: Path) -> None:
    (flash / "slots").write_bytes(b"b\x50\0")
    assert feed(flash, whole(GOOD))["reason"] == 15


def test_the_floor_outlives_the_firmware_that_set_it(flash: Path) -> None:
    """0.3.0 proved itself here once: nothing below it comes back over the network, whatever runs now."""
    (flash / "data").mkdir()
    mark = f"Mark({str(flash / 'data/proven')!r}, 'HHHI')"
    code = f"from node.mark import Mark; {mark}.save(0, 3, 0, 0)"
    subprocess.run([str(MICROPYTHON), "-c", code], env=environment(), check=True, timeout=DEADLINE_S)
    assert feed(flash, whole(GOOD))["reason"] == 8
    assert feed(flash, signed(version=[0, 3, 0]))["reason"] == 8


def test_memory_is_bounded_by_the_manifest(flash: Path) -> None:
    """64-bit objects: about twice what an ESP32 needs."""
    small = feed(flash, whole(GOOD))
    large = bundle((0, 2, 0), (1,) * 30 + (200_000,))
    (flash / "slots").write_bytes(b"a\0\0")
    found = feed(flash, whole(release(large, (0, 2, 0))))
    assert found["reason"] == ACCEPTED
    print("heap while receiving:", small["heap"], "and with 33 files of 200 kB:", found["heap"])
    assert found["heap"] < 24_000


@settings(max_examples=15)
@given(data=st.data())
def test_any_damage_is_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    flash = tmp_path_factory.mktemp("board") / "flash"
    write_board(flash, bundle((0, 1, 0)))
    file = bytearray(whole(GOOD))
    at = data.draw(st.integers(0, len(file) - 1))
    what = data.draw(st.sampled_from(["flip", "cut", "insert", "double"]))
    if what == "flip":
        file[at] ^= data.draw(st.integers(1, 255))
    elif what == "cut":
        del file[at:]
    elif what == "insert":
        file[at:at] = data.draw(st.binary(min_size=1, max_size=8))
    else:
        file[at:at] = file[at : at + 9]
    if bytes(file) == whole(GOOD):
        return
    found = feed(flash, bytes(file))
    assert 1 <= found["reason"] < TRIED
    assert found["slots"] == [97, 0, 0]
