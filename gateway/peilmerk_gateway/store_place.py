"""Where the store of a gateway is: an SQLite file in its data folder, or a PostgreSQL database.

A database is named by a URL without a password. The password is the first line of a file that only its owner
may read, read at every connection, so that it can be changed while a gateway runs; it is in no argument, no
log and no error. Off this machine the connection is TLS, and the server's certificate and name are verified.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.loopback import is_loopback

STORE_FILE = "store.db"
"""The store of a gateway without a database of its own, in its data folder."""
SCHEME = "postgresql"
# What a URL may say besides; everything else (sslmode above all) is decided here.
_QUERY = {"host"}
# Seconds: how long a connection may take, and after how much silence it counts as dead.
CONNECT_S = 10
IDLE_S, PROBE_S, PROBES, UNHEARD_S = 10, 5, 3, 30


class PlaceError(PeilmerkError):
    """A database cannot be used as the settings name it; the text never has anything of a password."""


@dataclass(frozen=True, slots=True)
class Database:
    """A PostgreSQL database, and how one gets in. `url` is as `check_url` wants it."""

    url: str
    password_file: Path | None = None
    ca_file: Path | None = None
    """PEM of who vouches for the server; wanted off this machine."""

    def __str__(self) -> str:
        return self.url

    def options(self) -> dict[str, Any]:
        """Return what libpq is told beside the URL, the password not among it."""
        options: dict[str, Any] = {
            "connect_timeout": CONNECT_S,
            "application_name": "peilmerk",
            "keepalives": 1,
            "keepalives_idle": IDLE_S,
            "keepalives_interval": PROBE_S,
            "keepalives_count": PROBES,
            "tcp_user_timeout": UNHEARD_S * 1000,
        }
        if self.ca_file is not None or not self.is_on_this_machine:
            options |= {"sslmode": "verify-full", "sslrootcert": str(self.ca_file)}
        return options

    @property
    def is_on_this_machine(self) -> bool:
        """Whether it is reached by a socket in a folder, or on the loopback interface."""
        host = _host(self.url)
        return not host or host.startswith("/") or is_loopback(host)

    def password(self) -> str | None:
        """Return the password, read anew; None where none is needed. Raises PeilmerkError."""
        from peilmerk_gateway.secret_files import first_line

        return None if self.password_file is None else first_line(self.password_file, "the store's password")


def check_url(text: str) -> str:
    """Return the URL of a PostgreSQL database, as it is. Raises ValueError, with nothing of a password."""
    try:
        parts = urlsplit(text)
        scheme, password, asked = parts.scheme, parts.password, dict(parse_qsl(parts.query))
        _ = parts.port
    except ValueError:
        raise ValueError("found no URL, wanted postgresql://user@host/database") from None
    if password is not None:
        raise ValueError("found a password in it, wanted it in password_file: a URL is shown and logged")
    if scheme != SCHEME:
        raise ValueError(f"found {scheme or 'no scheme'}, wanted postgresql://user@host/database")
    if len(parts.path.strip("/")) == 0 or "/" in parts.path.strip("/") or parts.fragment:
        raise ValueError("found no name of one database at its end, wanted postgresql://user@host/database")
    if others := sorted(set(asked) - _QUERY):
        raise ValueError(
            f"found {others[0]!r} in it, wanted at most ?host=/folder/of/a/socket: "
            "TLS is always verified off this machine"
        )
    if "host" in asked and not asked["host"].startswith("/"):
        raise ValueError(
            "found ?host= of a name, wanted the folder of a socket, or the name before the slash"
        )
    return text


def _host(url: str) -> str:
    parts = urlsplit(url)
    return dict(parse_qsl(parts.query)).get("host") or parts.hostname or ""


Place = str | os.PathLike[str] | Database
