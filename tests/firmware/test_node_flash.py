"""What the outbox takes of the flash, LittleFS included, and how long the flash lasts, by the bench."""

from __future__ import annotations

import pytest

from peilmerk_bench.measure import flash


def test_a_counter_holds_ten_days_in_256_kb_and_its_flash_outlives_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result = flash.flash_report(["counter"])
    assert result["ok"] is True
    figures = result["figures"]
    assert isinstance(figures, dict)
    row = figures["counter"]
    assert row["held_days"] >= 30
    # 196,608 bytes of segments, a metadata pair for each of two folders, and what a file at work takes.
    assert 196_608 < row["held_flash_bytes"] <= 245_760
    # One block for each message that is appended; an acknowledgement costs a few bytes of metadata.
    assert 90 <= row["erases_a_day"] <= 105
    assert row["years"] >= 100
    measured = {"counter": {**row, "held_days": 9}}
    monkeypatch.setattr(flash, "measure", lambda kinds: measured)
    assert flash.flash_report()["ok"] is False
