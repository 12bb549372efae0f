"""The chip around the interpreter: reset cause, real-time clock, watchdog, radio and randomness.

It outlives the interpreter's runs; what it keeps through which reset is what an ESP32 keeps. Its public
methods but `power_on`, `run_ended` and `answers` are the answers to what the board's shims ask, by name.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket
from collections.abc import Callable
from typing import Any

from peilmerk_bench.board.entropy import SeededEntropy
from peilmerk_bench.board.spec import BoardSpec
from peilmerk_bench.board.wiring import US
from peilmerk_bench.world.clock import WorldClock

PWRON_RESET, HARD_RESET, WDT_RESET, DEEPSLEEP_RESET, SOFT_RESET = range(1, 6)
RTC_AT_POWER_ON_US = 946_684_800 * US
WATCHDOG_FLOOR_S = 2.0
"""A watchdog waits at least so long in host time (or its own time-out): a busy host is no hung board."""

HEARING_S = 0.05

JOINED, NO_AP_FOUND, WRONG_PASSWORD = 1010, 201, 202
JOIN_US, SEARCH_US = 2 * US, 3 * US

PORT_TRIES = 20

ASKED = frozenset({
    "access_point", "deepsleep", "feed", "lightsleep", "mac", "memory", "power_cut", "remember", "reset",
    "rtc", "serve", "soft_reset", "urandom", "visitors", "watchdog", "wifi", "wifi_scan",
})  # fmt: skip


class Served:
    """The ports of the host at which a board's own servers are: one a port of the board, as long as it
    exists.
    """

    def __init__(self) -> None:
        self._sockets: dict[int, socket.socket] = {}

    def at(self, port: int) -> int:
        """The host's port for a port of the board; free for TCP and UDP when it was chosen."""
        if port not in self._sockets:
            for _ in range(PORT_TRIES):
                held = socket.socket()
                # Bound and never listened at: nobody else is given it, and the board, that may reuse it, can
                # listen.
                held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                held.bind(("127.0.0.1", 0))
                with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                    probe.bind(held.getsockname())
                    self._sockets[port] = held
                    break
                held.close()
        return int(self._sockets[port].getsockname()[1])

    def known(self, port: int) -> int | None:
        """The host's port for a port of the board, None before the board served there."""
        return self.at(port) if port in self._sockets else None

    def close(self) -> None:
        """Give the ports back."""
        for held in self._sockets.values():
            held.close()
        self._sockets.clear()


class Chip:
    """One chip. end: ends the interpreter's run for a reason."""

    def __init__(self, spec: BoardSpec, clock: WorldClock, end: Callable[[str], None]) -> None:
        self.unique_id = b"\x02" + hashlib.sha256(spec.name.encode()).digest()[:5]
        self.cause = PWRON_RESET
        self.rtc_offset_us = 0
        self.sleep_us = 0
        self._drift = spec.rtc_drift
        self.naps: list[tuple[float, float]] = []
        self.joins: list[float] = []
        self.wifi_up = True
        seed = spec.entropy_seed
        # Who is at the board's access point; and what that point is: (name, key, security), None when it is
        # off.
        self.phones = 0
        self.point: tuple[str, str, int] | None = None
        self.served = Served()
        self.entropy = None if seed is None else SeededEntropy(seed, spec.name)
        self._networks = spec.wifi
        self._clock = clock
        self._end = end
        self._memory = b""
        self._patience_s = 0.0
        self._fed_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def power_on(self, at: float) -> None:
        """Power comes at a moment of the world: memory is empty and the clock begins in 2000."""
        self.cause = PWRON_RESET
        self.rtc_offset_us = RTC_AT_POWER_ON_US - round(at * US)
        self._memory = b""

    def run_ended(self) -> None:
        """The interpreter ended: its watchdog and its access point are gone."""
        self.point = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def answers(self, verb: str) -> Callable[..., Any] | None:
        """The method that answers a verb, if it is the chip's."""
        return getattr(self, verb) if verb in ASKED else None

    def reset(self) -> None:
        self._end("reset")

    def soft_reset(self) -> None:
        self._end("soft")

    def power_cut(self) -> None:
        self._end("power")

    def lightsleep(self, us: int) -> bool:
        """Whether the world has gone on by so much already (a clock that skips sleep)."""
        self.naps.append((self._clock.now(), us / US))
        return self._clock.skip(us / US)

    def deepsleep(self, at_us: int, us: int) -> None:
        """us: for how long, -1 for ever."""
        self.sleep_us = us
        self._end("deepsleep")

    def asleep(self) -> float:
        """Deep sleep begins: for how many seconds of world time, by a clock that drifts."""
        true_us = self.sleep_us / (1 + self._drift)
        self.rtc_offset_us += round(self.sleep_us - true_us)
        return true_us / US

    def rtc(self, offset_us: int) -> None:
        self.rtc_offset_us = offset_us

    def memory(self) -> str:
        return self._memory.hex()

    def remember(self, data: str) -> None:
        self._memory = bytes.fromhex(data)

    def mac(self) -> str:
        return self.unique_id.hex()

    def urandom(self, at_us: int, count: int) -> str:
        data = os.urandom(count) if self.entropy is None else self.entropy.take(at_us / US, count)
        return data.hex()

    def wifi(self, at_us: int, ssid: str, key: str | None) -> tuple[int, int]:
        """How an attempt to join ends, and after how much world time."""
        self.joins.append(at_us / US)
        if not self.wifi_up:
            return NO_AP_FOUND, SEARCH_US
        if not self._networks:
            return JOINED, JOIN_US
        for network in self._networks:
            if network.ssid == ssid:
                right = network.password == (key or "")
                return (JOINED, JOIN_US) if right else (WRONG_PASSWORD, SEARCH_US)
        return NO_AP_FOUND, SEARCH_US

    def access_point(self, active: bool, name: str, key: str, security: int) -> None:
        self.point = (name, key, security) if active else None

    def visitors(self) -> int:
        return self.phones if self.point else 0

    def serve(self, port: int) -> int:
        return self.served.at(port)

    def wifi_scan(self) -> list[str]:
        return [network.ssid for network in self._networks] if self.wifi_up else []

    def watchdog(self, timeout_us: int) -> None:
        timeout = timeout_us / US
        self._patience_s = max(self._clock.host_seconds(timeout), min(timeout, WATCHDOG_FLOOR_S))
        self.run_ended()
        self.feed()
        self._timer = asyncio.get_running_loop().call_later(self._patience_s, self._look)

    def feed(self) -> None:
        self._fed_at = asyncio.get_running_loop().time()

    def _look(self, again: bool = False) -> None:
        loop = asyncio.get_running_loop()
        left = self._fed_at + self._patience_s - loop.time()
        if left > 0:
            self._timer = loop.call_later(left, self._look)
        elif not again:
            # What the board said while this loop was busy with something else is heard first.
            self._timer = loop.call_later(HEARING_S, self._look, True)
        else:
            self._end("watchdog")
