"""Chains of decisions: entries that each carry a digest over themselves and the one before.

    digest = SHA-256(digest of the entry before, 32 zero bytes for the first
                     || CBOR [number, at, kind, body])

What is decided by thousands is bound by the root of a Merkle tree over its rows (RFC 9162, section 2.1.1).
The store's audit trail and the registry's own are such chains; nothing here knows either of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import cbor2

_sha256, _dumps = hashlib.sha256, cbor2.dumps

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
    level = [_sha256(b"\0" + data).digest() for data in leaves]
    if not level:
        return _sha256(b"").digest()
    while len(level) > 1:
        # Level by level; one that is over goes up as it is, which makes the same tree as splitting does.
        over = level[-1:] if len(level) % 2 else []
        pairs = zip(level[::2], level[1::2], strict=False)
        level = [_sha256(b"\1" + left + right).digest() for left, right in pairs] + over
    return level[0]


def root_of(rows: Iterable[Sequence[Any]], floats: Sequence[int] | None = None) -> bytes:
    """Return the root over rows in the order of their bytes, which no database sorts in its own way.

    `floats` are the columns that can hold one, when that is known; it makes no difference but in time.
    """
    return merkle_root(sorted([_dumps(row, canonical=True) for row in _plain(rows, floats)]))


def packed_root_of(
    rows: Iterable[Sequence[Any]],
    key: Callable[[Sequence[Any]], Any],
    a_leaf: int,
    floats: Sequence[int] | None = None,
) -> bytes:
    """Return the root over rows in the order of their keys, `a_leaf` of them a leaf: a CBOR array of arrays.

    A call for each row, to encode it and to hash it, costs more than what is encoded and hashed.
    ValueError for leaves without rows.
    """
    plain = sorted(_plain(rows, floats), key=key)
    return merkle_root([_dumps(plain[n : n + a_leaf], canonical=True) for n in range(0, len(plain), a_leaf)])


def _plain(rows: Iterable[Sequence[Any]], floats: Sequence[int] | None) -> Sequence[Sequence[Any]]:
    """Return rows with whole numbers as such: SQLite keeps 2.0 as 2, and gives back the one when asked and
    the other from RETURNING.
    """
    rows = [*map(tuple, rows)]
    if floats is None or any(_is_whole(row[column]) for column in floats for row in rows):
        rows = [tuple(int(one) if _is_whole(one) else one for one in row) for row in rows]
    return rows


def _is_whole(one: Any) -> bool:
    return one.__class__ is float and one.is_integer()
