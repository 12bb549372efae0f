"""A small MQTT 3.1.1 client over TLS: QoS 1 out and in, one message in flight, keep-alive. Nothing else.

TLS is never unverified: the broker's certificate must descend from an authority on the board (DER; the next
one may lie behind the present one before that ends) and carry the name `server_name`. The session is clean:
the outbox is the durable side, and what it has sent without a PUBACK it sends again on the next connection,
so a session at the broker would only be a second memory.

The address is resolved at every connect. `publish` returns after PUBACK; any failure closes the connection
and raises LinkError, and the caller connects anew. What comes in is bounded: a message of more than 1 KB is
read past in pieces, acknowledged and counted (`refused`), never held. OASIS MQTT 3.1.1, the section numbers
below.
"""

import asyncio
import errno
import select
import socket
import ssl
import struct
from time import ticks_diff, ticks_ms

from micropython import const

from node.uplink.resolve import resolve

_CONNECT = const(0x10)
_CONNACK = const(0x20)
_PUBLISH = const(0x30)
_QOS1 = const(0x02)
_QOS2 = const(0x04)
_DUP = const(0x08)
_PUBACK = const(0x40)
_SUBSCRIBE = const(0x82)
_SUBACK = const(0x90)
_PINGREQ = b"\xc0\x00"
_PINGRESP = const(0xD0)
_DISCONNECT = b"\xe0\x00"
# What a message to us may measure; everything else that a broker may send has at most three bytes.
_PAYLOAD = const(1024)
_TOPIC = const(64)
_LARGEST = const(128)
_PIECE = const(128)
_POLL_MS = const(20)

# mbedTLS about what cannot be a record of TLS: MBEDTLS_ERR_SSL_INVALID_RECORD.
_NOT_TLS = (-0x7200,)

_REFUSALS = (
    "",
    "protocol version",
    "client id",
    "server unavailable",
    "user name or password",
    "not authorised",
)


class LinkError(Exception):
    """The connection failed or ended; the message says where, never with a secret."""


def packet(kind, *parts):
    """One MQTT packet: fixed header with the remaining length (2.2.3), then the parts."""
    body = b"".join(parts)
    head = bytearray((kind,))
    length = len(body)
    while length > 127:
        head.append(0x80 | length & 127)
        length >>= 7
    head.append(length)
    return bytes(head) + body


def text(value):
    """A UTF-8 string with its length in front (1.5.3)."""
    data = value.encode()
    return struct.pack(">H", len(data)) + data


