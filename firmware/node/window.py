"""Windows: what the sensors saw, added up over fixed intervals aligned to UTC. Raw events end here.

Window i covers the unix seconds [i * window_s, (i + 1) * window_s). A `Tally` holds one window: counts as
unsigned integers, sampled quantities as number, sum and sum of squares, all in wire units. `Windows` keeps
two of them, because the window that has ended is read a moment after its end while the next one already
fills.
"""

from array import array


def isqrt(square):
    """The integer square root, rounded down, of a non-negative integer."""
    root = square
    better = (square + 1) >> 1
    while better < root:
        root = better
        better = (root + square // root) >> 1
    return root


class Tally:
    """The sums of one window for `quantities`, a tuple of rising quantity numbers."""

    def __init__(self, quantities):
        self.quantities = quantities
        self.index = 0
        self.partial = False
        self.fault = False
        self._counts = array("I", [0] * len(quantities))
        self._sums = [0] * len(quantities)
        self._squares = [0] * len(quantities)

    def begin(self, index, partial):
        """Make this tally the empty one of window `index`."""
        for place in range(len(self.quantities)):
            self._counts[place] = 0
            self._sums[place] = 0
            self._squares[place] = 0
        self.index = index
        self.partial = partial
        self.fault = False

    def count(self, quantity, events):
        """Add `events` to a counted quantity; a quantity that is not of this profile is left alone."""
        if quantity in self.quantities:
            self._counts[self.quantities.index(quantity)] += events

    def sample(self, quantity, value):
        """Add one sample, an integer in wire units."""
        if quantity in self.quantities:
            place = self.quantities.index(quantity)
            self._counts[place] += 1
            self._sums[place] += value
            self._squares[place] += value * value

    def take_count(self, quantity):
        """Return the events of `quantity` and overwrite them with zero: an exact count is read once."""
        place = self.quantities.index(quantity)
        events = self._counts[place]
        self._counts[place] = 0
        return events

    def samples(self, quantity):
        """How many samples `quantity` has."""
        return self._counts[self.quantities.index(quantity)]

    def mean(self, quantity):
        """(mean, spread) in wire units, both rounded to the nearest integer; None without samples.

        The spread is the population standard deviation, sqrt(n * sum(x^2) - sum(x)^2) / n.
        """
        place = self.quantities.index(quantity)
        number = self._counts[place]
        if not number:
            return None
        total = self._sums[place]
        mean = (2 * total + number) // (2 * number)
        # Four times the radicand gives twice the root, so that the last step can round.
        twice = isqrt(4 * (number * self._squares[place] - total * total))
        return mean, (twice + number) // (2 * number)


class Windows:
    """The window that is open and the one after it. Times are unix milliseconds UTC."""

    def __init__(self, window_s, quantities):
        self.window_ms = window_s * 1000
        self._open = Tally(quantities)
        self._after = Tally(quantities)
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
