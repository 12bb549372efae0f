"""The vectors and our own messages, judged by code that shares nothing with ours."""

from __future__ import annotations

import hashlib
import hmac
import json
import re

import cbor2
import independent
import pycddl
import pytest
import write_vectors
from cryptography.hazmat.primitives.serialization import load_der_public_key
from hypothesis import example, given, settings
from hypothesis import strategies as st

from peilmerk_protocol import command, cose, device_ids, keys, profile, report, statement, topics

CDDL = (write_vectors.VECTORS.parent / "peilmerk.cddl").read_text()


def vectors(name: str) -> dict:  # type: ignore[type-arg]
    return json.loads((write_vectors.VECTORS / name).read_text())


SEALED = vectors("sealed.json")
UP = bytes.fromhex(SEALED["up_key"])
DOWN = bytes.fromhex(SEALED["down_key"])
DEVICE = SEALED["device_id"]
# What travels in practice: the rows that probe the envelope with a body of zeros are no messages.
MESSAGES = [row for row in SEALED["vectors"] if "body" not in row["name"]]
RULE_OF_KIND = {number: name for name, number in independent.KINDS.items()}


def readings(rule: str, items: int | None) -> list[pycddl.Schema]:
    """Make schemas of one rule that must all accept what conforms.

    pycddl's engine (the cddl crate) cannot follow `.cbor` beside other items of a list, nor `*` after it. So
    `.cbor` is taken out here and the inner message is validated against its own rule, and `* value` is
    written out for the number of items at hand. It also takes a byte string for a number in a range, and text
    for a byte string with a size; a second, weaker reading without ranges and sizes refuses those. zcbor
    accepts the file as it stands.
    """
    text = f"root = {rule}\n" + re.sub(r"bstr \.cbor [\w-]+", "bstr", CDDL)
    # A regular expression is for the whole text (RFC 8610, section 3.8.3); this engine looks for it within.
    text = re.sub(r'\.regexp "(.*?)"', r'.regexp "^(\1)$"', text)
    if items is not None:
        text = re.sub(r"\* value\b", "value, " * items + ";", text)
    weaker = re.sub(r"\b\d+\.\.(\d+)", r"uint .le \1", text)
    weaker = re.sub(r"bstr \.size \d+", "bstr", weaker)
    return [pycddl.Schema(text), pycddl.Schema(weaker)]


def conforms(rule: str, data: bytes) -> bool:
    items = None
    if rule in ("report", "day"):
        decoded = cbor2.loads(data)
        if not isinstance(decoded, list) or len(decoded) < 4:
            return False
        items = len(decoded) - 4
    try:
        for schema in readings(rule, items):
            schema.validate_cbor(data)
    except pycddl.ValidationError:
        return False
    return True


BODIES = [
    (rule, row["name"], bytes.fromhex(row["body"]))
    for file, rule, part in (
        ("report.json", "report", "vectors"),
        ("report.json", "day", "days"),
        ("profile.json", "profile", "vectors"),
        ("statement.json", "statement", "vectors"),
        ("command.json", "command", "vectors"),
        ("command.json", "ack", "acks"),
    )
    for row in vectors(file)[part]
]


@pytest.mark.parametrize(("rule", "name", "body"), BODIES, ids=[f"{rule}-{name}" for rule, name, _ in BODIES])
def test_bodies_follow_the_cddl(rule: str, name: str, body: bytes) -> None:
    assert conforms(rule, body)


@pytest.mark.parametrize("row", MESSAGES, ids=[row["name"] for row in MESSAGES])
def test_envelopes_follow_the_cddl(row: dict) -> None:  # type: ignore[type-arg]
    sealed = bytes.fromhex(row["sealed"])
    assert conforms(f"sealed-{RULE_OF_KIND[row['kind']]}", sealed)
    assert conforms("algorithm", cbor2.loads(sealed)[0])
    structure = bytes.fromhex(row["mac_structure"])
    assert conforms("mac-structure", structure)
    assert conforms("external-aad", cbor2.loads(structure)[2])


def test_built_in_profiles_have_a_rule_of_their_own() -> None:
    for row in vectors("report.json")["vectors"]:
        if row["name"] in ("counter", "counter-noise-below-zero"):
            assert conforms("counter-report", bytes.fromhex(row["body"]))
        if row["name"] in ("air", "air-frost", "air-summer-dust", "air-new-year-smog", "air-widest"):
            assert conforms("air-report", bytes.fromhex(row["body"]))


