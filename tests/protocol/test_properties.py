"""Properties of the decoders and encoders over inputs that nobody thought of."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable

import cbor2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from peilmerk_protocol import (
    cbor,
    command,
    cose,
    keys,
    manifest,
    profile,
    quantities,
    report,
    statement,
    topics,
)
from peilmerk_protocol.error import ProtocolError

KEY = keys.derive(bytes(32), keys.UP)
DEVICE = "a" * 16

whole = st.integers(-(2**64), 2**64 - 1)
ascii_text = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)
scalars = whole | st.binary(max_size=40) | ascii_text | st.booleans() | st.none()


def nested(depth: int) -> st.SearchStrategy[object]:
    """Values of the subset, at most `depth` deep. Keys from 0: there all canonical orders agree."""
    if not depth:
        return scalars
    inner = nested(depth - 1)
    return (
        scalars | st.lists(inner, max_size=4) | st.dictionaries(st.integers(0, 2**64 - 1), inner, max_size=4)
    )


@given(nested(cbor.DEPTH))
def test_encoding_is_cbor2s_canonical_form(value: object) -> None:
    assert cbor.encode(value) == cbor2.dumps(value, canonical=True)


@given(nested(cbor.DEPTH))
def test_encode_and_decode_are_inverse(value: object) -> None:
    again = cbor.decode(cbor.encode(value))
    # == alone would let True pass for 1.
    assert repr(again) == repr(sort_maps(value))


def sort_maps(value: object) -> object:
    if isinstance(value, dict):
        return {key: sort_maps(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [sort_maps(item) for item in value]
    return value


@given(st.dictionaries(whole, st.none(), max_size=6))
def test_map_keys_are_in_bytewise_order(value: dict[int, None]) -> None:
    encoded = cbor.encode(value)
    keys_written = [cbor.encode(key) for key in cbor.decode(encoded)]  # type: ignore[attr-defined]
    assert keys_written == sorted(keys_written)
    assert cbor2.loads(encoded) == value


DECODERS: list[tuple[Callable[[bytes], object], type[ProtocolError], Callable[..., bytes] | None]] = [
    (cbor.decode, cbor.CborError, cbor.encode),
    (
        report.decode,
        report.ReportError,
        lambda r: report.encode(r.seq, r.window, r.revision, r.health, r.values),
    ),
    (
        report.decode_day,
        report.ReportError,
        lambda r: report.encode(r.seq, r.window, r.revision, r.health, r.values),
    ),
    (profile.decode, profile.ProfileError, profile.encode),
    (statement.decode, statement.StatementError, statement.encode),
    (command.decode, command.CommandError, command.encode),
    (command.decode_ack, command.CommandError, command.encode_ack),
    (manifest.decode, manifest.ManifestError, manifest.encode),
    (lambda data: manifest.verify(data, ()), manifest.ManifestError, None),
    (lambda data: cose.open_sealed(KEY, topics.REPORT, DEVICE, data), cose.SealError, None),
]
NAMES = ["cbor", "report", "day", "profile", "statement", "command", "ack", "manifest", "signed", "sealed"]

# Bytes that look like our messages, so that the fuzzing gets past the first byte.
lookalike = st.lists(scalars | st.lists(whole, max_size=4), max_size=12).map(
    lambda items: cbor2.dumps(items, canonical=True)
)
in_an_envelope = st.binary(max_size=60).map(lambda rest: b"\x84\x43\xa1\x01\x04\xa0" + rest)


@pytest.mark.parametrize(("decode", "error", "encode"), DECODERS, ids=NAMES)
@given(data=st.binary(max_size=600) | lookalike | in_an_envelope)
@example(data=b"\x81" * 5000)
@example(data=b"\xa1\x01" * 5000)
@example(data=b"\x9b" + b"\xff" * 8)
@example(data=b"\x84\x43\xa1\x01\x04\xa0\x5b" + b"\xff" * 8)
def test_any_bytes_are_refused_by_the_declared_error_or_encode_to_themselves(
    decode: Callable[[bytes], object],
    error: type[ProtocolError],
    encode: Callable[..., bytes] | None,
    data: bytes,
) -> None:
    refused = None
    try:
        value = decode(data)
    except error as problem:
        refused = problem
    if refused is None:
        assert encode is not None
        assert encode(value) == data
    else:
        assert type(refused) is error
        # Safe to log and to count: one short word, never anything out of the message.
        assert refused.reason == str(refused)
        assert refused.reason.replace("-", "").isalpha()
        assert len(refused.reason) <= 20


# A known good report; what follows puts one foreign thing into it.
GOOD = [70123, 1994928, 1, 0b1100000, 312, 287]
foreign = (
    st.text(max_size=20)
    | st.binary(max_size=20)
    | st.dictionaries(st.integers() | st.text(max_size=5), st.integers(0, 9), max_size=2)
    | st.lists(st.integers(0, 9), max_size=3)
    | st.floats()
    | st.booleans()
    | st.none()
    | st.integers(0, 9).map(lambda value: cbor2.CBORTag(1, value))
    | st.integers(2**64, 2**70)
)


@given(foreign=foreign, at=st.integers(0, len(GOOD)), instead=st.booleans())
def test_nothing_but_whole_numbers_fits_into_a_report(foreign: object, at: int, instead: bool) -> None:
    assert report.decode(cbor2.dumps(GOOD)).values == {5: (312,), 6: (287,)}
    items = [*GOOD[:at], foreign, *GOOD[at + (1 if instead else 0) :]]
    with pytest.raises(report.ReportError):
        report.decode(cbor2.dumps(items, canonical=True))


@given(extra=st.lists(st.integers(-65536, 65535), min_size=1, max_size=5))
def test_no_number_rides_along_after_the_values(extra: list[int]) -> None:
    with pytest.raises(report.ReportError, match="values"):
        report.decode(cbor2.dumps([*GOOD, *extra]))


@given(bit=st.integers(quantities.NUMBER, 63))
def test_every_unknown_quantity_is_refused(bit: int) -> None:
    with pytest.raises(report.ReportError, match="set"):
        report.decode(cbor2.dumps([*GOOD[:3], GOOD[3] | 1 << bit, *GOOD[4:], 1]))


@given(foreign=st.text(max_size=9) | st.binary(max_size=9) | st.integers(24, 2**32), value=st.integers(0, 9))
def test_a_report_as_a_map_with_any_key_is_refused(foreign: object, value: int) -> None:
    with pytest.raises(report.ReportError, match="malformed"):
        report.decode(cbor2.dumps({0: 70123, foreign: value}))


def values_of(numbers: set[int]) -> st.SearchStrategy[dict[int, tuple[int, ...]]]:
    rows = {}
    for number in numbers:
        low, high = quantities.value_range(number)
        first = st.integers(low, high)
        spread = st.integers(0, high - low)
        if quantities.kind(number) == quantities.KIND_EXTREMES:
            rows[number] = st.tuples(first, first).map(lambda pair: (min(pair), max(pair)))
        elif quantities.components(number) == 2:
            rows[number] = st.tuples(first, spread)
        else:
            rows[number] = st.tuples(first)
    return st.fixed_dictionaries(rows)


@given(
    seq=st.integers(1, 2**32 - 1),
    window=st.integers(0, 2**32 - 1),
    revision=st.integers(0, 255),
    health=st.integers(0, 255),
    values=st.sets(st.integers(0, quantities.NUMBER - 1)).flatmap(values_of),
)
def test_every_report_comes_back(
    seq: int, window: int, revision: int, health: int, values: dict[int, tuple[int, ...]]
) -> None:
    found = report.decode(report.encode(seq, window, revision, health, values))
    assert found == report.Report(seq, window, revision, health, values)
    assert found.set == sum(1 << number for number in values)


@given(values=st.sets(st.integers(0, quantities.NUMBER - 1)).flatmap(values_of), day=st.integers(0, 49800))
def test_a_days_total_holds_counts_and_nothing_else(values: dict[int, tuple[int, ...]], day: int) -> None:
    data = report.encode(7, day, 1, 0, values)
    if all(quantities.is_count(number) for number in values) and day <= report.LAST_DAY:
        assert report.decode_day(data) == report.Report(7, day, 1, 0, values)
    else:
        with pytest.raises(report.ReportError, match=r"^(set|window)$"):
            report.decode_day(data)


@given(
    data=st.data(),
    pair=st.sampled_from([(5, 6), (7, 8), (9, 10), (11, 12)]),
    revision=st.integers(0, 255),
    health=st.integers(0, 255),
)
def test_no_counters_report_is_longer_than_40_bytes(
    data: st.DataObject, pair: tuple[int, int], revision: int, health: int
) -> None:
    values = data.draw(values_of(set(pair)))
    body = report.encode(2**32 - 1, 2**32 - 1, revision, health, values)
    assert len(cose.seal(KEY, topics.REPORT, DEVICE, body)) <= 40


def test_a_huge_declared_length_costs_nothing() -> None:
    """Memory and time stay small for the worst inputs of a whole message's length."""
    hostile = [
        b"\x9b\x7f" + b"\xff" * 7,
        b"\xbb\x7f" + b"\xff" * 7,
        b"\x5b\x7f" + b"\xff" * 7,
        b"\x7b\x7f" + b"\xff" * 7,
        b"\x9a\xff\xff\xff\xff" + b"\x00" * 480,
        b"\x81\x81\x81\x9a\x7f\xff\xff\xff",
        b"\x81" * cose.MAX_BODY,
        (b"\x99\x01\xdd" + b"\x80" * 477),
    ]
    tracemalloc.start()
    began = time.perf_counter()
    try:
        for data in hostile:
            for decode, error, _ in DECODERS:
                try:
                    decode(data)
                except error:
                    pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # 477 empty lists are the most a message can make of itself: about 60 bytes each on CPython.
    assert peak < 100_000
    assert time.perf_counter() - began < 20


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (1.0, "type"),
        ({1, 2}, "type"),
        (2**64, "too-large"),
        (-(2**64) - 1, "too-large"),
        ("é", "text"),
        ("a\nb", "text"),
        ({"a": 1}, "key-type"),
        ({True: 1}, "key-type"),
        ([[[[[]]]]], "depth"),
        ({1: {2: {3: {4: {}}}}}, "depth"),
    ],
)
def test_the_encoder_refuses_what_the_subset_does_not_hold(value: object, reason: str) -> None:
    with pytest.raises(cbor.CborError, match=f"^{reason}$"):
        cbor.encode(value)


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_constant_time_comparison_compares(a: bytes, b: bytes) -> None:
    assert keys.equal(a, b) == (a == b)
    assert keys.equal(a, bytes(a))
