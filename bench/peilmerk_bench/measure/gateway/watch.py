"""What a running gateway is seen to do from outside: rows that are on the disk, processor time, memory."""

from __future__ import annotations

import sqlite3
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from peilmerk_bench.gateway_processes import cpu, processes
from peilmerk_bench.measure.gateway.load import LoadError

POLL_S = 0.002
# Of what takes seconds: looking costs the processor of who is looked at.
SELDOM_S = 0.01
STANDSTILL_S = 60.0


@dataclass(frozen=True)
class Spent:
    """Seconds of processor time that a gateway's own processes and its broker took."""

    gateway: float
    broker: float


def spent(gateway: int) -> Spent:
    """Return what a gateway's processes and its broker took until now."""
    ours, broker = processes(gateway)
    return Spent(sum(map(cpu, ours)), sum(map(cpu, broker)))


class StoreWatch:
    """A reader of a store that a gateway writes."""

    def __init__(self, file: Path) -> None:
        self._db = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)

    def tally(self) -> dict[str, int]:
        """Return the running totals; empty while there are none."""
        try:
            return dict(self._db.execute("SELECT name, n FROM tally"))
        except sqlite3.OperationalError:
            return {}

    def reports(self) -> int:
        """Return how many reports are stored."""
        return self.tally().get("reports", 0)

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()


@dataclass(frozen=True)
class Drained:
    """How a full stream was drained: `reports` of it within `seconds`, from the first batch to the last."""

    reports: int
    seconds: float
    cpu: Spent

    @property
    def a_second(self) -> float:
        """Reports a second."""
        return self.reports / self.seconds if self.seconds else 0.0


def drain(file: Path, gateway: int, wanted: int, told: object = None) -> Drained:
    """Watch until so many reports are stored. Blocks; raises LoadError when nothing moves any more."""
    watch = StoreWatch(file)
    try:
        first = last = watch.reports()
        while not first:
            time.sleep(SELDOM_S)
            first = last = watch.reports()
        begun = moved = time.perf_counter()
        before = spent(gateway)
        while last < wanted:
            time.sleep(SELDOM_S)
            now = watch.reports()
            if now != last:
                last, moved = now, time.perf_counter()
                if callable(told):
                    told(last)
            elif time.perf_counter() - moved > STANDSTILL_S:
                raise LoadError(f"found {last} reports stored and no more coming, wanted {wanted}")
        after = spent(gateway)
        return Drained(
            last - first,
            moved - begun,
            Spent(after.gateway - before.gateway, after.broker - before.broker),
        )
    finally:
        watch.close()


class Arrivals(threading.Thread):
    """Notes when each report is first seen in a store, by `time.perf_counter`; what is there is not new."""

    def __init__(self, file: Path) -> None:
        super().__init__(name="arrivals", daemon=True)
        self._watch = StoreWatch(file)
        self._over = threading.Event()
        self.seen: dict[tuple[str, int], float] = {}
        self._entry = self._newest()

    def _newest(self) -> int:
        return int(self._watch._db.execute("SELECT coalesce(max(audit_entry), 0) FROM report").fetchone()[0])

    def run(self) -> None:
        """Look again and again."""
        version = -1
        while not self._over.wait(POLL_S):
            # Costs nothing, and changes with every commit of another connection.
            now = self._watch._db.execute("PRAGMA data_version").fetchone()[0]
            if now == version:
                continue
            version = now
            rows = self._watch._db.execute(
                "SELECT audit_entry, device_id, seq FROM report WHERE audit_entry > ?", (self._entry,)
            ).fetchall()
            at = time.perf_counter()
            for entry, device_id, seq in rows:
                self.seen.setdefault((device_id, seq), at)
                self._entry = max(self._entry, entry)

    def finish(self) -> None:
        """End looking."""
        self._over.set()
        self.join()
        self._watch.close()
