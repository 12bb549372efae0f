"""Start and stop a street: platform, gateway, time server and boards, in one folder.

The first start gives every board its identity and firmware through mpremote, as a technician does, and
writes the deployment records with the digest of that firmware. Later starts only switch everything on
again.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from peilmerk_bench.board import BoardSpec, VirtualBoard
from peilmerk_bench.board.spec import air_sensors, counter_sensors
from peilmerk_bench.platform import SensorThingsServer
from peilmerk_bench.street.plan import NOTED_EVERY_S, House, Plan
from peilmerk_bench.street.records import write_records
from peilmerk_bench.street.service import GatewayProcess
from peilmerk_bench.street.tally import Tally, tally
from peilmerk_bench.world.air import Climate, Particles
from peilmerk_bench.world.clock import WorldClock
from peilmerk_bench.world.passages import PassageReplay
from peilmerk_bench.world.sntp import SntpServer
from peilmerk_gateway import settings as gateway_settings
from peilmerk_gateway.registry import Registry
from peilmerk_provisioning import bundle as bundles
from peilmerk_provisioning.board import Board
from peilmerk_provisioning.deploy import deploy
from peilmerk_provisioning.enrol import enrol
from peilmerk_provisioning.link import gateway_link, trust_of

SPEED = 60.0
# TLS and the network of this machine are no faster in a fast world: a board waits as long for them as it
# would at ordinary speed.
LINK_TIMEOUT_S = 15
SINK = "platform"
WINDOW_S = 900
# Reports are sealed and sent within the first minute of the next window (world time).
QUIET_FROM_S, QUIET_UNTIL_S = 150, 840
# What the firmware says on its console when a window has ended.
CLOSED = re.compile(r"window (\d+) closed")

Say = Callable[[str], None]


class Street:
    """The street of a plan. `entropy_seed` gives the boards a seeded source of noise, for tests that
    reproduce it. `broker_name`: a name that boards know their gateway by, instead of its address.
    """

    def __init__(
        self,
        plan: Plan,
        speed: float = SPEED,
        entropy_seed: bytes | None = None,
        say: Say = lambda _: None,
        broker_name: str | None = None,
    ) -> None:
        self.plan = plan
        self.speed = speed
        self._seed = entropy_seed
        self._say = say
        self._broker_name = broker_name
        self.clock = WorldClock(plan.resume_at(speed), time.time(), speed)
        self.platform: SensorThingsServer | None = None
        self.gateway = GatewayProcess(self.gateway_folder)
        self.boards: dict[str, VirtualBoard] = {}
        self.closed: set[tuple[str, int]] = set()
        """(board, window index) of every window that a board closed in this run."""
        self.before = Tally()
        """What the street held when this run began."""
        self._powered: list[VirtualBoard] = []
        self._sntp: SntpServer | None = None
        self._noting: asyncio.Task[None] | None = None
        # Sockets have short paths only, so what must have a path of its own lies in a short folder.
        self._run_dir: Path | None = None

    @property
    def gateway_folder(self) -> Path:
        """Where gateway.toml and the gateway's data are."""
        return self.plan.folder / "gateway"

    @property
    def store_file(self) -> Path:
        """The gateway's store."""
        return self.gateway_folder / "data" / "store.db"

    async def count(self) -> Tally:
        """Count what went where, with boards off and the platform running; nothing before the first run."""
        if self.platform is None or not self.store_file.exists():
            return Tally()
        flashes = {house.device_id: self.flash(house) for house in self.plan.boards if house.device_id}
        return await tally(flashes, self.store_file, self.platform.url)

    @property
    def time_server(self) -> SntpServer:
        """The street's time server, while it runs."""
        assert self._sntp is not None
        return self._sntp

    @property
    def settings(self) -> gateway_settings.Settings:
        """The gateway's settings, read anew. Raises SettingsError."""
        return gateway_settings.load(self.gateway_folder)

    def flash(self, house: House) -> Path:
        """The flash image of a board."""
        return self.plan.folder / "boards" / f"{house.name}.flash"

    async def start(self) -> None:
        """Start everything; on return every board runs its firmware. Raises PeilmerkError; then nothing is
        left running.
        """
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        plan = self.plan
        (plan.folder / "boards").mkdir(parents=True, exist_ok=True)
        self.gateway_folder.mkdir(exist_ok=True, mode=0o700)
        plan.take_ports()
        self._run_dir = Path(tempfile.mkdtemp(prefix="peilmerk-"))
        self._say("starting the SensorThings platform")
        self.platform = SensorThingsServer(plan.folder / "platform", plan.ports["platform"])
        await self.platform.start()
        self.before = await self.count()
        # The world begins to run when its inhabitants are about to wake up.
        self.clock = WorldClock(plan.resume_at(self.speed), time.time(), self.speed)
        plan.save(self.clock.now(), stopped_well=False)
        self._noting = asyncio.create_task(self._note_time())
        self._write_settings()
        self._sntp = SntpServer(self.clock)
        await self._sntp.start(port=plan.ports["time"])
        self._say("starting the gateway and its broker")
        await self.gateway.start()
        await self._start_boards()

    async def _start_boards(self) -> None:
        plan = self.plan
        assert self._run_dir is not None
        strangers = [house for house in plan.boards if not house.device_id]
        kinds = sorted({house.kind for house in plan.boards})
        # As `device deploy` puts it on boards that are not on batteries: records name that digest.
        built = {kind: (await asyncio.to_thread(bundles.build, kind=kind)).on_mains() for kind in kinds}
        digests = {kind: built[kind].digest for kind in kinds}
        for house in plan.boards:
            board = VirtualBoard(self._spec(house), self.clock, self._run_dir / house.name)
            self.boards[house.name] = board
            self._powered.append(board)
            if self._broker_name is not None:
                board.network.dns(self._broker_name, "127.0.0.1")
            await board.start()
        self._say(f"{len(plan.boards)} boards switched on")
        # Two at a time: mpremote talks over a pseudo-terminal as over a cable, and this machine may be small.
        turns = asyncio.Semaphore(2)

        async def give_identity(house: House) -> None:
            async with turns:
                self._say(f"mpremote: identity for {house.name}")
                house.device_id = await asyncio.to_thread(self._enrol, house)

        async def give_firmware(house: House) -> None:
            async with turns:
                self._say(f"mpremote: firmware for {house.name}")
                await asyncio.to_thread(self._deploy, house, built[house.kind])

        async with asyncio.TaskGroup() as group:
            for house in strangers:
                group.create_task(give_identity(house))
        if strangers:
            # Before any of them runs: a board reports the window before last as soon as it knows the time.
            write_records(self.settings.deployments.directory, plan.boards, digests)
        async with asyncio.TaskGroup() as group:
            for house in strangers:
                group.create_task(give_firmware(house))
        # The records follow the firmware in the source tree, so that a street from before goes on after a
        # change.
        if plan.firmware != (firmware := " ".join(digests.values())):
            for house in plan.boards:
                if house not in strangers:
                    await asyncio.to_thread(self._deploy, house, built[house.kind])
            plan.firmware = firmware
        write_records(self.settings.deployments.directory, plan.boards, digests)
        plan.save(self.clock.now(), stopped_well=False)

    def _spec(self, house: House) -> BoardSpec:
        shift = int(house.shift_s)
        sensors = (
            counter_sensors(PassageReplay(shift_s=shift))
            if house.kind == "counter"
            else air_sensors(Particles(shift_s=shift), Climate(shift_s=shift))
        )
        return BoardSpec(
            name=house.name,
            kind=house.kind,
            flash=self.flash(house),
            sensors=sensors,
            entropy_seed=self._seed,
        )

    def _enrol(self, house: House) -> str:
        board = Board(self.boards[house.name].port)
        settings = self.settings
        link = gateway_link(settings, ntp=[f"127.0.0.1:{self.plan.ports['time']}"])
        if self._broker_name is not None:
            # The name on the certificate stays what it was.
            link |= {"host": self._broker_name, "server_name": "localhost"}
        link["timeout_s"] = round(LINK_TIMEOUT_S * self.speed)
        # Virtual networks let anybody in; without one a board would wait at its own access point.
        link["wifi"] = [["street", ""]]
        with Registry(settings.gateway.registry) as registry:
            known = enrol(
                board, registry, link, trust_of(settings), label=house.name, kind=house.kind, replace=True
            )
        return known.device_id

    def _deploy(self, house: House, bundle: bundles.Bundle) -> None:
        deploy(Board(self.boards[house.name].port), house.kind, bundle)

    def _write_settings(self) -> None:
        """Write gateway.toml with this run's clock; ports and data are those of the run before."""
        (self.gateway_folder / gateway_settings.FILE_NAME).unlink(missing_ok=True)
        assert self.platform is not None
        gateway_settings.write_default(
            self.gateway_folder,
            host="127.0.0.1",
            mqtt_port=self.plan.ports["mqtt"],
            server_names=("localhost", "127.0.0.1"),
            web_port=self.plan.ports["page"],
            update_port=self.plan.ports["update"],
            sinks=[gateway_settings.SinkSettings(name=SINK, kind="sensorthings", url=self.platform.url)],
            clock=gateway_settings.ClockSettings(
                world_start=self.clock.world_start,
                wall_start=self.clock.wall_start,
                speed=self.clock.speed,
            ),
        )

    async def _note_time(self) -> None:
        while True:
            await asyncio.sleep(NOTED_EVERY_S)
            self.plan.save(self.clock.now(), stopped_well=False)
            self._note_windows()

    def _note_windows(self) -> None:
        """Keep which windows the boards said they closed; a console forgets, but not within a second."""
        for name, board in self.boards.items():
            self.closed.update((name, int(window)) for window in CLOSED.findall(board.console_tail))

    async def quiet_moment(self) -> None:
        """Return when no board can be about to close a window or to send its report."""
        into = self.clock.now() % WINDOW_S
        if not QUIET_FROM_S <= into <= QUIET_UNTIL_S:
            await asyncio.sleep((QUIET_FROM_S - into) % WINDOW_S / self.speed)

    async def power_off_boards(self) -> None:
        """Pull every board's plug. What is sealed is on flash; the window at hand is lost, as in a street."""
        self._note_windows()
        boards, self._powered = self._powered, []
        await asyncio.gather(*(board.stop() for board in boards))

    async def stop(self) -> None:
        """Stop everything, boards first, and note where world time is."""
        if self._noting is not None:
            self._noting.cancel()
            await asyncio.gather(self._noting, return_exceptions=True)
            self._noting = None
        await self.power_off_boards()
        if self._run_dir is not None:
            self.plan.save(self.clock.now(), stopped_well=True)
        await self.gateway.stop()
        if self._sntp is not None:
            await self._sntp.stop()
        if self.platform is not None:
            await self.platform.stop()
        if self._run_dir is not None:
            await asyncio.to_thread(shutil.rmtree, self._run_dir, ignore_errors=True)
            self._run_dir = None
