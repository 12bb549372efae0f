"""The folder of bundles that boards may fetch, each under its digest.

A bundle is one file: the signed manifest, then the bytes of its files in the manifest's order; its digest is
the SHA-256 of the manifest. What is taken in is whole and holds what its manifest says. Whether the signature
is the city's is for the board to say, which carries the key; a gateway that held it could be told otherwise.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import cbor2

from peilmerk_gateway.errors import PeilmerkError
from peilmerk_protocol import manifest
from peilmerk_protocol.manifest import Manifest, ManifestError

# Far more than any board has room for.
MOST_BYTES = 8 << 20


class BundleError(PeilmerkError):
    """A file is no bundle, or there is no such bundle; the text says what was found and what was wanted."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a bundle is known by: its digest, its size in bytes, and what its manifest says."""

    digest: bytes
    size: int
    manifest: Manifest

    @property
    def argument(self) -> list[object]:
        """What a board is offered: manifest's SHA-256, size, version."""
        return [self.digest, self.size, list(self.manifest.version)]

    @property
    def kind(self) -> str:
        """The kind of board it is for: "any", "counter" or "air"."""
        return manifest.KINDS[self.manifest.kind]


def read(file: Path) -> tuple[Bundle, bytes]:
    """Read a bundle and check that it is whole; return it with its bytes. Raises BundleError."""
    try:
        if file.stat().st_size > MOST_BYTES:
            raise BundleError(f"{file}: found {file.stat().st_size} bytes, wanted at most {MOST_BYTES}")
        data = file.read_bytes()
    except OSError as reason:
        raise BundleError(f"{file}: {reason.strerror}, wanted a bundle of firmware") from reason
    try:
        head = data[: manifest.length(data[: manifest.PREFIX])]
        said = manifest.decode(cbor2.loads(head)[2])
    except (ManifestError, cbor2.CBORDecodeError, IndexError, TypeError) as reason:
        raise BundleError(f"{file}: found no manifest at its beginning ({reason}), wanted a bundle") from None
    at = len(head)
    for path, size, digest in said.files:
        if hashlib.sha256(data[at : at + size]).digest() != digest:
            raise BundleError(f"{file}: found {path} otherwise than the manifest has it, wanted it whole")
        at += size
    if at != len(data):
        raise BundleError(f"{file}: found {len(data)} bytes, wanted the {at} that the manifest tells of")
    return Bundle(hashlib.sha256(head).digest(), len(data), said), data


def take_in(file: Path, folder: Path) -> Bundle:
    """Copy a bundle into the folder under its digest; no board finds half of one. Raises BundleError."""
    bundle, data = read(file)
    target = folder / bundle.digest.hex()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = folder / f".{os.getpid()}"
        with open(draft, "wb") as copy:
            copy.write(data)
            copy.flush()
            os.fsync(copy.fileno())
        draft.replace(target)
    except OSError as reason:
        raise BundleError(f"{target}: {reason.strerror}, wanted to copy {file} there") from reason
    return bundle


def find(digest: bytes, folder: Path) -> Bundle:
    """Return a bundle that is in the folder. Raises BundleError when it is not, or not whole."""
    file = folder / digest.hex()
    if not file.is_file():
        raise BundleError(f"{folder}: found no bundle {digest.hex()}, wanted it there: give its file")
    bundle, _ = read(file)
    if bundle.digest != digest:
        raise BundleError(f"{file}: found the bundle {bundle.digest.hex()}, wanted what its name says")
    return bundle
