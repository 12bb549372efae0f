"""report.json: bodies of reports and of the totals of a day."""

from __future__ import annotations

import independent as other

from vector_files.parts import NOON, SEQ, Rows, named

# What the wire subtracts, by quantity number, as peilmerk.cddl tells it; every spread has 24.
ORIGIN = {0: 256, 1: 256, 17: 256, 2: 100, 3: 745, 18: 600, 19: 256, 20: 10100, 21: 600, 22: 600, 23: 600}
ORIGIN |= {25: 256, 26: 256, 27: 100, 28: 745, 29: 256, 30: 600, 31: 10100}
SPREAD_ORIGIN = 24
EXTREMES = range(25, 32)


def report_body(
    seq: int, window: int, revision: int, health: int, values: dict[int, tuple[int, ...]]
) -> bytes:
    members = sum(1 << number for number in values)
    flat = []
    for number in sorted(values):
        first, *spread = values[number]
        if number in EXTREMES:
            spread = [highest - first for highest in spread]
        flat += [first - ORIGIN.get(number, 0), *(component - SPREAD_ORIGIN for component in spread)]
    return other.canonical([seq, window, health << 8 | revision, members, *flat])


STREET = {0: (123, 21), 1: (281, 45), 2: (123, 4), 3: (812, 15), 4: (360,)}
SMOG = {0: (3874, 912), 1: (4521, 1034), 2: (14, 6), 3: (884, 12), 4: (360,)}
WIDEST_AIR = {0: (10000, 10000), 1: (10000, 10000), 2: (850, 1250), 3: (0, 1000), 4: (65535,)}
FULL = {
    **STREET,
    **{number: (number,) for number in range(5, 17)},
    17: (98, 17),
    18: (421, 9),
    19: (244, 61),
    20: (10132, 3),
    21: (587,),
    22: (812,),
    23: (452,),
}

# Completeness and, of the means of STREET, lowest and highest.
STREET_FULL = {**STREET, 24: (100,), 25: (88, 197), 26: (204, 431), 27: (117, 132), 28: (789, 841)}
WIDEST_FULL = {**WIDEST_AIR, 24: (100,), 25: (0, 10000), 26: (0, 10000), 27: (-400, 850), 28: (0, 1000)}
FULL |= {**STREET_FULL, 29: (71, 139), 30: (409, 447), 31: (10128, 10135)}

SUMMER = {0: (487, 38), 1: (836, 112), 2: (341, 9), 3: (512, 42), 4: (900,)}

# name, limit in bytes when sealed (None: shown without a limit), seq, window, revision, health, values
REPORTS: list[tuple[str, int | None, int, int, int, int, dict[int, tuple[int, ...]]]] = [
    ("counter", 40, SEQ, NOON, 1, 0, {5: (312,), 6: (287,)}),
    ("counter-first-quiet", 40, 1, NOON, 1, 16, {5: (0,), 6: (0,)}),
    ("counter-noise-below-zero", 40, SEQ + 1, NOON + 1, 1, 1, {5: (-2,), 6: (1,)}),
    ("counter-vehicles", 40, SEQ, NOON, 2, 0, {9: (1204,), 10: (998,)}),
    ("counter-widest", 40, 2**32 - 1, 2**32 - 1, 255, 255, {11: (-65536,), 12: (65535,)}),
    ("air", 51, SEQ, NOON, 1, 0, STREET),
    ("air-frost", 51, SEQ, NOON, 1, 0, {**STREET, 2: (-87, 6), 3: (931, 12)}),
    ("air-summer-dust", 51, SEQ, NOON, 1, 0, SUMMER),
    ("air-six-samples", 51, SEQ, NOON, 1, 0, {**STREET, 4: (6,)}),
    ("air-unhealthy-device", 51, SEQ, NOON, 200, 31, STREET),
    ("air-new-year-smog", None, SEQ, NOON, 1, 0, SMOG),
    ("air-widest", None, 2**32 - 1, 2**32 - 1, 255, 255, WIDEST_AIR),
    ("air-dust-sensor-silent", 51, SEQ, NOON, 1, 2, {2: (123, 4), 3: (812, 15), 4: (6,)}),
    ("air-all-sensors-silent", 51, SEQ, NOON, 1, 2, {}),
    ("air-paused-by-its-host", 51, SEQ, NOON, 1, 32, {}),
    ("air-full", None, SEQ, NOON, 1, 0, STREET_FULL),
    ("air-full-widest", None, 2**32 - 1, 2**32 - 1, 255, 255, WIDEST_FULL),
    ("every-quantity", None, SEQ, NOON, 1, 0, FULL),
]

# The day of NOON. name, limit, seq, day, revision, health, values
TODAY = 1795435200 // 86400
DAYS: list[tuple[str, int | None, int, int, int, int, dict[int, tuple[int, ...]]]] = [
    ("day", 40, SEQ, TODAY, 1, 0, {5: (6187,), 6: (6042,)}),
    ("day-not-whole", 40, SEQ, TODAY, 1, 1, {5: (2212,), 6: (1987,)}),
    ("day-quiet", 40, SEQ, TODAY, 1, 0, {5: (-3,), 6: (4,)}),
    ("day-widest", 40, 2**32 - 1, 49710, 255, 255, {11: (-65536,), 12: (65535,)}),
]


