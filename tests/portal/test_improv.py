"""Improv on the serial cable: its frames against the published vector, and a client at the port of a virtual
board.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import termios
import time
import tty

from house import HOME, NEXT_DOOR, PASSWORD
from patience import DEADLINE_S

MAGIC = b"IMPROV\x01"
STATE, ERROR, COMMAND, RESULT = 1, 2, 3, 4


def frame(kind, data):
    """A frame as improv-wifi.com/serial describes it, written anew from there."""
    body = MAGIC + bytes([kind, len(data)]) + data
    return body + bytes([sum(body) % 256])


def command(number, data=b""):
    return frame(COMMAND, bytes([number, len(data)]) + data) + b"\n"


def wifi(name, password):
    name, password = name.encode(), password.encode()
    return command(1, bytes([len(name)]) + name + bytes([len(password)]) + password)


class Client:
    """Somebody at the cable."""

    def __init__(self, port):
        self.line = os.open(port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(self.line, termios.TCSANOW)
        self.heard = b""

    def close(self):
        os.close(self.line)

    def say(self, data):
        os.write(self.line, data)

    def next(self, seconds=DEADLINE_S):
        """The next frame's kind and data; everything else on the cable is passed over."""
        deadline = time.monotonic() + seconds
        while True:
            at = self.heard.find(MAGIC)
            if at >= 0 and len(self.heard) >= at + 10:
                size = self.heard[at + 8]
                if len(self.heard) >= at + 11 + size:
                    whole = self.heard[at : at + 10 + size]
                    assert whole[-1] == sum(whole[:-1]) % 256
                    assert self.heard[at + 10 + size : at + 11 + size] == b"\n"
                    self.heard = self.heard[at + 11 + size :]
                    return whole[7], whole[9:-1]
            assert time.monotonic() < deadline, self.heard
            try:
                self.heard += os.read(self.line, 4096)
            except BlockingIOError:
                time.sleep(0.02)

    def result(self, number):
        """The texts of the next frame, which must be the result of this command."""
        kind, data = self.next()
        assert (kind, data[0], data[1]) == (RESULT, number, len(data) - 2)
        texts, rest = [], data[2:]
        while rest:
            texts.append(rest[1 : 1 + rest[0]].decode())
            rest = rest[1 + rest[0] :]
        return texts


def test_our_own_frames_are_those_of_the_vector():
    assert frame(STATE, b"\x02").hex() == "494d50524f5601010102e2"


async def test_a_client_sets_the_board_up_over_the_cable(house):
    place = house()
    await place.at_the_door()

    def talk():
        client = Client(place.board.port)
        try:
            client.say(command(2))
            # The state may have been told unasked just before.
            while client.next() != (ERROR, b"\0"):
                pass
            assert client.next() == (STATE, b"\2")
            client.say(command(3))
            assert client.next() == (ERROR, b"\0")
            firmware, version, _chip, name = client.result(3)
            assert (firmware, name) == ("Peilmerk", "Peilmerk-dbcd")
            assert version.count(".") == 2
            client.say(command(4))
            assert client.next() == (ERROR, b"\0")
            networks = []
            while texts := client.result(4):
                networks.append(texts)
            assert sorted(row[0] for row in networks) == sorted([HOME.ssid, NEXT_DOOR.ssid])
            assert all(int(row[1]) < 0 and row[2] == "YES" for row in networks)
            client.say(command(9))
            assert client.next() == (ERROR, b"\2")
            for wrong in (command(1), command(1, b"\xff"), wifi("", "12345678"), wifi("x", "short")):
                client.say(wrong)
                assert client.next() == (ERROR, b"\1")
            damaged = bytearray(command(2))
            damaged[-2] ^= 1
            client.say(bytes(damaged))
            assert client.next() == (ERROR, b"\1")
            client.say(wifi(HOME.ssid, "not the password"))
            refused = [(ERROR, b"\0"), (STATE, b"\3"), (ERROR, b"\3"), (STATE, b"\2")]
            assert [client.next() for _ in refused] == refused
            client.say(wifi(HOME.ssid, HOME.password))
            assert [client.next() for _ in range(3)] == [(ERROR, b"\0"), (STATE, b"\3"), (STATE, b"\4")]
            assert client.result(1) == ["http://127.0.0.1/"]
        finally:
            client.close()

    await asyncio.to_thread(talk)
    for secret in (PASSWORD, HOME.password):
        assert secret not in place.board.console_tail


async def test_mpremote_still_gets_in_while_set_up_is_open(house):
    place = house()
    await place.at_the_door()

    def look():
        done = subprocess.run(
            [sys.executable, "-m", "mpremote", "connect", place.board.port, "exec", "print(6 * 7)"],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert done.returncode == 0, done
        return done.stdout

    assert (await asyncio.to_thread(look)).strip() == "42"
    assert "stopped; reset the board to start again" in place.board.console_tail
