"""What all tests share: how much the property-based tests try."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# Machines that run the suite differ in speed; a deadline per example would be a timed test.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("soak", parent=settings.get_profile("suite"), max_examples=20_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))
