"""The manifest of a firmware update: what it holds, for which boards, signed by the city's offline key.

COSE_Sign1 (RFC 9052, section 4.2), untagged, RS256 (RFC 8812, section 2: RSASSA-PKCS1-v1_5 with SHA-256) by a
key of 3072 bits with the public exponent 65537:

    [ {1: -257, 4: key id}, {}, payload, signature ]

The key id is the first 8 bytes of the SHA-256 of the key's modulus (384 bytes, big-endian). The payload is
the CBOR of

    [1, version, chips, mpy, micropython, kind, digest, [[path, size, SHA-256], ...]]

version: [major, minor, patch] of the firmware; chips: names as boards call themselves ("esp32", "esp32s3");
mpy: bytecode version, or all of sys.implementation._mpy for native code; micropython: the oldest that does;
kind: 0 for any, 1 counter, 2 air; digest: the firmware digest that the board attests once it runs this; files
in the order of their paths, which are confined to node/ and peilmerk_protocol/.

A signature is checked by raising it to the exponent and comparing the whole of the result with the one block
that PKCS #1 permits (RFC 8017, section 9.2): nothing in it is parsed, so nothing in it can be forged.
"""

import hashlib

from peilmerk_protocol import body, cbor
from peilmerk_protocol.error import ProtocolError

FORMAT = 1
KEY_LENGTH = 384
"""Bytes of the modulus and of a signature."""
KEY_ID_LENGTH = 8
MAX_LENGTH = 16384
"""Longest manifest in bytes, so that a board knows what it must hold at most."""
MAX_FILE = 262144
KINDS = ("any", "counter", "air")

_EXPONENT = 65537
_HEAD = b"\x84\x4f\xa2\x01\x39\x01\x00\x04\x48"
_START = len(_HEAD) + KEY_ID_LENGTH
_SIGNATURE_HEAD = b"\x59\x01\x80"
_SIGN_HEAD = b"\x84\x6aSignature1\x4f\xa2\x01\x39\x01\x00\x04\x48"
# DigestInfo of SHA-256 (RFC 8017, section 9.2, note 1).
_DIGEST_INFO = b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20"
_TOPS = ("node", "peilmerk_protocol")


class ManifestError(ProtocolError):
    """Not a manifest, or not one to trust.

    Reasons: "malformed", "too-large", "key" (signed by a key that is not known), "forged" (the signature is
    another's, or the content was altered), "version", "chip", "mpy", "micropython", "kind", "digest",
    "files", "path", "size".
    """


class Manifest:
    """What a signed manifest says; checked when made (ManifestError).

    `items` are version, chips, mpy, micropython, kind, digest and files, as in the payload.
    """

    def __init__(self, items: "list[object]") -> None:
        error = ManifestError
        self.version = body.version(items[0], error, "version")
        self.chips = items[1]
        self.mpy = body.whole(items[2], 1, 0xFFFF, error, "mpy")
        self.micropython = body.version(items[3], error, "micropython")
        self.kind = body.whole(items[4], 0, len(KINDS) - 1, error, "kind")
        self.digest = body.exact_bytes(items[5], 32, error, "digest")
        self.files: "list[tuple[str, int, bytes]]" = []
        """(path, size, SHA-256) in the order of their paths."""
        if not isinstance(self.chips, list) or not 1 <= len(self.chips) <= 8:
            raise error("chip")
        for chip in self.chips:
            if not _word(chip, 16):
                raise error("chip")
        files = items[6]
        if not isinstance(files, list) or not 1 <= len(files) <= 255:
            raise error("files")
        before = ""
        for entry in files:
            if not isinstance(entry, list) or len(entry) != 3:
                raise error("files")
            path = entry[0]
            if not confined(path) or path <= before:
                raise error("path")
            before = path
            size = body.whole(entry[1], 0, MAX_FILE, error, "size")
            self.files.append((path, size, body.exact_bytes(entry[2], 32, error, "digest")))


def encode(manifest: Manifest) -> bytes:
    """Encode the payload that is signed."""
    m = manifest
    return cbor.encode((FORMAT, m.version, m.chips, m.mpy, m.micropython, m.kind, m.digest, m.files))


