"""How many reports a second several processes take from a full stream, and what a report takes on disk.

Boards send what an outage left them, while no gateway runs, to the gateway's own broker or to three NATS
servers with everything on two disks of three; then it is drained. Counted is the time from the first report
in the store to the last. All in one run on one machine, whose processors brokers, database and processes
share: the ratios tell more than the figures.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from peilmerk_bench.measure.gateway import load, town
from peilmerk_bench.postgresql import PostgresServer
from peilmerk_bench.scale.servers import NatsServers
from peilmerk_bench.street.service import GatewayProcess
from peilmerk_gateway.broker import NatsBroker
from peilmerk_gateway.child import command_line
from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.registry import Registry
from peilmerk_gateway.store import Store
from peilmerk_gateway.store_place import Place
from peilmerk_protocol import profile

PATIENCE_S = 300.0
BOARDS = 200


class Drain:
    """One stream that is drained by so many processes; nought for one process on an SQLite file."""

    def __init__(self, folder: Path, workers: int, server: PostgresServer, *, cluster: bool = False) -> None:
        self._folder = folder
        self._workers = workers
        self._server = server
        self._name = f"drained_{workers}{'_of_three' if cluster else ''}"
        self._servers = NatsServers(folder) if cluster else None

    async def run(self, reports: int) -> dict[str, Any]:
        """Fill, drain and count. Raises PeilmerkError."""
        place = await asyncio.to_thread(town.found, self._folder, BOARDS)
        where: Place = place.settings.store_place
        if self._workers:
            where = self._server.database(self._name)
            secret = self._folder / "store.password"
            secret.touch(0o600)
            secret.write_text(self._server.password_file.read_text())
            text = place.settings.file.read_text().replace(
                "[gateway]", f"[gateway]\nworkers = {self._workers}", 1
            )
            store = f'[store]\nurl = "{where}"\npassword_file = "store.password"\n'
            place.settings.file.write_text(f"{text}\n{store}")
        if self._servers is not None:
            self._servers.serve(place.settings.file)
        try:
            return await self._drained(place, where, reports)
        finally:
            if self._servers is not None:
                await asyncio.to_thread(self._servers.stop)

    async def _filled(self, place: town.Town, reports: int) -> None:
        """Have the boards send, while no gateway runs."""
        if self._servers is not None:
            await self._servers.start()
            context = load.trusting(place.settings.trust_dir / "authority.pem")
            port = self._servers.mqtt_ports[0]
            await load.admitted(place.boards[-1], port, context)
            await load.fill(place.boards, reports, port, context)
            return
        with Registry(place.settings.gateway.registry) as registry:
            broker = NatsBroker(place.settings, registry)
            await broker.start()
            try:
                context = load.trusting(broker.trust.authority)
                await load.fill(place.boards, reports, broker.mqtt_port, context)
            finally:
                await broker.stop()

    async def _drained(self, place: town.Town, where: Place, reports: int) -> dict[str, Any]:
        await self._filled(place, reports)
        async with await Store.open(where, [town.SINK]) as opened:
            empty = await opened.size()
        gateway = GatewayProcess(self._folder)
        await gateway.start()
        try:
            seconds, counted, spent = await self._watch(reports, gateway.pid)
        finally:
            await gateway.stop()
        async with await Store.open(where, [town.SINK]) as opened:
            verdict = await opened.check_trail()
            size = await self._size(opened)
        tally = dict(await asyncio.to_thread(self._ask))
        return {
            "reports_a_second": round(counted / seconds) if seconds else 0,
            "processor_s_a_million": {
                part: round(taken / max(1, counted) * 1e6) for part, taken in spent.items()
            },
            "bytes_a_report": round((size - empty) / reports),
            "judged_anew": gateway.log.read_text().count("batch judged anew"),
            "adds_up": (
                verdict.ok
                and tally["reports"] == reports
                and tally["statements"] == BOARDS
                and not any(n for name, n in tally.items() if name.startswith("refused:"))
                and await asyncio.to_thread(self._ledger) == 2 * reports
            ),
        }

    async def _watch(self, reports: int, pid: int | None) -> tuple[float, int, dict[str, float]]:
        """Return seconds, reports and processor seconds by part, from the first report that is seen on."""
        began: tuple[float, int, dict[str, float]] | None = None
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            stored = dict(await asyncio.to_thread(self._ask)).get("reports", 0)
            if stored and began is None:
                began = time.monotonic(), stored, self._spent(pid)
            if began is not None and stored >= reports:
                spent = self._spent(pid)
                since = {part: spent[part] - began[2][part] for part in spent}
                return time.monotonic() - began[0], stored - began[1], since
            await asyncio.sleep(0.02)
        raise PeilmerkError(f"found {stored} of {reports} reports stored after {PATIENCE_S:.0f} s")

    async def _size(self, store: Store) -> int:
        """Return what it takes once every row is where it stays."""
        if not self._workers:
            with closing(sqlite3.connect(self._folder / "data" / "store.db")) as db:
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return await store.size()

    def _spent(self, pid: int | None) -> dict[str, float]:
        """Return the processor seconds that gateway, broker and database have taken until now."""
        found = {"gateway": 0.0, "broker": 0.0, "database": 0.0}
        for one in _family(pid):
            found["broker" if "nats-server" in command_line(one) else "gateway"] += _taken(one)
        found["broker"] += sum(map(_taken, self._servers.pids if self._servers else ()))
        if self._workers:
            found["database"] = sum(map(_taken, _family(self._server.pid)))
        return found

    def _ask(self) -> list[Any]:
        return self._query("SELECT name, n FROM tally")

    def _ledger(self) -> int:
        return int(self._query("SELECT count(*) FROM ledger")[0][0])

    def _query(self, ask: str) -> list[Any]:
        if self._workers:
            return self._server.execute(ask, self._name)
        file = self._folder / "data" / "store.db"
        try:
            with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=5)) as db:
                return db.execute(ask).fetchall()
        except sqlite3.OperationalError:
            return []


def _family(pid: int | None) -> list[int]:
    """Return a process and all below it."""
    found = [] if pid is None else [pid]
    for one in found:
        with suppress(OSError):
            for thread in Path(f"/proc/{one}/task").iterdir():
                found += [int(child) for child in (thread / "children").read_text().split()]
    return found


def _taken(pid: int) -> float:
    """Return the processor seconds of a process, those of children that ended among them."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


