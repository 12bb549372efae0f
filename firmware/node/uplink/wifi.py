"""The radio: joins the first of the configured networks that lets the board in.

Without a `network` module, or with no networks configured and no set-up to ask for one, the board is on a
network by other means (the unix port, a cable); the radio is switched on all the same where there is one, for
the sake of true randomness.
"""

import asyncio

from micropython import const

from node.console import say

_LOOK_MS = const(200)
# A wrong password, or a network that is not there, is believed when the radio says so for this many looks.
_BELIEVED = const(15)
_CONNECTING = const(1001)


class WifiError(Exception):
    """No configured network could be joined; the message tells the reason for each."""


class Wifi:
    """`networks` is a list of (name, password); `wanted` tells that one is needed even when none is known
    yet.

    held: while true nothing is joined, because somebody is at the board's own access point.
    """

    def __init__(self, networks, wanted=False):
        self.networks = networks
        self.held = False
        self._wanted = wanted
        self._name = None
        self._station = _find_station()

    def joined(self):
        """Whether the board is on a network now."""
        if self._station is None or not (self.networks or self._wanted):
            return True
        return self._station.isconnected()

    def radio(self):
        """Whether there is a radio at all."""
        return self._station is not None

    def switch_on(self):
        """Turn the radio on; the random generator is true only while it is (entropy.py)."""
        if self._station is not None:
            self._station.active(True)

    def switch_off(self):
        """Turn the radio off, before sleep."""
        if self._station is not None:
            self._station.active(False)

    async def join(self, timeout_s):
        """Be on a network when this returns; raises WifiError after `timeout_s` a network."""
        if self.joined():
            return
        if self.held or not self.networks:
            raise WifiError("waits for set-up")
        reasons = []
        for name, password in self.networks:
            status = await self.attempt(name, password, timeout_s)
            if not status:
                self._name = name
                return
            reasons.append("%s: %s" % (name, _reason(status)))
        raise WifiError("found no network that lets us in (%s)" % ", ".join(reasons))

    def leave(self):
        """Give up the network that was joined, since it leads nowhere: it is the last to be tried again."""
        if self._station is not None and self._name:
            say("wifi: %s leads nowhere: leaving it", self._name)
            others = [pair for pair in self.networks if pair[0] != self._name]
            self.networks = others + [pair for pair in self.networks if pair[0] == self._name]
            self._disconnect()

    async def attempt(self, name, password, timeout_s):
        """Try one network: 0 when it let us in, otherwise the radio's last status (network.STAT_…)."""
        station = self._station
        if station.active():
            # Off and on: a radio that hangs does not notice that it was disconnected.
            self._disconnect()
            station.active(False)
            # Access points refuse who comes back at once.
            await asyncio.sleep(1)
        station.active(True)
        try:
            station.connect(name, password)
        except OSError:
            return station.status()
        held = self.held
        refused = 0
        for _ in range(timeout_s * 1000 // _LOOK_MS):
            await asyncio.sleep_ms(_LOOK_MS)
            if station.isconnected():
                return 0
            if self.held and not held:
                return station.status()  # set-up takes the radio
            refused = 0 if station.status() == _CONNECTING else refused + 1
            if refused >= _BELIEVED:
                break
        status = station.status()
        self._disconnect()
        return status

    def _disconnect(self):
        try:
            self._station.disconnect()
        except OSError:
            pass  # it was not connected

    def scan(self):
        """The networks in reach, as WLAN.scan gives them. OSError."""
        self._station.active(True)
        return self._station.scan()

    def interface(self):
        """(address, mask, …) on the network, as WLAN.ifconfig gives them; zeros without one."""
        return self._station.ifconfig() if self._station else ("0.0.0.0", "0.0.0.0")


def _reason(status):
    import network

    for name in ("NO_AP_FOUND", "WRONG_PASSWORD", "HANDSHAKE_TIMEOUT", "ASSOC_FAIL", "BEACON_TIMEOUT"):
        if status == getattr(network, "STAT_" + name, None):
            return name.lower().replace("_", " ")
    return "status %d" % status


def _find_station():
    try:
        import network
    except ImportError:
        return None
    return network.WLAN(network.STA_IF)
