"""The gateway as one process: broker, stages, publishers and page, started in order and stopped in order.

Up: store, records, broker (which lets devices in), page, then everything that runs. Down, within ten seconds:
nothing new is taken, the batch at hand is stored and acknowledged, publishers write down what the platforms
said, then the broker and the store close. A crash of any part ends the whole; whoever supervises it starts it
anew, and nothing is lost by that (see `flow` and `publish.outbox`). On SIGHUP the settings are read anew
(`operation.reload`).
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import structlog

from peilmerk_gateway import collector, secret_files
from peilmerk_gateway.clock import Clock, ScaledClock
from peilmerk_gateway.clock_watch import RETAIN_AHEAD_S, RETAIN_HOLD_S, WatchedClock, believed
from peilmerk_gateway.commands.sender import Sender
from peilmerk_gateway.deployments.catalogue import Catalogue
from peilmerk_gateway.deployments.history import FOLDER as HISTORY
from peilmerk_gateway.deployments.history import History, Texts
from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.flow import Flow
from peilmerk_gateway.ingest import Ingest
from peilmerk_gateway.loopback import is_loopback
from peilmerk_gateway.meter import Meter, MeteredIngest, meter_loop
from peilmerk_gateway.open import Keyring
from peilmerk_gateway.operation import supervisor
from peilmerk_gateway.operation.condition import Condition
from peilmerk_gateway.operation.crew import Crew
from peilmerk_gateway.operation.metrics import Facts
from peilmerk_gateway.operation.mirroring import keep_mirror, see_to
from peilmerk_gateway.operation.reload import changes
from peilmerk_gateway.publish.workers import Workers
from peilmerk_gateway.quota import quota_loop, quotas_of
from peilmerk_gateway.registry import Registry, RegistryError
from peilmerk_gateway.retention import retain_loop
from peilmerk_gateway.settings import Settings, SettingsError, load
from peilmerk_gateway.store import Store, StoreDamaged, StoreError, mirror, salvage
from peilmerk_gateway.store.lead import Shared, open_lead, while_leading
from peilmerk_gateway.store.quarantine import Bounds
from peilmerk_gateway.store_place import Place
from peilmerk_gateway.trust import Trust
from peilmerk_gateway.updates.server import FirmwareServer
from peilmerk_gateway.way_in import WayIn, open_way_in
from peilmerk_gateway.web import WebServer, create_app
from peilmerk_gateway.web.insiders import Insiders

WATCH_S = 1.0
# Of the ten seconds that a supervisor gives: what is under way, then broker (`child.TERM_S`) and store.
FINISH_S = 4.0

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

    def __init__(
        self, settings: Settings, announce: Callable[[Ready], None] = lambda _: None, *, worker: bool = False
    ) -> None:
        """A `worker` takes turns at the messages, and leads when nobody else does; it has no page and no
        broker of its own.
        """
        self._worker = worker
        self._crew = None if worker else Crew(settings.file, settings.gateway.workers - 1)
        self._settings = settings
        self._announce = announce
        self._stop = asyncio.Event()
        self._hang_up = asyncio.Event()
        self._broker_seen: float | None = None
        self._reloads = [0, 0]
        # Changed in place when settings are read anew.
        self._quotas = quotas_of(settings.sinks)

    def stop(self) -> None:
        """Ask the service to end in good order."""
        self._stop.set()

    async def run(self) -> None:
        """Run until stopped.

        Raises PeilmerkError (settings, ports, certificates, store) when it cannot be started.
        """
        settings = self._settings
        if wrong := secret_files.complaints(settings):
            raise secret_files.SecretFileError("\n".join(wrong))
        shown = clock = settings.make_clock()
        if isinstance(clock, ScaledClock):
            _log.warning("bench clock: this gateway does not live in real time", speed=clock.speed)
        async with AsyncExitStack() as stack:
            stack.enter_context(self._signals())
            starting = asyncio.create_task(supervisor.still_starting(self._stop), name="starting")
            stack.callback(starting.cancel)
            registry = stack.enter_context(Registry(settings.gateway.registry))
            place = settings.store_place
            await asyncio.to_thread(see_to, place, settings.gateway.mirror, clock.now())
            lead = await open_lead(place, settings.gateway.registry)
            if isinstance(lead, Shared):
                stack.push_async_callback(lead.close)
            store = await _open_store(place, [sink.name for sink in settings.sinks])
            stack.push_async_callback(store.close)
            stack.callback(_mark, store, place)
            if store.is_shared:
                await _see_that_it_is_current(registry, store)
            kept = settings.quarantine
            store.bounds = Bounds(messages=kept.messages, size=kept.mib << 20)
            clock, retain_clock = await self._watched(store, clock)
            if self._stop.is_set():
                # Told to end while it waited for the clock: nothing was begun that has to be finished.
                return
            history = History(Texts(settings.gateway.data_dir / HISTORY), await store.records_told())
            catalogue = await asyncio.to_thread(Catalogue, settings.deployments.directory, history)
            _tell_broken(catalogue)
            await store.note_rules(version("peilmerk"), clock.now())
            await store.note_records(catalogue.facts, clock.now())
            broker = await open_way_in(settings, registry, stack, worker=self._worker)
            ingest = broker.ingest
            condition = Condition(
                store,
                shown,
                settings.gateway.data_dir,
                settings.gateway.least_free_mib << 20,
                lambda: self._seen(ingest),
                pending=getattr(ingest, "pending", None),
            )
            servers = (
                []
                if self._worker
                else await self._serve(stack, store, catalogue, shown, condition, broker, registry)
            )
            sender = Sender(store, registry, clock, broker.courier, lead=lead)
            flow = Flow(Keyring(registry), catalogue, store, clock, listener=sender.heard)
            workers = Workers(store, catalogue, clock, await store.restored_at(), lead)
            await workers.take({sink.name: sink for sink in settings.sinks})
            meter = Meter(catalogue, clock, lambda: lead.members)

            async def retain(stop: asyncio.Event) -> None:
                await retain_loop(store, catalogue, retain_clock, stop, kept.days)

            async def quota(stop: asyncio.Event) -> None:
                await quota_loop(store, self._quotas, clock, stop)

            work = [
                asyncio.create_task(flow.run(MeteredIngest(ingest, meter), self._stop), name="flow"),
                asyncio.create_task(meter_loop(meter, store, broker.bar, self._stop), name="meter"),
                asyncio.create_task(while_leading(lead, self._stop, flow.settle_loop), name="settle"),
                asyncio.create_task(sender.run(self._stop), name="send"),
                asyncio.create_task(while_leading(lead, self._stop, retain), name="retain"),
                asyncio.create_task(workers.run(self._stop), name="publish"),
                asyncio.create_task(while_leading(lead, self._stop, quota), name="quota"),
                asyncio.create_task(store.follow(self._stop), name="follow"),
                asyncio.create_task(self._watch(catalogue, store, clock, ingest), name="watch"),
                asyncio.create_task(condition.watch(self._stop, _still_alive), name="condition"),
                asyncio.create_task(self._reload(workers, condition), name="reload"),
                asyncio.create_task(self._damage(store, place), name="store"),
                asyncio.create_task(keep_mirror(store, self._stop), name="mirror"),
                *(asyncio.create_task(server.wait(), name=server.name) for server in servers),
            ]
            if isinstance(lead, Shared):
                work.append(asyncio.create_task(lead.run(self._stop), name="lead"))
            if self._crew is not None and self._settings.gateway.workers > 1:
                work.append(asyncio.create_task(self._crew.run(self._stop), name="workers"))
            self._announce(
                Ready(
                    servers[0].url if servers else "",
                    broker.mqtt_port,
                    len(catalogue.deployments),
                    len(catalogue.broken),
                    update=servers[1].url if servers[1:] else "",
                )
            )
            starting.cancel()
            supervisor.tell("READY=1")
            collector.spare()
            _log.info("gateway ready", worker=self._worker, mqtt_port=broker.mqtt_port, clock=_name(shown))
            try:
                await self._until_stopped(work)
            finally:
                self._stop.set()
                supervisor.tell("STOPPING=1")
                _log.info("gateway stopping")
                await asyncio.gather(
                    ingest.close(),
                    *(server.stop() for server in servers),
                    _finish(work),
                    return_exceptions=True,
                )
        _log.info("gateway stopped")

    async def _serve(
        self,
        stack: AsyncExitStack,
        store: Store,
        catalogue: Catalogue,
        clock: Clock,
        condition: Condition,
        broker: WayIn,
        registry: Registry,
    ) -> list[WebServer | FirmwareServer]:
        """Start the page, and the listener for firmware where the settings have one."""
        settings = self._settings
        app = create_app(
            store,
            catalogue,
            clock,
            settings,
            condition=condition,
            facts=self._facts(catalogue, registry, broker),
            insiders=Insiders(settings.web.metrics_token_file),
        )
        web = WebServer(app, settings.web.host, settings.web.port, **_web_tls(settings, broker.trust))
        await web.start()
        stack.push_async_callback(web.stop)
        servers: list[WebServer | FirmwareServer] = [web]
        if settings.update is not None and broker.trust is not None:
            update = settings.update
            servers.append(FirmwareServer(update.folder, update.host, update.port, broker.trust))
            await servers[-1].start()
            stack.push_async_callback(servers[-1].stop)
        return servers

    def _facts(self, catalogue: Catalogue, registry: Registry, broker: WayIn) -> Facts:
        def devices() -> tuple[int, int]:
            every = registry.all()
            revoked = sum(device.revoked for device in every)
            return len(every) - revoked, revoked

        def in_step() -> bool | None:
            place = self._settings.store_place
            if not isinstance(place, Path) or not self._settings.gateway.mirror:
                return None
            return mirror.told(place) == mirror.IN_STEP

        return Facts(
            mirror_in_step=in_step,
            deployments=lambda: len(catalogue.deployments),
            broken_records=lambda: len(catalogue.broken),
            devices=devices,
            broker_connected=lambda: broker.ingest.connected,
            certificate_ends=None if broker.trust is None else broker.trust.expires.timestamp(),
            reloads=lambda: (self._reloads[0], self._reloads[1]),
        )

    async def _damage(self, store: Store, place: Place) -> None:
        """End the gateway once a page of its store is damaged: started anew, it may put that right.

        Where that was tried in vain it goes on: page and status are there, and the batch is held.
        """
        waits = [asyncio.create_task(event.wait()) for event in (store.damage, self._stop)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for task in waits:
            task.cancel()
        if not self._stop.is_set():
            if _mark(store, place):
                raise StoreDamaged(f"{place}: found a damaged page: looked at when it is started anew")
            await self._stop.wait()

    async def _reload(self, workers: Workers, condition: Condition) -> None:
        """Read the settings anew whenever told to; what cannot be used changes nothing."""
        while not self._stop.is_set():
            waits = [asyncio.create_task(event.wait()) for event in (self._hang_up, self._stop)]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for task in waits:
                task.cancel()
            if self._stop.is_set():
                return
            self._hang_up.clear()
            if self._crew is not None:
                self._crew.hang_up()
            supervisor.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1_000}")
            try:
                await self._take_settings(workers, condition)
                self._reloads[0] += 1
            except PeilmerkError as reason:
                self._reloads[1] += 1
                for line in str(reason).splitlines():
                    _log.error("settings not taken, the old ones hold", reason=line)
            supervisor.tell("READY=1")

    async def _take_settings(self, workers: Workers, condition: Condition) -> None:
        after = await asyncio.to_thread(load, self._settings.file)
        if wrong := secret_files.complaints(after):
            raise secret_files.SecretFileError("\n".join(wrong))
        taken, restart = changes(self._settings, after)
        await workers.take({sink.name: sink for sink in after.sinks})
        self._quotas.clear()
        self._quotas.update(quotas_of(after.sinks))
        condition.least_free_bytes = after.gateway.least_free_mib << 20
        # What needs a restart is named again at every reload until there was one.
        held = self._settings.gateway.model_copy(update={"least_free_mib": after.gateway.least_free_mib})
        self._settings = self._settings.model_copy(
            update={"sinks": after.sinks, "hosts": after.hosts, "gateway": held}
        )
        _log.info("settings read anew", changed=taken, needs_restart=restart)

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

    async def _watched(self, store: Store, clock: Clock) -> tuple[Clock, Clock]:
        """Return the clock to go by and the one to delete by, once the first can be believed; a bench's clock
        is what the bench says.
        """
        if isinstance(clock, ScaledClock):
            return clock, clock
        last = await store.last_written()
        watched = WatchedClock(clock, last)
        await believed(watched, self._stop)
        return watched, WatchedClock(clock, last, hold_s=RETAIN_HOLD_S, away_s=RETAIN_AHEAD_S)

    def _seen(self, ingest: Ingest) -> float | None:
        """Return when the broker was last there (wall clock, unix seconds), None for never."""
        if ingest.connected:
            self._broker_seen = time.time()
        return self._broker_seen

    async def _watch(self, catalogue: Catalogue, store: Store, clock: Clock, ingest: Ingest) -> None:
        """Take changed records into force, and note whether the broker is there."""
        while not self._stop.is_set():
            self._seen(ingest)
            try:
                await self._take_records(catalogue, store, clock)
            except StoreError as trouble:
                _log.error("changed records not in force yet, trying again", reason=str(trouble))
            try:
                await asyncio.wait_for(self._stop.wait(), WATCH_S)
            except TimeoutError:
                pass

    async def _take_records(self, catalogue: Catalogue, store: Store, clock: Clock) -> None:
        """Take changed records into force. Raises StoreError when the trail cannot be told of them."""
        if (reading := await asyncio.to_thread(catalogue.look)) is None:
            return
        # In the trail first, so that nothing is judged by what the trail does not tell.
        await store.note_records(reading.facts, clock.now())
        catalogue.take(reading)
        _log.info(
            "deployment records read anew",
            deployments=len(catalogue.deployments),
            broken=len(catalogue.broken),
        )
        _tell_broken(catalogue)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Stop in good order on SIGTERM and Ctrl-C, at once on the second one; read settings on SIGHUP."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()

        def stop() -> None:
            if self._stop.is_set() and task is not None:
                task.cancel()
            self._stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up.set)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.remove_signal_handler(number)


async def _see_that_it_is_current(registry: Registry, store: Store) -> None:
    """Raise RegistryError for an older copy of the registry than the one by which the store was written.

    Where both lie in one folder they are put back together; a database goes on without its gateway's files.
    """
    found, wanted = registry.trail_head()[0], await store.registry_told()
    if found < wanted:
        raise RegistryError(
            f"found a registry of {found} actions, wanted at least {wanted}, as the store's audit trail "
            "tells: it is an older copy, and would refuse what boards send that were enrolled since"
        )


async def _finish(work: list[asyncio.Task[None]]) -> None:
    """Let every part finish what it has in hand, and cancel what takes too long."""
    _, late = await asyncio.wait(work, timeout=FINISH_S)
    for task in late:
        _log.warning("not finished in time", part=task.get_name())
        task.cancel()
    await asyncio.gather(*work, return_exceptions=True)


def _mark(store: Store, place: Place) -> bool:
    """Note for the next start that a store was found damaged; False when it was not, or was tried in vain."""
    return isinstance(place, Path) and store.damage.is_set() and salvage.mark(place)


async def _open_store(place: Place, sinks: list[str]) -> Store:
    """Open the store. Raises StoreDamaged where it is to be started anew to put it whole, else StoreError."""
    try:
        return await Store.open(place, sinks, apart=True)
    except StoreDamaged as reason:
        if isinstance(place, Path) and salvage.mark(place):
            raise
        raise StoreError(str(reason)) from reason


def _tell_broken(catalogue: Catalogue) -> None:
    for error in catalogue.broken:
        for complaint in error.complaints:
            _log.error(
                "deployment stopped: its record is unusable", file=str(error.file), reason=str(complaint)
            )


def _name(clock: Clock) -> str:
    return "bench" if isinstance(clock, ScaledClock) else "system"


def _still_alive() -> None:
    supervisor.tell("WATCHDOG=1")


def _web_tls(settings: Settings, trust: Trust | None) -> dict[str, str]:
    """Return what the pages are served over TLS with; nothing on the loopback interface."""
    web = settings.web
    if web.certificate is not None and web.key is not None:
        return {"ssl_certfile": str(web.certificate), "ssl_keyfile": str(web.key)}
    if is_loopback(web.host):
        return {}
    if trust is None:
        raise SettingsError(
            f"{settings.file}: web.host: found {web.host!r} and no certificate, wanted web.certificate and "
            "web.key: off this machine pages are served over TLS only"
        )
    return {"ssl_certfile": str(trust.certificate), "ssl_keyfile": str(trust.key)}
