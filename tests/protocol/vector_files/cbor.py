"""cbor.json: values with their only encoding, and bytes that are none."""

from __future__ import annotations

import independent as other

from vector_files.parts import jsonable


def content() -> dict[str, object]:
    values: list[object] = [
        *(0, 1, 10, 23, 24, 25, 100, 255, 256, 1000, 65535, 65536, 1000000, 2**32 - 1, 2**32, 10**12),
        *(2**64 - 1, -1, -10, -24, -25, -100, -256, -257, -1000, -65536, -65537, -(2**32), -(2**32) - 1),
        *(-(2**64), False, True, None, b"", b"\x01\x02\x03\x04", bytes(23), bytes(24), bytes(256)),
        *("", "a", "IETF", '"\\', "x" * 24, [], [1, 2, 3], [1, [2, 3], [4, 5]], list(range(1, 26))),
        *({}, {1: 2, 3: 4}, {-1: 0}, {0: 1, 23: 2, 24: 3, 256: 4}, {1: [2, b"\x03"], 2: {3: "4"}}),
        *([[[[]]]], {1: {2: {3: {}}}}, [True, [False, [None]]]),
    ]
    invalid = [
        ("nothing", "", "truncated"),
        ("argument missing", "18", "truncated"),
        ("half an argument", "1a0000", "truncated"),
        ("bytes shorter than declared", "4401", "truncated"),
        ("text shorter than declared", "6261", "truncated"),
        ("list shorter than declared", "8201", "truncated"),
        ("map without its value", "a101", "truncated"),
        ("bytes of 2^64 - 1", "5bffffffffffffffff", "truncated"),
        ("list of 2^64 - 1", "9bffffffffffffffff", "truncated"),
        ("map of 2^63", "bb8000000000000000", "truncated"),
        ("list of 2^32 - 1 in a list", "819affffffff00", "truncated"),
        ("two items", "0000", "trailing"),
        ("item and a half", "0018", "trailing"),
        ("half float", "f93c00", "float"),
        ("single float", "fa47c35000", "float"),
        ("double float", "fb3ff199999999999a", "float"),
        ("undefined", "f7", "simple"),
        ("simple 16", "f0", "simple"),
        ("simple 255", "f8ff", "simple"),
        ("tag 1", "c11a514b67b0", "tag"),
        ("bignum", "c249010000000000000000", "tag"),
        ("indefinite bytes", "5f42010243030405ff", "indefinite"),
        ("indefinite text", "7f657374726561646d696e67ff", "indefinite"),
        ("indefinite list", "9f01ff", "indefinite"),
        ("indefinite map", "bf0102ff", "indefinite"),
        ("break", "ff", "indefinite"),
        ("reserved 28", "1c", "reserved"),
        ("reserved 30 in a list", "819e", "reserved"),
        ("0 in two bytes", "1800", "not-shortest"),
        ("23 in two bytes", "1817", "not-shortest"),
        ("-24 in two bytes", "3817", "not-shortest"),
        ("255 in three bytes", "1900ff", "not-shortest"),
        ("65535 in five bytes", "1a0000ffff", "not-shortest"),
        ("2^32 - 1 in nine bytes", "1b00000000ffffffff", "not-shortest"),
        ("length 1 in two bytes", "580161", "not-shortest"),
        ("list length 1 in two bytes", "980100", "not-shortest"),
        ("key twice", "a201020102", "key-order"),
        ("keys falling", "a202010102", "key-order"),
        ("-1 before 0", "a220000000", "key-order"),
        ("text as key", "a1616101", "key-type"),
        ("true as key", "a1f501", "key-type"),
        ("list as key", "a1800101", "key-type"),
        ("five lists deep", "8181818180", "depth"),
        ("five maps deep", "a101a101a101a101a0", "depth"),
        ("a thousand lists deep", "81" * 1000 + "80", "depth"),
        ("text that is not ASCII", "62c3a9", "text"),
        ("text that is not UTF-8", "61ff", "text"),
        ("text with a line break", "610a", "text"),
        ("text with a null", "6100", "text"),
        ("text with a delete", "617f", "text"),
        ("too long and too deep", "818181819affffffff", "truncated"),
    ]
    return {
        "about": 'Core deterministic CBOR. {"bytes": hex}: byte string; {"map": [[key, value], …]}: map.',
        "vectors": [{"value": jsonable(value), "data": other.canonical(value).hex()} for value in values],
        "invalid": [{"name": name, "data": data, "reason": reason} for name, data, reason in invalid],
    }
