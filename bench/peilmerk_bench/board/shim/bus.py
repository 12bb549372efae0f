# ruff: noqa: RUF005
"""The wire from the board's shims to its supervisor: one inherited packet socket.

A request is one packet holding a JSON list: ``[id, verb, *arguments]``; id 0 asks for no answer. An answer is
``[id, value]``. What the supervisor says unasked is ``[0, verb, *arguments]`` and is kept in `pushed` until
the clock takes it (`take`). All times on the wire are whole microseconds of world time since 1970.

The interpreter's file object reads exactly as many bytes as asked for, so every packet towards the board is
FRAME bytes: two bytes of length, then the start of the message; a longer message's rest is one more packet.
"""

import json

FRAME = 256

stream = None
pushed = []
_frame = bytearray(FRAME)
_count = 0
_rest = 0


def begin(fd):
    """Open the wire on the inherited file descriptor; only possible while the host's files are mounted."""
    global stream
    stream = open(fd, "r+b")


def post(*message):
    """Send without waiting for an answer."""
    stream.write(json.dumps((0,) + message).encode())


def call(*message):
    """Send and wait for the answer's value."""
    global _count
    _count += 1
    number = _count
    stream.write(json.dumps((number,) + message).encode())
    while True:
        answer = _receive()
        if answer[0] == number:
            return answer[1]
        if answer[0] == 0:
            pushed.append(answer[1:])


def take():
    """Read one message that poll said is there; an answer nobody waits for any more is dropped."""
    answer = _receive()
    if answer[0] == 0:
        pushed.append(answer[1:])


def _receive():
    global _rest
    if _rest:  # an interrupt came between the two packets of a long message
        stream.read(_rest)
        _rest = 0
    stream.readinto(_frame)
    size = _frame[0] | _frame[1] << 8
    if size <= FRAME - 2:
        return json.loads(_frame[2 : 2 + size])
    _rest = size - (FRAME - 2)
    text = _frame[2:] + stream.read(_rest)
    _rest = 0
    return json.loads(text)
