"""Commands to a device and its acknowledgements; both closed.

Command body: [counter, expiry, verb, argument]. The counter rises strictly for each device; a command with a
counter that the device has seen, or after its expiry (Unix seconds, UTC), is not carried out.

    verb            argument
    PROFILE         the nine numbers of a profile (`profile.Profile.fields`)
    TIME            Unix seconds, UTC: a time beacon
    IDENTIFY        seconds to blink, 1 to 3600
    SELF_TEST       None
    PAUSE           Unix seconds, UTC, at which to go on by itself; 0 = until RESUME
    RESUME          None
    REBOOT          None
    UPDATE          [manifest's SHA-256, its size in bytes, [version]]
    FORGET          None: erase keys, configuration and outbox

Acknowledgement body: [counter of the command, outcome, detail]; detail is a whole number: after a self-test
the health bits of a report (`report.HEALTH_…`) and from bit 8 on the faulty sensors in the order of the
board's settings, the reason of an update that was not taken, NO_LIGHT after an IDENTIFY that nobody would
see, and 0 where there is nothing to add.
"""

from peilmerk_protocol import body, cbor, profile
from peilmerk_protocol.error import ProtocolError

PROFILE = 1
TIME = 2
IDENTIFY = 3
SELF_TEST = 4
PAUSE = 5
RESUME = 6
REBOOT = 7
UPDATE = 8
FORGET = 9

DONE = 0
EXPIRED = 1
STALE = 2
UNKNOWN = 3
REFUSED = 4
FAILED = 5

NO_LIGHT = 1
"""The detail of a refused IDENTIFY: the board has no light and no buzzer."""

VERB_NAMES = (
    "",
    "profile",
    "time",
    "identify",
    "self-test",
    "pause",
    "resume",
    "reboot",
    "update",
    "forget",
)
OUTCOME_NAMES = ("done", "expired", "stale", "unknown", "refused", "failed")
"""What became of a command: carried out; too late; counter seen before; verb not known to this firmware;
the host or the board's rules said no; tried and failed."""


class CommandError(ProtocolError):
    """A command or acknowledgement outside the contract.

    Reasons: "malformed", "counter", "expiry", "verb", "argument", "outcome", "detail".
    """


class Command:
    """One command; checked when made (CommandError). See the module's table for the arguments."""

    def __init__(self, counter: int, expiry: int, verb: int, argument: object = None) -> None:
        self.counter = body.whole(counter, 1, body.UINT32, CommandError, "counter")
        self.expiry = body.whole(expiry, 0, body.UINT32, CommandError, "expiry")
        self.verb = body.whole(verb, PROFILE, FORGET, CommandError, "verb")
        self.argument = _argument(verb, argument)

    def fields(self) -> "list[object]":
        """List the four fields in the order of the body."""
        return [self.counter, self.expiry, self.verb, self.argument]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Command) and self.fields() == other.fields()

    def __hash__(self) -> int:
        return hash((self.counter, self.verb))

    def __repr__(self) -> str:
        return "Command(counter=%d, verb=%s)" % (self.counter, VERB_NAMES[self.verb])


class Ack:
    """One acknowledgement; checked when made (CommandError). detail: 0 to 2^32 - 1."""

    def __init__(self, counter: int, outcome: int, detail: int = 0) -> None:
        self.counter = body.whole(counter, 1, body.UINT32, CommandError, "counter")
        self.outcome = body.whole(outcome, DONE, FAILED, CommandError, "outcome")
        self.detail = body.whole(detail, 0, body.UINT32, CommandError, "detail")

    def fields(self) -> "list[object]":
        """List the three fields in the order of the body."""
        return [self.counter, self.outcome, self.detail]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ack) and self.fields() == other.fields()

    def __hash__(self) -> int:
        return hash((self.counter, self.outcome))

    def __repr__(self) -> str:
        return "Ack(counter=%d, outcome=%s)" % (self.counter, OUTCOME_NAMES[self.outcome])


def encode(command: Command) -> bytes:
    """Encode a command's body."""
    return cbor.encode(command.fields())


def decode(data: bytes) -> Command:
    """Decode a command's body. Raises CommandError and nothing else."""
    return Command(*body.fields(data, 4, CommandError))  # type: ignore[arg-type]


def encode_ack(ack: Ack) -> bytes:
    """Encode an acknowledgement's body."""
    return cbor.encode(ack.fields())


def decode_ack(data: bytes) -> Ack:
    """Decode an acknowledgement's body. Raises CommandError and nothing else."""
    return Ack(*body.fields(data, 3, CommandError))  # type: ignore[arg-type]


def _argument(verb: int, value: object) -> object:
    if verb == PROFILE:
        try:
            return profile.from_fields(value).fields()
        except profile.ProfileError:
            raise CommandError("argument")
    if verb == TIME or verb == PAUSE:
        return body.whole(value, 0, body.UINT32, CommandError, "argument")
    if verb == IDENTIFY:
        return body.whole(value, 1, 3600, CommandError, "argument")
    if verb == UPDATE:
        if not isinstance(value, (list, tuple)) or len(value) != 3:
            raise CommandError("argument")
        return [
            body.exact_bytes(value[0], 32, CommandError, "argument"),
            body.whole(value[1], 1, body.UINT32, CommandError, "argument"),
            list(body.version(value[2], CommandError, "argument")),
        ]
    if value is not None:
        raise CommandError("argument")
    return None
