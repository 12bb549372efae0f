"""Requests in, pages out: HTTP/1.1 with one request a connection, in constant memory whatever is sent.

Pages lie beside this module in one compressed file, made from pages.html and the contract's texts when the
bundle is built: pieces, each a line "#name" or "#name.nl" and the lines up to the next one, with ~name~ where
a value goes, the headers first. They are read forwards and sent line by line; no page is ever whole in
memory.
"""

import hashlib
import os
from binascii import hexlify, unhexlify

import deflate
from micropython import const

from peilmerk_protocol.keys import equal, hmac_sha256

_WINDOW_BITS = const(10)
_BUFFER = const(256)
_LONGEST_LINE = const(400)
_LONGEST_HEAD = const(4096)
_LONGEST_BODY = const(512)
_FIELDS = const(8)
_SEND = const(512)
_LANGUAGES = ("nl", "en")
_WANTED = ("host", "cookie", "content-length", "accept-language", "content-type")


class Refused(Exception):
    """The request is answered with a status alone, args[0]."""


class Request:
    """What somebody asks. `form` and `query` map names to text, `heads` the headers that matter, in lower
    case.
    """

    def __init__(self, stream):
        self._stream = stream
        self._buffer = bytearray(_BUFFER)
        self._at = self._end = self._total = 0
        # The address of who asks.
        self.peer = ""
        self.heads: dict = {}
        self.query = self.form = {}

    async def read(self):
        """Read it all. Raises Refused, OSError, EOFError when nothing came."""
        words = (await self._line()).split()
        if len(words) != 3 or words[2][:7] != "HTTP/1.":
            raise Refused(400)
        self.method = words[0]
        self.path, _, query = words[1].partition("?")
        self.query = fields(query)
        while True:
            line = await self._line()
            if not line:
                break
            name, _, value = line.partition(":")
            name = name.lower()
            if name in _WANTED:
                if name in self.heads:
                    raise Refused(400)
                self.heads[name] = value.strip()
        if self.method == "POST":
            self.form = fields(await self._body())
        elif self.method != "GET":
            raise Refused(405)

    async def _body(self):
        length = self.heads.get("content-length", "")
        if not length.isdigit() or len(length) > 3 or int(length) > _LONGEST_BODY:
            raise Refused(413)
        body = b""
        while len(body) < int(length):
            if self._at == self._end:
                await self._more()
            body += self._buffer[self._at : self._end]
            self._at = self._end
        return _text(body[: int(length)])

    async def _more(self):
        self._at = 0
        self._end = await self._stream.readinto(self._buffer) or 0
        if not self._end:
            raise EOFError
        self._total += self._end
        if self._total > _LONGEST_HEAD:
            raise Refused(431)

    async def _line(self):
        """The next line without its end; one that is too long is cut off, for it is none of ours."""
        line = b""
        while True:
            if self._at == self._end:
                await self._more()
            stop = self._buffer.find(b"\n", self._at, self._end)
            upto = self._end if stop < 0 else stop
            if len(line) < _LONGEST_LINE:
                line += self._buffer[self._at : upto]
            self._at = upto
            if stop >= 0:
                self._at = stop + 1
                return _text(line[:_LONGEST_LINE].rstrip(b"\r"))

    def host(self):
        """The host that was asked for, without a port."""
        return self.heads.get("host", "").partition(":")[0]

    def cookie(self, name):
        """The value of a cookie, or an empty text."""
        for part in self.heads.get("cookie", "").split(";"):
            key, _, value = part.strip().partition("=")
            if key == name:
                return value
        return ""

    def language(self):
        """The visitor's language: as chosen, as the browser prefers, or Dutch."""
        chosen = self.query.get("lang") or self.cookie("lang")
        if chosen in _LANGUAGES:
            return chosen
        for part in self.heads.get("accept-language", "").lower().split(","):
            if part.strip()[:2] in _LANGUAGES:
                return part.strip()[:2]
        return _LANGUAGES[0]


def _text(data):
    try:
        return bytes(data).decode()
    except (UnicodeError, ValueError):
        raise Refused(400)


def fields(text):
    """The fields of a form (application/x-www-form-urlencoded). Raises Refused."""
    found = {}
    for pair in text.split("&")[:_FIELDS]:
        name, equals, value = pair.partition("=")
        if equals:
            parts = value.replace("+", " ").encode().split(b"%")
            try:
                value = parts[0] + b"".join([unhexlify(part[:2]) + part[2:] for part in parts[1:]])
            except ValueError:
                raise Refused(400)
            found[name] = _text(value)
    return found


def escaped(text):
    """Text as HTML."""
    return (
        text.replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace(">", "&gt;")
        .replace('"', "&quot;")
        .replace("'", "&#39;")
    )


