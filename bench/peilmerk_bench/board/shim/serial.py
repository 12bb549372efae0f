# ruff: noqa: I001
"""The board's `machine.UART`: a stream whose other end is a simulated sensor in the supervisor.

The answer to `uart_read` is ``[hex, next]``: what has arrived, and when more will be there (world time, -1
for not before somebody writes or the world is changed by hand).
"""

import io
import bus
import worldtime

_POLLIN = 1
_POLLOUT = 4
_opened = {}


class UART(io.IOBase):
    INV_TX = 1
    INV_RX = 2

    def __init__(self, id, baudrate=115200, bits=8, parity=None, stop=1, **options):
        if id not in (0, 1, 2):
            raise ValueError("UART(%d) does not exist" % id)
        self._id = id
        self._timeout = 0
        self._timeout_char = 0
        self._rxbuf = 256
        self._pins = [None, None]
        self.init(baudrate, bits, parity, stop, **options)

    def init(
        self,
        baudrate=115200,
        bits=8,
        parity=None,
        stop=1,
        *,
        tx=None,
        rx=None,
        rts=None,
        cts=None,
        txbuf=256,
        rxbuf=None,
        timeout=None,
        timeout_char=None,
        invert=0,
        flow=0,
    ):
        if tx is not None:
            self._pins[0] = tx if isinstance(tx, int) else tx._number
        if rx is not None:
            self._pins[1] = rx if isinstance(rx, int) else rx._number
        if rxbuf is not None:
            self._rxbuf = max(rxbuf, 129)
        if timeout is not None:
            self._timeout = timeout
        if timeout_char is not None:
            self._timeout_char = timeout_char
        self._buffer = bytearray()
        self._next = 0
        self._entry = None
        parity = -1 if parity is None else parity
        bus.call(
            "uart_open", worldtime.now(), self._id, baudrate, bits, parity, stop, self._pins, self._rxbuf
        )
        _opened[self._id] = self
        worldtime.on_push("uart", _changed)

    def deinit(self):
        _opened.pop(self._id, None)

    def __repr__(self):
        return "UART(%d)" % self._id

    def _pull(self):
        moment = worldtime.now()
        if not 0 <= self._next <= moment:
            return
        if self._entry is not None:
            worldtime.forget(self._entry)
            self._entry = None
        data, self._next = bus.call("uart_read", moment, self._id)
        self._buffer.extend(bytes.fromhex(data))

    def _await(self):
        """Plan to look when the next bytes will be there, so that poll wakes up for them."""
        if self._next >= 0 and self._entry is None:
            self._entry = worldtime.at(self._next, self._arrived, None)

    def _arrived(self, _):
        self._entry = None
        self._pull()

    def any(self):
        self._pull()
        return len(self._buffer)

    def read(self, size=-1):
        """Up to `size` bytes, or all that has arrived; None if nothing came within the timeout."""
        self._fill(size)
        if not self._buffer:
            return None
        size = len(self._buffer) if size < 0 else min(size, len(self._buffer))
        return self._take(size)

    def readinto(self, buffer, size=-1):
        size = len(buffer) if size < 0 else min(size, len(buffer))
        self._fill(size)
        size = min(size, len(self._buffer))
        if not size:
            return None
        buffer[:size] = self._take(size)
        return size

    def readline(self):
        self._fill(1)
        end = self._buffer.find(b"\n") + 1
        if not self._buffer:
            return None
        return self._take(end or len(self._buffer))

    def _take(self, size):
        data = bytes(self._buffer[:size])
        self._buffer = self._buffer[size:]
        return data

    def _fill(self, size):
        wanted = 1 if size < 0 else size
        self._pull()
        until = worldtime.now() + self._timeout * 1000
        while len(self._buffer) < wanted and worldtime.now() < until:
            had = len(self._buffer)
            self._await()
            worldtime.pause(until)
            worldtime.pushes()
            self._pull()
            if len(self._buffer) > had:
                until = worldtime.now() + max(self._timeout_char, 3) * 1000

    def write(self, data):
        bus.call("uart_write", worldtime.now(), self._id, bytes(data).hex())
        self._next = 0
        return len(data)

    def flush(self):
        pass

    def txdone(self):
        return True

    def sendbreak(self):
        pass

    def ioctl(self, request, argument):
        if request != 3:
            return -1
        self._pull()
        found = argument & _POLLOUT
        if self._buffer:
            found |= argument & _POLLIN
        elif argument & _POLLIN:
            self._await()
        return found


def _changed(number):
    """The sensor at the other end was changed by hand: what was known of its next byte no longer holds."""
    port = _opened.get(number)
    if port is not None:
        port._next = 0
        port._pull()
