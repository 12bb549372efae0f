"""The radio: joins the first of the configured networks that lets the board in.

Without a `network` module, or with no networks configured, the board is on a network by other means (the unix
port, a cable); the radio is switched on all the same where there is one, for the sake of true randomness.
"""

import asyncio

from micropython import const

_LOOK_MS = const(200)


class WifiError(Exception):
    """No configured network could be joined."""


class Wifi:
    """`networks` is a list of (name, password)."""

    def __init__(self, networks):
        self._networks = networks
        self._station = _find_station()

    def joined(self):
        """Whether the board is on a network now."""
        return self._station is None or not self._networks or self._station.isconnected()

    def switch_on(self):
        """Turn the radio on; the random generator is true only while it is (entropy.py)."""
        if self._station is not None:
            self._station.active(True)

    async def join(self, timeout_s):
        """Be on a network when this returns; raises WifiError after `timeout_s` a network."""
        if self.joined():
            return
        self._station.active(True)
        for name, password in self._networks:
            try:
                self._station.disconnect()
            except OSError:
                pass  # it was not connected
            # Access points refuse who comes back at once.
            await asyncio.sleep(1)
            try:
                self._station.connect(name, password)
            except OSError:
                continue
            for _ in range(timeout_s * 1000 // _LOOK_MS):
                if self._station.isconnected():
                    return
                await asyncio.sleep_ms(_LOOK_MS)
        raise WifiError("found none of %d networks that lets us in" % len(self._networks))


def _find_station():
    try:
        import network
    except ImportError:
        return None
    return network.WLAN(network.STA_IF)
