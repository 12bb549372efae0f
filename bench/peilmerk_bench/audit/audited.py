"""What an audit's report says of itself: when it ended, of which release, code and firmware, and whether it
is the whole audit of that release.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from peilmerk_bench.audit.overlay import AuditError
from peilmerk_gateway.deployments.exports.audits import code_digest, firmware_digest
from peilmerk_provisioning.bundle import firmware_folder

MOST = 6
"""So many of the things that were left out are named to people; the report has all."""


@dataclass(frozen=True)
class Sources:
    """What is audited, as it was when the audit began: SHA-256 of contract and gateway, and of the firmware,
    in hexadecimal; shipped: whether that is the firmware of this release, wherever it lay.
    """

    code: str
    firmware: str
    shipped: bool

    @classmethod
    def of(cls, firmware: Path | None = None) -> Sources:
        """Look at the sources; `firmware` as in a plan. Raises AuditError for a file that cannot be read."""
        try:
            ours = firmware_digest(firmware_folder())
            found = ours if firmware is None else firmware_digest(firmware)
            assert found is not None
            return cls(code_digest(), found, found == ours)
        except OSError as reason:
            raise AuditError(
                f"{reason.filename}: {reason.strerror}, wanted sources that can be read"
            ) from None


def audited(begun: Sources, firmware: Path | None, left_out: Sequence[str]) -> dict[str, Any]:
    """Return what a report says of itself: {"at": ISO 8601 in UTC, "release", "code", "firmware": {"sha256",
    "shipped"}, "complete", "left_out"}. `left_out`: what was not audited, in words.

    Raises AuditError when the sources are not as they were when it began: nobody could tell what was audited.
    """
    if Sources.of(firmware) != begun:
        raise AuditError("found the code changed while it was audited, wanted it at rest: audit anew")
    lacking = [*left_out] if begun.shipped else [*left_out, "the firmware of this release"]
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "release": version("peilmerk"),
        "code": begun.code,
        "firmware": {"sha256": begun.firmware, "shipped": begun.shipped},
        "complete": not lacking,
        "left_out": lacking,
    }


def print_left_out(console: Console, said: Mapping[str, Any]) -> None:
    """Say to people that it was not the whole audit, if it was not."""
    if said["complete"]:
        return
    some = said["left_out"]
    more = f" and {len(some) - MOST} more" if len(some) > MOST else ""
    console.print(f"not the whole audit of this release, without: {', '.join(some[:MOST])}{more}")
