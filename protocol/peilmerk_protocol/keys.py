"""Keys of a device: HMAC-SHA-256 (RFC 2104), HKDF-SHA-256 (RFC 5869) and one key a direction.

MicroPython has SHA-256 but no HMAC, so both are written here from their RFCs and proven with the vectors of
RFC 4231 and RFC 5869. A root key is 32 random bytes, made at enrolment; it is never used for anything but
deriving. A key of one direction says nothing about the other one, nor about the root.
"""

import hashlib

from peilmerk_protocol.error import ProtocolError

UP = 1
"""Device to gateway: reports, statements, acknowledgements."""
DOWN = 2
"""Gateway to device: commands."""

KEY_LENGTH = 32
_BLOCK = 64  # input block of SHA-256 in bytes
_IPAD = int.from_bytes(b"\x36" * _BLOCK, "big")
_OPAD = int.from_bytes(b"\x5c" * _BLOCK, "big")
_DIGEST = 32
_INFO = (b"", b"peilmerk/1 up", b"peilmerk/1 down")


class KeyUseError(ProtocolError):
    """A key of the wrong length, an unknown direction or an impossible output length."""


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """Authenticate `message` with a key of any length: 32 bytes (RFC 2104)."""
    if len(key) > _BLOCK:
        key = hashlib.sha256(key).digest()
    # One exclusive or of a 512-bit number instead of 64 of a byte: several times faster on either Python.
    padded = int.from_bytes(key, "big") << 8 * (_BLOCK - len(key))
    inner = hashlib.sha256((padded ^ _IPAD).to_bytes(_BLOCK, "big"))
    inner.update(message)
    outer = hashlib.sha256((padded ^ _OPAD).to_bytes(_BLOCK, "big"))
    outer.update(inner.digest())
    return outer.digest()


def hkdf(ikm: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """Extract and expand (RFC 5869, sections 2.2 and 2.3): `length` bytes, at most 255 digests."""
    if not 0 < length <= 255 * _DIGEST:
        raise KeyUseError("length")
    # An absent salt is a digest's length of zeros; HMAC pads with zeros anyway, so the empty one is the same.
    prk = hmac_sha256(salt, ikm)
    okm = b""
    block = b""
    counter = 1
    while len(okm) < length:
        block = hmac_sha256(prk, block + info + bytes((counter,)))
        okm += block
        counter += 1
    return okm[:length]


def derive(root_key: bytes, direction: int) -> bytes:
    """Derive the 32-byte key of a direction (UP or DOWN) from a device's 32-byte root key."""
    if len(root_key) != KEY_LENGTH:
        raise KeyUseError("root-key")
    if direction != UP and direction != DOWN:
        raise KeyUseError("direction")
    return hkdf(root_key, b"", _INFO[direction], KEY_LENGTH)


def equal(a: bytes, b: bytes) -> bool:
    """Compare in a time that depends on the lengths only, never on where the first difference is."""
    if len(a) != len(b):
        return False
    difference = 0
    for index in range(len(a)):
        difference |= a[index] ^ b[index]
    return difference == 0
