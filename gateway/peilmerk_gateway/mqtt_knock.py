"""Knock at an MQTT door: one CONNECT over TLS as a board sends it (MQTT 3.1.1, section 3.1), then leave."""

from __future__ import annotations

import asyncio
import ssl

# 30 s is what a board is given for its handshake; on this machine it takes milliseconds.
PATIENCE_S = 10.0
KEEP_ALIVE_S = 30
CLEAN_SESSION, WITH_PASSWORD, WITH_USER = 0x02, 0x40, 0x80


class NotAdmitted(Exception):
    """The door answered otherwise than by letting in; the text says how."""


async def knock(
    host: str, port: int, context: ssl.SSLContext, server_name: str, user: str, password: str
) -> None:
    """Connect, log in as `user` with a clean session, and disconnect.

    Raises OSError (ssl.SSLError among them) or TimeoutError when there is no door, NotAdmitted when the
    answer is no.
    """
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=server_name)
        try:
            writer.write(connect_packet(user, user, password))
            answer = await reader.readexactly(4)
            if answer[:2] != b"\x20\x02" or answer[3] != 0:
                raise NotAdmitted(f"found answer {answer.hex()}, wanted 20020000")
            writer.write(b"\xe0\x00")
            await writer.drain()
        except asyncio.IncompleteReadError as reason:
            raise NotAdmitted(f"found {len(reason.partial)} bytes and an end, wanted an answer") from reason
        finally:
            writer.close()


def connect_packet(client_id: str, user: str, password: str, keep_alive_s: int = KEEP_ALIVE_S) -> bytes:
    """Make an MQTT 3.1.1 CONNECT packet with a clean session; a keep-alive of nought is none."""
    flags = WITH_USER | WITH_PASSWORD | CLEAN_SESSION
    body = _text("MQTT") + bytes([4, flags]) + keep_alive_s.to_bytes(2, "big")
    body += _text(client_id) + _text(user) + _text(password)
    if len(body) > 127:
        raise ValueError(
            f"found {len(body)} bytes, wanted at most 127: one length byte is enough for a knock"
        )
    return bytes([0x10, len(body)]) + body


def _text(text: str) -> bytes:
    raw = text.encode()
    return len(raw).to_bytes(2, "big") + raw
