# ruff: noqa: I001
"""The board's `select`: the interpreter's own poll, with timeouts in world time and no busy waiting.

Streams of the host (sockets, the console) wait in the operating system. Streams written in Python (the
simulated UART, asyncio.ThreadSafeFlag) can only change through a planned call, a push or code of the board
itself, so they are asked once after each of these. A poll on nothing but the console waits in host time: what
is at the other end of a console is a computer of the real world.
"""

import sys
import bus
import uselect
import utime
import worldtime

POLLIN = uselect.POLLIN
POLLOUT = uselect.POLLOUT
POLLERR = uselect.POLLERR
POLLHUP = uselect.POLLHUP

_IOCTL_POLL = 3
_CONSOLE = (sys.stdin, sys.stdin.buffer)


class poll:
    def __init__(self):
        self._host = uselect.poll()
        self._host.register(bus.stream, POLLIN)
        self._python = []
        self._hosted = []

    def register(self, stream, events=POLLIN | POLLOUT):
        if hasattr(stream, "ioctl"):
            for entry in self._python:
                if entry[0] is stream:
                    entry[1] = events
                    return
            self._python.append([stream, events])
        else:
            self._host.register(stream, events)
            if not any(stream is other for other in self._hosted):
                self._hosted.append(stream)

    def modify(self, stream, events):
        for entry in self._python:
            if entry[0] is stream:
                entry[1] = events
                return
        self._host.modify(stream, events)

    def unregister(self, stream):
        for entry in self._python:
            if entry[0] is stream:
                self._python.remove(entry)
                if hasattr(stream, "unwatch"):
                    stream.unwatch(self._host)
                return
        for i, other in enumerate(self._hosted):
            if other is stream:
                del self._hosted[i]
                self._host.unregister(stream)
                return

    def poll(self, timeout=-1):
        return self._wait(timeout)

    def ipoll(self, timeout=-1, flags=0):
        return iter(self._wait(timeout))

    def _wait(self, timeout):
        until = worldtime.NEVER
        host_until = None
        if timeout is not None and timeout >= 0:
            if not self._python and len(self._hosted) == 1 and self._hosted[0] in _CONSOLE:
                host_until = utime.ticks_add(utime.ticks_us(), timeout * 1000)
            else:
                until = worldtime.now() + timeout * 1000
        while True:
            last = worldtime.now() >= until
            patience = worldtime.NEVER
            if host_until is not None:
                patience = utime.ticks_diff(host_until, utime.ticks_us())
                last = patience <= 0
            runs = worldtime.runs
            found = []
            for stream, events in self._python:
                ready = stream.ioctl(_IOCTL_POLL, events)
                if ready:
                    found.append((stream, ready))
                elif hasattr(stream, "watch"):
                    patience = min(patience, stream.watch(self._host, events))
            if found or last or runs != worldtime.runs:
                patience = 0
            for event in worldtime.pause(until, self._host, patience):
                if any(event[0] is stream for stream in self._hosted):
                    found.append(event)
            worldtime.pushes()
            if found or last:
                return found