# What CDDL can say; byte order, ranges by quantity and the number of values are checked by the decoder alone.
STRUCTURAL = {
    "report.json": ("report", {"malformed", "seq", "window", "state", "set"}),
    "statement.json": ("statement", {"malformed", "seq", "revision", "digest", "reset-cause", "version"}),
    "command.json": ("command", {"malformed", "counter", "expiry", "verb"}),
}


@pytest.mark.parametrize("file", sorted(STRUCTURAL))
def test_the_cddl_refuses_what_the_decoder_refuses(file: str) -> None:
    rule, reasons = STRUCTURAL[file]
    judged = 0
    for row in vectors(file)["invalid"]:
        body = bytes.fromhex(row["body"])
        try:
            again = cbor2.dumps(cbor2.loads(body), canonical=True)
        except (cbor2.CBORDecodeError, ValueError):
            continue  # no CBOR at all
        if row["reason"] in reasons and again == body:
            assert not conforms(rule, body), row["name"]
            judged += 1
    assert judged >= 5


def test_the_cddl_has_no_place_for_a_mean_in_a_day() -> None:
    refused = {row["name"]: row for row in vectors("report.json")["invalid_days"]}
    for name in ("a level", "extremes", "text"):
        assert not conforms("day", bytes.fromhex(refused[name]["body"])), name


@pytest.mark.parametrize("row", MESSAGES, ids=[row["name"] for row in MESSAGES])
def test_envelopes_verify_by_rfc_9052_alone(row: dict) -> None:  # type: ignore[type-arg]
    key = DOWN if row["kind"] == topics.COMMAND else UP
    body = independent.verify(key, row["kind"], DEVICE, bytes.fromhex(row["sealed"]))
    assert body.hex() == row["body"]


@given(
    root=st.binary(min_size=32, max_size=32),
    kind=st.integers(1, 5),
    ten=st.binary(min_size=10, max_size=10),
    body=st.binary(max_size=cose.MAX_BODY),
)
def test_what_we_seal_verifies_elsewhere_and_back(root: bytes, kind: int, ten: bytes, body: bytes) -> None:
    direction, name = (keys.DOWN, "down") if kind == topics.COMMAND else (keys.UP, "up")
    key = keys.derive(root, direction)
    assert key == independent.derive(root, name)
    device = device_ids.new_device_id(ten)
    assert device == independent.device_id(ten)
    sealed = cose.seal(key, kind, device, body)
    assert sealed == independent.seal(key, kind, device, body)
    assert independent.verify(key, kind, device, sealed) == body
    assert cose.open_sealed(key, kind, device, sealed) == body


@example(key=bytes(range(63)), message=b"below a block")
@example(key=bytes(range(64)), message=b"a whole block")
@example(key=bytes(range(65)), message=b"above a block")
@given(key=st.binary(max_size=200), message=st.binary(max_size=300))
def test_hmac_is_the_standard_librarys(key: bytes, message: bytes) -> None:
    assert keys.hmac_sha256(key, message) == hmac.new(key, message, hashlib.sha256).digest()


@given(
    ikm=st.binary(max_size=80),
    salt=st.binary(max_size=80),
    info=st.binary(max_size=80),
    length=st.integers(1, 200),
)
def test_hkdf_is_cryptographys(ikm: bytes, salt: bytes, info: bytes, length: int) -> None:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    assert keys.hkdf(ikm, salt, info, length) == HKDF(SHA256(), length, salt, info).derive(ikm)


def test_pycose_opens_every_envelope() -> None:
    messages = pytest.importorskip("pycose.messages")
    from pycose.keys import SymmetricKey

    for row in SEALED["vectors"]:
        # pycose reads tagged messages; ours are untagged, so it is handed the four items.
        message = messages.Mac0Message.from_cose_obj(list(cbor2.loads(bytes.fromhex(row["sealed"]))), False)
        message.key = SymmetricKey(DOWN if row["kind"] == topics.COMMAND else UP)
        message.external_aad = cbor2.dumps([1, row["kind"], DEVICE])
        assert message.verify_tag(), row["name"]
        message.external_aad = cbor2.dumps([2, row["kind"], DEVICE])
        assert not message.verify_tag(), row["name"]