def decode(payload: bytes) -> Manifest:
    """Decode a payload. Raises ManifestError and nothing else."""
    items = body.fields(payload, 8, ManifestError)
    if items[0] is True or items[0] != FORMAT:
        raise ManifestError("malformed")
    return Manifest(items[1:])


def to_be_signed(key_id: bytes, payload: bytes) -> bytes:
    """Give the Sig_structure (RFC 9052, section 4.4) that a signature is over."""
    out = bytearray(_SIGN_HEAD)
    out.extend(key_id)
    out.append(0x40)  # no external data
    cbor.write_head(out, 2, len(payload))
    out.extend(payload)
    return bytes(out)


PREFIX = _START + 4
"""So many bytes of a manifest tell how long it is."""


def length(prefix: "bytes | bytearray") -> int:
    """Tell from the first PREFIX bytes how long a manifest is. Raises ManifestError."""
    return _payload(prefix)[1] + len(_SIGNATURE_HEAD) + KEY_LENGTH


def key_id(modulus: bytes) -> bytes:
    """Name a key by its modulus of 384 bytes."""
    return hashlib.sha256(modulus).digest()[:KEY_ID_LENGTH]


def verify(data: "bytes | bytearray", moduli: "list[bytes] | tuple[bytes, ...]") -> bytes:
    """Check the signature of a manifest that fills `data` by one of the keys with these moduli; gives the
    payload. Raises ManifestError and nothing else.
    """
    start, end = _payload(data)
    if len(data) != end + len(_SIGNATURE_HEAD) + KEY_LENGTH:
        raise ManifestError("malformed")
    if data[end : end + len(_SIGNATURE_HEAD)] != _SIGNATURE_HEAD:
        raise ManifestError("malformed")
    named = bytes(data[len(_HEAD) : _START])
    for modulus in moduli:
        if key_id(modulus) == named:
            break
    else:
        raise ManifestError("key")
    payload = bytes(data[start:end])
    if not _signed(modulus, data[-KEY_LENGTH:], to_be_signed(named, payload)):
        raise ManifestError("forged")
    return payload


def _signed(modulus: bytes, signature: "bytes | bytearray", message: bytes) -> bool:
    n = int.from_bytes(modulus, "big")
    s = int.from_bytes(signature, "big")
    if s >= n:
        return False
    block = _DIGEST_INFO + hashlib.sha256(message).digest()
    block = b"\x00\x01" + b"\xff" * (KEY_LENGTH - 3 - len(block)) + b"\x00" + block
    return pow(s, _EXPONENT, n) == int.from_bytes(block, "big")


def _payload(data: "bytes | bytearray") -> "tuple[int, int]":
    # (start, end) of the payload within the manifest.
    if data[: len(_HEAD)] != _HEAD or len(data) < PREFIX or data[_START] != 0xA0:
        raise ManifestError("malformed")
    try:
        major, size, start = cbor.read_head(data, _START + 1)
    except cbor.CborError:
        raise ManifestError("malformed")
    if major != 2:
        raise ManifestError("malformed")
    if start + size + len(_SIGNATURE_HEAD) + KEY_LENGTH > MAX_LENGTH:
        raise ManifestError("too-large")
    return start, start + size


def confined(path: object) -> bool:
    """Tell whether a path stays within the firmware: below node/ or peilmerk_protocol/, names of lower-case
    letters, digits and underscores, a dot in the last one at most, 64 characters at most.
    """
    if not isinstance(path, str) or len(path) > 64:
        return False
    parts = path.split("/")
    if parts[0] not in _TOPS or len(parts) < 2:
        return False
    parts[-1:] = parts[-1].split(".", 1)
    for part in parts:
        if not _word(part, 64):
            return False
    return True


def _word(text: object, longest: int) -> bool:
    if not isinstance(text, str) or not 1 <= len(text) <= longest:
        return False
    for character in text:
        if character not in "abcdefghijklmnopqrstuvwxyz0123456789_":
            return False
    return True


def moduli(data: bytes) -> "list[bytes]":
    """Take the moduli out of public keys of this kind in DER (SubjectPublicKeyInfo), one after the other: in
    that form such a key is one fixed frame around its modulus.
    """
    return [data[at + 33 : at + 33 + KEY_LENGTH] for at in range(0, len(data) - 421, 422)]
