"""What is in the air around a board: devices that advertise over Bluetooth Low Energy.

A device advertises every `every_s` seconds, a little irregularly, while it is within reach; a scanner that
listens for a share of the time hears that share of them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from peilmerk_bench.sensors.device import Device

MASK = 0x5AA5C33C9669
"""Addresses cross the wire to the board under this: the air is not the board's memory."""

AT_ONCE = 64


@dataclass(frozen=True)
class Advertiser:
    """A device within reach from one moment of world time to another."""

    address: bytes
    since: float
    until: float
    every_s: float = 1.0
    rssi: int = -70

    @classmethod
    def canary(cls, number: int, since: float, until: float, every_s: float = 1.0) -> Advertiser:
        """The n-th device of a test: always the same address, which no test needs to keep."""
        address = hashlib.sha256(b"canary %d" % number).digest()[:6]
        return cls(address, since, until, every_s)


@dataclass
class Air(Device):
    """The devices around one board. silent: nobody advertises."""

    devices: list[Advertiser] = field(default_factory=list)
    scanned: list[float] = field(default_factory=list)

    def heard(self, after: float, until: float, share: float = 1.0) -> list[tuple[float, bytes, int]]:
        """(moment, address, rssi) of what a scanner hears in (after, until], in order."""
        found = []
        for device in [] if self.silent else self.devices:
            first = max(0, int((after - device.since) / device.every_s) - 1)
            last = int((min(until, device.until) - device.since) / device.every_s) + 1
            for nth in range(first, last + 1):
                chance = hashlib.blake2s(device.address + nth.to_bytes(4, "big"), digest_size=8).digest()
                late, heard = (int.from_bytes(half, "big") / 2**32 for half in (chance[:4], chance[4:]))
                at = device.since + (nth + 0.8 * late) * device.every_s
                if after < at <= until and at < device.until and heard < share:
                    found.append((at, device.address, device.rssi))
        return sorted(found)

    def adverts(self, after: float, share: float) -> tuple[list[tuple[float, bytes, int]], float]:
        """Some of what is heard after a moment, and until when that is complete."""
        self.scanned.append(after)
        span = 2.0
        while not (found := self.heard(after, after + span, share)) and span < 3600:
            span *= 4
        if len(found) > AT_ONCE:
            found = found[:AT_ONCE]
            return found, found[-1][0]
        return found, after + span
