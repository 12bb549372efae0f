# ruff: noqa: I001
"""World time on the board, and everything that happens at a moment of it.

World time runs `speed` times as fast as the host's clock. A call planned with `at` runs before any function
here returns a time equal to or later than its own, and while it runs the clock stands at that time. What the
board counts and when it says it counted does therefore not depend on how busy the host is.

A board that is `stepped` has no wall clock: code takes no time, and whoever waits is at once where he waits
for. Sensors and pins are then exact however fast or slow the host is; the network is of the real world.

Times are whole microseconds since 1970.
"""

import sys
import bus
import heapq
import uselect
import utime

NEVER = 1 << 61
POLLIN = uselect.POLLIN

_numerator = 1
_denominator = 1
_world_start = 0
_wall_start = 0
_frozen = None
_stepped = None
_latest = 0
_planned = []
_next = NEVER
_order = 0
_masked = 0
_soon = []
_handlers = {}
_bus_only = None
booted_at = 0
runs = 0  # how often planned calls ran; who looked before must look again


def begin(hello):
    """Take over the clock of the supervisor's greeting."""
    global _numerator, _denominator, _world_start, _wall_start, _stepped, booted_at, _bus_only
    _world_start, _wall_start, _numerator, _denominator = hello["clock"]
    booted_at = hello["booted_at"]
    if hello["stepped"]:
        _stepped = booted_at
    _bus_only = uselect.poll()
    _bus_only.register(bus.stream, POLLIN)


def skip(us):
    """The world has gone on by so much at once, while the board slept lightly."""
    global _world_start
    _world_start += us
    now()


def _clock():
    global _stepped
    if _stepped is not None:
        _stepped += 1  # so that who looks again and again gets on
        return _stepped
    return _world_start + (utime.time_ns() // 1000 - _wall_start) * _numerator // _denominator


def now():
    """World time; every planned call up to it has run."""
    global _latest
    if _frozen is not None:
        return _frozen
    t = _clock()
    if t < _latest:
        t = _latest  # the host's clock was set back
    if t >= _next and not _masked:
        _run(t)
    _latest = t
    return t


def at(moment, call, argument):
    """Plan call(argument); the return value cancels it with `forget`."""
    global _next, _order
    _order += 1
    entry = (moment, _order, call, argument)
    heapq.heappush(_planned, entry)
    if moment < _next:
        _next = moment
    return entry


def forget(entry):
    """Take a planned call back; nothing happens if it has run."""
    global _next
    if entry in _planned:
        _planned.remove(entry)
        heapq.heapify(_planned)
        _next = _planned[0][0] if _planned else NEVER


def soon(call, argument):
    """Run call(argument) right after the handler that is running, at the same standing clock.

    Returns False when no handler runs: the interpreter's own scheduler is then the one to use.
    """
    if _frozen is None:
        return False
    _soon.append((call, argument))
    return True


def mask(on):
    """Hold planned calls back (machine.disable_irq) or let them run again."""
    global _masked
    before = _masked
    _masked = on
    if not on:
        now()
    return before


def on_push(verb, handler):
    """Name what handles a verb that the supervisor sends unasked."""
    _handlers[verb] = handler


def _run(until):
    global _frozen, _next, runs
    runs += 1
    try:
        while _planned and _planned[0][0] <= until:
            moment, _, call, argument = heapq.heappop(_planned)
            _frozen = moment if moment > _latest else _latest
            _guarded(call, argument)
            while _soon:
                _guarded(*_soon.pop(0))
    finally:
        _frozen = None
        _next = _planned[0][0] if _planned else NEVER


def _guarded(call, argument):
    try:
        call(argument)
    except Exception as error:
        print("Unhandled exception in callback")
        sys.print_exception(error)


def pushes():
    """Handle what the supervisor said unasked."""
    while bus.pushed:
        message = bus.pushed.pop(0)
        handler = _handlers.get(message[0])
        if handler:  # nobody cares for news of a part that is not in use
            handler(*message[1:])


def pause(until, poller=None, host_us=NEVER):
    """Let real time pass until the next planned call, `until`, a push, or an event of the poller.

    poller: a uselect.poll that holds the bus as well; host_us: upper limit in microseconds of the host's
    time. Returns the poller's events other than the bus's.
    """
    global _stepped
    if bus.pushed:
        return ()
    if _next < until and not _masked:
        until = _next
    poller = poller or _bus_only
    if _stepped is not None and until < NEVER and host_us == NEVER:
        host_us = 0
        if not poller.poll(0) and until > _stepped:
            _stepped = until
    left = (until - _clock()) * _denominator // _numerator + 1
    if left > host_us:
        left = host_us
    if left >= 1000:
        events = poller.poll(min(left // 1000, 600000))
    else:
        events = poller.poll(0)
        if not events and left > 0:
            utime.sleep_us(left)
    found = []
    for stream, event in events:
        if stream is bus.stream:
            bus.take()
        else:
            found.append((stream, event))
    return found


def sleep_until(moment):
    """Sleep until a moment of world time; handlers run meanwhile."""
    while now() < moment:
        pause(moment)
        pushes()
