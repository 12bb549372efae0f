"""Write protocol/peilmerk_protocol/vectors/*.json: `python tests/protocol/write_vectors.py`.

The vectors are made by cbor2 and the standard library (see `independent`), not by the code they test. A test
holds the shipped files equal to what this writes. Bytes are lower-case hex. In cbor.json a value that JSON
cannot say is an object: {"bytes": hex} or {"map": [[key, value], …]}.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import independent as other
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

VECTORS = Path(__file__).parents[2] / "protocol" / "peilmerk_protocol" / "vectors"

ROOT = bytes(range(32))
DEVICE = other.device_id(bytes.fromhex("00443214c74254b635cf"))
OTHER_DEVICE = other.device_id(bytes.fromhex("84653a56d7c675be77df"))
UP = other.derive(ROOT, "up")
DOWN = other.derive(ROOT, "down")
# 23 November 2026, 12:00 UTC, in quarters of an hour; a node that reported for two years has passed 65,535.
NOON = 1795435200 // 900
SEQ = 70123

Rows = list[dict[str, object]]


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

COUNTER_PROFILE = [1, 900, 96, 7, 10, 3, 10, 10, 4]
AIR_PROFILE = [1, 900, 31, 0, 1, 0, 1, 0, 0]
AIR_FULL_PROFILE = [1, 900, sum(1 << number for number in STREET_FULL), 0, 1, 0, 1, 0, 0]
STRICT_PROFILE = [2, 3600, 96, 7, 20, 3, 20, 10, 4]
FIRMWARE = hashlib.sha256(b"firmware").digest()


def named(rows: list[tuple[str, bytes, str]], key: str = "body") -> Rows:
    return [{"name": name, key: data.hex(), "reason": reason} for name, data, reason in rows]


def report_file() -> dict[str, object]:
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


def profile_file() -> dict[str, object]:
    def changed(index: int, value: object) -> bytes:
        return other.canonical([*COUNTER_PROFILE[:index], value, *COUNTER_PROFILE[index + 1 :]])

    rows = [("standard counter", COUNTER_PROFILE), ("air", AIR_PROFILE), ("strict counter", STRICT_PROFILE)]
    rows.append(("air in full", AIR_FULL_PROFILE))
    invalid = [
        ("eight items", other.canonical(COUNTER_PROFILE[:-1]), "malformed"),
        ("text", other.canonical("counter"), "malformed"),
        ("revision 256", changed(0, 256), "revision"),
        ("window 0", changed(1, 0), "window"),
        ("window of 7 minutes does not divide a day evenly", changed(1, 420 * 11), "window"),
        ("window of two days", changed(1, 172800), "window"),
        ("no quantities", changed(2, 0), "set"),
        ("unknown quantity", changed(2, 1 << 32), "set"),
        ("epsilon as text", changed(3, "7"), "epsilon"),
        ("epsilon over zero", changed(4, 0), "epsilon"),
        ("epsilon not in lowest terms", other.canonical([1, 900, 96, 14, 20, 3, 10, 10, 4]), "epsilon"),
        ("zero not as 0/1", other.canonical([1, 900, 31, 0, 10, 0, 1, 0, 0]), "epsilon"),
        ("k below zero", changed(7, -1), "k"),
        ("m 256", changed(8, 256), "m"),
        ("count with m 0", changed(8, 0), "m"),
        ("count without noise", other.canonical([1, 900, 96, 0, 1, 3, 10, 10, 4]), "count-without-noise"),
    ]
    return {
        "about": "Profiles: revision, window_s, set, leaf and day epsilon (numerator, denominator), k, m.",
        "vectors": [
            {
                "name": name,
                "fields": fields,
                "body": other.canonical(fields).hex(),
                "digest": hashlib.sha256(other.canonical(fields)).hexdigest(),
            }
            for name, fields in rows
        ],
        "invalid": named(invalid),
    }


def statement_fields(seq: int, profile: list[int], cause: int, boots: int, uptime: int) -> list[object]:
    digest = hashlib.sha256(other.canonical(profile)).digest()
    return [seq, profile[0], FIRMWARE, digest, cause, [1, 0, 0], [1, 29, 0], boots, uptime, 61440, 524288]


def statement_file() -> dict[str, object]:
    rows = [
        ("first boot", statement_fields(1, COUNTER_PROFILE, 1, 1, 6)),
        ("after two years", statement_fields(SEQ, AIR_PROFILE, 3, 812, 2678400)),
        ("longest", statement_fields(2**32 - 1, AIR_FULL_PROFILE, 15, 2**32 - 1, 2**32 - 1)),
    ]
    good = rows[1][1]

    def changed(index: int, value: object) -> bytes:
        return other.canonical([*good[:index], value, *good[index + 1 :]])

    invalid = [
        ("ten items", other.canonical(good[:-1]), "malformed"),
        ("twelve items", other.canonical([*good, "note"]), "malformed"),
        ("seq 0", changed(0, 0), "seq"),
        ("revision 256", changed(1, 256), "revision"),
        ("firmware digest of 31 bytes", changed(2, FIRMWARE[:-1]), "digest"),
        ("profile digest as text", changed(3, "a" * 32), "digest"),
        ("reset cause 16", changed(4, 16), "reset-cause"),
        ("version of two parts", changed(5, [1, 0]), "version"),
        ("version as text", changed(6, "1.29.0"), "version"),
        ("boot count below zero", changed(7, -1), "figures"),
        ("uptime below zero", changed(8, -1), "figures"),
        ("free heap 2^32", changed(9, 2**32), "figures"),
        ("free flash null", changed(10, None), "figures"),
    ]
    return {
        "about": "Statements. Order: seq, revision, firmware digest, profile digest, reset cause, "
        "firmware version, MicroPython version, boot count, uptime, free heap, free flash.",
        "vectors": [
            {
                "name": name,
                "fields": [item.hex() if isinstance(item, bytes) else item for item in fields],
                "body": other.canonical(fields).hex(),
            }
            for name, fields in rows
        ],
        "invalid": named(invalid),
    }


EXPIRY = 1795438800
COMMANDS: list[tuple[str, list[object]]] = [
    ("profile", [1, EXPIRY, 1, STRICT_PROFILE]),
    ("time", [2, EXPIRY, 2, 1795435207]),
    ("identify", [3, EXPIRY, 3, 30]),
    ("self-test", [4, EXPIRY, 4, None]),
    ("pause", [5, EXPIRY, 5, 0]),
    ("pause until", [70000, EXPIRY, 5, 1795446000]),
    ("resume", [70001, EXPIRY, 6, None]),
    ("reboot", [70002, EXPIRY, 7, None]),
    ("update", [70003, EXPIRY, 8, [FIRMWARE, 48211, [1, 1, 0]]]),
    ("forget", [2**32 - 1, 2**32 - 1, 9, None]),
]
ACKS: list[tuple[str, list[object]]] = [
    ("done", [1, 0, 0]),
    ("self-test found a silent sensor", [4, 0, 2]),
    ("expired", [70000, 1, 0]),
    ("failed", [2**32 - 1, 5, 2**32 - 1]),
]


def jsonable(value: object) -> object:
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, dict):
        return {"map": [[jsonable(key), jsonable(item)] for key, item in value.items()]}
    if isinstance(value, list):
        return [jsonable(item) for item in value]
    return value


def command_file() -> dict[str, object]:
    invalid = [
        ("three items", other.canonical([1, EXPIRY, 4]), "malformed"),
        ("five items", other.canonical([1, EXPIRY, 4, None, None]), "malformed"),
        ("counter 0", other.canonical([0, EXPIRY, 4, None]), "counter"),
        ("expiry as text", other.canonical([1, "tomorrow", 4, None]), "expiry"),
        ("verb 0", other.canonical([1, EXPIRY, 0, None]), "verb"),
        ("verb 10", other.canonical([1, EXPIRY, 10, None]), "verb"),
        ("reboot with an argument", other.canonical([1, EXPIRY, 7, 1]), "argument"),
        ("identify for no time", other.canonical([1, EXPIRY, 3, 0]), "argument"),
        ("identify for ever", other.canonical([1, EXPIRY, 3, 3601]), "argument"),
        ("time below zero", other.canonical([1, EXPIRY, 2, -1]), "argument"),
        (
            "profile with exact counts",
            other.canonical([1, EXPIRY, 1, [2, 900, 96, 0, 1, 3, 10, 10, 4]]),
            "argument",
        ),
        (
            "update with a short digest",
            other.canonical([1, EXPIRY, 8, [FIRMWARE[:31], 1, [1, 0, 0]]]),
            "argument",
        ),
        ("update of nothing", other.canonical([1, EXPIRY, 8, [FIRMWARE, 0, [1, 0, 0]]]), "argument"),
    ]
    invalid_acks = [
        ("two items", other.canonical([1, 0]), "malformed"),
        ("counter 0", other.canonical([0, 0, 0]), "counter"),
        ("outcome 6", other.canonical([1, 6, 0]), "outcome"),
        ("detail as text", other.canonical([1, 0, "all well"]), "detail"),
    ]
    return {
        "about": "Commands [counter, expiry, verb, argument], acknowledgements [counter, outcome, detail].",
        "vectors": [
            {"name": name, "fields": jsonable(fields), "body": other.canonical(fields).hex()}
            for name, fields in COMMANDS
        ],
        "invalid": named(invalid),
        "acks": [
            {"name": name, "fields": fields, "body": other.canonical(fields).hex()} for name, fields in ACKS
        ],
        "invalid_acks": named(invalid_acks),
    }


def sealed_file() -> dict[str, object]:
    messages: list[tuple[str, str, bytes, int | None]] = [
        (name, "report", report_body(*rest), limit) for name, limit, *rest in REPORTS
    ]
    messages += [(name, "day", report_body(*rest), limit) for name, limit, *rest in DAYS]
    messages += [
        (
            "statement",
            "statement",
            other.canonical(statement_fields(SEQ, AIR_PROFILE, 3, 812, 2678400)),
            None,
        ),
        ("ack", "ack", other.canonical(ACKS[0][1]), None),
        ("command-profile", "command", other.canonical(COMMANDS[0][1]), None),
        ("command-reboot", "command", other.canonical(COMMANDS[7][1]), None),
        ("empty-body", "report", b"", None),
        ("body-of-23", "report", bytes(23), None),
        ("body-of-24", "report", bytes(24), None),
        ("body-of-480", "report", bytes(480), None),
    ]
    rows: Rows = []
    for name, kind, body, limit in messages:
        number = other.KINDS[kind]
        sealed = other.seal(DOWN if kind == "command" else UP, number, DEVICE, body)
        row: dict[str, object] = {
            "name": name,
            "kind": number,
            "body": body.hex(),
            "mac_structure": other.mac_structure(number, DEVICE, body).hex(),
            "sealed": sealed.hex(),
            "size": len(sealed),
        }
        if limit is not None:
            row["limit"] = limit
        rows.append(row)
    body = report_body(*REPORTS[0][2:])
    good = other.seal(UP, 1, DEVICE, body)
    tag = good[-8:]

    def envelope(*items: object) -> bytes:
        return other.canonical(list(items))

    refused: list[tuple[str, int, bytes, str]] = [
        ("empty", 1, b"", "malformed"),
        ("head only", 1, good[:6], "malformed"),
        ("body's length missing", 1, good[:7], "malformed"),
        ("a byte too few", 1, good[:-1], "malformed"),
        ("a byte too many", 1, good + b"\x00", "malformed"),
        ("tagged 17", 1, b"\xd1" + good, "malformed"),
        ("algorithm HMAC 256/256", 1, envelope(other.canonical({1: 5}), {}, body, tag), "malformed"),
        ("no algorithm", 1, envelope(b"", {}, body, tag), "malformed"),
        ("something unprotected", 1, envelope(other.PROTECTED, {4: b"kid"}, body, tag), "malformed"),
        ("body detached", 1, envelope(other.PROTECTED, {}, None, tag), "malformed"),
        ("body as text", 1, envelope(other.PROTECTED, {}, "x" * len(body), tag), "malformed"),
        ("tag of 4 bytes", 1, envelope(other.PROTECTED, {}, body, tag[:4]), "malformed"),
        ("tag of 32 bytes", 1, envelope(other.PROTECTED, {}, body, tag * 4), "malformed"),
        ("fifth item", 1, envelope(other.PROTECTED, {}, body, tag, b""), "malformed"),
        ("length not shortest", 1, good[:6] + b"\x58" + good[6:], "malformed"),
        ("body claims 2^32 bytes", 1, good[:6] + b"\x5a\xff\xff\xff\xff" + good[7:], "malformed"),
        ("longer than any message", 1, other.seal(UP, 1, DEVICE, bytes(481)), "malformed"),
        ("tag changed", 1, good[:-1] + bytes([good[-1] ^ 1]), "forged"),
        ("body changed", 1, good[:9] + bytes([good[9] ^ 1]) + good[10:], "forged"),
        ("other kind", 2, good, "forged"),
        ("a report as a day's total", 5, good, "forged"),
        ("other device", 1, other.seal(UP, 1, OTHER_DEVICE, body), "forged"),
        ("other direction", 1, other.seal(DOWN, 1, DEVICE, body), "forged"),
        ("other root key", 1, other.seal(other.derive(ROOT[::-1], "up"), 1, DEVICE, body), "forged"),
        ("all zero tag", 1, good[:-8] + bytes(8), "forged"),
    ]
    return {
        "about": "Sealed messages. Kind 4 with the down key, all others with the up key. `limit` is the "
        "longest this message may ever get.",
        "root_key": ROOT.hex(),
        "device_id": DEVICE,
        "up_key": UP.hex(),
        "down_key": DOWN.hex(),
        "vectors": rows,
        "invalid": [
            {"name": name, "kind": kind, "sealed": data.hex(), "reason": reason}
            for name, kind, data, reason in refused
        ],
    }


def keys_file() -> dict[str, object]:
    """RFC 4231 (HMAC-SHA-256; case 5 is about truncation and is cut as there) and RFC 5869, appendix A."""
    long_key = "aa" * 131
    hmac_rows = [
        ("0b" * 20, b"Hi There".hex(), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (
            b"Jefe".hex(),
            b"what do ya want for nothing?".hex(),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        ("aa" * 20, "dd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
        (
            bytes(range(1, 26)).hex(),
            "cd" * 50,
            "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
        ),
        ("0c" * 20, b"Test With Truncation".hex(), "a3b6167473100ee06e0c796c2955552b"),
        (
            long_key,
            b"Test Using Larger Than Block-Size Key - Hash Key First".hex(),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
        (
            long_key,
            (
                b"This is a test using a larger than block-size key and a larger than block-size data. "
                b"The key needs to be hashed before being used by the HMAC algorithm."
            ).hex(),
            "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
        ),
    ]
    hkdf_rows = [
        (
            "0b" * 22,
            "000102030405060708090a0b0c",
            "f0f1f2f3f4f5f6f7f8f9",
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            bytes(range(0x50)).hex(),
            bytes(range(0x60, 0xB0)).hex(),
            bytes(range(0xB0, 0x100)).hex(),
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
            "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
        ),
        (
            "0b" * 22,
            "",
            "",
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ),
    ]
    return {
        "about": "hmac: RFC 4231 cases 1 to 7 (5 is cut to 16 bytes there). hkdf: RFC 5869, A.1 to A.3. "
        "derive: this contract.",
        "hmac": [{"key": key, "message": message, "mac": mac} for key, message, mac in hmac_rows],
        "hkdf": [{"ikm": ikm, "salt": salt, "info": info, "okm": okm} for ikm, salt, info, okm in hkdf_rows],
        "derive": [
            {
                "root_key": root.hex(),
                "up": other.derive(root, "up").hex(),
                "down": other.derive(root, "down").hex(),
            }
            for root in (ROOT, bytes(32), b"\xff" * 32)
        ],
    }


def topics_file() -> dict[str, object]:
    prefix = f"peilmerk/1/{DEVICE}"
    return {
        "about": "Device ids of ten bytes, topics of device and kind, and topics that are refused.",
        "device_ids": [
            {"bytes": ten, "device_id": other.device_id(bytes.fromhex(ten))}
            for ten in ("00" * 10, "ff" * 10, "00443214c74254b635cf", "84653a56d7c675be77df")
        ],
        "vectors": [
            {"topic": f"{prefix}/{name}", "device_id": DEVICE, "kind": kind}
            for name, kind in other.KINDS.items()
        ],
        "invalid": [
            {"topic": "", "reason": "topic"},
            {"topic": "peilmerk", "reason": "topic"},
            {"topic": f"peilmerk/2/{DEVICE}/report", "reason": "topic"},
            {"topic": f"Peilmerk/1/{DEVICE}/report", "reason": "topic"},
            {"topic": f"/peilmerk/1/{DEVICE}/report", "reason": "topic"},
            {"topic": prefix, "reason": "topic"},
            {"topic": f"{prefix}/report/x", "reason": "topic"},
            {"topic": f"{prefix}/report/", "reason": "topic"},
            {"topic": f"{prefix}/" + "x" * 4000, "reason": "topic"},
            {"topic": f"{prefix}/reports", "reason": "kind"},
            {"topic": f"{prefix}/", "reason": "kind"},
            {"topic": f"{prefix}/+", "reason": "kind"},
            {"topic": f"peilmerk/1/{DEVICE[:-1]}/report", "reason": "device-id"},
            {"topic": f"peilmerk/1/{DEVICE.upper()}/report", "reason": "device-id"},
            {"topic": f"peilmerk/1/{DEVICE[:-1]}1/report", "reason": "device-id"},
            {"topic": f"peilmerk/1/{DEVICE[:-1]}\u0131/report", "reason": "device-id"},
            {"topic": "peilmerk/1/+/report", "reason": "device-id"},
            {"topic": "peilmerk/1//report", "reason": "device-id"},
        ],
    }


def cbor_file() -> dict[str, object]:
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


KEYS_OF_TESTS = [
    load_pem_private_key(Path(__file__).with_name(f"{name}_key_of_tests.pem").read_bytes(), None)
    for name in ("release", "next")
]
RELEASE_KEY, NEXT_KEY = (key for key in KEYS_OF_TESTS if isinstance(key, RSAPrivateKey))
SHA256_INFO = bytes.fromhex("3031300d060960864801650304020105000420")
MANIFEST = [
    *(1, [0, 2, 0], ["esp32", "esp32s3"], 6, [1, 24, 0], 1, hashlib.sha256(b"digest").digest()),
    [
        [path, size, hashlib.sha256(path.encode()).digest()]
        for path, size in (
            *(("node/__init__.mpy", 77), ("node/sensing/beam_pair.mpy", 2011)),
            *(("node/uplink/link.mpy", 1999), ("peilmerk_protocol/cose.mpy", 0)),
        )
    ],
]


def modulus(key: RSAPrivateKey) -> bytes:
    return key.public_key().public_numbers().n.to_bytes(384, "big")


def key_frame(key: RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def protected_header(key: RSAPrivateKey) -> bytes:
    return other.canonical({1: -257, 4: hashlib.sha256(modulus(key)).digest()[:8]})


def signed_manifest(
    payload: bytes, key: RSAPrivateKey = RELEASE_KEY, named: RSAPrivateKey | None = None
) -> bytes:
    """A manifest as `cryptography` signs it; `named`: the key that the header names."""
    header = protected_header(named or key)
    message = other.canonical(["Signature1", header, b"", payload])
    signature = key.sign(message, padding.PKCS1v15(), hashes.SHA256())
    return other.canonical([header, {}, payload, signature])


def with_block(payload: bytes, block: bytes) -> bytes:
    """A manifest whose signature, raised to the exponent, is this block."""
    numbers = RELEASE_KEY.private_numbers()
    n = numbers.public_numbers.n
    signature = pow(int.from_bytes(block, "big"), numbers.d, n)
    return other.canonical([protected_header(RELEASE_KEY), {}, payload, signature.to_bytes(384, "big")])


def blocks(payload: bytes) -> dict[str, bytes]:
    """Blocks that a careless verifier would take (Bleichenbacher 2006, CVE-2016-1494 and their kin)."""
    message = other.canonical(["Signature1", protected_header(RELEASE_KEY), b"", payload])
    sha = hashlib.sha256(message).digest()
    right = SHA256_INFO + sha

    def padded(tail: bytes, start: bytes = b"\x00\x01", fill: int = 0xFF) -> bytes:
        return start + bytes([fill]) * (384 - len(start) - 1 - len(tail)) + b"\x00" + tail

    def short(tail: bytes, count: int) -> bytes:
        return (b"\x00\x01" + b"\xff" * count + b"\x00" + tail).ljust(384, b"\x00")

    return {
        "eight bytes of padding, garbage after the digest": short(right, 8)[:-16] + b"garbage garbage!",
        "no padding at all": short(right, 0),
        "zeros after the digest": short(right, 300),
        "one byte of padding less, one of garbage more": padded(right)[:3] + padded(right)[4:] + b"\x00",
        "garbage within the padding": padded(right)[:40] + b"garbage" + padded(right)[47:],
        "block type 2": padded(right, b"\x00\x02"),
        "block type 0": padded(right, b"\x00\x00", 0),
        "first byte not zero": padded(right, b"\x01\x01")[:384],
        "no digest info": padded(sha),
        "digest info without its null": padded(bytes.fromhex("302f300b0609608648016503040201 0420") + sha),
        "digest info of SHA-1": padded(bytes.fromhex("3021300906052b0e03021a05000414") + sha[:20]),
        "digest info of SHA-512": padded(bytes.fromhex("3051300d060960864801650304020305000440") + sha + sha),
        "garbage in the parameters": padded(
            bytes.fromhex("30393015060960864801650304020105084141414141414141") + bytes.fromhex("0420") + sha
        ),
        "length in two bytes": padded(bytes.fromhex("308131300d060960864801650304020105000420") + sha),
        "digest with its last byte changed": padded(right[:-1] + bytes([right[-1] ^ 1])),
        "digest cut short": padded(right[:-1]),
        "digest of zeros": padded(SHA256_INFO + bytes(32)),
        "the number 0": bytes(384),
        "the number 1": bytes(383) + b"\x01",
    }


def manifest_file() -> dict[str, object]:
    payload = other.canonical(MANIFEST)
    good = signed_manifest(payload)
    everything = [*MANIFEST[:5], 0, MANIFEST[6], MANIFEST[7]]
    vectors = [
        {"name": "a counter's firmware", "fields": jsonable(MANIFEST), "signed": good.hex()},
        {
            "name": "any kind, signed by the next key",
            "fields": jsonable(everything),
            "signed": signed_manifest(other.canonical(everything), NEXT_KEY).hex(),
        },
    ]
    invalid = [(name, with_block(payload, block), "forged") for name, block in blocks(payload).items()]
    message = other.canonical(["Signature1", protected_header(RELEASE_KEY), b"", payload])
    right = b"\x00\x01" + b"\xff" * 330 + b"\x00" + SHA256_INFO + hashlib.sha256(message).digest()
    n = RELEASE_KEY.public_key().public_numbers().n
    at = good.index(payload)
    signature = good[-384:]
    stranger = other.canonical({1: -257, 4: bytes(8)})
    invalid += [
        ("signed by one key, naming another", signed_manifest(payload, NEXT_KEY, RELEASE_KEY), "forged"),
        ("a bit of the content changed", good[:at] + b"\x88\x01\x83\x00\x03" + good[at + 5 :], "forged"),
        ("a bit of the signature changed", good[:-1] + bytes([good[-1] ^ 1]), "forged"),
        ("signature of zeros", good[:-384] + bytes(384), "forged"),
        ("signature of ones", good[:-384] + b"\xff" * 384, "forged"),
        ("the block itself as signature", good[:-384] + right, "forged"),
        ("a key that is not known", other.canonical([stranger, {}, payload, signature]), "key"),
        ("cut short", good[:-1], "malformed"),
        ("a byte more", good + b"\x00", "malformed"),
        ("nothing", b"", "malformed"),
        ("head only", good[:21], "malformed"),
        ("tagged", b"\xd2" + good, "malformed"),
        ("another algorithm", good.replace(b"\x39\x01\x00", b"\x39\x01\x01", 1), "malformed"),
        ("no key id", other.canonical([other.canonical({1: -257}), {}, payload, signature]), "malformed"),
        ("something unprotected", good[:17] + b"\xa1\x00\x00" + good[18:], "malformed"),
        (
            "payload as text",
            good.replace(b"\xa0\x58", b"\xa0\x78", 1).replace(b"\xa0\x59", b"\xa0\x79", 1),
            "malformed",
        ),
        ("signature of 256 bytes", other.canonical([good[2:17], {}, payload, signature[:256]]), "malformed"),
        ("longer than a board will hold", good[:18] + b"\x59\x40\x00" + bytes(16384), "too-large"),
    ]
    # A content whose signature is so small that the modulus can be added: the same number modulo it.
    for number in range(1000):
        other_payload = other.canonical([*MANIFEST[:6], hashlib.sha256(b"%d" % number).digest(), MANIFEST[7]])
        grown = int.from_bytes(signed_manifest(other_payload)[-384:], "big") + n
        if grown < 1 << 3072:
            envelope = [protected_header(RELEASE_KEY), {}, other_payload, grown.to_bytes(384, "big")]
            invalid.append(("signature plus the modulus", other.canonical(envelope), "forged"))
            break

    def changed(at: int, value: object) -> list[object]:
        return [*MANIFEST[:at], value, *MANIFEST[at + 1 :]]

    def with_path(path: str) -> list[object]:
        return changed(7, [[path, 1, bytes(32)]])

    first, *_, last = MANIFEST[7]  # type: ignore[misc, has-type]
    bodies = [
        ("another format", changed(0, 2), "malformed"),
        ("true as format", changed(0, True), "malformed"),
        ("a field more", [*MANIFEST, 0], "malformed"),
        ("a field less", MANIFEST[:-1], "malformed"),
        ("a map", {0: 1}, "malformed"),
        ("version of two numbers", changed(1, [0, 2]), "version"),
        ("version as text", changed(1, "0.2.0"), "version"),
        ("no chip", changed(2, []), "chip"),
        ("nine chips", changed(2, ["esp32"] * 9), "chip"),
        ("chip in capitals", changed(2, ["ESP32"]), "chip"),
        ("bytecode version 0", changed(3, 0), "mpy"),
        ("MicroPython as a number", changed(4, 1), "micropython"),
        ("kind 3", changed(5, 3), "kind"),
        ("digest of 31 bytes", changed(6, bytes(31)), "digest"),
        ("no files", changed(7, []), "files"),
        ("256 files", changed(7, [[f"node/f{n:03}", 1, bytes(32)] for n in range(256)]), "files"),
        ("a file without its digest", changed(7, [first[:2]]), "files"),
        ("a file's digest of 20 bytes", changed(7, [[*first[:2], bytes(20)]]), "digest"),
        ("a file of 262145 bytes", changed(7, [[first[0], 262145, first[2]]]), "size"),
        ("a negative size", changed(7, [[first[0], -1, first[2]]]), "size"),
        ("files out of order", changed(7, [last, first]), "path"),
        ("a file twice", changed(7, [first, first]), "path"),
        *(
            (f"path {path!r}"[:60], with_path(path), "path")
            for path in (
                *("", "/", "node", "node/", "/node/x", "node//x", "node/../x", "node/..", "node/./x"),
                *(
                    "main.py",
                    "boot.py",
                    "identity.json",
                    "a/node/x",
                    "lib/x.mpy",
                    "node/x.mpy/",
                    "node/X.mpy",
                ),
                *("node/.x", "node/x.", "node/x.y.z", "node\\x", "node/x y", "node/" + "x" * 60, "nodes/x"),
                *("peilmerk_protocol/../node/x", "node/x:y", "node/%2e%2e/x"),
            )
        ),
    ]
    return {
        "about": "Manifests of updates; the private halves of these keys lie in tests/.",
        "keys": (key_frame(RELEASE_KEY) + key_frame(NEXT_KEY)).hex(),
        "vectors": vectors,
        "invalid": [{"name": name, "signed": data.hex(), "reason": reason} for name, data, reason in invalid],
        "invalid_bodies": [
            {"name": name, "body": other.canonical(value).hex(), "reason": reason}
            for name, value, reason in bodies
        ],
    }


FILES = {
    "cbor.json": cbor_file,
    "keys.json": keys_file,
    "topics.json": topics_file,
    "sealed.json": sealed_file,
    "report.json": report_file,
    "profile.json": profile_file,
    "statement.json": statement_file,
    "command.json": command_file,
    "manifest.json": manifest_file,
}


def text(name: str) -> str:
    """The whole of one vector file."""
    return json.dumps(FILES[name](), indent=1, ensure_ascii=True) + "\n"


def main() -> int:
    VECTORS.mkdir(exist_ok=True)
    for name in FILES:
        (VECTORS / name).write_text(text(name))
    print(f"wrote {len(FILES)} files to {VECTORS}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