MANIFESTS = vectors("manifest.json")
RELEASE_KEYS = [
    load_der_public_key(bytes.fromhex(MANIFESTS["keys"])[at : at + 422]) for at in range(0, 2 * 422, 422)
]


def test_pycose_verifies_every_manifest_and_no_forgery() -> None:
    messages = pytest.importorskip("pycose.messages")
    from pycose.keys import RSAKey

    def judged(signed: str, key: object) -> bool:
        message = messages.Sign1Message.from_cose_obj(list(cbor2.loads(bytes.fromhex(signed))), False)
        numbers = key.public_numbers()  # type: ignore[attr-defined]
        message.key = RSAKey(numbers.n.to_bytes(384, "big"), numbers.e.to_bytes(3, "big"))
        return bool(message.verify_signature())

    for row, key in zip(MANIFESTS["vectors"], RELEASE_KEYS, strict=True):
        assert judged(row["signed"], key), row["name"]
    forged = [row for row in MANIFESTS["invalid"] if row["reason"] == "forged"]
    assert len(forged) >= 20
    for row in forged:
        assert not judged(row["signed"], RELEASE_KEYS[0]), row["name"]


def test_manifests_follow_the_cddl_and_strangers_do_not() -> None:
    for row in MANIFESTS["vectors"]:
        signed = bytes.fromhex(row["signed"])
        assert conforms("signed-manifest", signed)
        assert conforms("update-manifest", cbor2.loads(signed)[2])
    judged = 0
    for row in MANIFESTS["invalid_bodies"]:
        # What CDDL cannot say, the order of files and the length of a path; this engine cannot count to 256.
        if (
            row["name"] not in ("files out of order", "a file twice", "256 files")
            and "x" * 30 not in row["name"]
        ):
            assert not conforms("update-manifest", bytes.fromhex(row["body"])), row["name"]
            judged += 1
    assert judged >= 30


def uint32(low: int = 0) -> st.SearchStrategy[int]:
    return st.integers(low, 2**32 - 1)


@settings(max_examples=50)
@given(
    seq=uint32(1),
    window=uint32(),
    revision=st.integers(0, 255),
    health=st.integers(0, 255),
    counts=st.dictionaries(st.integers(5, 16), st.tuples(st.integers(-65536, 65535)), max_size=6),
)
def test_cbor2_reads_our_reports(
    seq: int, window: int, revision: int, health: int, counts: dict[int, tuple[int]]
) -> None:
    body = report.encode(seq, window, revision, health, counts)
    members = sum(1 << number for number in counts)
    flat = [counts[number][0] for number in sorted(counts)]
    assert cbor2.loads(body) == [seq, window, health * 256 + revision, members, *flat]
    assert cbor2.dumps(cbor2.loads(body), canonical=True) == body
    assert conforms("report", body)


@settings(max_examples=50)
@given(uint32(1), st.integers(0, 15), st.binary(min_size=32, max_size=32), uint32(), uint32(), uint32())
def test_cbor2_reads_our_statements(
    seq: int, cause: int, digest: bytes, boots: int, uptime: int, free: int
) -> None:
    made = statement.Statement(
        *(seq, 1, digest, digest[::-1], cause, (1, 2, 3), (1, 29, 0), boots, uptime, free, free)
    )
    body = statement.encode(made)
    assert cbor2.loads(body) == [
        *(seq, 1, digest, digest[::-1], cause),
        *([1, 2, 3], [1, 29, 0], boots, uptime, free, free),
    ]
    assert conforms("statement", body)


@settings(max_examples=50)
@given(uint32(1), uint32(), st.integers(1, 3600), st.integers(0, 5), uint32())
def test_cbor2_reads_our_commands(counter: int, expiry: int, seconds: int, outcome: int, detail: int) -> None:
    body = command.encode(command.Command(counter, expiry, command.IDENTIFY, seconds))
    assert cbor2.loads(body) == [counter, expiry, 3, seconds]
    assert conforms("command", body)
    body = command.encode_ack(command.Ack(counter, outcome, detail))
    assert cbor2.loads(body) == [counter, outcome, detail]
    assert conforms("ack", body)


def test_a_profiles_digest_is_the_sha256_of_what_cbor2_writes() -> None:
    for made in (profile.STANDARD_COUNTER, profile.AIR, profile.AIR_FULL):
        assert profile.digest(made) == hashlib.sha256(cbor2.dumps(made.fields(), canonical=True)).digest()
