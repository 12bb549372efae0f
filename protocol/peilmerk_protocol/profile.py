"""Profile: what was agreed at enrolment and may be changed by command only.

Its digest is what a device attests in its statement and what the gateway compares with the deployment record.
Privacy parameters are fractions in lowest terms, never floats: 7/10 is (7, 10), and nothing is (0, 1).
"""

import hashlib

from peilmerk_protocol import body, cbor, quantities
from peilmerk_protocol.error import ProtocolError

DAY_S = 86400


class ProfileError(ProtocolError):
    """A profile outside the contract.

    Reasons: "malformed", "revision", "window", "set", "epsilon", "k", "m", and "count-without-noise" (a count
    with no epsilon for its window: it would leave the device exact).
    """


class Profile:
    """Quantities, window length and privacy parameters of a device; checked when made (ProfileError).

    revision: 0 to 255. window_s: seconds, divides a day. set: bit mask of quantity numbers. epsilon_leaf and
    epsilon_day: (numerator, denominator) for each window's and the day's total. k: smallest noisy count that
    may be published. m: assumed passages of one person a day at one sensor.
    """

    def __init__(
        self,
        revision: int,
        window_s: int,
        set: int,
        epsilon_leaf: "tuple[int, int]",
        epsilon_day: "tuple[int, int]",
        k: int,
        m: int,
    ) -> None:
        self.revision = body.whole(revision, 0, 255, ProfileError, "revision")
        self.window_s = body.whole(window_s, 1, DAY_S, ProfileError, "window")
        if DAY_S % window_s:
            raise ProfileError("window")
        self.set = body.whole(set, 1, quantities.KNOWN, ProfileError, "set")
        self.epsilon_leaf = _fraction(epsilon_leaf)
        self.epsilon_day = _fraction(epsilon_day)
        self.k = body.whole(k, 0, 65535, ProfileError, "k")
        self.m = body.whole(m, 0, 255, ProfileError, "m")
        if set & quantities.COUNTS:
            if not self.epsilon_leaf[0]:
                raise ProfileError("count-without-noise")
            if not m:
                raise ProfileError("m")

    def fields(self) -> "list[int]":
        """List the nine numbers of the canonical form: revision, window_s, set, ln, ld, dn, dd, k, m."""
        return [
            self.revision,
            self.window_s,
            self.set,
            self.epsilon_leaf[0],
            self.epsilon_leaf[1],
            self.epsilon_day[0],
            self.epsilon_day[1],
            self.k,
            self.m,
        ]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Profile) and self.fields() == other.fields()

    def __hash__(self) -> int:
        return hash(tuple(self.fields()))

    def __repr__(self) -> str:
        return "Profile(%s)" % ", ".join([str(number) for number in self.fields()])


def from_fields(items: object) -> Profile:
    """Make a profile of its nine numbers (see `Profile.fields`). Raises ProfileError and nothing else."""
    if not isinstance(items, (list, tuple)) or len(items) != 9:
        raise ProfileError("malformed")
    revision, window_s, members, ln, ld, dn, dd, k, m = items
    return Profile(revision, window_s, members, (ln, ld), (dn, dd), k, m)


def encode(profile: Profile) -> bytes:
    """Encode the canonical form: a CBOR list of nine whole numbers."""
    return cbor.encode(profile.fields())


def decode(data: bytes) -> Profile:
    """Decode the canonical form. Raises ProfileError and nothing else."""
    return from_fields(body.fields(data, 9, ProfileError))


def digest(profile: Profile) -> bytes:
    """Give the SHA-256 (32 bytes) of the canonical form."""
    return hashlib.sha256(encode(profile)).digest()


def _fraction(value: "tuple[int, int]") -> "tuple[int, int]":
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ProfileError("epsilon")
    numerator = body.whole(value[0], 0, 65535, ProfileError, "epsilon")
    denominator = body.whole(value[1], 1, 65535, ProfileError, "epsilon")
    a, b = numerator, denominator
    while b:
        a, b = b, a % b
    if a != 1:
        # 14/20 is 7/10 with another digest: only lowest terms, so that one agreement has one digest.
        raise ProfileError("epsilon")
    return numerator, denominator


STANDARD_COUNTER = Profile(
    1, 900, 1 << quantities.BICYCLE_TOWARDS | 1 << quantities.BICYCLE_AWAY, (7, 10), (3, 10), 10, 4
)
"""Bicycles in two directions by quarter of an hour, epsilon 7/10 + 3/10, published from 10."""
AIR = Profile(1, 900, 0b11111, (0, 1), (0, 1), 0, 0)
"""PM2.5, PM10, temperature, humidity and samples by quarter of an hour; no counts, so no noise."""
AIR_FULL = Profile(1, 900, 0x1F00001F, (0, 1), (0, 1), 0, 0)
"""AIR with completeness and with the extremes of its four means: more than 51 bytes, not for LoRaWAN."""
