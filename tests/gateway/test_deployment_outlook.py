"""What the gates will say of a record, and from which day."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

from officer_answers import ASSESSED, STREET, TODAY, written

from peilmerk_gateway.deployments.deployment import parse
from peilmerk_gateway.deployments.outlook import outlook


def looked(given: dict[str, Any], today: date) -> dict[str, tuple[str, date | None]]:
    record = parse(written(given).encode(), Path("x.toml")).record
    return {str(one.gate): (one.state.value, one.day) for one in outlook(record, [], today)}


def test_g3_waits_for_five_days_after_notice_and_is_over_after_the_last_day() -> None:
    early = STREET | {"active_from": "2026-03-03"}
    assert looked(early, date(2026, 3, 5))["G3"] == ("waits", date(2026, 3, 6))
    assert looked(early, date(2026, 3, 6))["G3"] == ("passes", None)
    assert looked(early, date(2028, 12, 31))["G3"] == ("passes", None)
    assert looked(early, date(2029, 1, 1))["G3"] == ("over", date(2028, 12, 31))
    assert looked(STREET | {"active_from": "2026-05-01"}, TODAY)["G3"] == ("waits", date(2026, 5, 1))


def test_g4_waits_for_its_assessment_and_is_over_when_its_review_was_due() -> None:
    assert looked(STREET, TODAY)["G4"] == ("passes", None)
    assert looked(ASSESSED, date(2026, 3, 31))["G4"] == ("waits", date(2026, 4, 1))
    assert looked(ASSESSED, date(2026, 4, 1))["G4"] == ("passes", None)
    assert looked(ASSESSED, date(2027, 4, 2))["G4"] == ("over", date(2027, 4, 1))


def test_what_is_decided_on_each_message_is_said_to_be() -> None:
    found = looked(STREET, date(2026, 3, 6))
    assert found == {
        "G1": ("passes", None),
        "G2": ("passes", None),
        "G3": ("passes", None),
        "G4": ("passes", None),
        "G5": ("passes", None),
        "G6": ("board", None),
        "G7": ("board", None),
        "G8": ("passes", None),
    }
