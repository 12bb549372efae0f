"""The part of CBOR that our messages need, and not a byte more.

Core deterministic encoding (RFC 8949, section 4.2.1) of whole numbers of 64 bits, byte strings, text of
printable ASCII, lists, maps with whole numbers as keys, True, False and None. What the encoder would not
have written the decoder refuses: floats, tags, indefinite lengths, numbers or lengths in more bytes than
needed, map keys doubled or out of order, bytes after the end. Two devices can therefore never write the same
message in two ways, and nothing can ride along in a place that a reader would skip.

Text is ASCII because no message carries words for people; so there is no question which UTF-8 is well formed.

Cost is linear in the length of the input: a declared length is compared with what is left of the input before
anything is allocated, and nesting stops at DEPTH.
"""

from peilmerk_protocol.error import ProtocolError

DEPTH = 4
"""Lists and maps may nest this deep; the outermost counts as one."""

_UINT = 0
_NEGATIVE = 1
_BYTES = 2
_TEXT = 3
_LIST = 4
_MAP = 5
_TAG = 6


class CborError(ProtocolError):
    """Not a message of this subset.

    Reasons: "truncated", "trailing", "float", "simple", "tag", "indefinite", "reserved", "not-shortest",
    "key-type", "key-order", "depth", "text"; from the encoder also "type" and "too-large".
    """


def encode(obj: object) -> bytes:
    """Encode a value. CborError("type") for what the subset does not hold, e.g. a float."""
    out = bytearray()
    _write(out, obj, 0)
    return bytes(out)


def decode(data: "bytes | bytearray | memoryview") -> object:
    """Decode exactly one value that fills `data`. Raises CborError and nothing else."""
    value, position = _read(data, 0, 0)
    if position != len(data):
        raise CborError("trailing")
    return value


def write_head(out: bytearray, major: int, number: int) -> None:
    """Append the initial byte and argument of a data item, in the fewest bytes (RFC 8949, section 3)."""
    major <<= 5
    if number < 24:
        out.append(major | number)
    elif number < 0x100:
        out.append(major | 24)
        out.append(number)
    elif number < 0x10000:
        out.append(major | 25)
        out.append(number >> 8)
        out.append(number & 255)
    elif number < 0x100000000:
        out.append(major | 26)
        out.extend(number.to_bytes(4, "big"))
    elif number < 0x10000000000000000:
        out.append(major | 27)
        out.extend(number.to_bytes(8, "big"))
    else:
        raise CborError("too-large")


def read_head(data: "bytes | bytearray | memoryview", position: int) -> "tuple[int, int, int]":
    """Read an initial byte and its argument: (major type, argument, position after it)."""
    if position >= len(data):
        raise CborError("truncated")
    major = data[position] >> 5
    number = data[position] & 31
    position += 1
    if major == 7:
        # Argument 20, 21 and 22 are False, True and None; 25 to 27 are floats.
        if 25 <= number <= 27:
            raise CborError("float")
        if number == 31:
            raise CborError("indefinite")
        if not 20 <= number <= 22:
            raise CborError("simple")
        return major, number, position
    if number < 24:
        return major, number, position
    if number == 31:
        raise CborError("indefinite")
    if number > 27:
        raise CborError("reserved")
    size = 1 << (number - 24)
    if len(data) - position < size:
        raise CborError("truncated")
    number = int.from_bytes(data[position : position + size], "big")
    # The smallest number that needs this size: 24, then 2^8, 2^16, 2^32.
    if number < (24 if size == 1 else 1 << (4 * size)):
        raise CborError("not-shortest")
    return major, number, position + size


def _write(out: bytearray, obj: object, depth: int) -> None:
    # Identity first: True would also pass as the number 1 on CPython.
    if obj is False:
        out.append(0xF4)
    elif obj is True:
        out.append(0xF5)
    elif obj is None:
        out.append(0xF6)
    elif isinstance(obj, int):
        if obj < 0:
            write_head(out, _NEGATIVE, -1 - obj)
        else:
            write_head(out, _UINT, obj)
    elif isinstance(obj, (bytes, bytearray)):
        write_head(out, _BYTES, len(obj))
        out.extend(obj)
    elif isinstance(obj, str):
        raw = obj.encode()
        if not _printable(raw):
            raise CborError("text")
        write_head(out, _TEXT, len(raw))
        out.extend(raw)
    elif isinstance(obj, (list, tuple)):
        if depth >= DEPTH:
            raise CborError("depth")
        write_head(out, _LIST, len(obj))
        for item in obj:
            _write(out, item, depth + 1)
    elif isinstance(obj, dict):
        if depth >= DEPTH:
            raise CborError("depth")
        write_head(out, _MAP, len(obj))
        for key in sorted(obj, key=_key_order):
            _write(out, key, depth + 1)
            _write(out, obj[key], depth + 1)
    else:
        raise CborError("type")


def _read(data: "bytes | bytearray | memoryview", position: int, depth: int) -> "tuple[object, int]":
    major, number, position = read_head(data, position)
    if major == _UINT:
        return number, position
    if major == _NEGATIVE:
        return -1 - number, position
    left = len(data) - position
    if major == _BYTES or major == _TEXT:
        if number > left:
            raise CborError("truncated")
        raw = bytes(data[position : position + number])
        position += number
        if major == _BYTES:
            return raw, position
        if not _printable(raw):
            raise CborError("text")
        return raw.decode(), position
    if major == _LIST:
        # Every item takes at least one byte, every pair two: refused before anything is allocated.
        if number > left:
            raise CborError("truncated")
        if depth >= DEPTH:
            raise CborError("depth")
        items = []
        for _ in range(number):
            item, position = _read(data, position, depth + 1)
            items.append(item)
        return items, position
    if major == _MAP:
        if number > left // 2:
            raise CborError("truncated")
        if depth >= DEPTH:
            raise CborError("depth")
        return _read_map(data, number, position, depth)
    if major == _TAG:
        raise CborError("tag")
    return (False, True, None)[number - 20], position


def _read_map(
    data: "bytes | bytearray | memoryview", pairs: int, position: int, depth: int
) -> "tuple[dict[int, object], int]":
    mapping: dict[int, object] = {}
    before = None
    for _ in range(pairs):
        major, number, position = read_head(data, position)
        if major > _NEGATIVE:
            raise CborError("key-type")
        key = number if major == _UINT else -1 - number
        order = _key_order(key)
        if before is not None and order <= before:
            raise CborError("key-order")
        before = order
        mapping[key], position = _read(data, position, depth + 1)
    return mapping, position


def _key_order(key: object) -> "tuple[int, int]":
    # Bytewise order of the encoded keys: 0, 1, 2, … and after them -1, -2, -3, …
    if not isinstance(key, int) or key is True or key is False:
        raise CborError("key-type")
    return (1, -1 - key) if key < 0 else (0, key)


def _printable(raw: bytes) -> bool:
    for byte in raw:
        if not 32 <= byte < 127:
            return False
    return True
