"""Kill gateway, broker and publisher in turn, at random moments under load, and count what became of it all.

A fresh gateway with its own broker, a real SensorThings platform, and boards in software (`boards`) that are
there before the gateway's first start: what the broker acknowledges while stream and consumer are being made
for the first time is owed like everything else. The kills, all SIGKILL:

    gateway     so long after its birth, or after it was ready, as chance says: also while it is starting
    broker      the nats-server below it, which the gateway brings back
    writer      the process that writes the gateway's batches, which the gateway starts anew
    publisher   the gateway again, at the moment that figures are marked as being sent to the platform
    page        the gateway again, and while it is away a page of its store is overwritten with rubbish

At the end the boards bring what is left, the gateway what it owes, and everything is compared: what boards
were acknowledged with the store's rows, the ledger with the reports, the platform with the store, and the
audit trail with all of it. The seed makes the moments the same again; what the machine does in them is not.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from peilmerk_bench.chaos.boards import WINDOW_S, Gate, SoftBoard, waiting
from peilmerk_bench.chaos.plan import Plan
from peilmerk_bench.gateway_processes import peak_mib, writer
from peilmerk_bench.platform import SensorThingsServer
from peilmerk_bench.street.plan import StreetError
from peilmerk_bench.street.service import GatewayProcess
from peilmerk_gateway import settings as gateway_settings
from peilmerk_gateway.child import command_line
from peilmerk_gateway.deployments.template import NewDevice, new_record
from peilmerk_gateway.free_port import free_port
from peilmerk_gateway.registry import Registry
from peilmerk_gateway.store import STORE_FILE, Store, trail
from peilmerk_gateway.store_place import Place
from peilmerk_gateway.trust import Trust, ensure_trust
from peilmerk_protocol import profile

KINDS: tuple[str, ...] = ("gateway", "broker", "writer", "publisher", "page")
FIRMWARE = bytes(range(32))
# Boards bring windows of the past: so long back is the first one.
DAYS_BACK = 85
# Seconds: how long a gateway, and a broker, lives at most; how long to wait for a figure under way.
GATEWAY_LIVES_S = 5.0
BROKER_LIVES_S = 2.0
PUBLISHING_WITHIN_S = 25.0
SETTLED_WITHIN_S = 600.0


class ChaosError(StreetError):
    """The campaign could not be run to its end; the text says where it stands."""


@dataclass
class Figures:
    """What a campaign counted; see `limits` for what must be nought."""

    kills: Counter[str] = field(default_factory=Counter)
    while_starting: int = 0
    in_first_start: int = 0
    acknowledged: int = 0
    resent: int = 0
    stored: int = 0
    lost: int = 0
    ledger_lines: int = 0
    ledger_wrong: int = 0
    observations: int = 0
    on_platform: int = 0
    doubled_on_platform: int = 0
    missing_on_platform: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    redelivered: int = 0
    trail_faults: int = 0
    died_unasked: int = 0
    mended: int = 0
    """How often the store was put whole from its mirror; not every page is in use."""
    gateway_back_s: list[float] = field(default_factory=list)
    broker_back_s: list[float] = field(default_factory=list)
    writer_back_s: list[float] = field(default_factory=list)
    gateway_peak_mib: float = 0.0
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Nothing lost, doubled, paid twice or left behind, and nothing refused but what came twice."""
        nought = (self.lost, self.ledger_wrong, self.doubled_on_platform, self.missing_on_platform)
        return not (any(nought) or self.trail_faults or self.died_unasked or set(self.refused) - {"replayed"})

    def report(self) -> dict[str, Any]:
        """Return the figures as `--json` prints them."""
        figures = {name: getattr(self, name) for name in self.__dataclass_fields__}
        for name in ("gateway_back_s", "broker_back_s", "writer_back_s"):
            found = sorted(figures.pop(name))
            figures[f"{name}_median"] = round(found[len(found) // 2], 2) if found else None
            figures[f"{name}_most"] = round(found[-1], 2) if found else None
        figures["kills"] = dict(self.kills)
        limits = dict.fromkeys(
            ("lost", "ledger_wrong", "doubled_on_platform", "missing_on_platform", "trail_faults"), 0
        )
        return {"name": "chaos", "ok": self.ok, "figures": figures, "limits": limits}


class Chaos:
    """One campaign, as planned."""

    name = "chaos"
    kinds: tuple[str, ...] = KINDS

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._folder = plan.folder
        self._random = random.Random(plan.seed)
        self._say = plan.say
        self._gateway = GatewayProcess(plan.folder)
        self._starting: asyncio.Task[None] | None = None
        self._was_ready = False
        self._platform = SensorThingsServer(plan.folder / "platform")
        self._boards: list[SoftBoard] = []
        self.figures = Figures()

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @property
    def _place(self) -> Place:
        return self._data / STORE_FILE

    async def run(self) -> dict[str, Any]:
        """Kill, settle and count. Raises PeilmerkError when there is nothing to kill, or nothing settles."""
        began = time.monotonic()
        await self._platform.start()
        try:
            await self._set_up()
            for board in self._boards:
                board.start()
            kinds = self._plan.kinds or self.kinds
            for number in range(self._plan.kills):
                kind = kinds[number % len(kinds)]
                await self._kill(kind)
                self.figures.kills[kind] += 1
                stored = await self._count("SELECT count(*) FROM report")
                self._say(f"{number + 1}/{self._plan.kills} {kind} killed, {stored} reports stored")
                if kind == "page":
                    await asyncio.to_thread(self._spoil)
            await self._settle()
            await self._stop_gateway()
            await self._compare()
        finally:
            for board in self._boards:
                board.quieten()
            for board in self._boards:
                await asyncio.to_thread(board.stop)
            await self._stop_gateway()
            await self._platform.stop()
        self.figures.seconds = round(time.monotonic() - began, 1)
        return self.figures.report() | {"name": self.name}

    async def _set_up(self) -> None:
        sink = gateway_settings.SinkSettings(name="platform", kind="sensorthings", url=self._platform.url)
        file = gateway_settings.write_default(
            self._folder, host="127.0.0.1", mqtt_port=free_port(), web_port=0, update_port=0, sinks=[sink]
        )
        settings = gateway_settings.load(file)
        trust = ensure_trust(settings)
        gate = await self._gate(settings, trust)
        first = int(time.time()) // WINDOW_S - DAYS_BACK * 86_400 // WINDOW_S
        with Registry(settings.gateway.registry) as registry:
            devices = [registry.enrol("counter", f"soft-{number}") for number in range(self._plan.boards)]
        today = datetime.now(UTC).date()
        text = new_record(
            id="chaos",
            description="A street of the bench",
            longitude=5.1214,
            latitude=52.0907,
            devices=[
                NewDevice(f"soft-{number}", device.device_id, FIRMWARE, "bicycle counter", "in software")
                for number, device in enumerate(devices)
            ],
            profile=profile.STANDARD_COUNTER,
            notified_at=date(2023, 1, 1),
            active_from=today - timedelta(days=DAYS_BACK + 300),
            active_until=today + timedelta(days=3_000),
            organisation="Peilmerk bench",
            contact="bench@peilmerk.invalid",
        )
        (settings.deployments.directory / "chaos.toml").write_text(text, "utf-8")
        self._boards = [
            SoftBoard(device, gate, FIRMWARE, first, self._plan.rate, f"{self._plan.seed} {number}")
            for number, device in enumerate(devices)
        ]

    async def _gate(self, settings: gateway_settings.Settings, trust: Trust) -> Gate:
        """Make what the boards are to meet; return where."""
        return Gate(settings.broker.mqtt_port, trust.authority)

    # -- killing --------------------------------------------------------------------------------------------

    async def _kill(self, kind: str) -> None:
        if kind == "gateway":
            # From its birth or from when it was ready, by turns of chance.
            if self._random.random() < 0.5:
                await self._up()
            self._launch()
            await asyncio.sleep(self._random.uniform(0.0, GATEWAY_LIVES_S))
            await self._kill_gateway()
            return
        await self._up()
        if kind == "page":
            await asyncio.sleep(self._random.uniform(0.0, GATEWAY_LIVES_S))
            await self._kill_gateway()
            return
        if kind == "broker":
            await asyncio.sleep(self._random.uniform(0.0, BROKER_LIVES_S))
            await self._kill_broker()
        elif kind == "writer":
            await asyncio.sleep(self._random.uniform(0.0, BROKER_LIVES_S))
            await self._kill_writer()
        else:
            await self._until_publishing()
            await self._kill_gateway()

    def _launch(self) -> None:
        """Begin to start the gateway, if it does not run."""
        if self._starting is None:
            self._starting = asyncio.create_task(self._timed_start())

    async def _timed_start(self) -> None:
        began = time.monotonic()
        await self._gateway.start()
        self.figures.gateway_back_s.append(time.monotonic() - began)
        self._was_ready = True

    async def _up(self) -> None:
        """Return when the gateway is ready; one that ended by itself is counted and started again."""
        while True:
            self._launch()
            assert self._starting is not None
            try:
                await self._starting
            except StreetError as reason:
                self.figures.died_unasked += 1
                self._say(f"the gateway did not start: {reason}")
                if self.figures.died_unasked > 3:
                    raise
                self._starting = None
                continue
            if self._gateway.pid is not None:
                return
            self.figures.died_unasked += 1
            self._starting = None

    async def _kill_gateway(self) -> None:
        # A process that is being born cannot be killed yet.
        while self._starting and not self._starting.done() and self._gateway.pid is None:  # noqa: ASYNC110
            await asyncio.sleep(0.002)
        self._look_at_memory()
        starting, self._starting = self._starting, None
        if starting is not None and not starting.done():
            self.figures.while_starting += 1
            self.figures.in_first_start += not self._was_ready
        elif self._gateway.pid is None:
            self.figures.died_unasked += 1
        await self._gateway.kill()
        if starting is not None:
            with suppress(StreetError):
                await starting

    def _spoil(self) -> None:
        """Overwrite a page of the store, any but the first."""
        with (self._data / STORE_FILE).open("r+b") as file:
            header = file.read(18)
            size = int.from_bytes(header[16:18], "big")
            pages = file.seek(0, os.SEEK_END) // size
            file.seek(self._random.randrange(1, pages) * size)
            file.write(self._random.randbytes(size))

    async def _kill_broker(self) -> None:
        before = self._broker_pid()
        deadline = time.monotonic() + 30
        while before is None:  # it may be coming up after something else
            if time.monotonic() > deadline:
                raise ChaosError("found no broker to kill within 30 s")
            await asyncio.sleep(0.05)
            before = self._broker_pid()
        began = time.monotonic()
        with suppress(ProcessLookupError):
            os.kill(before, signal.SIGKILL)
        connected = sum(board.connections for board in self._boards)
        while sum(board.connections for board in self._boards) == connected:
            if time.monotonic() > began + 60:
                raise ChaosError("no board was let in again within 60 s of the broker's death")
            await asyncio.sleep(0.02)
        self.figures.broker_back_s.append(time.monotonic() - began)

    async def _kill_writer(self) -> None:
        before = await self._writer_other_than(None)
        stored = await self._count("SELECT count(*) FROM report")
        began = time.monotonic()
        with suppress(ProcessLookupError):
            os.kill(before, signal.SIGKILL)
        await self._writer_other_than(before)
        while await self._count("SELECT count(*) FROM report") == stored:
            if time.monotonic() > began + 60:
                raise ChaosError("nothing was stored within 60 s of the writer's death")
            await asyncio.sleep(0.02)
        self.figures.writer_back_s.append(time.monotonic() - began)

    async def _writer_other_than(self, before: int | None) -> int:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            pid = None if self._gateway.pid is None else writer(self._gateway.pid)
            if pid is not None and pid != before:
                return pid
            await asyncio.sleep(0.02)
        raise ChaosError("found no process that writes within 60 s")

    def _broker_pid(self) -> int | None:
        try:
            pid = int((self._data / "broker" / "child.pid").read_text())
        except (OSError, ValueError):
            return None
        return pid if "nats-server" in command_line(pid) else None

    async def _until_publishing(self) -> None:
        """Return at a moment when figures are on their way to the platform that were not before."""
        asked = "SELECT observation_id FROM publish_outbox WHERE state = 'sending'"
        before = {number for (number,) in await self._ask(asked)}
        deadline = time.monotonic() + PUBLISHING_WITHIN_S
        while time.monotonic() < deadline and self._gateway.pid is not None:
            if {number for (number,) in await self._ask(asked)} - before:
                await asyncio.sleep(self._random.uniform(0.0, 0.05))
                return
            await asyncio.sleep(0.01)

    def _look_at_memory(self) -> None:
        """Note the most memory that the gateway's processes ever had."""
        if self._gateway.pid is not None:
            with suppress(OSError):
                found = round(peak_mib(self._gateway.pid), 1)
                self.figures.gateway_peak_mib = max(self.figures.gateway_peak_mib, found)

    # -- settling and counting ------------------------------------------------------------------------------

    async def _settle(self) -> None:
        """Let boards bring what they have, and the gateway store and publish it all."""
        self._say("settling")
        for board in self._boards:
            board.quieten()
        await self._up()
        deadline = time.monotonic() + SETTLED_WITHIN_S
        last = -1
        while time.monotonic() < deadline:
            if self._gateway.pid is None:
                self.figures.died_unasked += 1
                self._starting = None
                await self._up()
            on_boards = waiting(self._boards)
            open_rows = await self._count(
                "SELECT count(*) FROM publish_outbox WHERE state IN ('waiting', 'sending')"
            )
            stored = await self._count("SELECT n FROM tally WHERE name = 'received'")
            missing = len(self._owed() - await self._kept())
            if not (on_boards or open_rows or missing) and stored == last:
                self._look_at_memory()
                return
            last = stored
            self._say(f"settling: {on_boards} on boards, {missing} to store, {open_rows} to publish")
            await asyncio.sleep(0.5)
        self._say("not settled in time: what is missing counts as lost")

    def _owed(self) -> set[tuple[str, int]]:
        return {(board.device_id, seq) for board in self._boards for seq in board.owed.copy()}

    async def _kept(self) -> set[tuple[str, int]]:
        rows = await self._ask(
            "SELECT device_id, seq FROM report UNION SELECT device_id, seq FROM attestation"
        )
        return {(device_id, seq) for device_id, seq in rows}

    async def _compare(self) -> None:
        found = self.figures
        owed, kept = self._owed(), await self._kept()
        found.acknowledged = len(owed)
        found.resent = sum(board.resent for board in self._boards)
        found.stored = len(kept)
        found.lost = len(owed - kept)
        await self._compare_ledger()
        found.observations = await self._count("SELECT count(*) FROM observation")
        totals = dict(await self._ask("SELECT name, n FROM tally"))
        found.redelivered = int(totals.get("redelivered", 0))
        found.refused = {
            name.removeprefix("refused:"): int(n) for name, n in totals.items() if name.startswith("refused:")
        }
        await self._compare_platform()
        async with await Store.look(self._place) as store:
            verdict = await store.check_trail()
        found.trail_faults = len(verdict.faults)
        found.mended = verdict.by_kind.get(trail.MENDED, 0)
        for entry, fault in verdict.faults[:5]:
            self._say(f"audit trail, entry {entry}: {fault}")

    async def _compare_ledger(self) -> None:
        """Every report of two counts has two lines of 700,000 millionths, and there are no others."""
        lines = await self._ask(
            "SELECT device_id, window_start, count(*), sum(epsilon_micro) FROM ledger"
            " GROUP BY device_id, window_start"
        )
        reports = {
            (device_id, start)
            for device_id, start in await self._ask("SELECT device_id, window_start FROM report")
        }
        self.figures.ledger_lines = sum(n for _, _, n, _ in lines)
        paid = {(device_id, start) for device_id, start, _, _ in lines}
        wrong = sum((n, micro) != (2, 1_400_000) for _, _, n, micro in lines)
        self.figures.ledger_wrong = wrong + len(paid ^ reports)

    async def _compare_platform(self) -> None:
        """Hold what the platform counts of each datastream against what the store has of it.

        Every figure in the store has an id of its own over there, so what a datastream has more than these is
        there twice.
        """
        found = self.figures
        wanted = dict(
            await self._ask(
                "SELECT datastream, count(DISTINCT remote_id) FROM observation"
                " JOIN publish_outbox ON observation_id = id WHERE state = 'done' GROUP BY datastream"
            )
        )
        streams = await self._ask("SELECT key, remote_id FROM sink_entity WHERE kind = 'Datastreams'")
        async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
            for key, remote in streams:
                link = f"{self._platform.url}/Datastreams({remote})/Observations?$count=true&$top=1"
                answer = (await client.get(link)).raise_for_status().json()
                there = int(answer["@iot.count"])
                found.on_platform += there
                found.doubled_on_platform += max(0, there - wanted.get(key.partition("@")[0], 0))
            answer = await client.get(f"{self._platform.url}/Datastreams?$count=true&$top=1")
            # A datastream that is there twice would hide what is in it.
            found.doubled_on_platform += int(answer.raise_for_status().json()["@iot.count"]) - len(streams)
        found.missing_on_platform = found.observations - min(found.on_platform, sum(wanted.values()))

    async def _count(self, query: str) -> int:
        rows = await self._ask(query)
        return int(rows[0][0]) if rows else 0

    async def _ask(self, query: str) -> list[Any]:
        """Ask the store past all of the gateway's code; nothing before there is one."""

        def ask() -> list[Any]:
            try:
                with closing(sqlite3.connect(f"file:{self._data / STORE_FILE}?mode=ro", uri=True)) as db:
                    return db.execute(query).fetchall()
            except sqlite3.OperationalError:
                return []

        return await asyncio.to_thread(ask)

    async def _stop_gateway(self) -> None:
        starting, self._starting = self._starting, None
        if starting is not None and not starting.done():
            await self._gateway.kill()
        if starting is not None:
            with suppress(StreetError):
                await starting
        await self._gateway.stop()
