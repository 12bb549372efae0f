"""What all drivers that count passages share: the class, two windows at once, and what no path can show.

A driver adds to `counts[half(tick) + i]`, where i is the place of the quantity in `quantities` and `tick`
says when the passage began; neither allocates. The counts of two windows are kept apart by the tick of the
border, so that a late reader changes nothing. Nothing else of a passage is kept; `good` counts looks at a
sensor that was well, never passages. `healthy` is about a window: after `take` it says whether the one that
was taken had no fault.
"""

import asyncio
from array import array
from time import ticks_diff

from micropython import const

from node.sensing import Driver, SensingError
from peilmerk_protocol import quantities

TOWARDS = const(0)
AWAY = const(1)

_CHECK_S = const(5)
# An input that stays active so long is a fault (or a parked bicycle), not traffic.
_STUCK_S = const(60)
# More than three times what a bicycle path 4 m wide carries at its busiest (about 2.5 a second).
_MOST_PER_S = const(8)

# In the order of their quantities.
_CLASSES = ("bicycle", "pedestrian", "vehicle", "unclassified")


def class_of(spec, default, more=()):
    """Place of spec["class"] among the classes, -1 for a word in `more`. Raises SensingError."""
    name = spec.get("class", default)
    if name in more:
        return -1
    if name not in _CLASSES:
        raise SensingError(
            "sensors: %s: class: found %r, wanted %s" % (spec["driver"], name, ", ".join(_CLASSES + more))
        )
    return _CLASSES.index(name)


def both_ways(place):
    """The quantities of a class: towards and away."""
    first = quantities.BICYCLE_TOWARDS + 2 * place
    return first, first + 1


def pin_pair(spec):
    """spec["pins"]: the numbers of two pins. Raises SensingError or KeyError."""
    pins = spec["pins"]
    if not isinstance(pins, list) or len(pins) != 2 or pins[0] == pins[1] or not _are_pins(pins):
        raise SensingError("sensors: %s: pins: found %r, wanted two pin numbers" % (spec["driver"], pins))
    return pins


def _are_pins(pins):
    return all(isinstance(pin, int) and 0 <= pin <= 48 for pin in pins)


class Passages(Driver):
    """A driver that counts passages into `numbers`, a tuple of quantities."""

    def __init__(self, numbers):
        super().__init__()
        self.quantities = numbers
        self._places = len(numbers)
        # Of the open window and of the one after it.
        self.counts = array("I", [0] * (2 * self._places))
        # Where the open window's counts begin, and the tick of its border: one object, so that an interrupt
        # sees both or neither of a change.
        self._window = (0, None)
        self._stuck_s = 0
        self._total = 0
        self._well = True
        self._disturbed = False

    def half(self, tick):
        """Where the counts begin of the window that `tick` lies in."""
        first, border = self._window
        if border is not None and ticks_diff(tick, border) >= 0:
            return self._places - first
        return first

    def border(self, tick_ms):
        self._window = (self._window[0], tick_ms)

    def take(self, tally):
        closed = self._window[0]
        self._window = (self._places - closed, None)
        # A tally of nothing is for throwing away.
        told = not tally.quantities
        for place in range(self._places):
            number = self.quantities[place]
            tally.count(number, self.counts[closed + place])
            self.counts[closed + place] = 0
            told = told or number in tally.quantities
        # The window's report says so when there was a fault at any time of it, or when the profile has
        # nothing of what is counted here: its zeros are no counts.
        self.healthy = told and not self._disturbed
        self._disturbed = not self._well

    def failed(self):
        super().failed()
        self._well = False
        self._disturbed = True

    async def run(self, record):
        while True:
            await asyncio.sleep(_CHECK_S)
            self.check(_CHECK_S)

    def check(self, seconds):
        """Look at the sensor itself, `seconds` after the last look: an input that is stuck, a rate that no
        path has.
        """
        self._stuck_s = self._stuck_s + seconds if self.active() else 0
        total = self.total()
        # A total that fell was taken meanwhile.
        wild = total - self._total > _MOST_PER_S * seconds
        self._total = total
        if not wild and not self._stuck_s:
            self._well = True
            self.good += 1
        elif self._well and (wild or self._stuck_s >= _STUCK_S):
            self.failed()

    def total(self):
        """What is counted and not yet taken."""
        return sum(self.counts)

    def active(self):
        """Whether an input is active now."""
        return False
