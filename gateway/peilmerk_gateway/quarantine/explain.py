"""Say of one kept message what it is about, why it was refused, and what is in the way now.

What it measured is not told: figures are for the stages that withhold the small ones.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from peilmerk_gateway.deployments.mandate import Mandate
from peilmerk_gateway.ingest import Delivery
from peilmerk_gateway.open import Keyring, Opened, open_delivery
from peilmerk_gateway.quarantine.kept import Desk
from peilmerk_gateway.refusal import Reason, sentence
from peilmerk_gateway.store import AttestationRow, OutboxRow, Probe, QuarantinedRow
from peilmerk_protocol import quantities, topics
from peilmerk_protocol.quantities_names import by_number
from peilmerk_protocol.report import Report

KIND_NAMES = {topics.REPORT: "report", topics.DAY: "day"}


async def message(at: Desk, row: QuarantinedRow, language: str = "en") -> dict[str, Any]:
    """Return everything that helps to mend what was wrong with a message; `would` is its verdict of now."""
    now = at.clock.now()
    rows, still = await at.judge.again([row], now)
    reason = still.get((row.device_id, row.seq))
    verdict = str(reason) if reason is not None else ("admitted" if rows.entries else "stored already")
    mandate = at.catalogue.mandate(row.device_id)
    told: dict[str, Any] = {
        "device": row.device_id,
        "number": row.seq,
        "kind": KIND_NAMES.get(row.kind, str(row.kind)),
        "refused_at": iso(row.at),
        "reason": row.reason,
        "because": sentence(row.reason, language),
        "would": verdict,
    }
    if reason is not None:
        told["in_the_way"] = sentence(reason, language)
    if mandate is None:
        told["records"] = _broken(at, row.device_id)
        return told
    start = row.window * mandate.length_s(row.kind)
    told |= {
        "deployment": mandate.deployment,
        "sensor": mandate.thing,
        "window": f"{iso(start)}/{iso(start + mandate.length_s(row.kind))}",
    }
    opened = open_delivery(Delivery(row.device_id, row.kind, row.sealed), Keyring(at.registry), now)
    if isinstance(opened, Opened) and isinstance(opened.message, Report):
        known = (await at.store.known([Probe(row.device_id, row.seq, 0, row.kind)])).popitem()[1]
        told |= _details(reason or Reason(row.reason), mandate, opened.message, row, known.attested)
    return told


def _details(
    reason: Reason, mandate: Mandate, report: Report, row: QuarantinedRow, attested: AttestationRow | None
) -> dict[str, Any]:
    """Return what was found and what was wanted, where a record or a statement can be held against it."""
    if reason is Reason.G7:
        declared = mandate.declared_day if row.kind == topics.DAY else mandate.declared
        undeclared = quantities.members(report.set & ~declared)
        return {"undeclared": [by_number(number).name for number in undeclared]}
    if reason in (Reason.G6, Reason.NOT_ATTESTED):
        return {
            "revision": {"report": report.revision, "stated": attested and attested.revision},
            "firmware": {
                "stated": attested and attested.firmware_digest.hex(),
                "record": sorted(digest.hex() for digest in mandate.firmware_digests),
            },
            "profile": {
                "stated": attested and attested.profile_digest.hex(),
                "record": mandate.profile_digest(report.revision).hex(),
            },
        }
    if reason in (Reason.G3, Reason.G4):
        period = mandate.in_force if reason is Reason.G3 else mandate.assessed
        return {"holds": {"from": iso(period.begin), "until": iso(period.end)}}
    return {}


def _broken(at: Desk, device_id: str) -> list[str]:
    """Return the complaints about the record of a device, or that no record names it."""
    found = [
        str(complaint)
        for error in at.catalogue.broken
        if device_id in error.device_ids
        for complaint in error.complaints
    ]
    return found or ["no usable record names this device"]


def row(device_id: str, rejected: OutboxRow) -> dict[str, Any]:
    """Return what is known of a row that a platform rejected for good."""
    end = rejected.window_start + rejected.window_s
    return {
        "platform": rejected.sink,
        "observation": rejected.observation_id,
        "device": device_id,
        "datastream": rejected.datastream,
        "window": f"{iso(rejected.window_start)}/{iso(end)}",
        "rejected_at": iso(rejected.next_attempt_at),
        "attempts": rejected.attempts,
        "because": rejected.error,
    }


def iso(at: float) -> str:
    """Return a moment as ISO 8601 in UTC, or "always" for one that is far beyond the calendar."""
    try:
        return datetime.fromtimestamp(int(at), UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return "always"
