"""Talks HTTP to a SensorThings service and says what is certain after each request.

Contract: a request ends in one of four ways.

- it returns: the service did what was asked;
- `Denied`: the service said no to this request and did nothing;
- `Unavailable`: nothing was done, or it was something that may be asked again at any time;
- `Lost`: a POST that may or may not have been carried out.

The token comes from its file at every request, so that a new one needs no restart; it goes to the configured
address only (redirects are not followed) and into no message.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from time import time
from typing import Any

import httpx

from peilmerk_gateway.publish import Unavailable

TIMEOUT = httpx.Timeout(30.0, connect=10.0)
_REASON_CHARACTERS = 300
# What is longer is a text to whoever reads it.
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_LITERAL = re.compile(r"\(('(?:[^']|'')*'|[^()']+)\)/?$")


class Denied(Exception):
    """The service refused a request as such and did nothing. `status` is its HTTP status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Lost(Exception):
    """It is not known whether the service carried out a POST.

    `failed` tells that the service itself broke on it (status 500) and is no longer at work on it.
    """

    def __init__(self, reason: str, retry_after_s: float = 0.0, failed: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.failed = failed
        self.retry_after_s = retry_after_s


class Service:
    """A SensorThings service at a base address that ends in its version, such as `https://host/v1.1`."""

    def __init__(self, url: str, token_file: Path | None = None, timeout: httpx.Timeout = TIMEOUT) -> None:
        self._url = url.rstrip("/")
        self._token_file = token_file
        # A proxy from the environment is for the world outside, not for a platform on this machine.
        outside = httpx.URL(url).host not in ("127.0.0.1", "::1", "localhost")
        self._client = httpx.AsyncClient(timeout=timeout, follow_redirects=False, trust_env=outside)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """Ask for `path` below the base; return the decoded JSON. Raises Denied or Unavailable."""
        try:
            answer = await self._client.get(f"{self._url}/{path}", params=query, headers=self._headers())
        except httpx.RequestError as error:
            raise Unavailable(_words(error)) from error
        _judge(answer)
        if answer.status_code >= 500:
            raise Unavailable(f"the platform answered {answer.status_code}", _retry_after(answer))
        return _json(answer)

    async def post(self, path: str, body: object) -> tuple[str, Any]:
        """Send `body`; return the Location header ("" without one) and the decoded JSON (None without one).

        Raises Denied, Unavailable or Lost.
        """
        content, headers = self._content(body)
        try:
            answer = await self._client.post(f"{self._url}/{path}", content=content, headers=headers)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise Unavailable(_words(error)) from error
        except httpx.RequestError as error:
            raise Lost(_words(error)) from error
        _judge(answer)
        if answer.status_code >= 500:
            reason = f"the platform answered {answer.status_code}"
            raise Lost(reason, _retry_after(answer), failed=answer.status_code == 500)
        location = answer.headers.get("Location", "")
        if not answer.content.strip():
            return location, None
        try:
            return location, _json(answer)
        except Unavailable as error:
            raise Lost(error.reason) from error

    def _content(self, body: object) -> tuple[bytes, dict[str, str]]:
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
        return content, self._headers() | {"Content-Type": "application/json"}

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/json"}
        if self._token_file is not None:
            try:
                token = self._token_file.read_text(encoding="ascii").strip()
            except (OSError, UnicodeError) as error:
                what = error.strerror if isinstance(error, OSError) else "it is not plain ASCII text"
                raise Unavailable(f"cannot read the token file {self._token_file}: {what}") from None
            if not token or not token.isprintable() or " " in token:
                raise Unavailable(f"found no single token in {self._token_file}, wanted one on one line")
            headers["Authorization"] = f"Bearer {token}"
        return headers


def literal_of(link: str) -> str | None:
    """Take the id out of an entity's link as it stands there: `…/Things('a')` gives `'a'`, `…/Things(7)`
    gives `7`. None when there is none.
    """
    found = _LITERAL.search(link)
    return found.group(1) if found else None


def id_of(literal: str) -> str | int:
    """Turn an id as written in a link into the value that JSON wants for `@iot.id`."""
    if literal.startswith("'"):
        return literal[1:-1].replace("''", "'")
    return int(literal) if _WHOLE.fullmatch(literal) else literal


def values(answer: Any) -> list[Any]:
    """Take the entities from the answer to a question for a collection. Raises Unavailable when there are
    none to take: what is not understood must not count as an empty answer.
    """
    found = answer.get("value") if isinstance(answer, dict) else None
    if not isinstance(found, list):
        raise Unavailable("found an answer without a list of values, wanted a SensorThings service")
    return found


def quoted(text: str) -> str:
    """Write a text as a literal of the query language (OData 4.0 ABNF, `string`)."""
    return "'" + text.replace("'", "''") + "'"


def _judge(answer: httpx.Response) -> None:
    """Raise for every status that says that nothing was done."""
    status = answer.status_code
    if status in (401, 403):
        # The body is left out: error pages are known to show the request's headers.
        raise Unavailable(f"the platform does not accept our credentials ({status})")
    if status in (408, 425, 429):
        raise Unavailable(f"the platform asks to slow down ({status})", _retry_after(answer))
    if 300 <= status < 400:
        raise Unavailable(
            f"the platform sends elsewhere ({status}); wanted the address of the service itself"
        )
    if 400 <= status < 500:
        raise Denied(status, f"{status}: {_text(answer)}")


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError as error:
        raise Unavailable("found an answer that is not JSON, wanted a SensorThings service") from error


def _text(answer: httpx.Response) -> str:
    return " ".join(answer.text.split())[:_REASON_CHARACTERS]


def _words(error: httpx.RequestError) -> str:
    return f"no answer from the platform: {error or type(error).__name__}"


def _retry_after(answer: httpx.Response) -> float:
    """Read Retry-After (RFC 9110, 10.2.3): seconds or a date; at most an hour is granted."""
    value = answer.headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        # More than a few digits are more than an hour, and more than Python reads as a number.
        return float(min(int(value[:9]), 3600))
    try:
        return min(max(parsedate_to_datetime(value).timestamp() - time(), 0.0), 3600.0)
    except (TypeError, ValueError):
        return 0.0
