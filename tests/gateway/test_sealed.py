"""What opens reports quickly opens what the contract does, and refuses the rest for the same reason."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

import peilmerk_protocol
from peilmerk_gateway import sealed
from peilmerk_protocol import cose, report, topics
from peilmerk_protocol.error import ProtocolError

VECTORS = json.loads((Path(peilmerk_protocol.__file__).parent / "vectors" / "report.json").read_text())
KEY, DEVICE = bytes(range(32)), "abcdefgh234567aa"
BODIES = [bytes.fromhex(row["body"]) for row in VECTORS["vectors"] + VECTORS["days"]]
INVALID = [bytes.fromhex(row["body"]) for row in VECTORS["invalid"] + VECTORS["invalid_days"]]


def outcome(of: Callable[[bytes], object], data: bytes) -> object:
    """What comes of bytes: the value, or (class, reason) of the one error that may come."""
    try:
        return of(data)
    except ProtocolError as error:
        return type(error), error.reason


def changed(data: bytes, source: random.Random) -> bytes:
    """The same with a byte or two replaced, dropped or added, or cut short."""
    out = bytearray(data)
    for _ in range(source.randrange(3)):
        place = source.randrange(len(out)) if out else 0
        match source.randrange(4):
            case 0 if out:
                out[place] = source.randrange(256)
            case 1 if out:
                del out[place]
            case 2:
                out.insert(place, source.choice((0, 0x18, 0x19, 0x1A, 0x38, 0x9B, source.randrange(256))))
            case 3 if source.random() < 0.2:
                del out[place:]
    return bytes(out)


@pytest.mark.parametrize("body", BODIES + INVALID, ids=lambda body: body.hex()[:12])
def test_bodies_of_the_vectors(body: bytes) -> None:
    assert outcome(sealed.decode_report, body) == outcome(report.decode, body)


def test_ordinary_bodies_need_no_second_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [report.decode(body) for body in BODIES]
    monkeypatch.setattr(report, "decode", None)
    monkeypatch.setattr(cose, "open_sealed", None)
    assert [sealed.decode_report(body) for body in BODIES] == wanted
    for body in BODIES:
        message = cose.seal(KEY, topics.REPORT, DEVICE, body)
        assert sealed.open_sealed(KEY, topics.REPORT, DEVICE, message) == body


def test_changed_bodies() -> None:
    source = random.Random(1)
    read = 0
    for _ in range(20_000):
        body = changed(source.choice(BODIES), source)
        wanted = outcome(report.decode, body)
        assert outcome(sealed.decode_report, body) == wanted, body.hex()
        read += isinstance(wanted, report.Report)
    assert 1_000 < read < 19_000


def test_changed_messages() -> None:
    source = random.Random(2)
    opened = 0
    for _ in range(10_000):
        kind = source.choice((topics.REPORT, topics.STATEMENT, topics.ACK, topics.DAY))
        body = source.randbytes(source.choice((0, 1, 22, 23, 24, 40, 255, 256, cose.MAX_BODY)))
        message = changed(cose.seal(KEY, kind, DEVICE, body), source)

        def of(module: object, message: bytes = message, kind: int = kind) -> object:
            return outcome(lambda data: module.open_sealed(KEY, kind, DEVICE, data), message)  # type: ignore[attr-defined]

        wanted = of(cose)
        assert of(sealed) == wanted, message.hex()
        opened += isinstance(wanted, bytes)
    assert 1_000 < opened < 9_000
    other = cose.seal(KEY, topics.REPORT, "b" * 16, BODIES[0])
    for kind, device in ((topics.REPORT, DEVICE), (topics.DAY, "b" * 16)):
        with pytest.raises(cose.SealError) as error:
            sealed.open_sealed(KEY, kind, device, other)
        assert error.value.reason == "forged"
