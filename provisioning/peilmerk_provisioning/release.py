"""Signed releases of firmware: the city's offline key, and the one file that boards fetch and verify.

    release file = manifest (COSE_Sign1, `peilmerk_protocol.manifest`), then its files' bytes, in its order

The file is named by the SHA-256 of its manifest, in hexadecimal, as boards ask for it. boot.py and main.py
are not in it: they are replaced by cable only, so that no update can take away the way back; the digest in
the manifest is the one that a board with these entry points attests.

The private key never leaves its file, which only its owner reads; a passphrase is asked for or read from a
file, and is never an argument.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    RSAPublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
    load_pem_public_key,
)

from peilmerk_protocol import cbor
from peilmerk_protocol import manifest as manifests
from peilmerk_provisioning.bundle import ENTRY_POINTS, MICROPYTHON_AT_LEAST, Bundle
from peilmerk_provisioning.errors import ReleaseError

__all__ = ["Release", "make", "new_key", "public_keys", "read", "write"]

KEY_BITS = 3072
EXPONENT = 65537
SPKI_BYTES = 422
MOST_KEYS = 2
"""A board holds the key in use and the next one."""
ALGORITHM = -257
"""RS256 (RFC 8812)."""


@dataclass(frozen=True, slots=True)
class Release:
    """One release file, taken apart."""

    manifest: manifests.Manifest
    signed: bytes
    """The manifest with its signature."""
    content: bytes
    """The files' bytes, one after the other."""
    key_id: str

    @property
    def name(self) -> str:
        """Name of the file: SHA-256 of the manifest, 64 hexadecimal digits."""
        return hashlib.sha256(self.signed).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return len(self.signed) + len(self.content)

    @property
    def version(self) -> str:
        """The firmware's version in words."""
        return ".".join(str(part) for part in self.manifest.version)

    @property
    def kind(self) -> str:
        """The kind of node it is for, or "any"."""
        return manifests.KINDS[self.manifest.kind]


def new_key(file: Path, passphrase: bytes | None = None) -> Path:
    """Make a release key: the private half into `file` (PEM, readable by its owner only), the public half
    beside it as .der, for enrolment; return the latter. Raises ReleaseError when either is there already.
    """
    public = file.with_suffix(".der")
    key = generate_private_key(EXPONENT, KEY_BITS)
    locked: KeySerializationEncryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    try:
        if public.exists():
            raise FileExistsError(17, "File exists", str(public))
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as private:
            private.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked))
        public.write_bytes(_frame(key.public_key()))
    except FileExistsError as reason:
        raise ReleaseError(
            f"{reason.filename}: found a file, and a release key is never overwritten"
        ) from None
    except OSError as reason:
        raise ReleaseError(f"{file}: {reason.strerror}, wanted a place for the release key") from reason
    return public


