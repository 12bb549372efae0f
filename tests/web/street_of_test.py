"""A real street for the pages to show: records from the gateway's own template, a real SQLite store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from peilmerk_gateway.clock import ScaledClock
from peilmerk_gateway.deployments.catalogue import Catalogue
from peilmerk_gateway.deployments.template import NewDevice, new_record
from peilmerk_gateway.refusal import Reason, Refusal
from peilmerk_gateway.settings import Settings, load
from peilmerk_gateway.store import (
    BatchRows,
    Entry,
    LedgerRow,
    ObservationRow,
    ReportRow,
    Store,
    WithheldRow,
)
from peilmerk_protocol import topics
from peilmerk_protocol.profile import AIR, DAY_S, STANDARD_COUNTER
from peilmerk_protocol.report import HEALTH_PAUSED

NORTH, SOUTH, FACADE = "abcdefghijklmn22", "abcdefghijklmn33", "abcdefghijklmn44"
DEVICES = (NORTH, SOUTH, FACADE)
# A point in Utrecht that must never show; its digits are looked for in what the pages say.
LONGITUDE, LATITUDE = 5.1213457, 52.0907891
# Monday 26 February 2024, 00:00 UTC, and 13:05 in the Netherlands on that day.
MIDNIGHT = 1_708_905_600
NOON = MIDNIGHT + 12 * 3600
NOW = NOON + 300
WINDOW = 900


def write_records(directory: Path) -> None:
    """Two records: two counters by the canal, an air node at a facade."""
    directory.mkdir(parents=True, exist_ok=True)
    common = {"longitude": LONGITUDE, "latitude": LATITUDE, "contact": "sensoren@utrecht.example"}
    dates = {
        "notified_at": date(2023, 12, 1),
        "active_from": date(2024, 1, 1),
        "active_until": date(2029, 1, 1),
    }
    counters = new_record(
        id="canal",
        description="Cycle path along the canal, at the bridge",
        devices=[
            NewDevice("canal-north", NORTH, b"f" * 32, "counter", "Pair of break-beams"),
            NewDevice("canal-south", SOUTH, b"f" * 32, "counter", "Pair of break-beams"),
        ],
        profile=STANDARD_COUNTER,
        organisation="Municipality of Utrecht",
        objection_url="https://utrecht.example/objection",
        **common,
        **dates,
    )
    air = new_record(
        id="station-street",
        description="Facade in the station street",
        devices=[NewDevice("facade", FACADE, b"f" * 32, "air node", "SDS011, SHT3x")],
        profile=AIR,
        organisation="Municipality of Utrecht",
        **common,
        **dates,
    )
    (directory / "canal.toml").write_text(counters, "utf-8")
    (directory / "station-street.toml").write_text(air, "utf-8")


def write_settings(folder: Path) -> Settings:
    """The gateway's settings: one platform, the pages on any free port."""
    file = folder / "gateway.toml"
    file.write_text(
        '[gateway]\ndata_dir = "data"\n[deployments]\ndirectory = "deployments"\n'
        '[[sinks]]\nname = "city"\nkind = "sensorthings"\nurl = "http://127.0.0.1:1/v1.1"\n'
        '[web]\nhost = "127.0.0.1"\nport = 0\n',
        "utf-8",
    )
    return load(file)


@dataclass
class Standing:
    """A clock that a test sets."""

    at: float = NOW

    def now(self) -> float:
        """The set time."""
        return self.at


