"""A city's open-data file as a platform of the gateway's publisher, and the gateway's whole published output.

`OpenData` is fed by the gateway's own worker, under the same rules as any platform: it is told descriptions
and rows, and writes them in the form of `figures`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from peilmerk_bench.audit.attacks.figures import Figure
from peilmerk_bench.audit.overlay import AuditError
from peilmerk_gateway.clock import Clock
from peilmerk_gateway.deployments.catalogue import Catalogue
from peilmerk_gateway.publish import Description, OutboxRow, Outcome, Sink, Verdict
from peilmerk_gateway.publish.outbox import Pace, publish_loop
from peilmerk_gateway.publish.sensorthings_observations import Style, cells
from peilmerk_gateway.store import Store

DAY_SUFFIX = "/day"
QUALITY = ("minimum", "maximum", "spread", "samples", "completeness")
PATIENCE_S = 120.0


class At:
    """A clock that shows what it was set to, Unix seconds."""

    def __init__(self, moment: float = 0.0) -> None:
        self.moment = moment

    def now(self) -> float:
        """Return it."""
        return self.moment


class OpenData:
    """One file's worth of figures. See `publish.Sink` for what each method promises."""

    name = "open-data"
    batch_rows = 5_000
    settle_s = 0.0

    def __init__(self) -> None:
        self.figures: list[Figure] = []
        self.quality: list[Figure] = []
        """What goes along with figures: extremes, spread, completeness, each as a stream of its own."""
        self._about: dict[str, Description] = {}

    async def prepare(self, datastreams: Sequence[Description]) -> Mapping[str, str]:
        """Take the public words."""
        self._about.update({about.datastream: about for about in datastreams})
        return {}

    async def send(self, rows: Sequence[OutboxRow]) -> Sequence[Outcome]:
        """Write rows down."""
        for row in rows:
            about = self._about[row.datastream]
            interval, _, result, quality = cells(row, Style.INTERVAL)
            start, _, end = interval.partition("/")
            longitudes, latitudes = zip(*about.outline[:-1], strict=True)
            figure = Figure(
                # A day's total is about the same passages as its windows, and an attacker knows that.
                stream=row.datastream.removesuffix(DAY_SUFFIX),
                start=datetime.fromisoformat(start).timestamp(),
                end=datetime.fromisoformat(end).timestamp(),
                value=result,
                thing=about.thing_key,
                longitude=sum(longitudes) / len(longitudes),
                latitude=sum(latitudes) / len(latitudes),
            )
            self.figures.append(figure)
            self.quality += [
                replace(figure, stream=f"{figure.stream} {name}", value=float(quality[name]))
                for name in QUALITY
                if name in quality
            ]
        return [Outcome(row.observation_id, Verdict.DONE, str(row.observation_id)) for row in rows]

    async def find(self, rows: Sequence[OutboxRow]) -> Mapping[int, str]:
        """Nothing is ever in doubt: what was sent was written."""
        return {}

    async def close(self) -> None:
        """Nothing is open."""


async def publish_all(store: Store, sinks: Sequence[Sink], catalogue: Catalogue, clock: Clock) -> None:
    """Have the gateway's worker publish everything that waits. Raises AuditError when that takes too long."""
    stop = asyncio.Event()
    pace = Pace(poll_s=0.2)
    workers = [asyncio.create_task(publish_loop(store, sink, catalogue, clock, stop, pace)) for sink in sinks]
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                queues = (await store.figures()).sinks
                left = sum(queues[sink.name].waiting + queues[sink.name].sending for sink in sinks)
                if not left:
                    return
                for worker in workers:
                    if worker.done():
                        worker.result()
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AuditError(f"found {left} figures left after {PATIENCE_S:.0f} s, wanted none") from None
    finally:
        stop.set()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*workers)
