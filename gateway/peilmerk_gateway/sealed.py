"""Open and read reports as the contract does, many thousands a second.

What every report is, `peilmerk_protocol.cose` and `report` say, in a Python that a board runs too. Here the
same is done for what boards of ours send, by the HMAC of the C library and in one pass; whatever is not
plainly such a message goes to the contract itself, which has the last word and gives the reason. A test holds
the two against each other.
"""

from __future__ import annotations

import hmac
from functools import lru_cache

from peilmerk_protocol import VERSION, cbor, cose, quantities, report, topics
from peilmerk_protocol.report import Report

_HEAD = cose.seal(bytes(32), topics.REPORT, "a" * topics.ID_LENGTH, b"")[:6]
_TAG_HEAD = 0x40 | cose.TAG_LENGTH
_SHORT, _ONE_BYTE = range(0x40, 0x58), 0x58
_MOST_REMEMBERED = 1_024


def _mac_head(kind: int) -> bytes:
    """Return a MAC_structure up to the device's id (see `cose`)."""
    aad = cbor.encode((VERSION, kind, "a" * topics.ID_LENGTH))
    return b"\x84" + cbor.encode("MAC0") + _HEAD[1:5] + cbor.encode(aad)[: -topics.ID_LENGTH]


_MAC_HEADS = {kind: _mac_head(kind) for kind in (topics.REPORT, topics.STATEMENT, topics.ACK, topics.DAY)}


def open_sealed(key: bytes, kind: int, device_id: str, data: bytes) -> bytes:
    """Verify a sealed message and give its body back; `kind` is one that goes up, `device_id` a valid one.

    Raises SealError and nothing else.
    """
    start = 7
    length = data[6] - 0x40 if len(data) > 7 else -1
    if length == _ONE_BYTE - 0x40:
        start, length = 8, data[7] if data[7] >= 24 else -1
    elif data[6:7] and data[6] not in _SHORT:
        length = -1
    end = start + length
    if length < 0 or data[:6] != _HEAD or len(data) != end + 9 or data[end] != _TAG_HEAD:
        return cose.open_sealed(key, kind, device_id, data)
    # The body's own head in the envelope is the one that the MAC_structure has.
    structure = _MAC_HEADS[kind] + device_id.encode() + data[6:end]
    tag = hmac.digest(key, structure, "sha256")[: cose.TAG_LENGTH]
    if not hmac.compare_digest(tag, data[end + 1 :]):
        raise cose.SealError("forged")
    return data[start:end]


def decode_report(body: bytes) -> Report:
    """Decode a report's body. Raises ReportError and nothing else."""
    numbers = _numbers(body)
    if numbers is None or len(numbers) < 4:
        return report.decode(body)
    seq, window, state, present = numbers[:4]
    layout = _layout(present) if present >= 0 else None
    if layout is None or seq < 1 or window < 0 or not 0 <= state <= 0xFFFF:
        return report.decode(body)
    values: dict[int, tuple[int, ...]] = {}
    at = 4
    try:
        for number, origin, components, is_extremes, low, high in layout:
            first = numbers[at] + origin
            if not low <= first <= high:
                return report.decode(body)
            if components == 1:
                values[number] = (first,)
            else:
                second = numbers[at + 1] + quantities.SPREAD_ORIGIN + (first if is_extremes else 0)
                if not (first <= second <= high if is_extremes else 0 <= second <= high - low):
                    return report.decode(body)
                values[number] = (first, second)
            at += components
    except IndexError:
        return report.decode(body)
    if at != len(numbers):
        return report.decode(body)
    return Report(seq, window, state & 255, state >> 8, values)


def _numbers(body: bytes) -> list[int] | None:
    """Return a list of whole numbers of at most 32 bits in canonical CBOR; None for anything else."""
    found = []
    at = 1
    try:
        count = body[0] - 0x80
        if not 0 <= count < 24:
            if body[0] != 0x98 or body[1] < 24:
                return None
            count, at = body[1], 2
        for _ in range(count):
            head = body[at]
            at += 1
            low = head & 31
            if head >= 0x40 or low > 26:
                return None
            if low < 24:
                number = low
            elif low == 24:
                number = body[at]
                at += 1
                if number < 24:
                    return None
            else:
                size = 2 if low == 25 else 4
                number = int.from_bytes(body[at : at + size], "big")
                at += size
                if number < 1 << 4 * size:
                    return None
            found.append(number if head < 0x20 else -1 - number)
    except IndexError:
        return None
    return found if at == len(body) else None


@lru_cache(_MOST_REMEMBERED)
def _layout(present: int) -> tuple[tuple[int, int, int, bool, int, int], ...] | None:
    """Return (number, origin, components, whether extremes, lowest, highest) of each quantity of a set."""
    try:
        members = quantities.members(present)
    except quantities.QuantityError:
        return None
    return tuple(
        (
            number,
            quantities.origin(number),
            quantities.components(number),
            quantities.kind(number) == quantities.KIND_EXTREMES,
            *quantities.value_range(number),
        )
        for number in members
    )
