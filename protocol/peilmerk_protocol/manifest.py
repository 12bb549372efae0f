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
MAX_FILES = 255
MAX_FILE = 262144
KINDS = ("any", "counter", "air")

_EXPONENT = 65537
_HEAD = b"\x84\x4f\xa2\x01\x39\x01\x00\x04\x48"
_START = len(_HEAD) + KEY_ID_LENGTH
_SIGNATURE_HEAD = b"\x59\x01\x80"
_SIGN_HEAD = b"\x84\x6aSignature1\x4f\xa2\x01\x39\x01\x00\x04\x48"
# DigestInfo of SHA-256 (RFC 8017, section 9.2, note 1).
_DIGEST_INFO = b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20"
# A public key of this kind in DER is one fixed frame around the modulus.
_KEY_HEAD = (
    b"\x30\x82\x01\xa2\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\x03\x82\x01\x8f\x00"
    b"\x30\x82\x01\x8a\x02\x82\x01\x81\x00"
)
_KEY_END = b"\x02\x03\x01\x00\x01"
_TOPS = ("node/", "peilmerk_protocol/")
_PATH = "abcdefghijklmnopqrstuvwxyz0123456789_"
_LONGEST_PATH = 64
_LONGEST_CHIP = 16
_FIELDS = 8


class ManifestError(ProtocolError):
    """Not a manifest, or not one to trust.

    Reasons: "malformed", "too-large", "key" (signed by a key that is not known), "forged" (the signature is
    another's, or the content was altered), "version", "chip", "mpy", "micropython", "kind", "digest",
    "files", "path", "size".
    """


class Manifest:
    """What a signed manifest says; checked when made (ManifestError).

    version and micropython: three numbers; files: [(path, size, SHA-256)] in the order of their paths.
    """

    def __init__(
        self,
        version: object,
        chips: object,
        mpy: object,
        micropython: object,
        kind: object,
        digest: object,
        files: object,
    ) -> None:
        self.version = body.version(version, ManifestError, "version")
        self.chips = _chips(chips)
        self.mpy = body.whole(mpy, 1, 0xFFFF, ManifestError, "mpy")
        self.micropython = body.version(micropython, ManifestError, "micropython")
        self.kind = body.whole(kind, 0, len(KINDS) - 1, ManifestError, "kind")
        self.digest = body.exact_bytes(digest, 32, ManifestError, "digest")
        self.files = _files(files)

    def fields(self) -> "list[object]":
        """List the fields in the order of the payload."""
        files = [list(file) for file in self.files]
        return [
            FORMAT,
            list(self.version),
            self.chips,
            self.mpy,
            list(self.micropython),
            self.kind,
            self.digest,
            files,
        ]

    def size(self) -> int:
        """Bytes of all files together."""
        return sum([file[1] for file in self.files])


def encode(manifest: Manifest) -> bytes:
    """Encode the payload that is signed."""
    return cbor.encode(manifest.fields())


def decode(payload: bytes) -> Manifest:
    """Decode a payload. Raises ManifestError and nothing else."""
    items = body.fields(payload, _FIELDS, ManifestError)
    if items[0] != FORMAT or items[0] is True:
        raise ManifestError("malformed")
    return Manifest(items[1], items[2], items[3], items[4], items[5], items[6], items[7])


def to_be_signed(key_id: bytes, payload: bytes) -> bytes:
    """Give the Sig_structure (RFC 9052, section 4.4) that a signature is over."""
    out = bytearray(_SIGN_HEAD)
    out.extend(key_id)
    out.append(0x40)  # no external data
    cbor.write_head(out, 2, len(payload))
    out.extend(payload)
    return bytes(out)


def assemble(key_id: bytes, payload: bytes, signature: bytes) -> bytes:
    """Put payload and signature (384 bytes) together. ManifestError("too-large")."""
    out = bytearray(_HEAD)
    out.extend(key_id)
    out.append(0xA0)
    cbor.write_head(out, 2, len(payload))
    out.extend(payload)
    out.extend(_SIGNATURE_HEAD)
    out.extend(signature)
    if len(out) > MAX_LENGTH:
        raise ManifestError("too-large")
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
        if len(modulus) == KEY_LENGTH and key_id(modulus) == named:
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


def _chips(value: object) -> "list[str]":
    if not isinstance(value, (list, tuple)) or not 1 <= len(value) <= 8:
        raise ManifestError("chip")
    for chip in value:
        if not isinstance(chip, str) or not 1 <= len(chip) <= _LONGEST_CHIP:
            raise ManifestError("chip")
        for character in chip:
            if character not in _PATH:
                raise ManifestError("chip")
    return list(value)


def _files(value: object) -> "list[tuple[str, int, bytes]]":
    if not isinstance(value, (list, tuple)) or not 1 <= len(value) <= MAX_FILES:
        raise ManifestError("files")
    files = []
    before = ""
    for entry in value:
        if not isinstance(entry, (list, tuple)) or len(entry) != 3:
            raise ManifestError("files")
        path = entry[0]
        if not isinstance(path, str) or not confined(path) or path <= before:
            raise ManifestError("path")
        before = path
        size = body.whole(entry[1], 0, MAX_FILE, ManifestError, "size")
        files.append((path, size, body.exact_bytes(entry[2], 32, ManifestError, "digest")))
    return files


def confined(path: str) -> bool:
    """Tell whether a path stays within the firmware: below node/ or peilmerk_protocol/, lower-case names of
    letters, digits and underscores, at most one dot in the last one, no empty part.
    """
    if len(path) > _LONGEST_PATH or not path.startswith(_TOPS):
        return False
    parts = path.split("/")
    last = parts[-1].split(".")
    if len(last) > 2:
        return False
    for part in parts[:-1] + last:
        if not part:
            return False
        for character in part:
            if character not in _PATH:
                return False
    return True


def moduli(data: bytes) -> "list[bytes]":
    """Take the moduli out of public keys in DER (RFC 5280 SubjectPublicKeyInfo), one after the other. Raises
    ManifestError("key") for anything but keys of 3072 bits with the exponent 65537.
    """
    found = []
    size = len(_KEY_HEAD) + KEY_LENGTH + len(_KEY_END)
    if not data or len(data) % size:
        raise ManifestError("key")
    for at in range(0, len(data), size):
        start = at + len(_KEY_HEAD)
        end = start + KEY_LENGTH
        if data[at:start] != _KEY_HEAD or data[end : at + size] != _KEY_END or not data[start] & 0x80:
            raise ManifestError("key")
        found.append(bytes(data[start:end]))
    return found
