"""What an audit's report says of itself: when it ended, and of which release and code."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version

from peilmerk_gateway.deployments.exports.audits import code_digest


def audited() -> dict[str, str]:
    """Return {"at": ISO 8601 in UTC, "release", "code": digest of contract and gateway}."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "release": version("peilmerk"),
        "code": code_digest(),
    }
