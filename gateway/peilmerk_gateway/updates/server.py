"""Hands out firmware over TLS: `/firmware/<64 hexadecimal digits>`, GET and HEAD, whole or one range.

That path and no other: no listing, no parent folder, no name that is not a digest. Whoever asks may have it,
since what is in it is public source; that it is the right one is for the board to check. What strangers can
cost is bounded: so many connections, each of them for so long.

RFC 9110: sections 8.8.3 (ETag), 13.1.5 (If-Range), 14 (Range).
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from peilmerk_gateway.trust import Trust
from peilmerk_gateway.web.security import SecurityHeaders
from peilmerk_gateway.web.server import WebServer

DIGEST = re.compile(r"[0-9a-f]{64}")
MOST_CONNECTIONS = 64
MOST_HEADERS = 8_192
# From the handshake to the last byte of the first request, and for all that a connection may fetch. A board
# that is slower than that goes on where it was, on a new connection.
REQUEST_S = 30.0
CONNECTION_S = 900.0


class _Firmware(FileResponse):
    """A file that is its digest for ever. More ranges than one are answered with the whole."""

    max_ranges = 1


class _Patient(H11Protocol):
    """Ends connections that ask for nothing, and those that take for ever to read an answer."""

    request_s = REQUEST_S
    connection_s = CONNECTION_S

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timers = (
            self.loop.call_later(self.request_s, self._nothing_asked),
            self.loop.call_later(self.connection_s, transport.abort),
        )

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in self._timers:
            timer.cancel()
        super().connection_lost(exc)

    def _nothing_asked(self) -> None:
        if self.cycle is None:
            self.transport.abort()


def create_app(folder: Path) -> Starlette:
    """Make the app that hands out the bundles of a folder, which may come later."""

    async def firmware(request: Request) -> Response:
        digest = request.path_params["digest"]
        file = folder / digest
        if not DIGEST.fullmatch(digest) or not await asyncio.to_thread(file.is_file):
            raise HTTPException(404)
        headers = {"etag": f'"{digest}"', "cache-control": "public, max-age=31536000, immutable"}
        return _Firmware(file, headers=headers, media_type="application/octet-stream")

    async def unanswered(_: Request, reason: Exception) -> Response:
        status = reason.status_code if isinstance(reason, HTTPException) else 500
        headers = dict(reason.headers or {}) if isinstance(reason, HTTPException) else {}
        return PlainTextResponse("", status, headers | {"cache-control": "no-store"})

    app = Starlette(
        routes=[Route("/firmware/{digest}", firmware, methods=["GET"])],
        middleware=[Middleware(SecurityHeaders)],
        exception_handlers={HTTPException: unanswered, Exception: unanswered},
    )
    app.router.redirect_slashes = False
    return app


class FirmwareServer(WebServer):
    """The listener; `url` is where it listens once it was started."""

    def __init__(self, folder: Path, host: str, port: int, trust: Trust) -> None:
        super().__init__(
            create_app(folder),
            host,
            port,
            name="update",
            http=_Patient,
            limit_concurrency=MOST_CONNECTIONS,
            h11_max_incomplete_event_size=MOST_HEADERS,
            ssl_certfile=str(trust.certificate),
            ssl_keyfile=str(trust.key),
        )
