"""Check the implementation against the vectors, on CPython and on MicroPython alike.

    python on_both.py VECTORS vectors          micropython on_both.py VECTORS vectors
    python on_both.py VECTORS mutants N        the same N mutated inputs on both; the last line is a digest of
                                               every outcome, so that the two implementations can be compared

Prints one line a file ("report.json 14 valid 39 invalid") and exits 1 at the first difference.
"""

import hashlib
import json
import sys
from binascii import hexlify, unhexlify

from peilmerk_protocol import (
    cbor,
    command,
    cose,
    device_ids,
    keys,
    manifest,
    profile,
    report,
    statement,
    topics,
)
from peilmerk_protocol.error import ProtocolError

FOLDER = sys.argv[1]


def load(name):
    with open(FOLDER + "/" + name) as file:
        return json.load(file)


def same(found, wanted, what):
    if found != wanted or type(found) is not type(wanted):
        print(f"{what}: found {found!r}, wanted {wanted!r}")
        sys.exit(1)


def refused(function, data, error, row):
    what = "{} ({})".format(row.get("name", row.get("topic")), function.__name__)
    try:
        value = function(data)
    except error as problem:
        same(problem.reason, row["reason"], what)
    else:
        print("{}: accepted as {!r}, wanted refusal {!r}".format(what, value, row["reason"]))
        sys.exit(1)


def value_of(written):
    """What a JSON value of cbor.json stands for."""
    if isinstance(written, list):
        return [value_of(item) for item in written]
    if isinstance(written, dict):
        if "bytes" in written:
            return unhexlify(written["bytes"])
        return {value_of(key): value_of(item) for key, item in written["map"]}
    return written


def check_cbor(data):
    for row in data["vectors"]:
        value = value_of(row["value"])
        raw = unhexlify(row["data"])
        same(cbor.encode(value), raw, row["data"])
        same(cbor.decode(raw), value, row["data"])
        same(cbor.decode(memoryview(raw)), value, row["data"])
    for row in data["invalid"]:
        refused(cbor.decode, unhexlify(row["data"]), cbor.CborError, row)


def check_keys(data):
    for row in data["hmac"]:
        mac = keys.hmac_sha256(unhexlify(row["key"]), unhexlify(row["message"]))
        same(hexlify(mac).decode()[: len(row["mac"])], row["mac"], "hmac")
    for row in data["hkdf"]:
        okm = unhexlify(row["okm"])
        made = keys.hkdf(unhexlify(row["ikm"]), unhexlify(row["salt"]), unhexlify(row["info"]), len(okm))
        same(made, okm, "hkdf")
    for row in data["derive"]:
        same(hexlify(keys.derive(unhexlify(row["root_key"]), keys.UP)).decode(), row["up"], "up")
        same(hexlify(keys.derive(unhexlify(row["root_key"]), keys.DOWN)).decode(), row["down"], "down")


def check_topics(data):
    for row in data["device_ids"]:
        same(device_ids.new_device_id(unhexlify(row["bytes"])), row["device_id"], row["bytes"])
        same(topics.valid_device_id(row["device_id"]), True, row["device_id"])
    for row in data["vectors"]:
        same(topics.topic(row["device_id"], row["kind"]), row["topic"], row["topic"])
        same(topics.parse(row["topic"]), (row["device_id"], row["kind"]), row["topic"])
    for row in data["invalid"]:
        refused(topics.parse, row["topic"], topics.TopicError, row)


def check_sealed(data):
    root, device = unhexlify(data["root_key"]), data["device_id"]
    up, down = keys.derive(root, keys.UP), keys.derive(root, keys.DOWN)
    same(hexlify(up).decode(), data["up_key"], "up key")
    same(hexlify(down).decode(), data["down_key"], "down key")
    for row in data["vectors"]:
        key = down if row["kind"] == topics.COMMAND else up
        sealed = unhexlify(row["sealed"])
        same(cose.seal(key, row["kind"], device, unhexlify(row["body"])), sealed, row["name"])
        same(cose.open_sealed(key, row["kind"], device, sealed), unhexlify(row["body"]), row["name"])
    for row in data["invalid"]:

        def opened(sealed):
            return cose.open_sealed(up, row["kind"], device, sealed)  # noqa: B023 - called at once

        refused(opened, unhexlify(row["sealed"]), cose.SealError, row)