class Answer:
    """One answer, sent in pieces in the language `code`."""

    def __init__(self, stream, code):
        self.code = code
        self._stream = stream
        self._out = b""
        self._file = None
        self._lines: deflate.DeflateIO
        self._next = b""

    async def begin(self, status=200, kind="html; charset=utf-8", more="", keep="no-store"):
        """Status and headers; `kind` is of text, `more` are whole header lines."""
        head = fill(self.get("head"), {"status": status, "kind": kind.encode(), "keep": keep})
        await self.send(head.replace(b"\n", b"\r\n") + b"\r\n" + more.encode() + b"\r\n")

    async def go(self, to, more=""):
        """Send the visitor to another address."""
        await self.begin(303, more="Location: " + to + "\r\n" + more)

    async def send(self, data):
        """Send bytes, soon."""
        self._out += data
        if len(self._out) > _SEND:
            await self.flush()

    async def flush(self):
        """Send what was held back."""
        out, self._out = self._out, b""
        self._stream.write(out)
        await self._stream.drain()

    async def piece(self, name, values=None):
        """Send a piece with its values filled in."""
        if self._find(name):
            while self._line():
                await self.send(fill(self._next, values))

    def get(self, name):
        """A piece as it is, bytes without the last line's end: for what is short or sent many times."""
        found = b""
        if self._find(name):
            while self._line():
                found += self._next
        return found.rstrip()

    def close(self):
        """Let go of the file."""
        if self._file:
            self._file.close()
            self._file = None

    def _find(self, name):
        wanted = (b"#%s\n" % name.encode(), b"#%s.%s\n" % (name.encode(), self.code.encode()))
        for _ in range(2):
            while self._next:
                if self._next in wanted:
                    return True
                self._next = self._lines.readline()
            self.close()
            self._file = open(__file__.rsplit("/", 1)[0] + "/pages", "rb")
            self._lines = deflate.DeflateIO(self._file, deflate.RAW, _WINDOW_BITS)
            self._next = self._lines.readline()
        return self._next in wanted

    def _line(self):
        """Go on to the next line; whether it belongs to the piece."""
        self._next = self._lines.readline()
        return self._next and self._next[0] != 35


def fill(template, values):
    """Put values (text to be escaped, numbers, or bytes of HTML) where a template of bytes has ~name~."""
    parts = template.split(b"~")
    for i in range(1, len(parts), 2):
        value = values.get(parts[i].decode(), b"") if values else b""
        parts[i] = value if isinstance(value, bytes) else escaped(str(value)).encode()
    return b"".join(parts)


def proof(door, text):
    """Sixteen hexadecimal digits that only this board can make of `text`, until it restarts."""
    if not door.secret:
        door.secret = os.urandom(16)
    return hexlify(hmac_sha256(door.secret, text.encode())[:8]).decode()


def same(one, other):
    """Whether two texts are the same, in a time that tells nothing but their lengths."""
    return equal(one.encode(), other.encode())


def sha256(text):
    """SHA-256 of a text in hexadecimal."""
    return hexlify(hashlib.sha256(text.encode()).digest()).decode()


def _number(address):
    number = 0
    for part in address.split("."):
        number = number << 8 | int(part)
    return number


def inside(peer, interface):
    """Whether an IPv4 address is in the network of `interface` (ifconfig)."""
    own = _number(interface[0])
    return own != 0 and (_number(peer) ^ own) & _number(interface[1]) == 0


def nearby(peer, interface):
    """Whether an IPv4 address is a private or link-local one, or in the network of `interface`."""
    try:
        number = _number(peer)
    except ValueError:
        return False
    if number >> 24 in (10, 127) or number >> 16 in (0xC0A8, 0xA9FE) or number >> 20 == 0xAC1:
        return True
    return inside(peer, interface)


async def serve(door, stream):
    """Answer one request."""
    request = Request(stream)
    answer = Answer(stream, _LANGUAGES[0])
    request.peer = stream.get_extra_info("peername")[0]
    if not nearby(request.peer, door.wifi.interface()):
        return  # not even a refusal
    try:
        await request.read()
        status = 0
    except Refused as fault:
        status = fault.args[0]
    except EOFError:
        return
    async with door.turn:
        try:
            if not status:
                answer.code = request.language()
                await _answer(door, request, answer)
        except Refused as fault:
            status = fault.args[0]
        finally:
            answer.close()
        if status:
            await answer.begin(status, "plain")
        await answer.flush()


async def _answer(door, request, answer):
    path = request.path
    station = door.wifi.interface()
    if path == "/c":
        await answer.begin(kind="css", keep="max-age=600")
        await answer.piece("css")
    elif path == "/s":
        await answer.begin(kind="javascript", keep="max-age=600")
        await answer.piece("js")
    elif path == "/favicon.ico":
        await answer.begin(204)
    elif door.setup and inside(request.peer, door.setup.interface()):
        await door.setup.serve(request, answer)
    elif request.host() != station[0]:
        # A name that was made to point here is not ours to answer to.
        raise Refused(421)
    elif door.config.local_page:
        from node.portal import local

        await local.serve(door, request, answer)
