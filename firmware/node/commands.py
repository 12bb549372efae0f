"""Commands from the gateway: opened, checked, carried out once, acknowledged (PROTOCOL, "Command").

The counter and what became of the last commands are on flash before anything is done, so that a power cut
never repeats a command; the same command again gets the same acknowledgement again. What does not open or is
no command is counted in `refused` and gets no answer: only the gateway is spoken to. Without a known time
only a time beacon is accepted, as nothing else can be told from an expired one; the gateway sends again.
"""

import asyncio
import sys
from binascii import crc32

from micropython import const

from node import VERSION
from node.config import may_count, may_sleep
from node.console import say
from node.mark import Mark
from peilmerk_protocol import body as bodies
from peilmerk_protocol import command, cose, topics
from peilmerk_protocol import profile as profiles
from peilmerk_protocol.error import ProtocolError

_QUEUE = const(4)
# So many last commands keep their outcome.
_KEPT = const(4)
_ITEMS = const(4)
# The outcome of a command that was begun; on flash only.
_BEGUN = const(255)
_ROUND_S = const(30)
# Reasons from here on tell that an update was tried and failed; those before, that it was refused.
_TRIED = const(16)
_ACK_ATTEMPTS = const(3)
_ACK_PAUSE_S = const(5)


class Commands:
    """Takes commands from `link` and answers on it. State lies in `folder`.

    To be set by the app: examine() -> whole number for a self-test's detail; vigil with done(name);
    async update(offer) -> 0 or the reason why not (`node.update`).
    """

    def __init__(self, config, clock, control, link, folder):
        self.refused = 0
        self.examine = None
        self.vigil = None
        self.update = None
        self._config = config
        self._clock = clock
        self._control = control
        self._link = link
        self._queue: list = []
        self._news = asyncio.Event()
        self._after = None
        self._mark = Mark(folder + "/command", "IIBI" * _KEPT)
        # (counter, CRC-32 of the body, outcome, detail) of the last commands, newest first.
        self._last = self._mark.load() or (0,) * (_ITEMS * _KEPT)

    def take(self, payload):
        """Queue what came on the command topic; what is too long or too much is refused."""
        if len(payload) > cose.MAX_SEALED or len(self._queue) >= _QUEUE:
            self.refused += 1
            return
        self._queue.append(bytes(payload))
        self._news.set()

    def waiting(self):
        """Whether a command was received and not answered yet."""
        return bool(self._queue)

    async def run(self):
        """Work for ever."""
        while True:
            if self.vigil is not None:
                self.vigil.done("commands")
            if self._queue:
                try:
                    await self._answer(self._queue[0])
                finally:
                    self._queue.pop(0)
                continue
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), _ROUND_S)
            except asyncio.TimeoutError:
                pass

    async def _answer(self, sealed):
        config = self._config
        try:
            opened = cose.open_sealed(config.command_key, topics.COMMAND, config.device_id, sealed)
            items = bodies.fields(opened, 4, command.CommandError)
            counter = bodies.whole(items[0], 1, bodies.UINT32, command.CommandError, "counter")
            bodies.whole(items[1], 0, bodies.UINT32, command.CommandError, "expiry")
            verb = bodies.whole(items[2], 1, bodies.UINT32, command.CommandError, "verb")
        except ProtocolError as fault:
            self.refused += 1
            say("commands: refused: %s", fault)
            return
        if not self._clock.known and verb != command.TIME:
            say("commands: command %d must wait: the time is not known", counter)
            return
        check = crc32(opened)
        try:
            if counter <= self._last[0]:
                outcome, detail = self._again(counter, check, items)
            else:
                outcome, detail = await self._once(counter, check, items)
        except OSError as fault:
            # Flash does not keep the counter: nothing was done, and the same command may come again.
            say("commands: %s", fault)
            outcome, detail = command.FAILED, 0
        if verb < len(command.VERB_NAMES):
            say("command %d: %s: %s", counter, command.VERB_NAMES[verb], command.OUTCOME_NAMES[outcome])
        await self._acknowledge(command.encode_ack(command.Ack(counter, outcome, detail)))
        after, self._after = self._after, None
        if after is not None:
            after()

    async def _acknowledge(self, body):
        config = self._config
        sealed = cose.seal(config.key, topics.ACK, config.device_id, body)
        for _attempt in range(_ACK_ATTEMPTS):
            try:
                await self._link.send_now(topics.ACK, sealed)
                return
            except Exception as fault:
                reason = fault
            await asyncio.sleep(_ACK_PAUSE_S)
        # The gateway asks again: the same command gets the same acknowledgement.
        say("commands: not acknowledged: %s", reason)

    def _again(self, counter, check, items):
        """(outcome, detail) of a command that is not newer than the newest."""
        last = self._last
        for at in range(0, len(last), _ITEMS):
            if last[at] == counter and last[at + 1] == check:
                if last[at + 2] != _BEGUN:
                    return last[at + 2], last[at + 3]
                # The power went in the middle of it.
                done = (items[2] == command.PROFILE and self._in_force(items[3])) or (
                    items[2] == command.UPDATE and tuple(items[3][2]) == VERSION
                )
                return (command.DONE if done else command.FAILED), 0
        return command.STALE, 0

    async def _once(self, counter, check, items):
        """Carry out a new command; returns (outcome, detail). OSError: flash refused, nothing was done."""
        before = self._last[:-_ITEMS]
        self._keep((counter, check, _BEGUN, 0) + before)
        detail = 0
        try:
            order = command.Command(*items)
            # A clock that is wrong must not turn away what mends it: a beacon was asked for just now.
            late = self._clock.known and self._clock.unix_ms() // 1000 > order.expiry
            if late and order.verb != command.TIME:
                outcome = command.EXPIRED
            else:
                outcome, detail = await self._carry_out(order.verb, order.argument)
        except command.CommandError as fault:
            outcome = command.UNKNOWN if fault.reason == "verb" else command.REFUSED
        except Exception as fault:
            sys.print_exception(fault)
            outcome = command.FAILED
        try:
            self._keep((counter, check, outcome, detail) + before)
        except OSError as fault:
            say("commands: %s", fault)
        return outcome, detail

    def _keep(self, last):
        self._mark.save(*last)
        self._last = last

    async def _carry_out(self, verb, argument):
        """(outcome, detail); what must wait for the acknowledgement goes into `_after`."""
        control = self._control
        if verb == command.PROFILE:
            return self._agree(argument)
        if verb == command.TIME:
            beacon = getattr(self._clock, "beacon", None)
            return (command.DONE if beacon and beacon(argument) else command.REFUSED), 0
        if verb == command.IDENTIFY:
            if not self._config.indicator:
                return command.REFUSED, command.NO_LIGHT
            control.identify(argument)
        elif verb == command.SELF_TEST:
            return command.DONE, self.examine() if self.examine is not None else 0
        elif verb == command.PAUSE:
            control.pause(argument, True)
        elif verb == command.RESUME:
            if not control.resume(True):
                return command.REFUSED, 0  # the host's own pause holds
        elif verb == command.REBOOT:
            self._after = control.reboot
        elif verb == command.UPDATE:
            if self.update is None:
                return command.REFUSED, 0
            reason = await self.update(argument)
            if reason:
                return (command.FAILED if reason >= _TRIED else command.REFUSED), reason
            self._after = control.reboot
        else:
            control.will_forget()
            self._after = control.forget
        return command.DONE, 0

    def _agree(self, numbers):
        config = self._config
        profile = profiles.from_fields(numbers)
        if self._in_force(numbers):
            return command.DONE, 0
        if profile.revision == (config.next_profile or config.profile).revision:
            # Reports carry the revision only: two profiles of one revision could not be told apart.
            return command.REFUSED, 0
        if not may_count(profile) or (config.every_s and not may_sleep(profile)):
            return command.REFUSED, 0
        self._control.agree(config.issued_profile, profile)
        config.next_profile = profile
        return command.DONE, 0

    def _in_force(self, numbers):
        config = self._config
        try:
            return (config.next_profile or config.profile) == profiles.from_fields(numbers)
        except profiles.ProfileError:
            return False
