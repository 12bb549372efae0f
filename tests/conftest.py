"""What all tests share: how much the property-based tests try, and which files come first."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Machines that run the suite differ in speed; a deadline per example would be a timed test.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("soak", parent=settings.get_profile("suite"), max_examples=20_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))

# What waits for boards, brokers and platforms comes first: short files then fill the end of all processes.
LONGEST = (
    "end_to_end",
    "updates",
    "audit",
    "firmware",
    "board",
    "publish",
    "portal",
    "provisioning",
    "counters",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first; within a file, and among the others, the order stays."""

    def place(item: pytest.Item) -> int:
        folder = Path(item.path).parent.name
        return LONGEST.index(folder) if folder in LONGEST else len(LONGEST)

    items.sort(key=place)
