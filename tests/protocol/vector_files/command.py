"""command.json: commands, and what boards answer."""

from __future__ import annotations

import independent as other

from vector_files.parts import FIRMWARE, jsonable, named
from vector_files.profile import STRICT_PROFILE

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


def content() -> dict[str, object]:
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
