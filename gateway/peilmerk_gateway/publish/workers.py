"""One worker a platform, as the settings have them now: begun, ended and exchanged while the gateway runs.

A worker that is ended finishes the batch at hand; what still waits for its platform stays in the store. A new
one is there before it is told to take anything, and its rows are queued from the next batch on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from peilmerk_gateway.clock import Clock
from peilmerk_gateway.publish import Sink
from peilmerk_gateway.publish.after_restore import AfterRestore
from peilmerk_gateway.publish.describe import Describes
from peilmerk_gateway.publish.outbox import publish_loop
from peilmerk_gateway.publish.sensorthings import open_sink
from peilmerk_gateway.settings import SinkSettings
from peilmerk_gateway.store import Store
from peilmerk_gateway.store.lead import Lead


@dataclass
class _Worker:
    settings: SinkSettings
    task: asyncio.Task[None]
    stop: asyncio.Event = field(default_factory=asyncio.Event)


class Workers:
    """The publishers of a gateway. `run` in a task; it raises what ends one of them unasked."""

    def __init__(
        self,
        store: Store,
        catalogue: Describes,
        clock: Clock,
        restored_at: float | None = None,
        lead: Lead | None = None,
    ) -> None:
        self._lead = lead
        self._store = store
        self._catalogue = catalogue
        self._clock = clock
        self._restored_at = restored_at
        self._workers: dict[str, _Worker] = {}
        self._changed = asyncio.Event()

    async def take(self, sinks: Mapping[str, SinkSettings]) -> None:
        """Have these platforms and no others. Raises PublishError before anything is changed."""
        new = {
            name: self._open(settings)
            for name, settings in sinks.items()
            if name not in self._workers or self._workers[name].settings != settings
        }
        # First, so that nothing is stored meanwhile that a new platform would not get.
        self._store.sinks = tuple(sinks)
        going = [name for name in self._workers if name not in sinks or name in new]
        await self._end([self._workers.pop(name) for name in going])
        for name, sink in new.items():
            stop = asyncio.Event()
            loop = publish_loop(self._store, sink, self._catalogue, self._clock, stop, lead=self._lead)
            self._workers[name] = _Worker(
                sinks[name], asyncio.create_task(loop, name=f"publish {name}"), stop
            )
        self._changed.set()

    def _open(self, settings: SinkSettings) -> Sink:
        sink: Sink = open_sink(settings, self._store)
        return sink if self._restored_at is None else AfterRestore(sink, self._restored_at)

    async def run(self, stop: asyncio.Event) -> None:
        """Return when `stop` is set and every worker has finished the batch at hand."""
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                self._changed.clear()
                changed = asyncio.create_task(self._changed.wait())
                tasks = [worker.task for worker in self._workers.values()]
                await asyncio.wait([stopping, changed, *tasks], return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
                for worker in self._workers.values():
                    if worker.task.done() and not stop.is_set():
                        worker.task.result()
                        raise RuntimeError(f"{worker.task.get_name()} ended unasked")
        finally:
            stopping.cancel()
            await self._end(list(self._workers.values()))

    @staticmethod
    async def _end(workers: list[_Worker]) -> None:
        for worker in workers:
            worker.stop.set()
        try:
            await asyncio.gather(*(worker.task for worker in workers), return_exceptions=True)
        except asyncio.CancelledError:
            for worker in workers:
                worker.task.cancel()
            await asyncio.gather(*(worker.task for worker in workers), return_exceptions=True)
            raise
