"""The error that every room of the gateway derives its own from.

A `PeilmerkError` is meant for a person: its text says what was found and what was wanted. The command
line prints it as `error: ...` without a traceback and ends with exit code 2.
"""

from __future__ import annotations


class PeilmerkError(Exception):
    """Something a person can put right; the text says what was found and what was wanted."""
