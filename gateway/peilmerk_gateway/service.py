"""The gateway as one process: broker, stages, publishers and page, started in order and stopped in order.

Up: store, records, broker (which lets devices in), page, then everything that runs. Down, within `STOP_S`:
nothing new is taken, the batch at hand is stored and acknowledged, publishers write down what the platforms
said, then the broker and the store close. A crash of any part ends the whole; whoever supervises it starts it
anew, and nothing is lost by that (see `flow` and `publish.outbox`).
"""

from __future__ import annotations

import asyncio
import gc
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version

import structlog

from peilmerk_gateway.clock import Clock, ScaledClock
from peilmerk_gateway.commands.sender import Sender
from peilmerk_gateway.deployments.catalogue import Catalogue
from peilmerk_gateway.deployments.history import FOLDER as HISTORY
from peilmerk_gateway.deployments.history import History, Texts
from peilmerk_gateway.flow import Flow
from peilmerk_gateway.ingest import Ingest
from peilmerk_gateway.open import Keyring
from peilmerk_gateway.publish.outbox import publish_loop
from peilmerk_gateway.publish.sensorthings import open_sink
from peilmerk_gateway.registry import Registry
from peilmerk_gateway.retention import retain_loop
from peilmerk_gateway.settings import Settings
from peilmerk_gateway.store import STORE_FILE, Store
from peilmerk_gateway.updates.server import FirmwareServer
from peilmerk_gateway.way_in import open_way_in
from peilmerk_gateway.web import WebServer, create_app

WATCH_S = 1.0
# Objects that are made until the garbage collector looks at them: those of about two batches.
COLLECT_AFTER = 50_000
# Of the ten seconds that a supervisor gives: what is under way, then broker and store.
FINISH_S = 5.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ready:
    """What listens where, once everything does."""

    web: str
    mqtt_port: int
    deployments: int
    broken: int
    update: str = ""
    """Where boards fetch firmware; empty when the settings have no such section."""


