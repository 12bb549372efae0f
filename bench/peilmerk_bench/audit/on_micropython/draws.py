"""Releases counts over and over with the firmware's own code and prints how often each figure came out.

    draws.py '{"profile": [nine numbers], "count": c, "samples": n, "what": "alone"}'

One round is a day as node.cycle lives it: the day's noise, a window's noise, passages (half of them kept by
node.early before the time is known), release. Figures that did not leave the board are "absent".

alone    the figure of a window and the total of a day with c passages, each by itself: {"window": [[figure,
         times], ...], "day": ...}, n of each, of both directions
joint    c passages one way in the first window, other numbers else; printed are differences between two
         figures that leave the board, which tell whether they share a draw
refused  like alone, while the entropy source is not true, so that nothing may be drawn
noise    the noise of a window, without anything around it
"""

import json
import sys

from node import entropy
from node.day import Day
from node.early import Early
from node.entropy import EntropyRefused
from node.pool import Pool
from node.release import bounded, release
from node.window import Tally
from peilmerk_protocol import profile as profiles
from peilmerk_protocol import quantities

# Of the second window, whatever the first one saw.
_OTHERS = 3


class _Esp32:
    platform = "esp32"


class Board:
    """The release path of one board."""

    def __init__(self, profile):
        self.members = tuple(quantities.members(profile.set))
        self.tally = Tally(self.members)
        self.pool = Pool(len(self.members), profile.epsilon_leaf)
        self.day = Day(profile)
        self.early = Early(profile.window_s, self.members)

    def window(self, counts):
        """Release a window with so many passages in each direction."""
        for quantity, count in zip(self.members, counts):
            self.tally.count(quantity, count // 2)
            self.early.open.count(quantity, count - count // 2)
        self.early.close(0)
        self.early.place(self.tally)
        try:
            self.day.draw()
            self.pool.fill()
        except EntropyRefused:
            pass
        values, _ = release(self.tally, self.pool.take(), self.day)
        self.day.close(True)
        self.tally.wipe()
        return values

    def totals(self):
        """What node.cycle sends of a day that is over."""
        if not self.day.noisy:
            return {}
        return {quantity: bounded(quantity, total) for quantity, total in self.day.totals()}


def alone(profile, count, samples):
    """Yield (name of the release, figure): both directions of one window a day."""
    board = Board(profile)
    for number in range((samples + 1) // 2):
        board.day.begin(number + 1)
        values = board.window((count, count))
        totals = board.totals()
        for quantity in board.members:
            yield "window", figure(values, quantity)
            yield "day", figure(totals, quantity)


def joint(profile, count, samples):
    """Yield (name of the pair, difference): two windows a day."""
    board = Board(profile)
    one, other = board.members
    for number in range(samples):
        board.day.begin(number + 1)
        first = board.window((count, _OTHERS))
        second = board.window((_OTHERS, _OTHERS))
        totals = board.totals()
        yield "window - next window", less(first, second, one, one)
        yield "window - other way", less(first, first, one, other)
        yield "day - window", less(totals, first, one, one)
        yield "day - next window", less(totals, second, one, one)


def figure(values, quantity):
    return values[quantity][0] if quantity in values else "absent"


def less(values, others, quantity, other):
    if quantity not in values or other not in others:
        return "absent"
    return values[quantity][0] - others[other][0]


def noise(profile, count, samples):
    """Yield ("noise", one draw)."""
    pool = Pool(2, profile.epsilon_leaf)
    for _ in range((samples + 1) // 2):
        pool.fill()
        for value in pool.take():
            yield "noise", value


def refused(profile, count, samples):
    """Yield what `alone` does, with the radio off."""
    entropy.sys = _Esp32()
    return alone(profile, count, samples)


def main(wanted):
    draw = {"alone": alone, "joint": joint, "refused": refused, "noise": noise}[wanted["what"]]
    found: dict = {}
    for name, value in draw(profiles.from_fields(wanted["profile"]), wanted["count"], wanted["samples"]):
        times = found.setdefault(name, {})
        times[value] = times.get(value, 0) + 1
    print(json.dumps({name: [[value, times[value]] for value in times] for name, times in found.items()}))


main(json.loads(sys.argv[1]))
