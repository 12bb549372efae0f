"""manifest.json: signed manifests of updates, and what a careless verifier would take for one."""

from __future__ import annotations

import hashlib
from pathlib import Path

import independent as other
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from vector_files.parts import jsonable

KEYS_OF_TESTS = [
    load_pem_private_key((Path(__file__).parents[1] / f"{name}_key_of_tests.pem").read_bytes(), None)
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


def content() -> dict[str, object]:
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
