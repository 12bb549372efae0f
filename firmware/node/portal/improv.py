"""Improv Wi-Fi over the serial console (improv-wifi.com/serial), while set-up is open.

A frame is "IMPROV", version 1, kind, length, data, sum of all that modulo 256; ours end with a line feed. A
command is the kind 3, which is the byte of Ctrl-C: so the console's own interrupt is off while set-up is
open, and a 3 that stands outside a frame interrupts from here. That is why Improv is offered during set-up
only.
"""

import asyncio
import sys
from time import ticks_diff, ticks_ms

import micropython
from micropython import const

from node import VERSION

_STATE = const(1)
_ERROR = const(2)
_COMMAND = const(3)
_RESULT = const(4)
_READY = const(2)
_PROVISIONING = const(3)
_PROVISIONED = const(4)
_INVALID = const(1)
_UNKNOWN = const(2)
_UNABLE = const(3)
_HEAD = b"IMPROV\x01"
_CTRL_C = const(3)
_LONGEST = const(128)
# A frame that stops half-way is forgotten after so long: Ctrl-C works again.
_PAUSE_MS = const(2000)


def frame(kind, data):
    """One frame, with the line feed behind it."""
    out = _HEAD + bytes((kind, len(data))) + data
    return out + bytes((sum(out) & 255, 10))


def result(command, *texts):
    """The frame of a result: the command it answers and a list of texts."""
    data = b""
    for text in texts:
        text = text.encode()
        data += bytes((len(text),)) + text
    return frame(_RESULT, bytes((command, len(data))) + data)


class Frames:
    """Finds the frames in what comes byte by byte."""

    def __init__(self):
        self._frame = bytearray()

    def forget(self):
        """Begin anew."""
        self._frame = bytearray()

    def take(self, byte):
        """Take a byte. The kind and data of a whole frame, (0, b"") of one that is damaged, otherwise None.

        Raises KeyboardInterrupt for Ctrl-C outside a frame.
        """
        got = self._frame
        got.append(byte)
        size = len(got)
        if size <= len(_HEAD):
            if got != _HEAD[:size]:
                self._frame = bytearray(got[-1:] if byte == _HEAD[0] else b"")
                if byte == _CTRL_C:
                    raise KeyboardInterrupt
            return None
        if size < 9:
            return None
        length = got[8]
        if size < length + 10 and length <= _LONGEST:
            return None
        self._frame = bytearray()
        if length > _LONGEST or sum(got[:-1]) & 255 != byte:
            return 0, b""
        return got[7], bytes(got[9:-1])


async def run(setup):
    """Serve the console until cancelled."""
    frames = Frames()
    byte = bytearray(1)
    reader = asyncio.StreamReader(sys.stdin.buffer)
    micropython.kbd_intr(-1)
    last = ticks_ms()
    try:
        _say(frame(_STATE, bytes((_state(setup),))))
        while True:
            if await reader.readinto(byte):
                if ticks_diff(ticks_ms(), last) > _PAUSE_MS:
                    frames.forget()
                last = ticks_ms()
                got = frames.take(byte[0])
                if got:
                    await _obey(setup, *got)
    finally:
        micropython.kbd_intr(_CTRL_C)


async def _obey(setup, kind, data):
    if kind != _COMMAND or len(data) < 2 or data[1] != len(data) - 2:
        _fault(_INVALID)
        return
    command = data[0]
    if command == 1:
        await _join(setup, data[2:])
    elif command == 2:
        _fault(0)
        state = _state(setup)
        _say(frame(_STATE, bytes((state,))))
        if state == _PROVISIONED:
            _say(result(2, _address(setup)))
    elif command == 3:
        _fault(0)
        _say(result(3, "Peilmerk", "%d.%d.%d" % VERSION, sys.platform, setup.point))
    elif command == 4:
        _fault(0)
        setup.scan()
        for name, strength, free in setup.found:
            _say(result(4, name, "%d" % (10 * strength - 95), "NO" if free else "YES"))
        _say(result(4))
    else:
        _fault(_UNKNOWN)


async def _join(setup, data):
    try:
        end = 1 + data[0]
        name = data[1:end].decode()
        password = data[end + 1 :].decode()
        if len(data) != end + 1 + data[end] or not setup.wish(name, password):
            raise ValueError
    except (IndexError, ValueError, UnicodeError):
        _fault(_INVALID)
        return
    _fault(0)
    _say(frame(_STATE, bytes((_PROVISIONING,))))
    while setup.outcome < 0:
        await asyncio.sleep_ms(100)
    if setup.outcome:
        _fault(_UNABLE)
    _say(frame(_STATE, bytes((_state(setup),))))
    if not setup.outcome:
        _say(result(1, _address(setup)))


def _state(setup):
    if setup.outcome is None:
        return _READY
    return _PROVISIONING if setup.outcome < 0 else _READY if setup.outcome else _PROVISIONED


def _address(setup):
    return "http://%s/" % setup.door.wifi.interface()[0]


def _fault(number):
    _say(frame(_ERROR, bytes((number,))))


def _say(data):
    sys.stdout.buffer.write(data)
