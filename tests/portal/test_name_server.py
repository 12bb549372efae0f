"""The small name server at the access point: real UDP to a virtual board."""

from __future__ import annotations

import asyncio
import random
import socket
import struct

from patience import DEADLINE_S


def question(name, kind=1, number=0x1234, flags=0x0100, count=1, family=1):
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    head = struct.pack(">6H", number, flags, count, 0, 0, 0)
    return head + labels + b"\0" + struct.pack(">HH", kind, family)


async def test_every_name_is_the_board_and_garbage_is_nobody(house):
    place = house()
    await place.at_the_door()
    assert place.board.dns_address is not None

    def ask():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
            line.connect(place.board.dns_address)
            line.settimeout(DEADLINE_S)
            for number, name in enumerate(("captive.apple.com", "a", "x" * 63 + "." + "y" * 60 + ".example")):
                asked = question(name, number=number)
                line.send(asked)
                answer = line.recv(1000)
                assert answer[:12] == struct.pack(">6H", number, 0x8500, 1, 1, 0, 0)
                assert answer[12 : len(asked)] == asked[12:]
                pointer, kind, family, lifetime, size = struct.unpack(">HHHIH", answer[len(asked) : -4])
                assert (pointer, kind, family, size) == (0xC00C, 1, 1, 4)
                assert lifetime <= 60
                assert answer[-4:] == bytes((127, 0, 0, 1))
            # No IPv6, no HTTPS records: told so at once, so that nobody waits.
            for kind in (28, 65):
                asked = question("example.org", kind)
                line.send(asked)
                assert line.recv(1000) == struct.pack(">6H", 0x1234, 0x8500, 1, 0, 0, 0) + asked[12:]
            # What is no question gets no answer, and does no harm.
            draw = random.Random(5)
            whole = question("example.org")
            bad = [whole[:cut] for cut in range(len(whole))]
            bad += [question("example.org", flags=0x8180), question("example.org", count=2)]
            bad += [question("example.org", family=3), whole[:12] + b"\xc0\x0c\0\1\0\1"]
            bad += [draw.randbytes(draw.randrange(300)) for _ in range(200)]
            for one in bad:
                if one:
                    line.send(one)
            # Packets of a flood get lost; who asks, asks again.
            line.settimeout(1)
            for _ in range(60):
                line.send(question("the.last", number=0x7777))
                try:
                    assert line.recv(1000)[:2] == b"\x77\x77"
                    break
                except TimeoutError:
                    pass
            else:
                raise AssertionError("found no answer after the garbage, wanted one")

    await asyncio.to_thread(ask)
    assert "Traceback" not in place.board.console_tail
