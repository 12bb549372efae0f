"""A publisher as a process of its own, to be killed: `python publisher_process.py URL STORE [PASSWORD_FILE]`.

Runs until SIGTERM. Prints "ready" once it is at work.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from peilmerk_gateway.clock import SystemClock
from peilmerk_gateway.publish.outbox import Pace, publish_loop
from peilmerk_gateway.publish.sensorthings import SensorThingsSink
from peilmerk_gateway.publish.sensorthings_http import Service
from peilmerk_gateway.store import Store
from peilmerk_gateway.store_place import Database, Place

sys.path.insert(0, str(Path(__file__).parent))
from street import Words

SINK = "city"
QUICK = Pace(first_s=0.05, most_s=0.2, poll_s=0.2)
BATCH = 40
SETTLE_S = 0.5


def quick_sink(url: str, store: Store, name: str = SINK, batch_rows: int = BATCH) -> SensorThingsSink:
    """A sink that loses no time, with small batches so that there is much to interrupt."""
    return SensorThingsSink(name, Service(url), store, settle_s=SETTLE_S, batch_rows=batch_rows)


async def main(url: str, where: str, password_file: str | None = None) -> None:
    """Publish until told to stop. The store is a file, or a database with its password in another."""
    place: Place = where if password_file is None else Database(where, Path(password_file))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with await Store.open(place, [SINK]) as store:
        print("ready", flush=True)
        await publish_loop(store, quick_sink(url, store), Words(), SystemClock(), stop, QUICK)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