def tls_context(authority):
    """A client context that accepts only what descends from `authority`: one certificate in DER, or several
    one behind the other. Raises LinkError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_mode = ssl.CERT_REQUIRED  # type: ignore[attr-defined]  # the stubs lack it
    try:
        at = 0
        while at == 0 or at < len(authority):
            # A SEQUENCE of 256 to 65,535 bytes behind a head of four.
            end = at + 4 + struct.unpack_from(">H", authority, at + 2)[0]
            context.load_verify_locations(cadata=authority[at:end])
            at = end
    except (ValueError, OSError) as fault:
        raise LinkError("trust: found no certificate in DER (%s)" % fault)
    return context


async def dial(raw, address, context, server_name):
    """Connect the socket `raw`; returns the TLS line over it, whose handshake begins with the first write.

    Waits for ever; whoever gives up closes `raw`. Raises OSError and ValueError.
    """
    raw.setblocking(False)
    try:
        raw.connect(address)
    except OSError as wait:
        if wait.errno != errno.EINPROGRESS:
            raise
    # Writable means connected, or failed: the first write tells which.
    poller = select.poll()
    poller.register(raw, select.POLLOUT)
    while not poller.poll(0):
        await asyncio.sleep_ms(_POLL_MS)
    line = context.wrap_socket(raw, server_hostname=server_name, do_handshake_on_connect=False)
    line.setblocking(False)
    return line


class MqttClient:
    """One client; times in seconds. `authority` is the broker's authority in DER.

    heard(topic, payload) is called for each message that comes in, at once: it must copy and return.
    """

    def __init__(
        self,
        host,
        port,
        server_name,
        client_id,
        user,
        password,
        authority,
        timeout_s=30,
        keepalive_s=60,
        heard=None,
    ):
        self._host = host
        self._port = port
        self._server_name = server_name
        self._client_id = client_id
        self._user = user
        self._password = password
        self._context = tls_context(authority)
        self._timeout_s = timeout_s
        self._keepalive_s = keepalive_s
        self._heard = heard
        self.refused = 0
        self._line = None
        self._raw = None
        self._stream = None
        self._listener = None
        self._packet_id = 0
        self._awaited = 0
        self._acknowledged = 0
        self._granted = 0
        self._turn = asyncio.Lock()
        self._writing = asyncio.Lock()
        self._news = asyncio.Event()
        self._fault = None
        self._sent_at = ticks_ms()
        self._heard_at = self._sent_at

    def connected(self):
        """Whether the connection stands, as far as is known."""
        return self._stream is not None and self._fault is None

    async def connect(self):
        """Resolve, connect, verify, and be let in. Raises LinkError."""
        await self.close()
        self._fault = None
        try:
            await asyncio.wait_for(self._open(), self._timeout_s)
        except asyncio.TimeoutError:
            await self.close()
            raise LinkError("connect: found no answer in %d s" % self._timeout_s)
        except (OSError, ValueError, EOFError, MemoryError) as fault:
            await self.close()
            if fault.args and fault.args[0] in _NOT_TLS:
                raise LinkError("connect: found no TLS: a captive network, or another service on this port")
            # mbedTLS explains itself in several lines.
            raise LinkError("connect: %s" % (" ".join(str(fault).split()) or type(fault).__name__))
        except BaseException:
            await self.close()
            raise
        self._heard_at = ticks_ms()
        self._stream = asyncio.StreamWriter(self._line, {})
        self._listener = asyncio.create_task(self._listen(self._line))

    async def publish(self, topic, payload, again=False):
        """Publish with QoS 1 and return when the broker has acknowledged it; `again` marks a repetition
        (3.3.1.1).
        """
        async with self._turn:
            number = self._next(_PUBACK)
            kind = _PUBLISH | _QOS1 | (_DUP if again else 0)
            await self._send(packet(kind, text(topic), number, payload))
            await self._answer("publish: found no PUBACK")

    async def subscribe(self, topic):
        """Ask for the messages of `topic`, QoS 1 at most; returns when granted (3.8).

        Raises LinkError; when the broker refuses (3.9.3), the connection stays.
        """
        async with self._turn:
            await self._send(packet(_SUBSCRIBE, self._next(_SUBACK), text(topic), b"\x01"))
            await self._answer("subscribe: found no SUBACK")
            if self._granted > 1:
                raise LinkError("subscribe: the broker refuses %s (code %d)" % (topic, self._granted))

    def _next(self, awaited):
        """A packet number to send; its answer is of kind `awaited`."""
        self._packet_id = self._packet_id % 65535 + 1
        self._acknowledged = 0
        self._awaited = awaited
        return struct.pack(">H", self._packet_id)

    async def _answer(self, silence):
        began = ticks_ms()
        while self._acknowledged != self._packet_id:
            left = self._timeout_s * 1000 - ticks_diff(ticks_ms(), began)
            if self._fault or left <= 0:
                await self._fail(self._fault or "%s in %d s" % (silence, self._timeout_s))
            self._news.clear()
            try:
                await asyncio.wait_for_ms(self._news.wait(), left)
            except asyncio.TimeoutError:
                pass

    async def keep_alive(self):
        """Call now and then while idle: pings when it is time, raises LinkError when the broker is gone
        (3.1.2.10).
        """
        if self._fault or self._stream is None:
            await self._fail(self._fault or "not connected")
        now = ticks_ms()
        if ticks_diff(now, self._heard_at) > self._keepalive_s * 1000:
            await self._fail("found silence for %d s" % (ticks_diff(now, self._heard_at) // 1000))
        if ticks_diff(now, self._sent_at) > self._keepalive_s * 500:
            await self._send(_PINGREQ)

    async def close(self, politely=False):
        """Close the connection; `politely` tells the broker first (3.14)."""
        stream, self._stream = self._stream, None
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.cancel()
        try:
            if stream is not None and politely and not self._fault:
                stream.write(_DISCONNECT)
                await asyncio.wait_for(stream.drain(), 1)
        except (OSError, asyncio.TimeoutError):
            pass
        finally:
            self.drop()

    def drop(self):
        """Let go of the socket at once, without asyncio: for when the board is stopped."""
        self._stream = None
        lines = self._line, self._raw
        self._line = self._raw = None
        for line in lines:
            # A handshake that failed has let go of the socket below without closing it.
            if line is not None:
                line.close()

    async def _open(self):
        address = await resolve(self._host, self._port, socket.SOCK_STREAM, self._timeout_s // 2)
        self._raw = raw = socket.socket(address[0], socket.SOCK_STREAM)
        self._line = line = await dial(raw, address[-1], self._context, self._server_name)
        stream = asyncio.StreamWriter(line, {})
        flags = 0xC2  # user name, password, clean session
        stream.write(
            packet(
                _CONNECT,
                text("MQTT"),
                bytes((4, flags)),
                struct.pack(">H", self._keepalive_s),
                text(self._client_id),
                text(self._user),
                text(self._password),
            )
        )
        await stream.drain()
        self._sent_at = ticks_ms()
        reader = asyncio.StreamReader(line)
        kind, length = await _head(reader)
        body = await _body(reader, length)
        if kind != _CONNACK or len(body) != 2:
            raise OSError("found packet %02x, wanted CONNACK" % kind)
        if body[1]:
            reason = _REFUSALS[body[1]] if body[1] < len(_REFUSALS) else "code %d" % body[1]
            raise OSError("the broker refuses: %s" % reason)

    async def _send(self, data):
        try:
            await asyncio.wait_for(self._write(data), self._timeout_s)
        except asyncio.TimeoutError:
            await self._fail("send: found the line blocked for %d s" % self._timeout_s)
        except OSError as fault:
            await self._fail("send: %s" % fault)

    async def _write(self, data):
        # One writer at a time: the listener acknowledges while others publish.
        async with self._writing:
            stream = self._stream
            if stream is None:
                raise OSError("not connected")
            stream.write(data)
            await stream.drain()
            self._sent_at = ticks_ms()

    async def _listen(self, line):
        stream = asyncio.StreamReader(line)
        try:
            while True:
                kind, length = await _head(stream)
                self._heard_at = ticks_ms()
                if kind & 0xF0 == _PUBLISH:
                    await self._take(stream, kind, length)
                    continue
                body = await _body(stream, length)
                if kind in (_PUBACK, _SUBACK) and len(body) >= 2:
                    if kind == self._awaited:
                        self._granted = body[-1]
                        self._acknowledged = body[0] << 8 | body[1]
                elif kind != _PINGRESP:
                    raise OSError("found packet %02x, wanted an answer" % kind)
                self._news.set()
        except (OSError, EOFError, MemoryError) as fault:
            self._fault = "receive: %s" % (str(fault) or "the broker closed the connection")
            self._news.set()

    async def _take(self, stream, kind, length):
        """One message to us (3.3)."""
        size = struct.unpack(">H", await stream.readexactly(2))[0]
        left = length - 2 - size - (kind & _QOS1)
        if left < 0 or kind & _QOS2:
            raise OSError("found a malformed message")
        read = _read if size <= _TOPIC and left <= _PAYLOAD else _pass_over
        topic = await read(stream, size)
        number = await stream.readexactly(kind & _QOS1)
        payload = await read(stream, left)
        try:
            self._heard(str(topic, "utf-8"), payload)
        except Exception:
            self.refused += 1  # too long, not text, or for nobody
        if number:
            await self._write(b"\x40\x02" + number)

    async def _fail(self, reason):
        await self.close()
        raise LinkError(reason)


async def _head(stream):
    """The fixed header of a packet (2.2): kind and length of the rest. Raises OSError or EOFError."""
    kind = (await stream.readexactly(1))[0]
    length = 0
    shift = 0
    while True:
        byte = (await stream.readexactly(1))[0]
        length |= (byte & 127) << shift
        if not byte & 0x80:
            return kind, length
        shift += 7
        if shift > 21:
            raise OSError("found a malformed length")


async def _body(stream, length):
    if length > _LARGEST:
        raise OSError("found a packet of %d bytes, wanted at most %d" % (length, _LARGEST))
    return await stream.readexactly(length)


async def _read(stream, count):
    return await stream.readexactly(count)


async def _pass_over(stream, count):
    while count:
        piece = min(count, _PIECE)
        await stream.readexactly(piece)
        count -= piece