def check_report(data):
    for row in data["vectors"]:
        values = {int(number): tuple(value) for number, value in row["values"].items()}
        fields = (row["seq"], row["window"], row["revision"], row["health"], values)
        raw = unhexlify(row["body"])
        same(report.encode(*fields), raw, row["name"])
        found = report.decode(raw)
        same(found, report.Report(*fields), row["name"])
        same((found.seq, found.window, found.revision, found.health, found.values), fields, row["name"])
    for row in data["invalid"]:
        refused(report.decode, unhexlify(row["body"]), report.ReportError, row)
    for row in data["days"]:
        values = {int(number): tuple(value) for number, value in row["values"].items()}
        fields = (row["seq"], row["window"], row["revision"], row["health"], values)
        raw = unhexlify(row["body"])
        same(report.encode(*fields), raw, row["name"])
        same(report.decode_day(raw), report.Report(*fields), row["name"])
    for row in data["invalid_days"]:
        refused(report.decode_day, unhexlify(row["body"]), report.ReportError, row)


def check_profile(data):
    for row in data["vectors"]:
        made = profile.from_fields(row["fields"])
        same(profile.encode(made), unhexlify(row["body"]), row["name"])
        same(profile.decode(unhexlify(row["body"])), made, row["name"])
        same(hexlify(profile.digest(made)).decode(), row["digest"], row["name"])
    same(profile.STANDARD_COUNTER.fields(), data["vectors"][0]["fields"], "STANDARD_COUNTER")
    same(profile.AIR.fields(), data["vectors"][1]["fields"], "AIR")
    same(profile.AIR_FULL.fields(), data["vectors"][3]["fields"], "AIR_FULL")
    for row in data["invalid"]:
        refused(profile.decode, unhexlify(row["body"]), profile.ProfileError, row)


def check_statement(data):
    for row in data["vectors"]:
        fields = list(row["fields"])
        fields[2], fields[3] = unhexlify(fields[2]), unhexlify(fields[3])
        made = statement.Statement(*fields)
        same(statement.encode(made), unhexlify(row["body"]), row["name"])
        found = statement.decode(unhexlify(row["body"]))
        same(found, made, row["name"])
        same(found.fields(), fields, row["name"])
    for row in data["invalid"]:
        refused(statement.decode, unhexlify(row["body"]), statement.StatementError, row)


def check_command(data):
    for row in data["vectors"]:
        fields = value_of(row["fields"])
        made = command.Command(*fields)
        same(command.encode(made), unhexlify(row["body"]), row["name"])
        found = command.decode(unhexlify(row["body"]))
        same(found, made, row["name"])
        same(found.fields(), fields, row["name"])
    for row in data["invalid"]:
        refused(command.decode, unhexlify(row["body"]), command.CommandError, row)
    for row in data["acks"]:
        made = command.Ack(*row["fields"])
        same(command.encode_ack(made), unhexlify(row["body"]), row["name"])
        same(command.decode_ack(unhexlify(row["body"])), made, row["name"])
    for row in data["invalid_acks"]:
        refused(command.decode_ack, unhexlify(row["body"]), command.CommandError, row)


def check_manifest(data):
    known = manifest.moduli(unhexlify(data["keys"]))
    for row in data["vectors"]:
        signed = unhexlify(row["signed"])
        same(manifest.length(signed[: manifest.PREFIX]), len(signed), row["name"])
        payload = manifest.verify(signed, known)
        found = manifest.decode(payload)
        same(cbor.decode(payload), value_of(row["fields"]), row["name"])
        same(manifest.encode(found), payload, row["name"])
        same([list(file) for file in found.files], value_of(row["fields"])[7], row["name"])
        # Without its key among those that are known, nothing is believed.
        others = [key for key in known if manifest.key_id(key) != signed[9:17]]
        refused(lambda data: manifest.verify(data, others), signed, manifest.ManifestError, {"reason": "key"})  # noqa: B023
    for row in data["invalid"]:
        refused(
            lambda data: manifest.verify(data, known), unhexlify(row["signed"]), manifest.ManifestError, row
        )
    for row in data["invalid_bodies"]:
        refused(manifest.decode, unhexlify(row["body"]), manifest.ManifestError, row)