async def measure(
    folder: Path, workers: Sequence[int], reports: int, told: Callable[[str], None]
) -> dict[str, Any]:
    """Return {"processes": {n: figures}, "of_three": {n: figures}, "sqlite": figures, "sensor_year_mb":
    {store: megabytes}}: `processes` beside one broker, and the first and last n of them at three servers.
    """
    server = PostgresServer()
    await asyncio.to_thread(server.start)
    found: dict[str, Any] = {"reports": reports, "processes": {}, "of_three": {}}
    try:
        for n in (0, *workers):
            told(f"throughput: {n or 'one on an SQLite file'}")
            drained = await Drain(folder / str(n), n, server).run(reports)
            told(f"throughput: {drained['reports_a_second']:,} reports a second")
            if n:
                found["processes"][str(n)] = drained
            else:
                found["sqlite"] = drained
        for n in dict.fromkeys((workers[0], workers[-1])):
            told(f"throughput: {n} at three NATS servers")
            drained = await Drain(folder / f"{n}-of-three", n, server, cluster=True).run(reports)
            told(f"throughput: {drained['reports_a_second']:,} reports a second")
            found["of_three"][str(n)] = drained
    finally:
        await asyncio.to_thread(server.close)
    first = found["processes"][str(workers[0])]["reports_a_second"]
    for drained in (*found["processes"].values(), *found["of_three"].values()):
        drained["times_the_first"] = round(drained["reports_a_second"] / first, 2) if first else 0.0
    found["sensor_year_mb"] = sensor_year(found, workers)
    return found


def sensor_year(found: Mapping[str, Any], workers: Sequence[int]) -> dict[str, float]:
    """Return what a counter's year takes, megabytes (10^6 bytes): a report a window, and a total a day."""
    messages = 365 * (profile.DAY_S // profile.STANDARD_COUNTER.window_s + 1)
    return {
        store: round(figures["bytes_a_report"] * messages / 1e6, 1)
        for store, figures in (
            ("sqlite", found["sqlite"]),
            ("postgresql", found["processes"][str(workers[0])]),
        )
    }
