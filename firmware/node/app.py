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

from node import VERSION
from node import config as configuration
from node.commands import Commands
from node.console import say
from node.control import Control, finish_forgetting
from node.cycle import Cycle
from node.health import CLOCK_FRESH_S, Health, Vigil
from node.outbox import Outbox
from node.sensors import Sensors
from node.update.slots import Slots
from node.uplink.clock import Clock
from node.uplink.link import Link
from node.uplink.wifi import Wifi
from peilmerk_protocol import report, topics

_DATA = "/data"
_RESTART_S = const(10)
# Power-on: the board's own clock holds nothing (machine.PWRON_RESET of the ESP32 port).
_POWER_ON = const(1)
# A board in safe mode tries an ordinary boot so often; a trial has so long, and two windows, for its report;
# a boot that worked for so long did not fail.
_SAFE_S = const(3600)
_TRIAL_S = const(3600)
_GOOD_S = const(600)
# So many seconds the link has to come back after an update.
_ROUNDS = const(60)


class Node:
    """One board at work. `root` is where the file system is mounted; ends with a slash."""

    def __init__(self, config, root="/", data=_DATA):
        self._config = config
        self._root = root
        self._slots = Slots(root, data)
        self._updating = False
        self._health = Health(data)
        self._control = Control(data, root)
        config.profile = self._control.profile(config.issued_profile)
        self._outbox = Outbox(data + "/outbox")
        self._slots.begin(self._outbox.last_seq() + 1)
        self._clock = Clock(self._outbox.last_window())
        if self._health.reset_cause > _POWER_ON:
            self._clock.keep()
        # One attempt of the link may take: joining each network, connecting, publishing.
        rounds_s = (len(config.wifi) + 4) * config.timeout_s + 120
        # main.py has set the watchdog of a trial.
        watchdog_s = config.watchdog_s or 300 * self._slots.trial
        # Whoever cannot be told anything any more has failed too, only later.
        self._vigil = Vigil({"windows": 60, "link": rounds_s, "commands": rounds_s}, watchdog_s)
        self._wifi = Wifi(config.wifi, config.setup_password is not None)
        if not config.every_s:
            self._wifi.switch_on()
        self._link = Link(config, self._clock, self._wifi, self._outbox, self._vigil)
        self._cycle = Cycle(config, self._clock, self._outbox, self._health, self._vigil, root)
        safe = self._slots.safe_mode
        self._sensors = Sensors([] if safe else config.sensors, self._cycle.record)
        self._cycle.attach(self._sensors, self._link, self._wifi)
        self._commands = Commands(config, self._clock, self._control, self._link, data)
        self._commands.vigil = self._vigil
        self._commands.update = self._update
        self._commands.examine = self._examine
        self._link.inbox = self._commands
        self._link.on_acknowledged = self._acknowledged
        self._door = None
        if config.setup_password and self._wifi.radio() and not safe and not self._battery():
            from node.portal import Door

            self._door = Door(config, self._wifi, self._clock, self._outbox, self._control, root)
            self._door.sensors = self._sensors
            self._cycle.latest = self._door.latest

    async def run(self):
        """Work for ever."""
        safe = self._slots.safe_mode
        if self._slots.trial:
            say("%d.%d.%d is on trial", *VERSION)
        if safe:
            say("safe mode: too many boots failed; nothing is measured")
        if self._battery() and not safe:
            await self._sleep()
        say("%s, boot %d, %d sensors", self._config.device_id, self._health.boots, len(self._config.sensors))
        tasks = [
            asyncio.create_task(_tend("windows", self._keep_silence if safe else self._cycle.run)),
            asyncio.create_task(_tend("link", self._link.run)),
            asyncio.create_task(_tend("clock", self._keep_time)),
            asyncio.create_task(_tend("commands", self._commands.run)),
            asyncio.create_task(_tend("sensors", self._sense)),
            asyncio.create_task(_tend("slots", self._prove)),
        ]
        if self._door:
            tasks.append(asyncio.create_task(_tend("portal", self._door.run)))
        if self._config.indicator:
            tasks.append(asyncio.create_task(_tend("indicator", self._indicate)))
        gc.collect()
        say("%d bytes of heap in use, %d free", gc.mem_alloc(), gc.mem_free())
        await asyncio.gather(*tasks)

    async def _sleep(self):
        try:
            from node.power import Battery
        except ImportError:
            say("battery: found no such firmware, wanted `device deploy --battery`; stays awake")
            return
        await Battery(
            self._config,
            self._clock,
            self._cycle,
            self._sensors,
            self._link,
            self._commands,
            self._control,
            self._outbox,
            self._health,
            self._wifi,
            self._vigil,
        ).run()

    def _battery(self):
        # A board that knows no network yet stays awake for its set-up.
        return self._config.every_s and (self._config.wifi or not self._wifi.radio())

    async def _prove(self):
        """What runs is good after ten minutes without a trial; a trial without a report ends."""
        slots = self._slots
        if slots.safe_mode:
            await asyncio.sleep(_SAFE_S)
            slots.retry()
            machine.reset()
        if slots.trial:
            await asyncio.sleep(_TRIAL_S + 2 * self._config.profile.window_s)
            if slots.trial:
                say("no report was acknowledged")
                machine.reset()
        await asyncio.sleep(_GOOD_S)
        slots.good()

    def _acknowledged(self, kind, seq):
        # A report that waited from before an update does not prove it.
        if kind == topics.REPORT and seq >= self._slots.since and not self._slots.safe_mode:
            try:
                self._slots.good()
            except OSError as fault:
                say("slots: %s", fault)

    def _examine(self):
        """The detail of a self-test: health bits as in a report, and from bit 8 on the faulty sensors in the
        order of node.json.
        """
        faulty = self._sensors.faulty()
        bits = faulty << 8 | (report.HEALTH_SENSOR if faulty else 0)
        if self._clock.age_s() > CLOCK_FRESH_S:
            bits |= report.HEALTH_CLOCK
        if self._control.paused(self._clock.unix_ms() // 1000):
            bits |= report.HEALTH_PAUSED
        return bits & 0xFFFFFFFF

    async def _update(self, argument):
        from node.update import offer

        link = self._link
        link.held = self._updating = True
        link.wake()
        try:
            while link.client.connected():
                await asyncio.sleep_ms(100)
            return await offer(self._config, self._slots, argument, self._vigil)
        finally:
            link.held = self._updating = False
            # What became of it is to be told at once.
            for _ in range(_ROUNDS):
                if link.client.connected():
                    break
                await asyncio.sleep(1)

    async def _keep_silence(self):
        from node.safe import keep_silence

        await keep_silence(self._config, self._clock, self._vigil, self._cycle)

    async def _indicate(self):
        from node.indicate import Indicator

        await Indicator(self._config.indicator).run(self._doing)

    def _doing(self):
        """What the board is doing, as node.indicate counts states."""
        from node import indicate

        door = self._door
        if self._control.identifying():
            return indicate.IDENTIFY
        if self._updating:
            return indicate.UPDATING
        if self._slots.safe_mode:
            return indicate.SAFE
        if door and door.setup:
            return indicate.JOINING if door.setup.trying() else indicate.SETUP
        if self._control.paused(self._clock.unix_ms() // 1000 if self._clock.known else 0):
            return indicate.PAUSED
        if not self._wifi.joined():
            return indicate.JOINING
        if not self._link.client.connected():
            return indicate.CONNECTING
        return indicate.FAULT if self._sensors.faulty() else indicate.WORKING

    def stop(self):
        """Let go of sensors and network; flash needs nothing."""
        self._sensors.stop()
        self._link.client.drop()

    def rest(self):
        """The work ends by intention: give whoever is at the console time before the watchdog resets."""
        self._vigil.rest()
        self._slots.interrupted()

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
        Slots().interrupted()
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