def content() -> dict[str, object]:
    good = [SEQ, NOON, 1, 96, 312, 287]

    def changed(index: int, value: object) -> bytes:
        return other.canonical([*good[:index], value, *good[index + 1 :]])

    plain = other.canonical(good)
    invalid = [
        ("empty", b"", "malformed"),
        ("not a list", other.canonical({0: SEQ}), "malformed"),
        ("three items", other.canonical(good[:3]), "malformed"),
        ("text instead of a value", changed(4, "AA:BB:CC:DD:EE:FF"), "malformed"),
        ("text after the values", other.canonical([*good, "x"]), "malformed"),
        ("bytes instead of a value", changed(5, b"\x02\x00\x00"), "malformed"),
        ("bytes after the values", other.canonical([*good, b""]), "malformed"),
        ("map instead of a value", changed(5, {1: 2}), "malformed"),
        ("map after the values", other.canonical([*good, {}]), "malformed"),
        ("list after the values", other.canonical([*good, []]), "malformed"),
        ("float instead of a value", changed(4, 1.5), "malformed"),
        ("null instead of a value", changed(4, None), "malformed"),
        ("true instead of a value", changed(4, True), "malformed"),
        ("tagged value", plain[:-3] + b"\xc1" + plain[-3:], "malformed"),
        ("value in five bytes", plain[:-3] + b"\x1a\x00\x00\x01\x1f", "malformed"),
        ("indefinite list", b"\x9f" + plain[1:] + b"\xff", "malformed"),
        ("a byte too many", plain + b"\x00", "malformed"),
        ("a byte too few", plain[:-1], "malformed"),
        ("list claims 2^32 items", b"\x9a\xff\xff\xff\xff" + plain[1:], "malformed"),
        ("value below every range", changed(4, -65537), "range"),
        ("seq 0", changed(0, 0), "seq"),
        ("seq negative", changed(0, -1), "seq"),
        ("seq 2^32", changed(0, 2**32), "seq"),
        ("window negative", changed(1, -1), "window"),
        ("window 2^32", changed(1, 2**32), "window"),
        ("state 65536", changed(2, 65536), "state"),
        ("state negative", changed(2, -1), "state"),
        ("quantity 32", other.canonical([SEQ, NOON, 1, 1 << 32, 5]), "set"),
        ("quantity 63", other.canonical([SEQ, NOON, 1, 1 << 63, 5]), "set"),
        ("set negative", changed(3, -1), "set"),
        ("a value missing", other.canonical(good[:-1]), "values"),
        ("a value too many", other.canonical([*good, 7]), "values"),
        ("values without a set", other.canonical([SEQ, NOON, 1, 0, 7]), "values"),
        ("spread missing", other.canonical([SEQ, NOON, 1, 1, 123]), "values"),
        ("PM2.5 above its range", report_body(SEQ, NOON, 1, 0, {0: (10001, 0)}), "range"),
        ("PM2.5 below zero", report_body(SEQ, NOON, 1, 0, {0: (-1, 0)}), "range"),
        ("spread below zero", report_body(SEQ, NOON, 1, 0, {0: (123, -1)}), "range"),
        ("spread wider than its range", report_body(SEQ, NOON, 1, 0, {2: (850, 1251)}), "range"),
        ("humidity above 100 %", report_body(SEQ, NOON, 1, 0, {3: (1001, 0)}), "range"),
        ("count above its range", changed(4, 65536), "range"),
        ("completeness above 100 %", report_body(SEQ, NOON, 1, 0, {24: (101,)}), "range"),
        ("maximum missing", other.canonical([SEQ, NOON, 1, 1 << 25, 123]), "values"),
        ("maximum below its minimum", report_body(SEQ, NOON, 1, 0, {27: (123, 122)}), "range"),
        ("maximum above its range", report_body(SEQ, NOON, 1, 0, {28: (900, 1001)}), "range"),
    ]
    invalid_days = [
        ("a mean among the counts", report_body(SEQ, TODAY, 1, 0, {0: (123, 21), 5: (7,)}), "set"),
        ("a level", report_body(SEQ, TODAY, 1, 0, {21: (587,)}), "set"),
        ("extremes", report_body(SEQ, TODAY, 1, 0, {25: (1, 2)}), "set"),
        ("the day after 32 bits", report_body(SEQ, 49711, 1, 0, {5: (7,)}), "window"),
        ("text", changed(4, "AA:BB:CC:DD:EE:FF"), "malformed"),
    ]
    return {
        "about": "Report bodies. window = Unix seconds / 900 here; values by quantity number. days: the "
        "totals of a day, window = Unix seconds / 86400.",
        "vectors": report_rows(REPORTS),
        "invalid": named(invalid),
        "days": report_rows(DAYS),
        "invalid_days": named(invalid_days),
    }


def report_rows(
    reports: list[tuple[str, int | None, int, int, int, int, dict[int, tuple[int, ...]]]],
) -> Rows:
    return [
        {
            "name": name,
            "seq": seq,
            "window": window,
            "revision": revision,
            "health": health,
            "values": {str(number): list(value) for number, value in values.items()},
            "body": report_body(seq, window, revision, health, values).hex(),
        }
        for name, _, seq, window, revision, health, values in reports
    ]
