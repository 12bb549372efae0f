"""`peilmerk gateway backup|restore|migrate|show`: what keeps a gateway running over years."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from peilmerk_gateway import settings as gateway_settings
from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.store_place import Database

HEAD = re.compile(r"([1-9][0-9]*):([0-9a-fA-F]{64})")
KIT = Path(__file__).parent / "kit"


class Piece(StrEnum):
    """What `show` prints."""

    ALERTS = "alerts"
    DASHBOARD = "dashboard"
    SYSTEMD = "systemd"
    CONTAINER = "container"


FILES = {
    Piece.ALERTS: "peilmerk.rules.yml",
    Piece.DASHBOARD: "peilmerk-dashboard.json",
    Piece.SYSTEMD: "peilmerk.service",
    Piece.CONTAINER: "Containerfile",
}


def head(text: str | None) -> tuple[int, str] | None:
    """Read NUMBER:DIGEST, an entry of an audit trail. Raises PeilmerkError."""
    if text is None:
        return None
    matched = HEAD.fullmatch(text)
    if matched is None:
        raise PeilmerkError(f"--expect: found {text!r}, wanted NUMBER:DIGEST, as 'head' of a backup")
    return int(matched[1]), matched[2].lower()


def made(settings: gateway_settings.Settings, out: Path) -> dict[str, Any]:
    """Make a backup; return the report."""
    from peilmerk_gateway.operation.backup import back_up, dump_command

    backup = back_up(settings, out, settings.make_clock().now())
    left_out = ["the broker's stream", "who has a sensor at home, and the key to that"]
    if isinstance(settings.store_place, Database):
        left_out.append(f"the store, of which you made a copy before: {dump_command(settings.store_place)}")
    figures = {
        "folder": str(out),
        "files": len(backup.files),
        "bytes": sum(one.size for one in backup.files),
        "head": f"{backup.head[0]}:{backup.head[1]}",
        "left_out": left_out,
    }
    return {"name": "gateway backup", "ok": True, "figures": figures, "limits": {}}


def put_back(source: Path, folder: Path, expect: str | None) -> tuple[dict[str, Any], list[str]]:
    """Put a backup back; return the report and what somebody has to see to, as sentences."""
    from peilmerk_gateway.operation.restore import restore

    restored = asyncio.run(restore(source, folder, head(expect)))
    since = datetime.fromtimestamp(int(restored.backup.made_at), UTC).isoformat().replace("+00:00", "Z")
    figures = {
        "settings": str(restored.settings.file),
        "backed_up_at": since,
        "files": len(restored.backup.files),
        "devices": restored.devices,
        "commands_withdrawn": restored.commands_withdrawn,
        "trail_entries": restored.verdict.entries,
        "trail_faults": len(restored.verdict.faults),
    }
    ok = restored.verdict.ok
    report = {"name": "gateway restore", "ok": ok, "figures": figures, "limits": {"trail_faults": 0}}
    todo = [
        f"whoever was revoked since {since} may connect again: revoke them again",
        f"a host's pause, withdrawal or erasure since {since} is not in it: do it again",
        f"a board that was enrolled since {since} is unknown: enrol it anew",
        f"what was published since {since} stands in no ledger here; platforms have it",
    ]
    return report, todo


def migrated(settings: gateway_settings.Settings, *, check: bool) -> dict[str, Any]:
    """Bring a gateway's files along, or tell whether that is due; return the report."""
    from peilmerk_gateway.operation.migrate import migrate, versions

    if check:
        found = versions(settings)
        figures = {**asdict(found), "due": found.due}
        return {"name": "gateway migrate", "ok": not found.due, "figures": figures, "limits": {"due": False}}
    before, after = migrate(settings)
    figures = {**asdict(before), "migrated": before.due, "due": after.due}
    return {"name": "gateway migrate", "ok": not after.due, "figures": figures, "limits": {"due": False}}


def moved(settings: gateway_settings.Settings) -> dict[str, Any]:
    """Move a store from its file to the database of the settings; return the report."""
    from peilmerk_gateway.operation.move import move

    done = asyncio.run(move(settings))
    figures = {
        "rows": done.rows,
        "head": f"{done.head[0]}:{done.head[1]}",
        "trail_faults": done.faults,
        "file": str(done.put_aside),
    }
    ok = not done.faults
    return {"name": "gateway move-store", "ok": ok, "figures": figures, "limits": {"trail_faults": 0}}


def piece(what: Piece, folder: Path) -> str:
    """Return a file of the kit, with this installation's paths where it has any."""
    text = (KIT / FILES[what]).read_text("utf-8")
    if what is Piece.SYSTEMD:
        program = shutil.which("peilmerk") or str(Path(sys.executable).with_name("peilmerk"))
        text = text.replace("@PROGRAM@", program).replace("@FOLDER@", str(folder.resolve()))
    return text
