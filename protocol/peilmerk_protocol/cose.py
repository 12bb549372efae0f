"""Seal and open: COSE_Mac0 (RFC 9052, section 6.2), untagged, around one body.

    [ h'A10104', {}, body, tag ]      protected header {1: 4} = HMAC 256/64 (RFC 9053, section 3.1)

The tag is the first 8 bytes of HMAC-SHA-256 over the MAC_structure (RFC 9052, section 6.3)

    ["MAC0", h'A10104', external_aad, body]

whose external_aad is the CBOR of [version of the contract, kind, device id]. The kind tells the direction
too, so a message proves nothing under another device, another kind or in the other direction.

Sealing costs 16 bytes, and one more for a body of more than 23 bytes.
"""

from peilmerk_protocol import VERSION, cbor, keys
from peilmerk_protocol.error import ProtocolError

TAG_LENGTH = 8
MAX_BODY = 480
MAX_SEALED = MAX_BODY + 18
"""Longest sealed message in bytes. Anything longer is refused unread, on the device and in the gateway."""

_HEAD = b"\x84\x43\xa1\x01\x04\xa0"
_TAG_HEAD = 0x48
_MAC_HEAD = b"\x84\x64MAC0\x43\xa1\x01\x04"


class SealError(ProtocolError):
    """A message does not open. Reasons: "malformed" (not such an envelope), "forged" (the tag is another).

    `seal` raises it with "too-large" for a body above MAX_BODY.
    """


def seal(key: bytes, kind: int, device_id: str, body: bytes) -> bytes:
    """Seal a body with the key of its direction (`keys.derive`)."""
    if len(body) > MAX_BODY:
        raise SealError("too-large")
    out = bytearray(_HEAD)
    cbor.write_head(out, 2, len(body))
    out.extend(body)
    out.append(_TAG_HEAD)
    out.extend(_tag(key, kind, device_id, body))
    return bytes(out)


def open_sealed(key: bytes, kind: int, device_id: str, data: bytes) -> bytes:
    """Verify a sealed message and give its body back. Raises SealError and nothing else."""
    if len(data) > MAX_SEALED or data[: len(_HEAD)] != _HEAD:
        raise SealError("malformed")
    try:
        major, length, start = cbor.read_head(data, len(_HEAD))
    except cbor.CborError:
        raise SealError("malformed")
    end = start + length
    if major != 2 or len(data) != end + 1 + TAG_LENGTH or data[end] != _TAG_HEAD:
        raise SealError("malformed")
    body = bytes(data[start:end])
    if not keys.equal(bytes(data[end + 1 :]), _tag(key, kind, device_id, body)):
        raise SealError("forged")
    return body


def _tag(key: bytes, kind: int, device_id: str, body: bytes) -> bytes:
    external_aad = cbor.encode((VERSION, kind, device_id))
    structure = bytearray(_MAC_HEAD)
    cbor.write_head(structure, 2, len(external_aad))
    structure.extend(external_aad)
    cbor.write_head(structure, 2, len(body))
    structure.extend(body)
    return keys.hmac_sha256(key, bytes(structure))[:TAG_LENGTH]
