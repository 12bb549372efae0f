"""What Prometheus wants to know of any process: its processor time, memory, files, and since when it runs.

As the client library's own collector, with the same names, but for one thing: that one asks /proc/stat when
the machine booted, and tells nothing at all where systemd hides it (`ProcSubset=pid`, as in our unit).
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterable
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

SELF = Path("/proc/self")


class ProcessCollector(Collector):
    """The figures of this process; those that the system does not tell are left out."""

    def collect(self) -> Iterable[Metric]:
        """Yield a family a figure."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        yield CounterMetricFamily(
            "process_cpu_seconds_total",
            "Total user and system CPU time spent in seconds.",
            value=used.ru_utime + used.ru_stime,
        )
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        yield _gauge("max_fds", "Maximum number of open file descriptors.", limit)
        try:
            # After the name in brackets, which may hold anything (proc_pid_stat(5)).
            parts = (SELF / "stat").read_bytes().rpartition(b")")[2].split()
            descriptors = len(os.listdir(SELF / "fd"))
        except OSError:
            return
        runs_s = time.clock_gettime(time.CLOCK_BOOTTIME) - int(parts[19]) / os.sysconf("SC_CLK_TCK")
        yield _gauge("open_fds", "Number of open file descriptors.", descriptors)
        yield _gauge("virtual_memory_bytes", "Virtual memory size in bytes.", int(parts[20]))
        resident = int(parts[21]) * resource.getpagesize()
        yield _gauge("resident_memory_bytes", "Resident memory size in bytes.", resident)
        began = time.time() - runs_s
        yield _gauge("start_time_seconds", "Start time of the process since unix epoch in seconds.", began)


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(f"process_{name}", words, value=value)
