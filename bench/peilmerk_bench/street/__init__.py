"""A street on one machine: virtual boards, broker, gateway and a SensorThings platform, on recorded traces.

`plan` says what stands in the street and keeps it between runs, `run` starts and stops it, `tally` counts
afterwards what went where. The demo and the end-to-end tests drive the same street.
"""

from peilmerk_bench.street.plan import Plan, StreetError
from peilmerk_bench.street.run import Street
from peilmerk_bench.street.tally import Tally, tally

__all__ = ["Plan", "Street", "StreetError", "Tally", "tally"]
