"""The contract a second time, out of the RFCs and other people's code only.

Nothing here imports `peilmerk_protocol`: CBOR is cbor2's, HMAC is the standard library's, HKDF is a line of
RFC 5869. What this module writes or accepts is what the room under test is compared with.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

import cbor2

ALGORITHM_HMAC_256_64 = 4
PROTECTED = cbor2.dumps({1: ALGORITHM_HMAC_256_64})
KINDS = {"report": 1, "statement": 2, "ack": 3, "command": 4, "day": 5}
INFO = {"up": b"peilmerk/1 up", "down": b"peilmerk/1 down"}


def canonical(value: object) -> bytes:
    return cbor2.dumps(value, canonical=True)


def hkdf(ikm: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869 with the standard library's HMAC."""
    prk = hmac.new(salt or bytes(32), ikm, hashlib.sha256).digest()
    okm, block = b"", b""
    for counter in range(1, -(-length // 32) + 1):
        block = hmac.new(prk, block + info + bytes([counter]), hashlib.sha256).digest()
        okm += block
    return okm[:length]


def derive(root_key: bytes, direction: str) -> bytes:
    return hkdf(root_key, b"", INFO[direction], 32)


def device_id(ten: bytes) -> str:
    return base64.b32encode(ten).decode().lower()


def mac_structure(kind: int, device: str, body: bytes) -> bytes:
    """RFC 9052, section 6.3."""
    return canonical(["MAC0", PROTECTED, canonical([1, kind, device]), body])


def seal(key: bytes, kind: int, device: str, body: bytes) -> bytes:
    tag = hmac.new(key, mac_structure(kind, device, body), hashlib.sha256).digest()[:8]
    return canonical([PROTECTED, {}, body, tag])


def verify(key: bytes, kind: int, device: str, sealed: bytes) -> bytes:
    """Take an untagged COSE_Mac0 apart with cbor2 and give its payload, or raise AssertionError."""
    protected, unprotected, body, tag = cbor2.loads(sealed)
    assert cbor2.loads(protected) == {1: ALGORITHM_HMAC_256_64}
    assert unprotected == {}
    assert len(tag) == 8
    expected = hmac.new(key, mac_structure(kind, device, body), hashlib.sha256).digest()[:8]
    assert hmac.compare_digest(tag, expected)
    return bytes(body)
