"""What the tests of the stages are made of: a street with a record, and boards that seal what they say."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from stores import StorePlace

from peilmerk_gateway.clock import ScaledClock
from peilmerk_gateway.deployments.catalogue import Catalogue
from peilmerk_gateway.deployments.template import NewDevice, new_record
from peilmerk_gateway.flow import Flow
from peilmerk_gateway.ingest import Delivery
from peilmerk_gateway.open import Keyring
from peilmerk_gateway.registry import Device, Registry
from peilmerk_gateway.store import Store
from peilmerk_protocol import command, cose, keys, profile, report, statement, topics
from peilmerk_protocol.profile import AIR, STANDARD_COUNTER, Profile

NOW = 1_700_000_100.0
WINDOW = int(NOW) // 900 - 1
"""The last window that has passed at NOW."""
DAY = int(NOW) // 86_400 - 1
"""The last day that has passed at NOW."""
FIRMWARE = bytes(range(32))


def record(
    id: str, devices: Sequence[tuple[str, str]], profile: Profile = STANDARD_COUNTER, **values: Any
) -> str:
    """A record's TOML for devices of (name, device id)."""
    return new_record(
        **{
            "id": id,
            "description": "Voorbeeldstraat, between bridge and school",
            "longitude": 5.1214,
            "latitude": 52.0907,
            "devices": [NewDevice(name, device, FIRMWARE, "a type", "a model") for name, device in devices],
            "profile": profile,
            "notified_at": date(2022, 12, 1),
            "active_from": date(2023, 1, 1),
            "active_until": date(2030, 12, 31),
            "organisation": "Gemeente Voorbeeld",
            "contact": "sensoren@voorbeeld.example",
        }
        | values
    )


class Counter:
    """A board with its own key and numbers."""

    def __init__(self, device: Device, profile: Profile = STANDARD_COUNTER) -> None:
        self.device = device
        self.id = device.device_id
        self.profile = profile
        self._key = keys.derive(device.root_key, keys.UP)

    def sealed(self, kind: int, body: bytes, *, again: bool = False) -> Delivery:
        """Seal any body under this board's key."""
        return Delivery(self.id, kind, cose.seal(self._key, kind, self.id, body), again)

    def report(
        self,
        seq: int,
        window: int = WINDOW,
        values: dict[int, tuple[int, ...]] | None = None,
        *,
        revision: int = 1,
        again: bool = False,
    ) -> Delivery:
        """A report, by default of 17 towards and 12 away."""
        values = {5: (17,), 6: (12,)} if values is None else values
        return self.sealed(topics.REPORT, report.encode(seq, window, revision, 0, values), again=again)

    def day(
        self,
        seq: int,
        day: int = DAY,
        values: dict[int, tuple[int, ...]] | None = None,
        *,
        revision: int = 1,
        health: int = 0,
        again: bool = False,
    ) -> Delivery:
        """The total of a day, by default of 400 towards and 380 away."""
        values = {5: (400,), 6: (380,)} if values is None else values
        return self.sealed(topics.DAY, report.encode(seq, day, revision, health, values), again=again)

    def ack(
        self, counter: int, outcome: int = command.DONE, detail: int = 0, *, again: bool = False
    ) -> Delivery:
        """The answer to a command, by default that it was done."""
        body = command.encode_ack(command.Ack(counter, outcome, detail))
        return self.sealed(topics.ACK, body, again=again)

    def hears(self, payload: bytes) -> command.Command:
        """Open and read a command as the board does."""
        key = keys.derive(self.device.root_key, keys.DOWN)
        return command.decode(cose.open_sealed(key, topics.COMMAND, self.id, payload))

    def statement(
        self,
        seq: int,
        *,
        firmware: bytes = FIRMWARE,
        profile_digest: bytes | None = None,
        revision: int = 1,
        again: bool = False,
    ) -> Delivery:
        """A statement of running what the record says."""
        said = statement.Statement(
            seq,
            revision,
            firmware,
            profile.digest(self.profile) if profile_digest is None else profile_digest,
            1,
            (0, 1, 0),
            (1, 29, 0),
            1,
            3_600,
            50_000,
            100_000,
        )
        return self.sealed(topics.STATEMENT, statement.encode(said), again=again)


class Street:
    """A folder with a registry, records and a store, and the stages over them."""

    def __init__(
        self, folder: Path, counters: int = 1, air: int = 0, place: StorePlace | None = None
    ) -> None:
        self.folder = folder
        self._place = place
        self.records = folder / "deployments"
        self.records.mkdir(exist_ok=True)
        self.registry = Registry(folder / "registry.db")
        self.counters = [Counter(self.registry.enrol("counter", f"c{n}")) for n in range(counters)]
        self.air = [Counter(self.registry.enrol("air", f"a{n}"), AIR) for n in range(air)]
        if counters:
            self.write("street", [(f"fietspad-{n}", c.id) for n, c in enumerate(self.counters)])
        if air:
            self.write("lucht", [(f"lucht-{n}", a.id) for n, a in enumerate(self.air)], AIR)
        self.catalogue = Catalogue(self.records)
        self.clock = ScaledClock(NOW, 0.0, 0.0)

    def moved(self, folder: Path, records: Path | None = None) -> Street:
        """This street in a copy of its folder, and its store's copy; its registry must be closed before."""
        moved = copy.copy(self)
        moved._place = self.place.copied(folder)
        moved.folder, moved.records = folder, records or folder / "deployments"
        moved.registry = Registry(folder / "registry.db")
        moved.catalogue = Catalogue(moved.records)
        return moved

    def write(
        self, id: str, devices: Sequence[tuple[str, str]], profile: Profile = STANDARD_COUNTER, **values: Any
    ) -> None:
        """Write a record."""
        (self.records / f"{id}.toml").write_text(record(id, devices, profile, **values), "utf-8")

    def change(self, id: str, old: str, new: str) -> None:
        """Change one place of a record, and read the records anew."""
        file = self.records / f"{id}.toml"
        text = file.read_text("utf-8")
        assert text.count(old) == 1, f"found {text.count(old)} of {old!r}"
        file.write_text(text.replace(old, new), "utf-8")
        assert self.catalogue.reload()

    @property
    def place(self) -> StorePlace:
        """Where its store is: in its folder, if nowhere else."""
        return self._place or StorePlace(self.folder / "store.db")

    async def open(self) -> Store:
        """Open the store, for one sink."""
        return await Store.open(self.place.where, sinks=("city",))

    def flow(self, store: Store, **options: float) -> Flow:
        """The stages, as after a start."""
        return Flow(Keyring(self.registry), self.catalogue, store, self.clock, **options)

    def rows(self, table: str, columns: str = "*") -> list[tuple[Any, ...]]:
        """Every row of a table, sorted, read past all of our code."""
        with self.place.raw() as db:
            return sorted(db.execute(f"SELECT {columns} FROM {table}").fetchall(), key=repr)

    def refused(self) -> list[tuple[str, bool]]:
        """(reason, whether the device is named) of every refusal, in order."""
        with self.place.raw() as db:
            return [
                (reason, named is not None)
                for reason, named in db.execute("SELECT reason, device_id FROM refusal ORDER BY id")
            ]