def load_key(file: Path, passphrase: bytes | None = None) -> RSAPrivateKey:
    """Read a private release key. Raises ReleaseError; `is_locked` tells whether it needs a passphrase."""
    data = _read(file, "a release key")
    try:
        key = load_pem_private_key(data, passphrase)
    except TypeError:
        raise ReleaseError(
            f"{file}: found a key under a passphrase, and none was given, or none was wanted"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise ReleaseError(
            f"{file}: found no private key that opens{' with this passphrase' if passphrase else ''}, wanted "
            "one in PEM"
        ) from None
    if not isinstance(key, RSAPrivateKey) or not _fits(key.public_key()):
        raise ReleaseError(
            f"{file}: found another key, wanted RSA of {KEY_BITS} bits with exponent {EXPONENT}"
        )
    return key


def is_locked(file: Path) -> bool:
    """Return whether a private key needs a passphrase."""
    return b"ENCRYPTED" in _read(file, "a release key")


def public_keys(files: list[Path]) -> bytes:
    """Return what goes onto a board as /release.der: up to two public keys in DER, the one in use first.
    Raises ReleaseError. A private key's file is refused: its place is not beside boards.
    """
    if len(files) > MOST_KEYS:
        raise ReleaseError(
            f"found {len(files)} release keys, wanted at most {MOST_KEYS}: the one in use, the next"
        )
    joined = b""
    for file in files:
        data = _read(file, "a public release key")
        if b"PRIVATE KEY" in data:
            raise ReleaseError(
                f"{file}: found a private key, wanted the public half, which lies beside it as .der"
            )
        try:
            key = load_pem_public_key(data) if data.startswith(b"-----") else load_der_public_key(data)
        except (ValueError, UnsupportedAlgorithm):
            raise ReleaseError(f"{file}: found no public key, wanted one in DER or PEM") from None
        if not isinstance(key, RSAPublicKey) or not _fits(key):
            raise ReleaseError(
                f"{file}: found another key, wanted RSA of {KEY_BITS} bits with exponent {EXPONENT}"
            )
        joined += _frame(key)
    return joined


def public_frame(key: RSAPrivateKey) -> bytes:
    """Return the public half of a key as boards carry it."""
    return _frame(key.public_key())


def make(
    bundle: Bundle, version: tuple[int, int, int], kind: str, chips: list[str], key: RSAPrivateKey
) -> Release:
    """Sign a bundle, which must have been built with this version. `kind` is "counter", "air" or "any".

    Raises ReleaseError for what the contract has no place for.
    """
    files = [
        [path, len(data), hashlib.sha256(data).digest()]
        for path, data in bundle.files.items()
        if path not in ENTRY_POINTS
    ]
    least = [*MICROPYTHON_AT_LEAST, 0]
    try:
        manifest = manifests.Manifest(
            [
                list(version),
                list(chips),
                bundle.mpy,
                least,
                manifests.KINDS.index(kind),
                bytes.fromhex(bundle.digest),
                files,
            ]
        )
    except manifests.ManifestError as reason:
        raise ReleaseError(f"the release does not fit the contract: {reason}") from reason
    signed = sign(manifests.encode(manifest), key)
    content = b"".join(bundle.files[path] for path, _, _ in manifest.files)
    return Release(manifest, signed, content, signed[9:17].hex())


def sign(payload: bytes, key: RSAPrivateKey) -> bytes:
    """Return a payload with its signature, COSE_Sign1. Raises ReleaseError when no board would hold it."""
    named = manifests.key_id(_modulus(key.public_key()))
    signature = key.sign(manifests.to_be_signed(named, payload), padding.PKCS1v15(), hashes.SHA256())
    signed = cbor.encode([cbor.encode({1: ALGORITHM, 4: named}), {}, payload, signature])
    if len(signed) > manifests.MAX_LENGTH:
        raise ReleaseError(f"found a manifest of {len(signed)} bytes, wanted at most {manifests.MAX_LENGTH}")
    return signed


def write(release: Release, folder: Path) -> Path:
    """Put a release into a folder under its name, whole or not at all, and return where."""
    file = folder / release.name
    draft = file.with_suffix(".new")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(release.signed + release.content)
        draft.replace(file)
    except OSError as reason:
        raise ReleaseError(f"{file}: {reason.strerror}, wanted a folder for the release") from reason
    return file


def read(file: Path, keys: bytes | None = None) -> Release:
    """Read a release file and check what can be checked here: form, sizes and hashes, the name it bears, and
    the signature when public keys (`public_keys`) are given. Raises ReleaseError.
    """
    data = _read(file, "a release")
    try:
        size = manifests.length(data[: manifests.PREFIX])
        signed, content = data[:size], data[size:]
        items = cbor.decode(signed)
        assert isinstance(items, list)
        manifest = manifests.decode(items[2])
        if keys is not None:
            manifests.verify(signed, manifests.moduli(keys))
    except manifests.ManifestError as reason:
        words = {"key": "signed by a key that is not among these", "forged": "a signature that is not right"}
        found = words.get(reason.reason, f"no release ({reason})")
        raise ReleaseError(f"{file}: found {found}, wanted a signed release") from None
    except (cbor.CborError, AssertionError, IndexError, TypeError):
        raise ReleaseError(f"{file}: found something else, wanted a release") from None
    wanted = sum(entry[1] for entry in manifest.files)
    if len(content) != wanted:
        raise ReleaseError(f"{file}: found {len(content)} bytes of files, wanted {wanted}")
    at = 0
    for path, length, digest in manifest.files:
        if hashlib.sha256(content[at : at + length]).digest() != digest:
            raise ReleaseError(f"{file}: {path}: found another content than was signed")
        at += length
    return Release(manifest, signed, content, signed[9:17].hex())


def _fits(key: RSAPublicKey) -> bool:
    return key.key_size == KEY_BITS and key.public_numbers().e == EXPONENT


def _modulus(key: RSAPublicKey) -> bytes:
    return key.public_numbers().n.to_bytes(KEY_BITS // 8, "big")


def _frame(key: RSAPublicKey) -> bytes:
    framed = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert len(framed) == SPKI_BYTES  # what boards rely on
    return framed


def _read(file: Path, what: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as reason:
        raise ReleaseError(f"{file}: {reason.strerror}, wanted {what}") from reason
