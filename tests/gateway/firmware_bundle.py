"""Bundles for tests: as a city would sign them, but for the signature, which no gateway can check."""

from __future__ import annotations

import hashlib

from peilmerk_protocol import cbor, manifest

FILES = {"node/__init__.mpy": b"M\x06first", "node/app.mpy": b"M\x06" + bytes(300)}


def bundle(
    files: dict[str, bytes] = FILES,
    *,
    kind: int = 1,
    version: tuple[int, int, int] = (0, 4, 0),
    firmware: bytes = bytes(32),
) -> bytes:
    """A whole bundle."""
    entries = [[path, len(data), hashlib.sha256(data).digest()] for path, data in sorted(files.items())]
    said = manifest.Manifest([list(version), ["esp32"], 6, [1, 24, 0], kind, firmware, entries])
    payload = manifest.encode(said)
    head = bytearray(b"\x84\x4f\xa2\x01\x39\x01\x00\x04\x48" + b"k" * 8 + b"\xa0")
    cbor.write_head(head, 2, len(payload))
    return bytes(head) + payload + b"\x59\x01\x80" + b"s" * 384 + b"".join(files[p] for p in sorted(files))


def digest(data: bytes) -> str:
    """The name of a bundle: the SHA-256 of its manifest."""
    return hashlib.sha256(data[: manifest.length(data[: manifest.PREFIX])]).hexdigest()
