"""Inductive loops and pneumatic tubes: one or two inputs across a path, active while something is on them.

A loop's detector is active while a body is over the loop; a tube's air switch closes for a moment at each
axle, and its contact bounces. Who comes "in" meets the first pin first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from peilmerk_bench.sensors.device import Edge, PinDevice
from peilmerk_bench.world.movers import Mover

Traffic = Callable[[float, float], list[Mover]]
"""Movers whose front crosses the line in [from, until), in order."""

LONGEST_S = 20.0
"""Nobody takes longer from the first pulse to the last."""

BOUNCE_S = 0.002


@dataclass
class PulseInputs(PinDevice):
    """The simulator.

    spacing_m: from the first pin's line to the second's; active: the level while something is on it; pulse_s:
    how long an axle keeps a tube's switch closed, None for a loop; bounces: how often the contact opens again
    within the first milliseconds. silent: nothing is felt.
    """

    traffic: Traffic = lambda since, until: []
    pins: tuple[int, ...] = (4,)
    spacing_m: float = 1.0
    active: int = 0
    pulse_s: float | None = 0.03
    bounces: int = 0

    def pulses_of(self, mover: Mover) -> list[tuple[float, float, int]]:
        """(from, until, pin) of each pulse, bounces apart."""
        order = self.pins if mover.direction == "in" else self.pins[::-1]
        found = []
        for nth, pin in enumerate(order):
            at = mover.at + mover.takes_s(nth * self.spacing_m)
            if self.pulse_s is None:
                found.append((at, at + mover.takes_s(mover.length_m), pin))
                continue
            for axle in (0.0, mover.axle_m) if mover.axle_m else (0.0,):
                hit = at + mover.takes_s(axle)
                found.append((hit, hit + self.pulse_s, pin))
        return found

    def edges(self, after: float, until: float) -> list[Edge]:
        """Edges in (after, until], in order."""
        if self.silent:
            return []
        found: list[Edge] = []
        for pin in self.pins:
            end = float("-inf")
            for since, to, own in sorted(
                pulse for mover in self.traffic(after - LONGEST_S, until) for pulse in self.pulses_of(mover)
            ):
                if own != pin or to <= end:
                    continue
                if since > end:
                    found.append((since, pin, self.active))
                    for nth in range(self.bounces):
                        bounce = since + (2 * nth + 1) * BOUNCE_S
                        found += [(bounce, pin, 1 - self.active), (bounce + BOUNCE_S, pin, self.active)]
                else:
                    found.remove((end, pin, 1 - self.active))
                end = to
                found.append((end, pin, 1 - self.active))
        return sorted(edge for edge in found if after < edge[0] <= until)

    def levels(self, at: float) -> dict[int, int]:
        """The level of each pin at a moment."""
        levels = dict.fromkeys(self.pins, 1 - self.active)
        for _, pin, level in self.edges(at - LONGEST_S, at):
            levels[pin] = level
        return levels
