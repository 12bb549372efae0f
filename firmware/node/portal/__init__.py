"""The board's own door: set-up over its access point, the host's page on the home network, Improv on the
cable.

This module is all that is loaded while nobody is at the door. `Door.run` watches whether set-up is wanted: no
network is known, the button was held, a technician asked for it (the file /setup), or no network let the
board in for ten minutes; in the last case the known networks are still tried. Requests are bounded: eight at
a time, of which one is answered, each twenty seconds. What serves them is loaded at the first one and dropped
again after five quiet minutes.
"""

import asyncio
import gc
import os
import sys
from time import ticks_diff, ticks_ms

from micropython import const

from node.console import say

_PORT = const(80)
# Browsers open lines ahead of need and say nothing on them.
_AT_ONCE = const(8)
_REQUEST_S = const(20)
_QUIET_MS = const(300000)
_ALONE_MS = const(600000)
_HELD = const(3)
_ASKED = "setup"
_LAZY = ("http", "local", "setup", "improv")


class Door:
    """The door of a board, with all that may be known behind it. `root` ends with a slash."""

    def __init__(self, config, wifi, clock, outbox, control, root="/"):
        self.config = config
        self.wifi = wifi
        self.clock = clock
        self.outbox = outbox
        self.control = control
        self.root = root
        # The last sample of each quantity that is no count; counts are seen as they were released, never
        # before.
        self.latest: dict = {}
        # The board's sensors (node.sensors), set by the app.
        self.sensors = None
        # Made at the first request; what is signed with it ends with this boot.
        self.secret = b""
        # Failed logins by source, and challenges that were met: bounded, see local.py.
        self.failures: dict = {}
        self.met: list = []
        # Set-up while it is open (setup.Setup), otherwise None.
        self.setup = None
        # Who is answered; the others wait.
        self.turn = asyncio.Lock()
        self._open = 0
        self._server = None
        self._last = ticks_ms()
        self._button = None
        spec = config.button
        if spec:
            from machine import Pin

            self._pressed = spec.get("active", 0)
            self._button = Pin(spec["pin"], Pin.IN, Pin.PULL_UP)

    async def run(self):
        """Work for ever."""
        wifi = self.wifi
        alone_since = ticks_ms()
        held = 0
        while True:
            held = held + 1 if self._button and self._button.value() == self._pressed else 0
            if wifi.joined():
                alone_since = ticks_ms()
            if self.config.local_page and wifi.joined():
                await self.listen()
            elif self._server:
                self._server.close()
                self._server = None
            lost = ticks_diff(ticks_ms(), alone_since) > _ALONE_MS
            if lost or held >= _HELD or not wifi.networks or self._asked():
                from node.portal.setup import Setup

                self.setup = Setup(self, lost)
                try:
                    await self.setup.run()
                finally:
                    self.setup.close()
                    self.setup = None
                    self._unload()
                alone_since = ticks_ms()
            elif not self._open and ticks_diff(ticks_ms(), self._last) > _QUIET_MS:
                self._unload()
            await asyncio.sleep(1)

    async def listen(self):
        """Be reachable at port 80."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "0.0.0.0", _PORT, 4)

    def _asked(self):
        """Whether a technician asked for set-up since the last time."""
        try:
            os.remove(self.root + _ASKED)
        except OSError:
            return False
        return True

    async def _serve(self, stream, _):
        try:
            if self._open < _AT_ONCE:
                self._open += 1
                try:
                    from node.portal import http

                    await asyncio.wait_for(http.serve(self, stream), _REQUEST_S)
                finally:
                    self._open -= 1
                    self._last = ticks_ms()
        except (asyncio.TimeoutError, OSError):
            pass  # who is slow or gone
        except Exception as fault:
            say("portal: %s", type(fault).__name__)
            sys.print_exception(fault)
        try:
            stream.close()
            await stream.wait_closed()
        except OSError:
            pass

    def _unload(self):
        # Of joined firmware this is but the folder, there once something in it was loaded.
        here = sys.modules.get("node.portal")
        for name in _LAZY:
            if sys.modules.pop("node.portal." + name, None):
                delattr(here, name)
                gc.collect()
