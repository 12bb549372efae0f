# ruff: noqa: F401, I001
"""The board's `micropython`: interrupts by the console, and scheduling, as on a board with a real UART."""

import sys
import bus
import micropython
import termios
import worldtime
from micropython import (
    RingIO,
    const,
    heap_lock,
    heap_unlock,
    mem_current,
    mem_info,
    mem_peak,
    mem_total,
    opt_level,
    qstr_info,
    stack_use,
)

_RUNNING = (
    0x20  # ECHOK in c_lflag has no effect without ICANON: the supervisor reads it as "Ctrl-C interrupts"
)
_marks = {}


def begin(hello):
    worldtime.on_push("interrupt", _interrupted)
    _marks.update(start=hello["marks"][2].encode(), end=hello["marks"][3].encode())


def _interrupted(number):
    """Ctrl-C, unless the supervisor has meanwhile interrupted in the harder way."""
    if bus.call("interrupting", number):
        raise KeyboardInterrupt


def kbd_intr(character):
    """-1: bytes on the console are data both ways, as `mpremote mount` needs; 3: Ctrl-C interrupts again."""
    attributes = termios.tcgetattr(0)
    if character == 3:
        attributes[3] |= _RUNNING
        sys.stdout.buffer.write(_marks["end"])
    else:
        attributes[3] &= ~_RUNNING
        sys.stdout.buffer.write(_marks["start"])
    termios.tcsetattr(0, termios.TCSANOW, attributes)


def schedule(call, argument):
    if not worldtime.soon(call, argument):
        micropython.schedule(call, argument)
