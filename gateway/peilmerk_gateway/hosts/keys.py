"""The key of the owners' store: a file of its own that only its owner can read.

One line a key, the one in use first: `<key id> <32 bytes in base64>`. More than one line is there only while
a rotation is under way, so that a power cut in the middle of it locks nobody out.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from peilmerk_gateway.errors import PeilmerkError

KEY_BYTES = 32


class KeyFileError(PeilmerkError):
    """The key file cannot be used; the text never has anything of a key."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key of AES-256; `id` tells it from others and nothing else of it."""

    value: bytes = field(repr=False)

    @property
    def id(self) -> str:
        """Eight hexadecimal digits of its SHA-256."""
        return hashlib.sha256(self.value).hexdigest()[:8]


def new_key() -> Key:
    """Make a key of 256 random bits."""
    return Key(secrets.token_bytes(KEY_BYTES))


def read(file: Path) -> list[Key]:
    """Read the keys of a file, the one in use first. Raises KeyFileError, also when others may read it."""
    try:
        with file.open("rb") as opened:
            status = os.fstat(opened.fileno())
            lines = opened.read(4_096).split(b"\n")
    except OSError as reason:
        raise KeyFileError(f"{file}: found no key that can be read: {reason.strerror}") from None
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077 or not stat.S_ISREG(status.st_mode):
        raise KeyFileError(
            f"{file}: found mode {mode:04o}, wanted a file of mode 0600: others could read the key"
        )
    keys = [_key(file, number, line) for number, line in enumerate(lines, 1) if line]
    if not keys:
        raise KeyFileError(f"{file}: found no key in it, wanted one")
    return keys


def _key(file: Path, number: int, line: bytes) -> Key:
    name, _, text = line.partition(b" ")
    try:
        key = Key(base64.b64decode(text, validate=True))
    except binascii.Error:
        key = Key(b"")
    if len(key.value) != KEY_BYTES or key.id.encode() != name:
        raise KeyFileError(
            f"{file}: line {number}: found no key, wanted its id and {KEY_BYTES} bytes in base64"
        )
    return key


def write(file: Path, keys: Sequence[Key], *, new: bool = False) -> None:
    """Put keys on the disk as a whole or not at all; `new` refuses to replace a file. Raises KeyFileError."""
    lines = b"".join(b"%s %s\n" % (key.id.encode(), base64.b64encode(key.value)) for key in keys)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(lines)
            out.flush()
            os.fsync(out.fileno())
        if new:
            os.link(draft, file)
        else:
            draft.replace(file)
    except OSError as reason:
        raise KeyFileError(f"{file}: the key cannot be written: {reason.strerror}") from None
    finally:
        draft.unlink(missing_ok=True)
