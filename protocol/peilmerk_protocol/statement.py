"""Statement: what a device attests at boot, after each change of profile and once a day.

Body, a CBOR list:

    [seq, revision, firmware digest, profile digest, reset cause, [firmware version], [MicroPython version],
     boot count, uptime, free heap, free flash]

seq comes from the same never-repeating counter as the reports. Digests are SHA-256: of the files on the
board's flash, and of the profile's canonical form. Uptime is in seconds, free heap and flash are in bytes.
"""

from peilmerk_protocol import body, cbor
from peilmerk_protocol.error import ProtocolError

DIGEST_LENGTH = 32
_FIELDS = 11


class StatementError(ProtocolError):
    """A statement outside the contract.

    Reasons: "malformed", "seq", "revision", "digest", "reset-cause", "version", "figures".
    """


class Statement:
    """One statement; checked when made (StatementError).

    seq: 1 to 2^32 - 1. revision: 0 to 255. Digests: 32 bytes. reset_cause: 0 to 15 as `machine.reset_cause`.
    Versions: (major, minor, patch). boot_count, uptime, free_heap, free_flash: 0 to 2^32 - 1.
    """

    def __init__(
        self,
        seq: int,
        revision: int,
        firmware_digest: bytes,
        profile_digest: bytes,
        reset_cause: int,
        firmware_version: "tuple[int, int, int]",
        micropython_version: "tuple[int, int, int]",
        boot_count: int,
        uptime: int,
        free_heap: int,
        free_flash: int,
    ) -> None:
        self.seq = body.whole(seq, 1, body.UINT32, StatementError, "seq")
        self.revision = body.whole(revision, 0, 255, StatementError, "revision")
        self.firmware_digest = body.exact_bytes(firmware_digest, DIGEST_LENGTH, StatementError, "digest")
        self.profile_digest = body.exact_bytes(profile_digest, DIGEST_LENGTH, StatementError, "digest")
        self.reset_cause = body.whole(reset_cause, 0, 15, StatementError, "reset-cause")
        self.firmware_version = body.version(firmware_version, StatementError, "version")
        self.micropython_version = body.version(micropython_version, StatementError, "version")
        self.boot_count = body.whole(boot_count, 0, body.UINT32, StatementError, "figures")
        self.uptime = body.whole(uptime, 0, body.UINT32, StatementError, "figures")
        self.free_heap = body.whole(free_heap, 0, body.UINT32, StatementError, "figures")
        self.free_flash = body.whole(free_flash, 0, body.UINT32, StatementError, "figures")

    def fields(self) -> "list[object]":
        """List the eleven fields in the order of the body."""
        return [
            self.seq,
            self.revision,
            self.firmware_digest,
            self.profile_digest,
            self.reset_cause,
            list(self.firmware_version),
            list(self.micropython_version),
            self.boot_count,
            self.uptime,
            self.free_heap,
            self.free_flash,
        ]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Statement) and self.fields() == other.fields()

    def __hash__(self) -> int:
        return hash((self.seq, self.firmware_digest))

    def __repr__(self) -> str:
        return "Statement(seq=%d, revision=%d, boot_count=%d)" % (self.seq, self.revision, self.boot_count)


def encode(statement: Statement) -> bytes:
    """Encode a statement's body."""
    return cbor.encode(statement.fields())


def decode(data: bytes) -> Statement:
    """Decode a statement's body. Raises StatementError and nothing else."""
    return Statement(*body.fields(data, _FIELDS, StatementError))  # type: ignore[arg-type]
