"""What `peilmerk audit privacy` and `audit attacks` found, read from the reports that `--json` gave.

A report counts for the code that it names: the digest of what opens, admits, accounts and publishes. An annex
says so when the code that makes it is another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from peilmerk_gateway.errors import PeilmerkError

PRIVACY, ATTACKS = "audit privacy", "audit attacks"
# A report of both audits has some hundred kilobytes.
MOST_BYTES = 16 << 20


class AuditReportError(PeilmerkError):
    """A file that is no report of an audit; the text names what was found and what was wanted."""


@dataclass(frozen=True)
class Audit:
    """One report: which audit, when it ended (with its time zone), of which release and code, and whether
    all was as it must be.

    largest, limit: of the divergences; killed, mutants: of all that are known; lost, attacks: on our output;
    won, weak: on the weak publisher. None where the audit has no such figure.
    """

    name: str
    at: datetime
    release: str
    code: str
    ok: bool
    largest: float | None = None
    limit: float | None = None
    killed: int | None = None
    mutants: int | None = None
    lost: int | None = None
    attacks: int | None = None
    won: int | None = None
    weak: int | None = None


def read(file: Path) -> Audit:
    """Read a report. Raises AuditReportError."""
    try:
        with file.open("rb") as opened:
            data = opened.read(MOST_BYTES + 1)
    except OSError as reason:
        raise AuditReportError(f"{file}: {reason.strerror}, wanted the report of an audit") from reason
    if len(data) > MOST_BYTES:
        raise AuditReportError(f"{file}: found more than {MOST_BYTES} bytes, wanted the report of an audit")
    try:
        report = json.loads(data)
    except ValueError:
        raise AuditReportError(
            f"{file}: found no JSON, wanted what `peilmerk audit … --json` prints"
        ) from None
    name = report.get("name") if isinstance(report, dict) else None
    if name not in (PRIVACY, ATTACKS):
        raise AuditReportError(f"{file}: name: found {name!r}, wanted {PRIVACY!r} or {ATTACKS!r}")
    try:
        return _privacy(report) if name == PRIVACY else _attacks(report)
    except (KeyError, TypeError, ValueError) as reason:
        raise AuditReportError(
            f"{file}: found a report of {name} without {reason}, wanted one of this release: audit anew"
        ) from None


def _head(report: dict[str, Any]) -> dict[str, Any]:
    audited = report["figures"]["audited"]
    at = datetime.fromisoformat(audited["at"])
    if at.tzinfo is None:
        raise ValueError("the time zone of its moment")
    return {
        "name": report["name"],
        "at": at,
        "release": str(audited["release"]),
        "code": str(audited["code"]),
        "ok": report["ok"] is True,
    }


def _privacy(report: dict[str, Any]) -> Audit:
    figures = report["figures"]
    return Audit(
        **_head(report),
        largest=None if figures["largest"] is None else float(figures["largest"]),
        limit=float(report["limits"]["divergence"]),
        killed=sum(mutant["killed"] is True for mutant in figures["mutants"]),
        mutants=int(figures["mutants_known"]),
    )


def _attacks(report: dict[str, Any]) -> Audit:
    counted = ("lost", "attacks", "won_on_weak", "weak_attacks")
    lost, attacks, won, weak = (int(report["figures"][name]) for name in counted)
    return Audit(**_head(report), lost=lost, attacks=attacks, won=won, weak=weak)


@cache
def code_digest() -> str:
    """Return SHA-256 in hexadecimal over the sources of contract and gateway: for each file in the order of
    its path, path, a zero byte, and the SHA-256 of its content.
    """
    found = hashlib.sha256()
    for package in ("peilmerk_gateway", "peilmerk_protocol"):
        for path, file in _sources(files(package), package):
            found.update(path.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()


def _sources(folder: Traversable, path: str) -> Iterable[tuple[str, Traversable]]:
    for item in sorted(folder.iterdir(), key=lambda one: one.name):
        if item.is_dir():
            yield from _sources(item, f"{path}/{item.name}")
        elif item.name.endswith((".py", ".toml", ".cddl")):
            yield f"{path}/{item.name}", item