class Service:
    """One gateway. `run` returns after `stop` or a signal; `announce` is called once everything listens."""

    def __init__(self, settings: Settings, announce: Callable[[Ready], None] = lambda _: None) -> None:
        self._settings = settings
        self._announce = announce
        self._stop = asyncio.Event()
        self._broker_seen: float | None = None

    def stop(self) -> None:
        """Ask the service to end in good order."""
        self._stop.set()

    async def run(self) -> None:
        """Run until stopped.

        Raises PeilmerkError (settings, ports, certificates, store) when it cannot be started.
        """
        settings = self._settings
        clock = settings.make_clock()
        if isinstance(clock, ScaledClock):
            _log.warning("bench clock: this gateway does not live in real time", speed=clock.speed)
        async with AsyncExitStack() as stack:
            stack.enter_context(self._signals())
            registry = stack.enter_context(Registry(settings.gateway.registry))
            store = await Store.open(
                settings.gateway.data_dir / STORE_FILE, [sink.name for sink in settings.sinks]
            )
            stack.push_async_callback(store.close)
            history = History(Texts(settings.gateway.data_dir / HISTORY), await store.records_told())
            catalogue = await asyncio.to_thread(Catalogue, settings.deployments.directory, history)
            _tell_broken(catalogue)
            await store.note_rules(version("peilmerk"), clock.now())
            await store.note_records(catalogue.facts, clock.now())
            sinks = [open_sink(sink, store) for sink in settings.sinks]
            broker = await open_way_in(settings, registry, stack)
            ingest = broker.ingest
            app = create_app(store, catalogue, clock, settings, broker_seen=lambda: self._seen(ingest))
            web = WebServer(app, settings.web.host, settings.web.port)
            await web.start()
            stack.push_async_callback(web.stop)
            servers = [web]
            if settings.update is not None and broker.trust is not None:
                update = settings.update
                servers.append(FirmwareServer(update.folder, update.host, update.port, broker.trust))
                await servers[-1].start()
                stack.push_async_callback(servers[-1].stop)
            sender = Sender(store, registry, clock, broker.courier)
            flow = Flow(Keyring(registry), catalogue, store, clock, listener=sender.heard)
            work = [
                asyncio.create_task(flow.run(ingest, self._stop), name="flow"),
                asyncio.create_task(flow.settle_loop(self._stop), name="settle"),
                asyncio.create_task(sender.run(self._stop), name="send"),
                asyncio.create_task(retain_loop(store, catalogue, clock, self._stop), name="retain"),
                *(
                    asyncio.create_task(
                        publish_loop(store, sink, catalogue, clock, self._stop), name=f"publish {sink.name}"
                    )
                    for sink in sinks
                ),
                asyncio.create_task(self._watch(catalogue, store, clock, ingest), name="watch"),
                *(asyncio.create_task(server.wait(), name=server.name) for server in servers),
            ]
            self._announce(
                Ready(
                    web.url,
                    broker.mqtt_port,
                    len(catalogue.deployments),
                    len(catalogue.broken),
                    update=servers[1].url if servers[1:] else "",
                )
            )
            _spare_the_collector()
            _log.info("gateway ready", web=web.url, mqtt_port=broker.mqtt_port, clock=_name(clock))
            try:
                await self._until_stopped(work)
            finally:
                self._stop.set()
                _log.info("gateway stopping")
                await asyncio.gather(
                    ingest.close(), *(server.stop() for server in servers), return_exceptions=True
                )
                await _finish(work)
        _log.info("gateway stopped")

    async def _until_stopped(self, work: list[asyncio.Task[None]]) -> None:
        """Return when asked to stop; raise what ended a part that should not have ended."""
        stopping = asyncio.create_task(self._stop.wait())
        try:
            done, _ = await asyncio.wait([stopping, *work], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        if self._stop.is_set():
            return
        for task in done:
            if task is not stopping:
                _log.error("a part of the gateway ended", part=task.get_name())
                task.result()
                raise RuntimeError(f"{task.get_name()} ended unasked")

    def _seen(self, ingest: Ingest) -> float | None:
        """Return when the broker was last there (wall clock, unix seconds), None for never."""
        if ingest.connected:
            self._broker_seen = time.time()
        return self._broker_seen

    async def _watch(self, catalogue: Catalogue, store: Store, clock: Clock, ingest: Ingest) -> None:
        """Take changed records into force, and note whether the broker is there."""
        while not self._stop.is_set():
            self._seen(ingest)
            if (reading := await asyncio.to_thread(catalogue.look)) is not None:
                # In the trail first, so that nothing is judged by what the trail does not tell.
                await store.note_records(reading.facts, clock.now())
                catalogue.take(reading)
                _log.info(
                    "deployment records read anew",
                    deployments=len(catalogue.deployments),
                    broken=len(catalogue.broken),
                )
                _tell_broken(catalogue)
            try:
                await asyncio.wait_for(self._stop.wait(), WATCH_S)
            except TimeoutError:
                pass

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Stop in good order on SIGTERM and Ctrl-C, at once on the second one."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()

        def stop() -> None:
            if self._stop.is_set() and task is not None:
                task.cancel()
            self._stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)


async def _finish(work: list[asyncio.Task[None]]) -> None:
    """Let every part finish what it has in hand, and cancel what takes too long."""
    _, late = await asyncio.wait(work, timeout=FINISH_S)
    for task in late:
        _log.warning("not finished in time", part=task.get_name())
        task.cancel()
    await asyncio.gather(*work, return_exceptions=True)


def _spare_the_collector() -> None:
    """Have the garbage collector look at what batches leave, seldom, and never at what is there for good.

    A batch makes thousands of records without a cycle among them; by its own measure the collector went
    through all of them dozens of times a batch, and through every module: a sixth of the processor time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 10, 10)


def _tell_broken(catalogue: Catalogue) -> None:
    for error in catalogue.broken:
        for complaint in error.complaints:
            _log.error(
                "deployment stopped: its record is unusable", file=str(error.file), reason=str(complaint)
            )


def _name(clock: Clock) -> str:
    return "bench" if isinstance(clock, ScaledClock) else "system"
