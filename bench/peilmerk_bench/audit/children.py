"""Processes that an audit starts to have code run by itself: boards' firmware, another gateway."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

from peilmerk_bench.audit.overlay import AuditError


def answer_of(
    command: Sequence[str], environment: Mapping[str, str], what: str, patience_s: float, told: str = ""
) -> str:
    """Run a program with `told` on its standard input, and return what it says on its standard output.

    `what` names it in errors. Raises AuditError when it ends with another code than 0, with its last words.
    """
    done = subprocess.run(
        command,
        input=told,
        env=environment,
        capture_output=True,
        text=True,
        timeout=patience_s,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise AuditError(f"{what} ended with {done.returncode}: {last}")
    return done.stdout