CHECKS = {
    "cbor.json": check_cbor,
    "keys.json": check_keys,
    "topics.json": check_topics,
    "sealed.json": check_sealed,
    "report.json": check_report,
    "profile.json": check_profile,
    "statement.json": check_statement,
    "command.json": check_command,
    "manifest.json": check_manifest,
}


def check_vectors():
    for name in sorted(CHECKS):
        data = load(name)
        CHECKS[name](data)
        valid = sum([len(data[part]) for part in data if part != "about" and isinstance(data[part], list)])
        invalid = sum([len(data[part]) for part in data if part.startswith("invalid")])
        print(name, valid - invalid, "valid", invalid, "invalid")


def xorshift(state):
    """Marsaglia's 32-bit xorshift: the same numbers on every machine."""
    state ^= (state << 13) & 0xFFFFFFFF
    state ^= state >> 17
    state ^= (state << 5) & 0xFFFFFFFF
    return state


def manifest_seed():
    data = load("manifest.json")
    return unhexlify(data["vectors"][0]["signed"]), manifest.moduli(unhexlify(data["keys"]))


def mutants(number):
    """Yield `number` inputs: bytes of the vectors with some changed, cut, doubled or put in."""
    seeds = []
    for name, part in (("report.json", "body"), ("statement.json", "body"), ("command.json", "body")):
        seeds.extend([unhexlify(row[part]) for row in load(name)["vectors"]])
    seeds.append(manifest.verify(*manifest_seed()))
    seeds.extend([unhexlify(row["data"]) for row in load("cbor.json")["vectors"]])
    seeds.extend([unhexlify(row["sealed"]) for row in load("sealed.json")["vectors"][:4]])
    state = 20261123
    for _ in range(number):
        state = xorshift(state)
        data = bytearray(seeds[state % len(seeds)])
        state = xorshift(state)
        for _ in range(1 + state % 3):
            state = xorshift(state)
            at = state % (len(data) + 1)
            state = xorshift(state)
            what, byte = state % 5, state >> 8 & 255
            if what == 0 and at < len(data):
                data[at] = byte
            elif what == 1 and at < len(data):
                data[at] ^= 1 << (byte & 7)
            elif what == 2:
                data = data[:at]
            elif what == 3:
                data = data[:at] + bytes((byte,)) + data[at:]
            else:
                data = data + data[at : at + 8]
        yield bytes(data)


def check_mutants(number):
    """Feed every decoder; only declared errors may come out, and what is accepted must encode to itself."""
    up = keys.derive(bytes(32), keys.UP)

    def opened(data):
        return cose.open_sealed(up, topics.REPORT, "aaaaaaaaaaaaaaaa", data)

    decoders = (
        (cbor.decode, cbor.encode),
        (report.decode, lambda r: report.encode(r.seq, r.window, r.revision, r.health, r.values)),
        (report.decode_day, lambda r: report.encode(r.seq, r.window, r.revision, r.health, r.values)),
        (profile.decode, profile.encode),
        (statement.decode, statement.encode),
        (command.decode, command.encode),
        (command.decode_ack, command.encode_ack),
        (manifest.decode, manifest.encode),
        (opened, None),
    )
    outcomes = hashlib.sha256()
    accepted = 0
    for data in mutants(number):
        for decode, encode in decoders:
            try:
                value = decode(data)
            except ProtocolError as error:
                outcomes.update(error.reason.encode() + b"\n")
            else:
                accepted += 1
                same(encode(value), data, "encoded again")
                outcomes.update(b"accepted\n")
    print("mutants", number, "accepted", accepted, hexlify(outcomes.digest()).decode())


if sys.argv[2] == "vectors":
    check_vectors()
else:
    check_mutants(int(sys.argv[3]))
