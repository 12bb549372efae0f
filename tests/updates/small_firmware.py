"""Firmware in a few lines for the slots of a test's board, and releases of it by a key of the tests."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from peilmerk_provisioning import release as releases
from peilmerk_provisioning.bundle import Bundle, firmware_folder

KEYS = Path(__file__).parents[1] / "protocol"
ENTRY = {name: (firmware_folder() / name).read_bytes() for name in ("boot.py", "main.py")}


def release_key(name: str = "release") -> RSAPrivateKey:
    return releases.load_key(KEYS / f"{name}_key_of_tests.pem")


def filler(size: int, tag: int) -> bytes:
    """Bytes that are different everywhere and in every version."""
    found = b""
    while len(found) < size:
        found += hashlib.sha256(b"%d %d" % (tag, len(found))).digest()
    return found[:size]


def bundle(version: tuple[int, int, int], sizes: tuple[int, ...] = (40, 5000, 300)) -> Bundle:
    """A firmware that does nothing, in source, with files of these sizes beside it."""
    files = {
        "node/__init__.py": f"VERSION = {version}\n".encode(),
        "node/app.py": b"def main():\n    pass\n",
    }
    for number, size in enumerate(sizes):
        folder = ("node", "node/sensing", "peilmerk_protocol")[number % 3]
        files[f"{folder}/f{number:03}"] = filler(size, version[1])
    return Bundle(dict(sorted((ENTRY | files).items())), 6)


def release(
    new: Bundle, version: tuple[int, int, int], chips: tuple[str, ...] = ("linux",)
) -> releases.Release:
    return releases.make(new, version, "counter", list(chips), release_key())


def write_board(folder: Path, old: Bundle) -> None:
    """Lay out the flash of a board that was deployed to and enrolled."""
    for path, data in old.placed().items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    (folder / "release.der").write_bytes(releases.public_frame(release_key()))
