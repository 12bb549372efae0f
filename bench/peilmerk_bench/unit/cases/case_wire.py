"""The contract's vectors, as every other implementation passes them."""

from binascii import unhexlify

from peilmerk_protocol import cose, keys, profile, report, statement, topics
from unit import about, refused, rows, same


def test_reports_and_day_totals():
    number = 0
    for part, row in rows("report.json"):
        body = unhexlify(row["body"])
        if not part.startswith("invalid"):
            values = {int(key): tuple(value) for key, value in row["values"].items()}
            fields = (row["seq"], row["window"], row["revision"], row["health"], values)
            same(report.encode(*fields), body, row["name"])
            number += 1
    assert number > 20, number


def test_reports_are_read():
    for part, row in rows("report.json"):
        if not part.endswith("days"):
            _read(report.decode, part, row)


def test_day_totals_are_read():
    for part, row in rows("report.json"):
        if part.endswith("days"):
            _read(report.decode_day, part, row)


def _read(decode, part, row):
    body = unhexlify(row["body"])
    if part.startswith("invalid"):
        refused(report.ReportError, row["reason"], decode, body)
    else:
        values = {int(key): tuple(value) for key, value in row["values"].items()}
        fields = (row["seq"], row["window"], row["revision"], row["health"], values)
        same(decode(body), report.Report(*fields), row["name"])


def test_statements():
    for part, row in rows("statement.json"):
        if part != "invalid":
            made = statement.Statement(*_stated(row))
            same(statement.encode(made), unhexlify(row["body"]), row["name"])


def test_statements_are_read():
    for part, row in rows("statement.json"):
        body = unhexlify(row["body"])
        if part == "invalid":
            refused(statement.StatementError, row["reason"], statement.decode, body)
        else:
            same(statement.decode(body), statement.Statement(*_stated(row)), row["name"])


def _stated(row):
    fields = row["fields"]
    return fields[:2] + [unhexlify(text) for text in fields[2:4]] + fields[4:]


def test_profiles():
    for part, row in rows("profile.json"):
        if part != "invalid":
            made = profile.from_fields(row["fields"])
            same(profile.encode(made), unhexlify(row["body"]), row["name"])
            same(profile.digest(made), unhexlify(row["digest"]), row["name"])


def test_profiles_are_read():
    for part, row in rows("profile.json"):
        if part == "invalid":
            refused(profile.ProfileError, row["reason"], profile.decode, unhexlify(row["body"]))


def test_topics():
    for part, row in rows("topics.json"):
        if part == "vectors":
            same(topics.topic(row["device_id"], row["kind"]), row["topic"])


def test_topics_are_read():
    for part, row in rows("topics.json"):
        if part == "invalid":
            refused(topics.TopicError, row["reason"], topics.parse, row["topic"])


def test_seals():
    shared = about("sealed.json")
    root, device = unhexlify(shared["root_key"]), shared["device_id"]
    up, down = keys.derive(root, keys.UP), keys.derive(root, keys.DOWN)
    same((up, down), (unhexlify(shared["up_key"]), unhexlify(shared["down_key"])), "keys")
    for part, row in rows("sealed.json"):
        if part == "invalid":
            opened = (cose.open_sealed, up, row["kind"], device, unhexlify(row["sealed"]))
            refused(cose.SealError, row["reason"], *opened)
        else:
            key = down if row["kind"] == topics.COMMAND else up
            sealed = cose.seal(key, row["kind"], device, unhexlify(row["body"]))
            same(sealed, unhexlify(row["sealed"]), row["name"])


def test_commands():
    from peilmerk_protocol import command

    for part, row in rows("command.json"):
        if part == "invalid":
            refused(command.CommandError, row["reason"], command.decode, unhexlify(row["body"]))
        elif part == "vectors":
            same(command.encode(command.decode(unhexlify(row["body"]))), unhexlify(row["body"]), row["name"])
