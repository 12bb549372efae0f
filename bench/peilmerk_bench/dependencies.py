"""Asks what is known of weaknesses in the packages that `requirements.lock` names: `make audit`.

pip-audit does the asking, of PyPI and of OSV. It says nothing against a package that it could not look up, so
that an audit without its database looks like a clean one. Here that is an outcome of its own.

Exit codes: 0 every package was looked up and nothing is known, 1 a weakness is known, 2 there is no lock
file, 3 some packages could not be looked up, so that nothing is known of them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SERVICES = ("pypi", "osv")
TIMEOUT_S = 300


@dataclass
class Audit:
    """What was found: packages looked up, packages not, and (package, version, weakness, mended in)."""

    service: str
    looked_up: int = 0
    unknown: list[str] = field(default_factory=list)
    weak: list[tuple[str, str, str, str]] = field(default_factory=list)
    failed: str = ""

    @property
    def complete(self) -> bool:
        """Whether every package was looked up."""
        return not self.failed and not self.unknown and self.looked_up > 0


def read(service: str, told: Mapping[str, Any]) -> Audit:
    """Read pip-audit's JSON."""
    audit = Audit(service)
    for package in told["dependencies"]:
        if "skip_reason" in package:
            audit.unknown.append(package["name"])
            continue
        audit.looked_up += 1
        for weakness in package["vulns"]:
            mended = ", ".join(weakness["fix_versions"]) or "no version"
            audit.weak.append((package["name"], package["version"], weakness["id"], mended))
    return audit


def ask(service: str, lock: Path, options: Sequence[str] = ()) -> Audit:
    """Run pip-audit once against one service."""
    words = [
        *(sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--vulnerability-service", service),
        *("--disable-pip", "--require-hashes", "--format", "json", "--progress-spinner", "off", *options),
    ]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return Audit(service, failed=f"no end within {TIMEOUT_S} s")
    try:
        return read(service, json.loads(done.stdout))
    except (ValueError, KeyError, TypeError):
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        return Audit(service, failed=last[0][:300])


def report(audits: Sequence[Audit]) -> tuple[list[str], int]:
    """Return what is to be said, and the exit code; one complete audit is enough."""
    lines: list[str] = []
    weak = sorted({row for audit in audits for row in audit.weak})
    for name, version, weakness, mended in weak:
        lines.append(f"{name} {version}: {weakness}, mended in {mended}")
    for audit in audits:
        if audit.failed:
            lines.append(f"{audit.service}: could not be asked: {audit.failed}")
        elif audit.complete:
            lines.append(f"{audit.service}: {audit.looked_up} packages looked up")
        else:
            lines.append(
                f"{audit.service}: {len(audit.unknown)} of {audit.looked_up + len(audit.unknown)} packages "
                "could not be looked up"
            )
    if weak:
        return [*lines, f"{len(weak)} known weaknesses"], 1
    if any(audit.complete for audit in audits):
        return [*lines, "no weakness is known"], 0
    return [
        *lines,
        "NOT AUDITED: the database cannot be reached from here, and nothing is known of these packages",
    ], 3


def main(words: Sequence[str] | None = None) -> int:
    """Run the audit of a lock file and print it."""
    parser = argparse.ArgumentParser(prog="make audit", description="Known weaknesses of what is installed.")
    parser.add_argument("lock", type=Path, nargs="?", default=Path("requirements.lock"))
    lock: Path = parser.parse_args(words).lock
    if not lock.is_file():
        print(f"error: {lock}: found no such file, wanted the locked versions: make lock", file=sys.stderr)
        return 2
    audits: list[Audit] = []
    for service in SERVICES:
        audits.append(ask(service, lock))
        if audits[-1].complete:
            break
    lines, code = report(audits)
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main())
