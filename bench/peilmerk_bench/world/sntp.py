"""A time server of the world: SNTP over UDP (RFC 4330, packet of RFC 5905), telling world time.

Answers client requests (mode 3) of 48 bytes and more with the version asked for; everything else is dropped.
Fractions of a second are in the answer: at 60 times speed a whole second would be a minute's guess.
"""

from __future__ import annotations

import asyncio
import struct

from peilmerk_bench.world.clock import WorldClock

NTP_EPOCH_S = 2_208_988_800
"""Seconds from 1900 to 1970."""

PACKET = struct.Struct(">BBbb11I")
CLIENT, SERVER = 3, 4
STRATUM = 2
PRECISION = -20


def timestamp(at: float) -> tuple[int, int]:
    """Seconds since 1900, which wrap in 2036, and their fraction in units of 2**-32."""
    whole, fraction = divmod(round((at + NTP_EPOCH_S) * 2**32), 2**32)
    return whole & 0xFFFFFFFF, fraction


def answer(request: bytes, received: float, sent: float) -> bytes | None:
    """The answer to a request that came at `received` and is answered at `sent`; None if it is none."""
    if len(request) < PACKET.size or request[0] & 7 != CLIENT:
        return None
    version = request[0] >> 3 & 7
    originate = struct.unpack(">2I", request[40:48])
    reference = timestamp(received // 64 * 64)
    stamps = (*reference, *originate, *timestamp(received), *timestamp(sent))
    dispersion = 66  # a millisecond in units of 2**-16 s
    identity = int.from_bytes(b"PEIL", "big")
    return PACKET.pack(
        version << 3 | SERVER, STRATUM, request[2] & 0x7F, PRECISION, 0, dispersion, identity, *stamps
    )


class SntpServer(asyncio.DatagramProtocol):
    """One server on a UDP port of this machine. silent: answers nothing; offset_s: how wrong it is."""

    def __init__(self, clock: WorldClock) -> None:
        self._clock = clock
        self._transport: asyncio.DatagramTransport | None = None
        self.silent = False
        self.offset_s = 0.0
        self.answered = 0

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen; returns the port."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(host, port))
        return int(self._transport.get_extra_info("sockname")[1])

    async def stop(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        received = self._clock.now() + self.offset_s
        reply = answer(data, received, self._clock.now() + self.offset_s)
        if reply is not None and not self.silent and self._transport is not None:
            self.answered += 1
            self._transport.sendto(reply, addr)
