"""Chains of decisions: entries that each carry a digest over themselves and the one before.

    digest = SHA-256(digest of the entry before, 32 zero bytes for the first
                     || CBOR [number, at, kind, body])

What is decided by thousands is bound by the root of a Merkle tree over its rows (RFC 9162, section 2.1.1).
The store's audit trail and the registry's own are such chains; nothing here knows either of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import cbor2

NOTHING = bytes(32)
"""The digest before the first entry."""


def digest(before: bytes, number: int, at: float, kind: str, body: bytes) -> bytes:
    """Return the digest of an entry, 32 bytes."""
    return hashlib.sha256(before + cbor2.dumps([number, at, kind, body], canonical=True)).digest()


def leaf(row: Sequence[Any]) -> bytes:
    """Return a row as what a leaf of a Merkle tree is made of: a CBOR array."""
    return cbor2.dumps(list(row), canonical=True)


def merkle_root(leaves: Iterable[bytes]) -> bytes:
    """Return the root of the Merkle tree over leaves in their order, 32 bytes (RFC 9162, section 2.1.1)."""
    # Complete subtrees by falling size, as in a binary number: one row more carries.
    stack: list[tuple[int, bytes]] = []
    for data in leaves:
        size, node = 1, hashlib.sha256(b"\0" + data).digest()
        while stack and stack[-1][0] == size:
            size, node = 2 * size, hashlib.sha256(b"\1" + stack.pop()[1] + node).digest()
        stack.append((size, node))
    if not stack:
        return hashlib.sha256(b"").digest()
    _, root = stack.pop()
    while stack:
        root = hashlib.sha256(b"\1" + stack.pop()[1] + root).digest()
    return root


def root_of(rows: Iterable[Sequence[Any]]) -> bytes:
    """Return the root over rows in the order of their bytes, which no database sorts in its own way."""
    return merkle_root(sorted(leaf([_plain(value) for value in row]) for row in rows))


def _plain(value: Any) -> Any:
    # SQLite keeps 2.0 as 2, and gives back the one when asked and the other from RETURNING.
    return int(value) if isinstance(value, float) and value.is_integer() else value
