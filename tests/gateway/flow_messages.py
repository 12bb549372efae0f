"""What three boards say for the tests of the flow, and what the store has of it when all is done."""

from __future__ import annotations

from sealed_street import WINDOW, Street

from peilmerk_gateway.ingest import Delivery

TABLES = ("report", "observation", "withheld", "ledger", "attestation", "publish_outbox")
# Times of writing and row numbers depend on the order of arrival; what was written must not.
WHAT = {
    "report": "device_id, seq, window_start, window_s, revision, health, digest",
    "observation": "datastream, device_id, quantity, window_start, window_s, result, spread, samples",
    "withheld": "datastream, window_start, reason",
    "ledger": "deployment, device_id, quantity, kind, window_start, epsilon_micro",
    "attestation": "device_id, seq, revision, firmware_digest, profile_digest",
    "publish_outbox": "sink, state, attempts",
}


def written(street: Street) -> dict[str, list[tuple[object, ...]]]:
    return {table: street.rows(table, WHAT[table]) for table in TABLES}


def messages(street: Street) -> list[Delivery]:
    """Three boards' statements and four reports each, some figures below the threshold."""
    deliveries = []
    for board in (*street.counters, *street.air):
        deliveries.append(board.statement(1))
        for number in range(4):
            values = {0: (100 + number, 3), 4: (6,)} if board in street.air else {5: (8 + number,), 6: (40,)}
            deliveries.append(board.report(2 + number, WINDOW - 3 + number, values))
    return deliveries