@dataclass
class TestStreet:
    """A gateway's store and records, to be filled window by window."""

    __test__ = False

    store: Store
    catalogue: Catalogue
    settings: Settings
    clock: Standing | ScaledClock = field(default_factory=Standing)
    _seq: int = 0

    @classmethod
    async def make(cls, folder: Path) -> TestStreet:
        """Records and an empty store in a folder."""
        settings = write_settings(folder)
        write_records(settings.deployments.directory)
        store = await Store.open(settings.gateway.data_dir / "store.db", sinks=("city",))
        return cls(store, Catalogue(settings.deployments.directory), settings)

    async def count(self, name: str, start: int, towards: int | None, away: int | None) -> None:
        """One report of a counter; None is a count that stays below the threshold and is withheld."""
        device_id = {"canal-north": NORTH, "canal-south": SOUTH}[name]
        observations, withheld = [], []
        for number, quantity, value in ((5, "bicycle_towards", towards), (6, "bicycle_away", away)):
            key = f"canal/{name}/{quantity}"
            if value is None:
                withheld.append(WithheldRow(key, start, "below-k"))
                continue
            observations.append(
                ObservationRow(key, "canal", name, device_id, number, start, WINDOW, value, noise_scale=1.98)
            )
        ledger = tuple(LedgerRow("canal", device_id, number, start, 700_000) for number in (5, 6))
        await self._commit(device_id, start, observations, withheld, ledger)

    async def pause(self, name: str, start: int) -> None:
        """One report of a counter that its host paused."""
        device_id = {"canal-north": NORTH, "canal-south": SOUTH}[name]
        await self._commit(device_id, start, [], [], (), health=HEALTH_PAUSED)

    async def total(self, name: str, start: int, towards: int | str, away: int | str) -> None:
        """A day's total of a counter; a word is why it is withheld."""
        device_id = {"canal-north": NORTH, "canal-south": SOUTH}[name]
        observations, withheld = [], []
        for number, quantity, value in ((5, "bicycle_towards", towards), (6, "bicycle_away", away)):
            key = f"canal/{name}/{quantity}/day"
            if isinstance(value, str):
                withheld.append(WithheldRow(key, start, value))
                continue
            observations.append(
                ObservationRow(key, "canal", name, device_id, number, start, DAY_S, value, noise_scale=4.7)
            )
        ledger = tuple(LedgerRow("canal", device_id, n, start, 300_000, topics.DAY) for n in (5, 6))
        await self._commit(device_id, start, observations, withheld, ledger, DAY_S)

    async def breathe(
        self, start: int, values: Sequence[tuple[int, int]], samples: int = 6, is_public: bool = True
    ) -> None:
        """One report of the air node: (mean, spread) of PM2.5, PM10, temperature, humidity in wire units."""
        names = ("pm2_5", "pm10", "temperature", "humidity")
        observations = [
            ObservationRow(
                f"station-street/facade/{name}",
                "station-street",
                "facade",
                FACADE,
                number,
                start,
                WINDOW,
                mean,
                spread,
                samples,
                is_public=is_public,
            )
            for number, (name, (mean, spread)) in enumerate(zip(names, values, strict=True))
        ]
        await self._commit(FACADE, start, observations, [], ())

    async def _commit(
        self,
        device_id: str,
        start: int,
        observations: list[ObservationRow],
        withheld: list[WithheldRow],
        ledger: tuple[LedgerRow, ...],
        length: int = WINDOW,
        health: int = 0,
    ) -> None:
        self._seq += 1
        kind = topics.REPORT if length == WINDOW else topics.DAY
        report = ReportRow(device_id, self._seq, start, length, 1, health, None, kind)
        entry = Entry(report, tuple(observations), tuple(withheld), ledger)
        await self.store.commit_batch(BatchRows([entry], received=1), self.clock.now())

    async def refuse(self, reason: Reason, times: int = 1) -> None:
        """Refuse messages for a reason."""
        refusals = [Refusal(reason, None, 40, self.clock.now())] * times
        await self.store.commit_batch(BatchRows(refusals=refusals, received=times), self.clock.now())

    async def publish(self) -> int:
        """Let the platform take everything that waits; return how much that was."""
        rows = await self.store.claim("city", 10_000, self.clock.now())
        done = [(row.observation_id, f"Observations({row.observation_id})") for row in rows]
        await self.store.mark_done("city", done, self.clock.now())
        return len(rows)

    async def fill(self, hours: float = 6.0) -> None:
        """A plausible morning that ends at noon: a rush hour, a quiet hour, two windows missed."""
        windows = int(hours * 4)
        for index in range(windows):
            start = NOON - (windows - index) * WINDOW
            phase = index / max(1, windows - 1)
            rush = int(64 * (1 - abs(phase - 0.3) * 1.2)) + (7 * index) % 5
            quiet = int(34 * phase) + (11 * index) % 7
            await self.count("canal-north", start, max(10, rush), quiet if quiet >= 10 else None)
            await self.count("canal-south", start, 18 + (5 * index) % 9, max(12, 52 - index * 2))
            if index not in (windows // 2, windows // 2 + 1):
                wave = (3 * index) % 11 - 5
                particles = (142 + 4 * wave, 21), (221 + 6 * wave, 34)
                await self.breathe(start, (*particles, (58 + index, 3), (870 - 6 * index, 12)))
