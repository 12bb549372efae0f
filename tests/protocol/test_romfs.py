"""The image of a ROM file system: MicroPython mounts it, and mpremote makes the same but for its padding."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from mpremote.romfs import make_romfs  # type: ignore[import-untyped]

from peilmerk_protocol import romfs

MICROPYTHON = Path(sys.executable).with_name("micropython")
FILES = {
    "a": b"",
    "node/__init__.mpy": b"M" * 38,
    "node/app.mpy": bytes(range(256)) * 180,
    "node/portal/http.mpy": b"x" * 127,
    "node/portal/pages": b"y" * 128,
    "node/update/receive.mpy": b"z" * 16384,
    "nodes": b"1",
    "peilmerk_protocol/cbor.mpy": b"2" * 20,
}


def image(files: dict[str, bytes]) -> bytes:
    heads, size = romfs.heads([(path, len(data)) for path, data in files.items()])
    made = b"".join(head + data for head, data in zip(heads, files.values(), strict=True))
    assert len(made) == size
    return made


def test_micropython_reads_every_file_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(image(FILES))
    program = f"""
import hashlib, json, os, vfs
with open({str(tmp_path / "image")!r}, "rb") as file:
    data = file.read()
vfs.mount(vfs.VfsRom(memoryview(data + bytes(100))), "/rom")
found = {{}}
def below(path):
    for name, kind, *_ in os.ilistdir("/rom" + path):
        if kind == 0x4000:
            below(path + "/" + name)
        else:
            with open("/rom" + path + "/" + name, "rb") as file:
                found[path[1:] + "/" * bool(path) + name] = hashlib.sha256(file.read()).digest().hex()
below("")
print(json.dumps(found))
"""
    done = subprocess.run([MICROPYTHON, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {path: hashlib.sha256(data).hexdigest() for path, data in FILES.items()}


@pytest.mark.parametrize("last", [b"12", b"1"])
def test_mpremote_builds_the_same(tmp_path: Path, last: bytes) -> None:
    files = FILES | {"peilmerk_protocol/cbor.mpy": last}
    for path, data in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = make_romfs(str(tmp_path), mpy_cross=False)
    ours = image(files)
    # Theirs has an even length: one more byte in front of a number means the same.
    padded = romfs.MAGIC + b"\x80" + ours[3:]
    assert theirs in (ours, padded)
