"""Puts the node together: sensors -> cycle (window -> release -> seal -> outbox), and the link beside it.

Each part is a task of its own that is started again when it fails, so that a sensor that breaks, a broker
that is away or a flash that is full never stops the others. Ctrl-C ends everything cleanly: what is on
flash is whole at any time.
"""

import asyncio
import gc
import sys
import time

import machine
from micropython import const

from node import config as configuration
from node.commands import Commands
from node.console import say
from node.control import Control, finish_forgetting
from node.cycle import Cycle
from node.health import Health, Vigil
from node.outbox import Outbox
from node.sensors import Sensors
from node.uplink.clock import Clock
from node.uplink.link import Link
from node.uplink.wifi import Wifi

_DATA = "/data"
_RESTART_S = const(10)
# Power-on: the board's own clock holds nothing (machine.PWRON_RESET of the ESP32 port).
_POWER_ON = const(1)


class Node:
    """One board at work. `root` is where the file system is mounted; ends with a slash."""

    def __init__(self, config, root="/", data=_DATA):
        self._config = config
        self._root = root
        self._health = Health(data)
        self._control = Control(data, root)
        config.profile = self._control.profile(config.issued_profile)
        self._outbox = Outbox(data + "/outbox")
        self._clock = Clock(self._outbox.last_window())
        if self._health.reset_cause > _POWER_ON:
            self._clock.keep()
        # One attempt of the link may take: joining each network, connecting, publishing.
        rounds_s = (len(config.wifi) + 4) * config.timeout_s + 120
        # Whoever cannot be told anything any more has failed too, only later.
        self._vigil = Vigil({"windows": 60, "link": rounds_s, "commands": rounds_s}, config.watchdog_s)
        self._wifi = Wifi(config.wifi)
        self._wifi.switch_on()
        self._link = Link(config, self._clock, self._wifi, self._outbox, self._vigil)
        self._cycle = Cycle(config, self._clock, self._outbox, self._health, self._vigil, root)
        self._sensors = Sensors(config.sensors, self._cycle.record)
        self._cycle.attach(self._sensors, self._link, self._wifi)
        self._commands = Commands(config, self._clock, self._control, self._link, data)
        self._commands.vigil = self._vigil
        self._link.inbox = self._commands

    async def run(self):
        """Work for ever."""
        say("%s, boot %d, %d sensors", self._config.device_id, self._health.boots, len(self._config.sensors))
        tasks = [
            asyncio.create_task(_tend("windows", self._cycle.run)),
            asyncio.create_task(_tend("link", self._link.run)),
            asyncio.create_task(_tend("clock", self._keep_time)),
            asyncio.create_task(_tend("commands", self._commands.run)),
            asyncio.create_task(_tend("sensors", self._sense)),
        ]
        gc.collect()
        say("%d bytes of heap in use, %d free", gc.mem_alloc(), gc.mem_free())
        await asyncio.gather(*tasks)

    def stop(self):
        """Let go of sensors and network; flash needs nothing."""
        self._sensors.stop()
        self._link.client.drop()

    def rest(self):
        """The work ends by intention: give whoever is at the console time before the watchdog resets."""
        self._vigil.rest()

    async def _keep_time(self):
        await self._link.keep_time(self._cycle.moved)

    async def _sense(self):
        await self._sensors.run(self._control, self._clock)


async def _tend(name, work):
    """Run `work()` for ever, also when it fails."""
    while True:
        try:
            await work()
        except Exception as fault:
            say("%s: starts again in %d s", name, _RESTART_S)
            sys.print_exception(fault)
        await asyncio.sleep(_RESTART_S)


def main():
    """Run the node until Ctrl-C. A board that is not set up says what is missing and ends."""
    try:
        finish_forgetting()
        config = configuration.load()
    except configuration.ConfigError as fault:
        say("%s", fault)
        return
    node = Node(config)
    try:
        try:
            asyncio.run(node.run())
        except Exception as fault:
            # Every part restarts by itself; what comes here is the loop itself, out of memory perhaps.
            sys.print_exception(fault)
            say("starts again in %d s", _RESTART_S)
            time.sleep(_RESTART_S)
            machine.reset()
    except KeyboardInterrupt:
        node.rest()
        say("stopped; reset the board to start again")
    finally:
        node.stop()
        asyncio.new_event_loop()
