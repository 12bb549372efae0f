"""Web: the page on which a street sees its sensors. `create_app` makes it, `WebServer` serves it."""

from peilmerk_gateway.web.app import create_app
from peilmerk_gateway.web.server import WebServer, WebServerError

__all__ = ["WebServer", "WebServerError", "create_app"]
