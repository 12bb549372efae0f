"""Who may read how the gateway is doing: this machine itself, or whoever shows the token of the settings.

A request that another server passed on comes from this machine as well; it carries a header that says so, and
counts as a stranger's.
"""

from __future__ import annotations

import hmac
from pathlib import Path

from starlette.requests import Request

from peilmerk_gateway.loopback import is_loopback
from peilmerk_gateway.secret_files import SecretFileError, first_line

PASSED_ON = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


class Insiders:
    """Tells insiders from strangers. The token is read anew each time, so that it can be changed."""

    def __init__(self, token_file: Path | None = None) -> None:
        self._token_file = token_file

    def may(self, request: Request) -> bool:
        """Whether whoever asks may know."""
        if self._shows_token(request):
            return True
        passed_on = any(name in request.headers for name in PASSED_ON)
        return not passed_on and request.client is not None and is_loopback(request.client.host)

    def _shows_token(self, request: Request) -> bool:
        scheme, _, shown = request.headers.get("authorization", "").partition(" ")
        if self._token_file is None or scheme.lower() != "bearer" or not shown:
            return False
        try:
            token = first_line(self._token_file, "the token for the metrics")
        except SecretFileError:
            return False
        return hmac.compare_digest(shown.strip().encode(), token.encode())
