"""Serves an app inside the gateway's process, the pages or the firmware, and stops within seconds.

uvicorn waits for open answers before it ends, and an event stream is an answer that never ends by itself;
so the streams are told first. Signals stay with the service, which decides when the web server stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn
from starlette.applications import Starlette

from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.web.events import Pulse

# How long an answer under way may take when the service stops, seconds.
GRACE = 3


class WebServerError(PeilmerkError):
    """The app cannot be served at the address in the settings; the text names section, address and reason."""


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class WebServer:
    """The web server of one app, at `host` and `port` (0 means any free one).

    `name` is the section of the settings that asks for it; `options` are uvicorn's, beyond what all have.
    """

    def __init__(self, app: Starlette, host: str, port: int, name: str = "web", **options: Any) -> None:
        self._app = app
        self._host = host
        self._port = port
        self.name = name
        self._options = options
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self.url = ""
        self.port = 0

    async def start(self) -> None:
        """Listen, and return when requests are answered. Raises WebServerError when the address cannot be
        had.
        """
        listener = listen(self.name, self._host, self._port)
        self.port = listener.getsockname()[1]
        host = f"[{self._host}]" if ":" in self._host else self._host
        scheme = "https" if "ssl_certfile" in self._options else "http"
        self.url = f"{scheme}://{host}:{self.port}/"
        config = uvicorn.Config(
            self._app,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE,
            lifespan="off",
            **self._options,
        )
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]), name=self.name)
        while not self._server.started:
            if self._serving.done():
                await self._serving
                raise WebServerError(f"{self.name}: could not serve at {self.url}")
            await asyncio.sleep(0.01)

    async def wait(self) -> None:
        """Return when the server has ended; raises what ended it."""
        if self._serving is not None:
            await asyncio.shield(self._serving)

    async def stop(self) -> None:
        """End the event streams, let answers under way finish for GRACE seconds, and stop."""
        if self._server is None or self._serving is None:
            return
        pulse: Pulse | None = getattr(self._app.state, "pulse", None)
        if pulse is not None:
            pulse.close()
        self._server.should_exit = True
        await self._serving


def listen(name: str, host: str, port: int) -> socket.socket:
    """Return a socket that listens; `name` is what asks for it, for the text of WebServerError."""
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, number)
    except OSError as error:
        raise WebServerError(
            f"{name}: found host {host!r}, wanted an address of this machine: {error}"
        ) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise WebServerError(f"{name}: port {port} of {host} is taken, wanted a free one") from error
        raise WebServerError(f"{name}: cannot listen at {host} port {port}: {error.strerror}") from error
    listener.setblocking(False)
    return listener
