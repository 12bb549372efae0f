"""Report: the released values of one window, empty windows included.

Body, a CBOR list of whole numbers only; no text, no byte string and no map can occur in it:

    [seq, window, state, set, value, value, …]

    seq     1 to 2^32 - 1, never used twice by a device, whatever happens to its power
    window  index of the window: start in Unix seconds (UTC) divided by the profile's window length
    state   health x 256 + revision: a healthy device under profile 1 to 23 spends one byte on both
    set     bit mask of the quantities that follow
    value   the components of each quantity, in rising order of quantity number, each less its origin
            (see `quantities`); of extremes the second is maximum - minimum, less SPREAD_ORIGIN

A day's total is a message of its own kind (topics.DAY) with the same body: `window` is then the index of the
UTC day (Unix seconds divided by 86,400), the set holds counts only, their noise is that of the profile's
epsilon for the day, and HEALTH_PARTIAL tells that not the whole day was counted.

A quantity without a valid value is left out of the set: a sensor fault gives a report with fewer values, or
none, and HEALTH_SENSOR. Silence would be worse, it could not be told from a dead device.
"""

from peilmerk_protocol import body, cbor, quantities
from peilmerk_protocol.error import ProtocolError

LAST_DAY = 49710
"""The day in which unsigned 32-bit Unix seconds end: 7 February 2106."""
HEALTH_PARTIAL = 1
"""The board was not running during the whole window."""
HEALTH_SENSOR = 2
"""A sensor gave no valid value, or not enough of them."""
HEALTH_DROPPED = 4
"""Reports or windows were lost since the report before: a full outbox, a flash or a chance that refused, a
clock that was set back into windows already told, or more before the time was known than is kept."""
HEALTH_CLOCK = 8
"""The clock was not synchronised lately."""
HEALTH_REBOOT = 16
"""The board booted since its last report."""
HEALTH_PAUSED = 32
"""The host has paused the sensor: the set is empty."""
HEALTH_SAFE = 64
"""The board is in safe mode after failed boots: nothing is measured, the set is empty."""


class ReportError(ProtocolError):
    """A report outside the contract.

    Reasons: "malformed" (not such a list of whole numbers), "seq", "window", "state", "set" (a quantity that
    does not exist), "values" (too many or too few), "range" (outside a quantity's range); from the encoder
    also "revision" and "health".
    """


class Report:
    """One decoded report. `values` maps quantity number to its components: (v,), (mean, spread) or
    (minimum, maximum).
    """

    def __init__(
        self, seq: int, window: int, revision: int, health: int, values: "dict[int, tuple[int, ...]]"
    ) -> None:
        self.seq = seq
        self.window = window
        self.revision = revision
        self.health = health
        self.values = values

    @property
    def set(self) -> int:
        """Bit mask of the quantities in this report."""
        return quantities.mask(tuple(self.values))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Report) and self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash((self.seq, self.window))

    def __repr__(self) -> str:
        return "Report(seq=%d, window=%d, revision=%d, health=%d, values=%r)" % self._fields()

    def _fields(self) -> "tuple[int, int, int, int, dict[int, tuple[int, ...]]]":
        return self.seq, self.window, self.revision, self.health, self.values


def encode(seq: int, window: int, revision: int, health: int, values: "dict[int, tuple[int, ...]]") -> bytes:
    """Encode a report's body. ReportError for anything that `decode` would refuse."""
    body.whole(seq, 1, body.UINT32, ReportError, "seq")
    body.whole(window, 0, body.UINT32, ReportError, "window")
    body.whole(revision, 0, 255, ReportError, "revision")
    body.whole(health, 0, 255, ReportError, "health")
    flat = [seq, window, health << 8 | revision, 0]
    for number in sorted(values):
        if not 0 <= number < quantities.NUMBER:
            raise ReportError("set")
        value = values[number]
        if len(value) != quantities.components(number):
            raise ReportError("values")
        if not quantities.fits(number, value):
            raise ReportError("range")
        flat[3] |= 1 << number
        flat.append(value[0] - quantities.origin(number))
        if len(value) == 2:
            flat.append(value[1] - _second_origin(number, value[0]))
    return cbor.encode(flat)


def decode(data: bytes) -> Report:
    """Decode a report's body. Raises ReportError and nothing else."""
    items = body.fields(data, -1, ReportError)
    if len(items) < 4:
        raise ReportError("malformed")
    numbers = []
    for item in items:
        if not isinstance(item, int) or item is True or item is False:
            raise ReportError("malformed")
        numbers.append(item)
    seq = body.whole(numbers[0], 1, body.UINT32, ReportError, "seq")
    window = body.whole(numbers[1], 0, body.UINT32, ReportError, "window")
    state = body.whole(numbers[2], 0, 65535, ReportError, "state")
    present = body.whole(numbers[3], 0, quantities.KNOWN, ReportError, "set")
    values: dict[int, tuple[int, ...]] = {}
    at = 4
    for number in quantities.members(present):
        end = at + quantities.components(number)
        if end > len(numbers):
            raise ReportError("values")
        first = numbers[at] + quantities.origin(number)
        value = (first,) if end - at == 1 else (first, numbers[at + 1] + _second_origin(number, first))
        if not quantities.fits(number, value):
            raise ReportError("range")
        values[number] = value
        at = end
    if at != len(numbers):
        raise ReportError("values")
    return Report(seq, window, state & 255, state >> 8, values)


def decode_day(data: bytes) -> Report:
    """Decode the body of a day's total; `window` is the day. ReportError, "set" for anything but counts."""
    total = decode(data)
    body.whole(total.window, 0, LAST_DAY, ReportError, "window")
    if total.set & ~quantities.COUNTS:
        raise ReportError("set")
    return total


def _second_origin(number: int, first: int) -> int:
    """What the wire subtracts from a second component: extremes travel as minimum and width."""
    return quantities.SPREAD_ORIGIN + (first if number >= quantities.PM2_5_EXTREMES else 0)
