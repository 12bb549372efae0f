"""What `peilmerk audit privacy` and `audit attacks` found, read from the reports that `--json` gave.

A report counts for the code that it names: the digest of what opens, admits, accounts and publishes, and that
of the firmware whose releases were audited. An annex says so when the code that makes it, or the firmware
beside it, is another; and when a report is of some parts of an audit, or of somebody else's output.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from peilmerk_gateway.errors import PeilmerkError

PRIVACY, ATTACKS = "audit privacy", "audit attacks"
# A report of both audits has some hundred kilobytes.
MOST_BYTES = 16 << 20
SOURCES = (".py", ".toml", ".cddl", ".html")
"""Files that a digest is over, by the end of their names."""


class AuditReportError(PeilmerkError):
    """A file that is no report of an audit; the text names what was found and what was wanted."""


@dataclass(frozen=True)
class Audit:
    """One report: which audit, when it ended (with its time zone), of which release, code and firmware, and
    whether all was as it must be.

    shipped: whether the firmware was that of the release; complete: whether the whole audit was made, of
    our own output with the shipped firmware. largest, limit: of the divergences; killed, mutants: of all
    that are known; lost, attacks: on our output; won, weak: on the weak publisher. None where the audit has
    no such figure.
    """

    name: str
    at: datetime
    release: str
    code: str
    firmware: str
    shipped: bool
    complete: bool
    ok: bool
    largest: float | None = None
    limit: float | None = None
    killed: int | None = None
    mutants: int | None = None
    lost: int | None = None
    attacks: int | None = None
    won: int | None = None
    weak: int | None = None

    @property
    def is_of_the_code_here(self) -> bool:
        """Whether code and firmware were those that are installed here."""
        return self.code == code_digest() and self.shipped and self.firmware == firmware_digest()


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
    firmware = audited["firmware"]
    return {
        "name": report["name"],
        "at": at,
        "release": str(audited["release"]),
        "code": str(audited["code"]),
        "firmware": str(firmware["sha256"]),
        "shipped": firmware["shipped"] is True,
        "complete": audited["complete"] is True,
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


def code_digest() -> str:
    """Return the digest over the sources of contract and gateway."""
    return sources_digest({name: _folder(name) for name in ("peilmerk_gateway", "peilmerk_protocol")})


def firmware_digest(folder: Path | None = None) -> str | None:
    """Return the digest over the firmware's sources in a folder, or over those that came along with this
    release; None where none did.
    """
    found = shipped_firmware() if folder is None else folder
    return None if found is None else sources_digest({"firmware": found})


def shipped_firmware() -> Path | None:
    """Return where the firmware of this release lies: in the installed package, or in the source tree."""
    # Only where it is: the gateway runs nothing of it, and nothing of what puts it on boards.
    spec = find_spec("peilmerk_provisioning")
    places = [Path(place) for place in (spec.submodule_search_locations or ())] if spec is not None else []
    for folder in (
        *(place / "_firmware" for place in places),
        *(place.parents[1] / "firmware" for place in places),
    ):
        if (folder / "main.py").is_file():
            return folder
    return None


def sources_digest(folders: dict[str, Path]) -> str:
    """Return SHA-256 in hexadecimal over the sources below folders, which are called by their keys: for each
    file in the order of its path, path, a zero byte, and the SHA-256 of its content.
    """
    found = hashlib.sha256()
    for name, folder in folders.items():
        for path, file in _sources(folder, name):
            found.update(path.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()


def _folder(package: str) -> Path:
    spec = find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations)))


def _sources(folder: Path, path: str) -> Iterator[tuple[str, Path]]:
    for item in sorted(folder.iterdir(), key=lambda one: one.name):
        if item.is_dir():
            yield from _sources(item, f"{path}/{item.name}")
        elif item.name.endswith(SOURCES):
            yield f"{path}/{item.name}", item
