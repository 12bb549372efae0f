"""profile.json: profiles and their digests."""

from __future__ import annotations

import hashlib

import independent as other

from vector_files.parts import named
from vector_files.report import STREET_FULL

COUNTER_PROFILE = [1, 900, 96, 7, 10, 3, 10, 10, 4]
AIR_PROFILE = [1, 900, 31, 0, 1, 0, 1, 0, 0]
AIR_FULL_PROFILE = [1, 900, sum(1 << number for number in STREET_FULL), 0, 1, 0, 1, 0, 0]
STRICT_PROFILE = [2, 3600, 96, 7, 20, 3, 20, 10, 4]


def content() -> dict[str, object]:
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
