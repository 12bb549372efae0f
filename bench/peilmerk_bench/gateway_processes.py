"""The processes of a running gateway as the kernel tells of them: which, how much memory, how much time."""

from __future__ import annotations

import os
from pathlib import Path

from peilmerk_gateway.child import command_line
from peilmerk_gateway.store.batch_process import PROGRAM

_TICK = os.sysconf("SC_CLK_TCK")


def processes(gateway: int) -> tuple[list[int], list[int]]:
    """Return a gateway's own processes, itself first, and its broker's. Raises OSError when it ended."""
    children = [
        int(child)
        for thread in Path(f"/proc/{gateway}/task").iterdir()
        for child in (thread / "children").read_text().split()
    ]
    broker = [pid for pid in children if "nats-server" in command_line(pid).split(" ", 1)[0]]
    return [gateway, *(pid for pid in children if pid not in broker)], broker


def writer(gateway: int) -> int | None:
    """Return the process that writes a gateway's batches, None where there is none now."""
    try:
        ours, _ = processes(gateway)
    except OSError:
        return None
    return next((pid for pid in ours if f"-m {PROGRAM}" in command_line(pid)), None)


def peak_mib(gateway: int) -> float:
    """Return the largest resident memory that a gateway's own processes had, added up.

    What they share is counted in each of them. Raises OSError when one of them ended.
    """
    return sum(map(_peak_mib, processes(gateway)[0]))


def _peak_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    # A process that is just ending has none any more.
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0.0)


def cpu(pid: int) -> float:
    """Return the seconds of processor time that a process took. Raises OSError when it ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK
