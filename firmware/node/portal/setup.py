"""Set-up: an access point of our own, the pages that a phone shows at it, and joining the network chosen
there.

The access point is WPA2 with the setup password of the board's label. Every name resolves to it, and whatever
a phone asks to find out whether there is internet is sent to the set-up page (captive portal). A network is
kept in /wifi.json only after it let the board in. Loaded only while set-up is open.
"""

import asyncio
import json
import os
import socket
from binascii import hexlify, unhexlify
from time import ticks_diff, ticks_ms

import network
from micropython import const

from node.console import say
from node.portal.http import Refused, fill, proof, same
from peilmerk_protocol import quantities

_FILE = "wifi.json"
_MOST_NETWORKS = const(5)
_MOST_FOUND = const(12)
_JOIN_S = const(20)
# How long the success page can be read before the access point goes.
_FAREWELL_MS = const(30000)
# Set-up that nobody asked for or uses ends after so long, when there are networks to go back to.
_PATIENCE_MS = const(600000)
_DNS_PORT = const(53)
_DNS_POLL_MS = const(50)
_LONGEST_QUESTION = const(300)
_OPEN = const(0)
_WPA2 = const(3)
_JOINED = const(0)
_GONE = const(201)
_TRYING = const(-1)


class Setup:
    """Set-up at `door`. `lost` tells that it was opened because no network let the board in."""

    def __init__(self, door, lost):
        self.door = door
        self.name = ""
        # How the last attempt to join ended: None, _TRYING, _JOINED or the radio's status.
        self.outcome = None
        self.found: list = []
        self._lost = lost
        self._wish: tuple = ()
        self._ended_at = ticks_ms()
        self._point = network.WLAN(network.AP_IF)
        self._tasks = []
        config = door.config
        # The name of the access point.
        self.point = access_point(config.device_id)
        self._password = config.setup_password

    async def run(self):
        """Be open; returns when a network was joined and told, or nobody came."""
        door = self.door
        began = ticks_ms()
        self._open()
        self.scan()
        await self.door.listen()
        say("portal: set-up is open at %s", self.point)
        self._tasks = [asyncio.create_task(self._resolve())]
        if not self._lost:
            from node.portal import improv

            self._tasks.append(asyncio.create_task(improv.run(self)))
        while True:
            here = self.outcome == _TRYING or bool(self._point.status("stations"))
            # Looking for other networks would throw the visitor out.
            door.wifi.held = here
            if here and self.outcome != _JOINED:
                began = ticks_ms()
            if self._wish:
                await self._join()
            if self.outcome == _JOINED:
                if ticks_diff(ticks_ms(), self._ended_at) > _FAREWELL_MS:
                    return
            elif self._lost and door.wifi.joined():
                return
            elif door.wifi.networks and ticks_diff(ticks_ms(), began) > _PATIENCE_MS and not self._lost:
                return
            await asyncio.sleep_ms(200)

    def close(self):
        """Take the access point away."""
        for task in self._tasks:
            task.cancel()
        self.door.wifi.held = False
        self._point.active(False)
        say("portal: set-up is closed")

    def _open(self):
        for _ in range(2):
            # Before, so that it never stands open; again after, where the port forgets what was set before.
            try:
                self._point.config(ssid=self.point, key=self._password, security=_WPA2)
            except OSError:
                pass
            self._point.active(True)

    def interface(self):
        """Address and mask of the access point (ifconfig)."""
        return self._point.ifconfig()

    def trying(self):
        """Whether a network is being tried."""
        return self.outcome == _TRYING

    def scan(self):
        """Look for networks: `found` becomes (name, strength 1 to 4, open) of the strongest."""
        found: dict = {}
        try:
            for entry in self.door.wifi.scan():
                try:
                    name = entry[0].decode()
                except UnicodeError:
                    continue
                if name and name != self.point and entry[3] > found.get(name, (-1000,))[0]:
                    found[name] = (entry[3], entry[4] == _OPEN)
        except OSError as fault:
            say("portal: scan: %s", fault)
        ranked = sorted([(-found[name][0], name, found[name][1]) for name in found])
        self.found = [
            (name, max(1, min(4, (95 - weak) // 10)), free) for weak, name, free in ranked[:_MOST_FOUND]
        ]

    def wish(self, name, password):
        """Ask to join a network; what becomes of it is in `outcome`. False: it cannot be one."""
        if not 1 <= len(name.encode()) <= 32 or (password and not 8 <= len(password) <= 63) or self._wish:
            return False
        self.name = name
        self.outcome = _TRYING
        self._wish = (name, password)
        return True

    async def _join(self):
        door = self.door
        name, password = self._wish
        # Time for the page to reach the phone before the radio changes channel.
        await asyncio.sleep(1)
        outcome = await door.wifi.attempt(name, password, _JOIN_S)
        self._wish = ()
        if outcome == _JOINED:
            others = [pair for pair in door.wifi.networks if pair[0] != name]
            door.wifi.networks = [[name, password]] + others
            try:
                save_network(self.door.root, name, password)
            except OSError as fault:
                say("portal: %s: %s", _FILE, fault)
        say("portal: joining ended with %d", outcome)
        self.outcome = outcome
        self._ended_at = ticks_ms()

    async def serve(self, request, answer):
        """Answer one request of a phone at the access point."""
        address = self.interface()[0]
        if request.host() != address:
            await answer.go("http://%s/" % address)
        elif request.method == "POST" and request.path == "/join":
            await self._asked_to_join(request, answer)
        elif request.method == "GET" and request.path == "/":
            await self._page(request, answer)
        else:
            raise Refused(404)

    async def _asked_to_join(self, request, answer):
        form = request.form
        if not same(form.get("c", ""), proof(self.door, "setup")):
            raise Refused(403)
        try:
            name = unhexlify(form.get("s", "")).decode() or form.get("o", "")
        except (ValueError, UnicodeError):
            raise Refused(400)
        if not self.wish(name, form.get("p", "")):
            self.outcome = 1
        await answer.go("/")

    async def _page(self, request, answer):
        if "scan" in request.query:
            self.scan()
        more = ""
        if "lang" in request.query:
            more = "Set-Cookie: lang=%s; SameSite=Strict\r\n" % answer.code
        await answer.begin(more=more)
        outcome = self.outcome
        await answer.piece("top", {"again": answer.get("refresh") if outcome == _TRYING else b""})
        if outcome == _TRYING:
            await answer.piece("joining", {"name": self.name})
        elif outcome == _JOINED:
            await answer.piece("joined", {"name": self.name, "address": self.door.wifi.interface()[0]})
        else:
            await answer.piece("setup")
            if outcome is not None:
                fault = "gone" if outcome >= _GONE and outcome != 202 and outcome != 204 else "wrong"
                await answer.piece("unfit" if outcome == 1 else fault, {"name": self.name})
            await answer.piece("networks", {"csrf": proof(self.door, "setup")})
            row = answer.get("network")
            for name, strength, free in self.found:
                await answer.send(
                    fill(
                        row,
                        {
                            "value": hexlify(name.encode()).decode(),
                            "name": name,
                            "lock": b"" if free else answer.get("lock"),
                            "strength": strength,
                        },
                    )
                )
            await answer.piece("password")
        await answer.piece("about")
        for number in quantities.members(self.door.config.profile.set):
            await answer.send(b"<li>" + answer.get("q%d" % number).split(b"|")[0])
        await answer.piece("never")
        await answer.piece("end")

    async def _resolve(self):
        """Answer every question for an address with our own."""
        line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            line.setblocking(False)
            line.bind(socket.getaddrinfo("0.0.0.0", _DNS_PORT)[0][-1])
            while True:
                try:
                    question, peer = line.recvfrom(_LONGEST_QUESTION)
                    reply = resolved(question, self.interface()[0])
                    if reply:
                        line.sendto(reply, peer)
                except OSError:
                    await asyncio.sleep_ms(_DNS_POLL_MS)
        finally:
            line.close()


def access_point(device_id):
    """The name of a board's access point."""
    return "Peilmerk-" + device_id[:4]


def resolved(question, address):
    """The answer to a DNS question (RFC 1035, section 4.1), None for what is none.

    Every name has our address; for kinds of record other than A the answer is that there are none.
    """
    at = 12
    while at < len(question) and question[at]:
        if question[at] > 63:
            return None
        at += question[at] + 1
    # A question, not an answer; exactly one; of class IN.
    if (
        at + 5 > len(question)
        or question[2] & 0xF8
        or question[4:6] != b"\0\1"
        or question[at + 3 : at + 5] != b"\0\1"
    ):
        return None
    asked = question[12 : at + 5]
    head = question[:2] + bytes((0x84 | question[2] & 1, 0, 0, 1, 0))
    if question[at + 1 : at + 3] != b"\0\1":
        return head + b"\0" + bytes(4) + asked
    record = b"\xc0\x0c\0\1\0\1\0\0\0\x0a\0\4" + bytes([int(part) for part in address.split(".")])
    return head + b"\1" + bytes(4) + asked + record


def save_network(root, name, password):
    """Put a network first in /wifi.json. A power cut leaves the old file or the new one. Raises OSError."""
    networks = []
    try:
        with open(root + _FILE) as file:
            networks = json.load(file)
    except (OSError, ValueError):
        pass
    networks = [[name, password]] + [pair for pair in networks if pair[0] != name]
    with open(root + _FILE + ".new", "w") as file:
        json.dump(networks[:_MOST_NETWORKS], file)
    os.rename(root + _FILE + ".new", root + _FILE)
