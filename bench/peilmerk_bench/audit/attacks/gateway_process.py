"""A gateway that takes deliveries, in a process of its own; PYTHONPATH says which gateway it is.

    python -m peilmerk_bench.audit.attacks.gateway_process < {"folder", "now", "log", "dumps": [two files],
        "takes": [[[device id, kind, payload in hexadecimal, whether the broker brings it again], ...], ...]}

Takes one batch after the other through its flow into the store of the folder, and prints for each what was
stored. Before the first batch and after the last, all memory that it may write goes into a file; what was
received is still held then, as in a gateway at work.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from peilmerk_gateway import logs
from peilmerk_gateway.clock import ScaledClock
from peilmerk_gateway.deployments.catalogue import Catalogue
from peilmerk_gateway.flow import Flow
from peilmerk_gateway.ingest import Batch, Delivery
from peilmerk_gateway.open import Keyring
from peilmerk_gateway.registry import Registry
from peilmerk_gateway.store import Store

PIECE = 1 << 16
TOTALS = ("reports", "days", "statements", "observations", "withheld")


def dump_memory(file: Path) -> None:
    """Write all memory of this process that it may write itself into a file, where the system lets it."""
    with open("/proc/self/maps") as maps:
        spans = [line.split()[0] for line in maps if line.split()[1].startswith("rw")]
    with open("/proc/self/mem", "rb", 0) as memory, file.open("wb") as out:
        for span in spans:
            at, until = (int(part, 16) for part in span.split("-"))
            while at < until:
                try:
                    memory.seek(at)
                    piece = memory.read(min(PIECE, until - at))
                except (OSError, OverflowError):
                    break  # the kernel's own pages
                if not piece:
                    break
                if piece.strip(b"\0"):
                    out.write(piece)
                at += len(piece)


class Batches:
    """Deliveries that come as batches, as from a broker; `stored` tells of each what became of it."""

    connected = True

    def __init__(self, takes: list[list[Delivery]], store: Store) -> None:
        self.stored: list[dict[str, int]] = []
        self._takes = takes
        self._store = store

    async def batches(self) -> AsyncIterator[Batch]:
        """Give one batch after the other."""

        async def ack() -> None:
            pass

        for take in self._takes:
            before = await self._totals()
            yield Batch(tuple(take), ack)
            after = await self._totals()
            self.stored.append({name: after[name] - before[name] for name in after})

    async def _totals(self) -> dict[str, int]:
        found = await self._store.figures()
        return {name: getattr(found, name) for name in TOTALS} | {"refused": sum(found.refused.values())}

    async def close(self) -> None:
        """Nothing is open."""


async def run(
    folder: Path, now: float, takes: list[list[Delivery]], dump: Path | None
) -> list[dict[str, int]]:
    """Take everything; returns what was stored of each batch."""
    registry = Registry(folder / "registry.db")
    try:
        async with await Store.open(folder / "store.db", sinks=("city",)) as store:
            flow = Flow(
                Keyring(registry), Catalogue(folder / "deployments"), store, ScaledClock(now, 0.0, 0.0)
            )
            batches = Batches(takes, store)
            await flow.run(batches, asyncio.Event())
            if dump is not None:
                dump_memory(dump)
    finally:
        registry.close()
    return batches.stored


def main() -> int:
    """Take what standard input tells."""
    told = json.load(sys.stdin)
    before, after = map(Path, told["dumps"]) if told["dumps"] else (None, None)
    with open(told["log"], "a", encoding="utf-8") as log:
        logs.configure(log)
        if before is not None:
            dump_memory(before)
        takes = [
            [Delivery(device, kind, bytes.fromhex(payload), again) for device, kind, payload, again in take]
            for take in told["takes"]
        ]
        print(json.dumps(asyncio.run(run(Path(told["folder"]), told["now"], takes, after))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
