"""Windows: what the sensors saw, added up over fixed intervals aligned to UTC. Raw events end here.

Window i covers the unix seconds [i * window_s, (i + 1) * window_s). A `Tally` holds one window in wire units,
integers only. How samples combine depends on their quantity alone, and this is the place for it:

    counts               the sum of events
    means                number, sum, sum of squares, lowest and highest
    LAeq                 the mean of the samples' energies (equal intervals), in steps of 0.1 dB
    LAmax                the highest

`Windows` keeps two tallies, because the window that has ended is read a moment after its end while the next
one already fills.
"""

from array import array

from micropython import const

from peilmerk_protocol import quantities

# Places of a sampled quantity's figures in a tally.
_SUM = const(1)
_SQUARES = const(2)
_LOW = const(3)
_HIGH = const(4)
_SAMPLED = const(5)
# A window of 150 dB, which is no street any more, must not overflow 64 bits.
_MOST_ENERGY = (1 << 62) - 1
_LOUDEST = const(1500)


def isqrt(square):
    """The integer square root, rounded down, of a non-negative integer."""
    root = square
    better = (square + 1) >> 1
    while better < root:
        root = better
        better = (root + square // root) >> 1
    return root


def energy(level):
    """The energy of a sound level in 0.1 dB, as an integer: 16 at 0 dB, ten times as much every 10 dB."""
    # 10^(1/100) = 1.0232929923 (IEC 61672-1's exponential scale); 34 bits hold the steps' rounding.
    mantissa = 1 << 34
    for _ in range(level % 100):
        mantissa = mantissa * 10232929923 // 10000000000
    return mantissa * 10 ** (level // 100) >> 30


def level(mean_energy):
    """The level in 0.1 dB whose energy comes next to `mean_energy`: the inverse of `energy`."""
    low = 0
    high = _LOUDEST
    while low < high:
        middle = (low + high) >> 1
        # Half a step up: 10^(1/200).
        if energy(middle) * 10115794543 // 10000000000 < mean_energy:
            low = middle + 1
        else:
            high = middle
    return low


class Tally:
    """The sums of one window for `members`, a tuple of rising quantity numbers (a profile's set).

    index: of the window. partial: it was not watched from border to border. placed: some of it was kept by
    ticks before the time was known.
    """

    def __init__(self, members):
        self.quantities = members
        self.index = 0
        self.partial = False
        self.placed = False
        self._at = {}
        size = 0
        for number in members:
            kind = quantities.kind(number)
            if kind == quantities.KIND_COUNT:
                self._at[number] = size
                size += 1
            elif kind in (quantities.KIND_MEAN, quantities.KIND_LEVEL):
                self._at[number] = size
                size += _SAMPLED
        self._sums = array("q", bytes(8 * size))

    def begin(self, index, partial):
        """Make this tally the empty one of window `index`."""
        self.wipe()
        self.index = index
        self.partial = partial
        self.placed = False

    def wipe(self):
        """Overwrite everything with zero."""
        for place in range(len(self._sums)):
            self._sums[place] = 0

    def count(self, quantity, events):
        """Add `events` to a counted quantity; a quantity that is not of this profile is left alone."""
        place = self._at.get(quantity)
        if place is not None:
            self._sums[place] += events

    def sample(self, quantity, value):
        """Add one sample, an integer in wire units."""
        place = self._at.get(quantity)
        if place is None:
            return
        sums = self._sums
        first = not sums[place]
        sums[place] += 1
        if quantity == quantities.LAEQ:
            sums[place + _SUM] = min(sums[place + _SUM] + energy(value), _MOST_ENERGY)
        else:
            sums[place + _SUM] += value
            sums[place + _SQUARES] += value * value
        if first or value < sums[place + _LOW]:
            sums[place + _LOW] = value
        if first or value > sums[place + _HIGH]:
            sums[place + _HIGH] = value

    def figures(self):
        """A copy of all sums, for `add`; None when nothing was seen."""
        return self._sums[:] if any(self._sums) else None

    def add(self, figures):
        """Add the `figures` of another tally for the same quantities, and overwrite them with zero."""
        sums = self._sums
        for number in self._at:
            place = self._at[number]
            if quantities.is_count(number):
                sums[place] += figures[place]
            elif figures[place]:
                first = not sums[place]
                for one in (place, place + _SUM, place + _SQUARES):
                    sums[one] = min(sums[one] + figures[one], _MOST_ENERGY)
                if first or figures[place + _LOW] < sums[place + _LOW]:
                    sums[place + _LOW] = figures[place + _LOW]
                if first or figures[place + _HIGH] > sums[place + _HIGH]:
                    sums[place + _HIGH] = figures[place + _HIGH]
        for place in range(len(figures)):
            figures[place] = 0

    def take_count(self, quantity):
        """Return the events of `quantity` and overwrite them with zero: an exact count is read once."""
        place = self._at[quantity]
        events = self._sums[place]
        self._sums[place] = 0
        return events

    def samples(self, quantity):
        """How many samples `quantity` has."""
        return self._sums[self._at[quantity]]

    def mean(self, quantity):
        """(mean, spread) in wire units, both rounded to the nearest integer; None without samples.

        The spread is the population standard deviation, sqrt(n * sum(x^2) - sum(x)^2) / n.
        """
        place = self._at[quantity]
        number = self._sums[place]
        if not number:
            return None
        total = self._sums[place + _SUM]
        mean = (2 * total + number) // (2 * number)
        # Four times the radicand gives twice the root, so that the last step can round.
        twice = isqrt(4 * (number * self._sums[place + _SQUARES] - total * total))
        return mean, (twice + number) // (2 * number)

    def extremes(self, quantity):
        """(lowest, highest) sample of a mean's quantity; None without samples."""
        place = self._at.get(quantity)
        if place is None or not self._sums[place]:
            return None
        return self._sums[place + _LOW], self._sums[place + _HIGH]

    def level(self, quantity):
        """(level,) of a noise quantity in 0.1 dB; None without samples."""
        place = self._at[quantity]
        number = self._sums[place]
        if not number:
            return None
        if quantity == quantities.LAEQ:
            return (level(self._sums[place + _SUM] // number),)
        return (self._sums[place + _HIGH],)


class Windows:
    """The window that is open and the one after it. Times are unix milliseconds UTC."""

    def __init__(self, window_s, members):
        self.window_ms = window_s * 1000
        self._open = Tally(members)
        self._after = Tally(members)
        self.started = False

    def start(self, now_ms):
        """Open the window of `now_ms`: partial, because nobody watched from its beginning."""
        index = now_ms // self.window_ms
        self._open.begin(index, True)
        self._after.begin(index + 1, False)
        self.started = True

    def index(self):
        """Index of the open window."""
        return self._open.index

    def end_ms(self):
        """When the open window ends."""
        return (self._open.index + 1) * self.window_ms

    def sample(self, now_ms, quantity, value):
        """Put a sample taken at `now_ms` into its window; dropped when that window is not at hand."""
        tally = self.at(now_ms)
        if tally is not None:
            tally.sample(quantity, value)

    def at(self, now_ms):
        """The tally of the window that `now_ms` lies in, or None when it is not at hand."""
        if self.started:
            index = now_ms // self.window_ms
            if index == self._open.index:
                return self._open
            if index == self._after.index:
                return self._after
        return None

    def before(self, now_ms):
        """Whether `now_ms` lies before the open window: the clock was set back."""
        return now_ms // self.window_ms < self._open.index

    def disturb(self):
        """The clock was moved: neither window at hand is whole."""
        self._open.partial = True
        self._after.partial = True

    def ended(self):
        """The tally of the open window, to release it; then call `advance`."""
        return self._open

    def advance(self, now_ms):
        """Open the next window. When `now_ms` lies outside it the clock was moved: start again, partial."""
        self._open, self._after = self._after, self._open
        self._after.begin(self._open.index + 1, False)
        if now_ms // self.window_ms != self._open.index:
            self.start(now_ms)
