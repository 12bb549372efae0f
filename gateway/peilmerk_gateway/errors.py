"""The error that every room of the gateway derives its own from.

A `PeilmerkError` is meant for a person: its text says what was found and what was wanted. The command
line prints it as `error: ...` without a traceback and ends with exit code 2.
"""

from __future__ import annotations

import errno
import sqlite3

# A disk that is full, read-only or failing: nothing that was given is wrong.
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
_OF_SQLITE = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_BUSY)


class PeilmerkError(Exception):
    """Something a person can put right; the text says what was found and what was wanted."""

    passing = False
    """Whether it may be over by itself, so that it is worth to try again."""


def may_pass(reason: BaseException) -> bool:
    """Whether trouble may be over without anybody's changing what was given: a disk that is full or
    read-only, a database server that is not there.
    """
    seen: BaseException | None = reason
    while seen is not None:
        if isinstance(seen, PeilmerkError) and seen.passing:
            return True
        if isinstance(seen, OSError) and seen.errno in _OF_THE_DISK:
            return True
        # The driver's own error, which SQLAlchemy wraps.
        driver = getattr(seen, "orig", seen)
        code = getattr(driver, "sqlite_errorcode", None)
        if code is not None and code & 0xFF in _OF_SQLITE:
            return True
        if type(driver).__module__.partition(".")[0] == "psycopg" and type(driver).__name__ in (
            "OperationalError",
            "ConnectionTimeout",
            "AdminShutdown",
            "CannotConnectNow",
        ):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
