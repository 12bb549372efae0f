"""statement.json: what a board says of itself."""

from __future__ import annotations

import hashlib

import independent as other

from vector_files.parts import FIRMWARE, SEQ, named
from vector_files.profile import AIR_FULL_PROFILE, AIR_PROFILE, COUNTER_PROFILE


def statement_fields(seq: int, profile: list[int], cause: int, boots: int, uptime: int) -> list[object]:
    digest = hashlib.sha256(other.canonical(profile)).digest()
    return [seq, profile[0], FIRMWARE, digest, cause, [1, 0, 0], [1, 29, 0], boots, uptime, 61440, 524288]


def content() -> dict[str, object]:
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
