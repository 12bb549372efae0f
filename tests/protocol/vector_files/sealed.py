"""sealed.json: every kind of message under its key, and what must not be taken for one."""

from __future__ import annotations

import independent as other

from vector_files.command import ACKS, COMMANDS
from vector_files.parts import DEVICE, DOWN, OTHER_DEVICE, ROOT, SEQ, UP, Rows
from vector_files.profile import AIR_PROFILE
from vector_files.report import DAYS, REPORTS, report_body
from vector_files.statement import statement_fields


def content() -> dict[str, object]:
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
