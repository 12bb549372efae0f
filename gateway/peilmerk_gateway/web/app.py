"""The web app: the page, its fragments, the stream of changes, health, and the static files.

    /           the page, Dutch or English (?lang=, Accept-Language), ?part= for more sensors
    /fragments  parts of the page as JSON, for the script: ?names=a,b
    /events     server-sent events: which fragments changed
    /healthz    JSON: 200 while it is alive, 503 when a restart would help
    /readyz     JSON: 200 when what boards send gets through, 503 with what stands in the way
    /metrics    for Prometheus; from this machine, or with the token of the settings
    /static/    style sheet, script, mark

docs/operator.md says of each why it is there, and a test compares. Everything is read only: there is nothing
to post, no cookie, no session.
"""

from __future__ import annotations

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
from peilmerk_gateway.operation import metrics
from peilmerk_gateway.operation.condition import CHECKS, Condition
from peilmerk_gateway.settings import Settings
from peilmerk_gateway.store import Store, StoreError
from peilmerk_gateway.web.events import Pulse, View
from peilmerk_gateway.web.insiders import Insiders
from peilmerk_gateway.web.language import choose
from peilmerk_gateway.web.pages import Pages
from peilmerk_gateway.web.render import STATIC
from peilmerk_gateway.web.security import HEADERS, SecurityHeaders

log = structlog.get_logger(__name__)

# More fragments than a page asks for in one go.
MOST_NAMES = 64


def create_app(
    store: Store,
    catalogue: Catalogue,
    clock: Clock,
    settings: Settings,
    *,
    condition: Condition | None = None,
    facts: metrics.Facts | None = None,
    insiders: Insiders | None = None,
) -> Starlette:
    """Make the web app of a gateway.

    `condition` says how it is, `facts` what else the metrics tell; without `condition` the app has no
    /healthz, /readyz and /metrics. `insiders` tells who may read the last, and the words of the others. The
    app has no tasks of its own while nobody listens; before its server stops, `app.state.pulse.close()` ends
    the event streams, which `WebServer.stop` does.
    """
    insiders = insiders or Insiders()
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
            *([] if condition is None else _watched(store, condition, facts or metrics.Facts(), insiders)),
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


def _watched(store: Store, condition: Condition, facts: metrics.Facts, insiders: Insiders) -> list[Route]:
    """Return the routes for whoever watches the gateway."""

    async def healthz(request: Request) -> Response:
        return _told({"ok": condition.alive}, condition.alive)

    async def readyz(request: Request) -> Response:
        troubles = condition.troubles()
        report: dict[str, object] = {
            "ok": not troubles,
            "checks": {name: name not in troubles for name in CHECKS},
        }
        if insiders.may(request):
            report["reasons"] = troubles
        return _told(report, not troubles)

    async def exposed(request: Request) -> Response:
        if not insiders.may(request):
            # Not even that there are metrics is a stranger's business.
            raise HTTPException(404)
        content = await metrics.exposition(store, condition, facts)
        return Response(content, headers={"cache-control": "no-store"}, media_type=metrics.CONTENT_TYPE)

    return [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", exposed)]


def _told(report: dict[str, object], ok: bool) -> JSONResponse:
    return JSONResponse(report, 200 if ok else 503, {"cache-control": "no-store"})


class _Static(StaticFiles):
    """Static files: for ever when asked for by content (?v=), otherwise checked each time by their ETag."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        answer = await super().get_response(path, scope)
        named = scope["query_string"].startswith(b"v=")
        answer.headers["cache-control"] = "public, max-age=31536000, immutable" if named else "no-cache"
        return answer
