"""The web app: the page, its fragments, the stream of changes, health, and the static files.

    /           the page, Dutch or English (?lang=, Accept-Language), ?part= for more sensors
    /fragments  parts of the page as JSON, for the script: ?names=a,b
    /events     server-sent events: which fragments changed
    /healthz    JSON for whoever watches the gateway; 200 when it works, 503 when not
    /static/    style sheet, script, mark

Everything is read only: there is nothing to post, no cookie, no session.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import cast

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from peilmerk_gateway.clock import Clock
from peilmerk_gateway.deployments.catalogue import Catalogue
from peilmerk_gateway.settings import Settings
from peilmerk_gateway.store import Store, StoreError
from peilmerk_gateway.web.events import Pulse, View
from peilmerk_gateway.web.language import choose
from peilmerk_gateway.web.pages import Pages
from peilmerk_gateway.web.render import STATIC
from peilmerk_gateway.web.security import HEADERS, SecurityHeaders

log = structlog.get_logger(__name__)

# More fragments than a page asks for in one go.
MOST_NAMES = 64
# The broker is started anew when it dies; how long that may take before the gateway counts as unwell, s.
BROKER_PATIENCE = 30.0


def create_app(
    store: Store,
    catalogue: Catalogue,
    clock: Clock,
    settings: Settings,
    *,
    broker_seen: Callable[[], float | None] | None = None,
) -> Starlette:
    """Make the web app of a gateway.

    `broker_seen` tells when the broker last answered (wall clock, unix s), None for never. The app has no
    tasks of its own while nobody listens; before its server stops, `app.state.pulse.close()` ends the
    event streams, which `WebServer.stop` does.
    """
    pages = Pages(store, catalogue, clock, settings)
    pulse = Pulse(pages.stamp, pages.versions)

    async def page(request: Request) -> Response:
        return _html(await pages.page(_view(request)), request)

    async def fragments(request: Request) -> Response:
        names = request.query_params.get("names", "").split(",")[:MOST_NAMES]
        present = await pages.fragments(_view(request))
        answer = {
            name: {"version": present[name].version, "html": present[name].html}
            for name in names
            if name in present
        }
        return JSONResponse(answer, headers={"cache-control": "no-store"})

    async def events(request: Request) -> Response:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        if pulse.full:
            return PlainTextResponse("too many open pages\n", 503, headers | {"retry-after": "30"})
        if request.method == "HEAD":
            return Response(headers=headers, media_type="text/event-stream")
        return StreamingResponse(
            pulse.stream(_view(request)), headers=headers, media_type="text/event-stream"
        )

    async def healthz(request: Request) -> Response:
        report = await _health(store, broker_seen)
        return JSONResponse(report, 200 if report["ok"] else 503, {"cache-control": "no-store"})

    async def unanswered(request: Request, error: Exception) -> Response:
        status = cast(HTTPException, error).status_code
        headers = cast(HTTPException, error).headers
        if status == 404:
            return _html(pages.message(_view(request).language, "missing", status), request, status)
        return PlainTextResponse(f"{status}\n", status, headers)

    async def failed(request: Request, error: Exception) -> Response:
        log.error("web-page-failed", path=request.url.path, error=type(error).__name__)
        answer = _html(pages.message(_view(request).language, "failed", 503), request, 503)
        # A failure that nothing foresaw is answered outside the middleware that adds these.
        answer.headers.update(HEADERS | {"retry-after": "10"})
        return answer

    app = Starlette(
        routes=[
            Route("/", page),
            Route("/fragments", fragments),
            Route("/events", events),
            Route("/healthz", healthz),
            Mount("/static", _Static(directory=STATIC)),
        ],
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(GZipMiddleware, minimum_size=1000, compresslevel=6),
        ],
        exception_handlers={HTTPException: unanswered, StoreError: failed, Exception: failed},
    )
    app.state.pulse = pulse
    return app


def _view(request: Request) -> View:
    query = request.query_params
    language = choose(query.get("lang"), request.headers.get("accept-language"))
    part = query.get("part", "1")
    return View(language, int(part) if part.isascii() and part.isdigit() and len(part) < 7 else 1)


def _html(content: str, request: Request, status: int = 200) -> HTMLResponse:
    headers = {
        "cache-control": "no-cache",
        "content-language": _view(request).language,
        "vary": "Accept-Language",
    }
    return HTMLResponse(content, status, headers)


async def _health(store: Store, broker_seen: Callable[[], float | None] | None) -> dict[str, object]:
    report: dict[str, object] = {"ok": True, "database": "ok", "broker": None, "sinks": {}}
    try:
        await store.ping()
        sinks = (await store.figures()).sinks
    except StoreError:
        return report | {"ok": False, "database": "unreachable"}
    report["sinks"] = {
        name: {"waiting": sink.waiting + sink.sending, "published": sink.published, "rejected": sink.rejected}
        for name, sink in sinks.items()
    }
    if broker_seen is not None:
        seen = broker_seen()
        ago = None if seen is None else round(max(0.0, time.time() - seen), 1)
        report["broker"] = {"seen_seconds_ago": ago}
        report["ok"] = ago is not None and ago < BROKER_PATIENCE
    return report


class _Static(StaticFiles):
    """Static files: for ever when asked for by content (?v=), otherwise checked each time by their ETag."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        answer = await super().get_response(path, scope)
        named = scope["query_string"].startswith(b"v=")
        answer.headers["cache-control"] = "public, max-age=31536000, immutable" if named else "no-cache"
        return answer
