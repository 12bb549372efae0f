"""A small real SNTP server for the firmware's tests; it can be late and it can be wrong."""

import asyncio
import struct
import time

# Seconds from 1900 to 1970.
OFFSET = 2208988800


class Sntp(asyncio.DatagramProtocol):
    """A small SNTP server whose clock reads `offset` seconds more than this machine's."""

    def __init__(self, offset=0.0, delays=(), **faults):
        self.offset = offset
        self.delays = list(delays)
        self.faults = faults
        self.asked = 0

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.asked += 1
        delay = self.delays.pop(0) if self.delays else 0.0
        loop = asyncio.get_running_loop()
        if "late_there" in self.faults:
            loop.call_later(delay, self.answer, data, address, 0.0)
        else:
            self.answer(data, address, delay)

    def answer(self, data, address, delay):
        """Stamp the answer now and send it `delay` seconds later."""

        def stamp(t):
            t += OFFSET
            return struct.pack(">II", int(t) & 0xFFFFFFFF, int((t % 1) * 2**32))

        now = time.time() + self.offset
        head = bytes((self.faults.get("flags", 0x24), self.faults.get("stratum", 2), 6, 0xE9)) + bytes(12)
        cookie = bytes(8) if "cookie" in self.faults else data[40:48]
        packet = head + bytes(8) + cookie + stamp(now) + stamp(now)
        asyncio.get_running_loop().call_later(delay, self.transport.sendto, packet, address)


async def serve(server):
    """Open `server` on a free port of this machine: (transport, port)."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: server, ("127.0.0.1", 0))
    return transport, transport.get_extra_info("sockname")[1]
