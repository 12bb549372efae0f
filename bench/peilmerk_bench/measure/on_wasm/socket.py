"""The port's `socket`, with a time server and an MQTT broker at its other end; there is no TLS between."""

import struct
import time

import asyncio

SOCK_STREAM = 1
SOCK_DGRAM = 2
AF_INET = 2
SOL_SOCKET = 1
SO_REUSEADDR = 2
IPPROTO_TCP = 6
_NTP = 2208988800
published = []


def getaddrinfo(host, port, *_):
    return [(AF_INET, SOCK_STREAM, 0, "", (host, port))]


class socket:
    def __init__(self, family=AF_INET, kind=SOCK_STREAM, *_):
        self._kind = kind
        self._waiting = b""
        self.waiter = None

    def setblocking(self, _):
        pass

    def settimeout(self, _):
        pass

    def setsockopt(self, *_):
        pass

    def connect(self, _):
        pass

    def close(self):
        pass

    def send(self, data):
        moment = struct.pack(">II", time.time() + _NTP & 0xFFFFFFFF, 0)
        self._waiting = b"\x24\x02\x00\x00" + bytes(20) + data[40:48] + moment + moment
        self._wake()
        return len(data)

    def _wake(self):
        if self.waiter is not None:
            asyncio.wake(self.waiter)
            self.waiter = None

    def read(self, size=-1):
        if not self._waiting:
            return None
        if size < 0:
            size = len(self._waiting)
        data, self._waiting = self._waiting[:size], self._waiting[size:]
        return data

    def readinto(self, buffer, size=-1):
        data = self.read(len(buffer))
        if data is None:
            return None
        buffer[: len(data)] = data
        return len(data)

    def write(self, data):
        kind = data[0] & 0xF0
        if kind == 0x10:
            self._waiting += b"\x20\x02\x00\x00"
        elif kind == 0x30:
            at = 1
            while data[at] & 0x80:
                at += 1
            size = data[at + 1] << 8 | data[at + 2]
            at += 3 + size
            published.append(len(data))
            self._waiting += b"\x40\x02" + bytes(data[at : at + 2])
        elif kind == 0x80:
            self._waiting += b"\x90\x03" + bytes(data[2:4]) + b"\x01"
        elif kind == 0xC0:
            self._waiting += b"\xd0\x00"
        self._wake()
        return len(data)
