"""What goes wrong in a street, done to virtual boards on purpose, and what it cost."""

from peilmerk_bench.faults.campaign import Campaign, Outcome
from peilmerk_bench.faults.faults import FAULTS, Fault

__all__ = ["FAULTS", "Campaign", "Fault", "Outcome"]
