"""What the bodies of all messages share: a list of a known length, of whole numbers within limits.

Each kind of message passes its own exception class, so that a caller sees one declared error and one reason.
"""

from peilmerk_protocol import cbor
from peilmerk_protocol.error import ProtocolError

UINT32 = 0xFFFFFFFF


def fields(data: bytes, length: int, error: "type[ProtocolError]") -> "list[object]":
    """Decode a body that must be a list of `length` items (-1: any). Raises `error("malformed")`."""
    try:
        items = cbor.decode(data)
    except cbor.CborError:
        raise error("malformed")
    if not isinstance(items, list) or (length >= 0 and len(items) != length):
        raise error("malformed")
    return items


def whole(value: object, low: int, high: int, error: "type[ProtocolError]", reason: str) -> int:
    """Give `value` back when it is a whole number from `low` to `high`, else raise `error(reason)`."""
    if not isinstance(value, int) or value is True or value is False or not low <= value <= high:
        raise error(reason)
    return value


def exact_bytes(value: object, length: int, error: "type[ProtocolError]", reason: str) -> bytes:
    """Give `value` back when it is a byte string of that length, else raise `error(reason)`."""
    if not isinstance(value, (bytes, bytearray)) or len(value) != length:
        raise error(reason)
    return bytes(value)


def version(value: object, error: "type[ProtocolError]", reason: str) -> "tuple[int, int, int]":
    """Give a [major, minor, patch] back as a tuple of numbers of 16 bits, else raise `error(reason)`."""
    if not isinstance(value, (list, tuple)) or len(value) != 3:
        raise error(reason)
    return (
        whole(value[0], 0, 65535, error, reason),
        whole(value[1], 0, 65535, error, reason),
        whole(value[2], 0, 65535, error, reason),
    )
