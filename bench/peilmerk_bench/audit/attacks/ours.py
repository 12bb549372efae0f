"""Our own published output: boards' firmware, the gateway's stages, store and publishers, and a platform.

Boards live through their worlds under MicroPython; what they sealed goes day by day through the gateway's
flow into a real store, and from there by the gateway's workers into a city's open-data file and, for the
first days, onto a real SensorThings service. After two days every board moves to another pole and is in
another data set. What an attacker can get is then collected: the open-data file, every entity of the
platform, the gateway's page, its exports.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peilmerk_bench.audit.attacks import records, worlds
from peilmerk_bench.audit.attacks.boards import Board, Sealed, live_all
from peilmerk_bench.audit.attacks.figures import Cell, Figure, cell_of
from peilmerk_bench.audit.attacks.location import Place
from peilmerk_bench.audit.attacks.open_data import At, OpenData, publish_all
from peilmerk_bench.audit.attacks.public_bytes import Public, exports, pages, platform
from peilmerk_bench.platform import SensorThingsServer
from peilmerk_gateway.deployments.catalogue import Catalogue
from peilmerk_gateway.flow import Flow
from peilmerk_gateway.open import Keyring
from peilmerk_gateway.publish.sensorthings import SensorThingsSink
from peilmerk_gateway.publish.sensorthings_http import Service
from peilmerk_gateway.registry import Registry
from peilmerk_gateway.store import Store
from peilmerk_protocol import topics
from peilmerk_protocol.profile import AIR, AIR_FULL, STANDARD_COUNTER, Profile

DAYS = 120
MOVES_AFTER = 2
"""Days after which every board moves to another pole; after as many more the platform gets nothing more."""
HOME_DAYS = 240
BORDER_DAYS = 60
QUIET_BELOW = STANDARD_COUNTER.k
STRICT = Profile(1, 3600, STANDARD_COUNTER.set, (7, 20), (3, 20), 10, 4)
FRONT = Profile(1, 3600, AIR_FULL.set, (0, 1), (0, 1), 0, 0)
"""A node at the front of a home: hourly, with all that goes along with a mean."""
STRICT_BOARDS = 8
PLATFORM = "platform"
LONGITUDE, LATITUDE = 5.1214, 52.0907
LATE_S = 7_200
"""After midnight: when a day is published. What is at home is told an hour late."""
ASKED, RESTARTS, ASKED_EACH = 5, 5, 9
"""How often the platform is asked, and the store, which is started anew so often in between."""

Step = Callable[[str], None]


@dataclass
class Published:
    """All that an attacker gets of us, and the truth to mark attacks by."""

    figures: list[Figure] = field(default_factory=list, repr=False)
    public: dict[str, str] = field(default_factory=dict, repr=False)
    """Every public document, by where it is."""
    sets: list[dict[str, Any]] = field(default_factory=list, repr=False)
    """What the platform says of each sensor, by its public name, in the first data set and the second."""
    same: dict[str, str] = field(default_factory=dict)
    """Which name in the second data set is the same board."""
    answers: list[Figure] = field(default_factory=list, repr=False)
    truth: dict[Cell, float] = field(default_factory=dict, repr=False)
    streams: dict[str, list[str]] = field(default_factory=dict)
    """The streams of the recorded street, of the one with quiet quarters and of the one at the threshold."""
    partners: dict[str, str] = field(default_factory=dict)
    """The other direction of each stream."""
    sent: dict[float, int] = field(default_factory=dict, repr=False)
    """What an observer of the network sees of the recorded street: the number of each report, by its end."""
    passed: dict[float, float] = field(default_factory=dict, repr=False)
    """How many passed in those windows."""
    numbers: dict[Cell, int] = field(default_factory=dict, repr=False)
    """What a platform numbers them that counts what it is told: in the order in which they were published."""
    delays: list[float] = field(default_factory=list, repr=False)
    sizes: list[float] = field(default_factory=list, repr=False)
    noise: list[float] = field(default_factory=list, repr=False)
    known: list[tuple[int, ...]] = field(default_factory=list, repr=False)
    home: worlds.Home | None = None
    home_figures: list[Figure] = field(default_factory=list, repr=False)
    home_quality: list[Figure] = field(default_factory=list, repr=False)
    canaries: dict[str, str] = field(default_factory=dict)
    known_words: dict[str, str] = field(default_factory=dict)
    counted: dict[str, int] = field(default_factory=dict)


class OurStreet:
    """The street in an empty folder. `days` that the two busy boards live, `home_days` a home, and
    `border_days` the board at the threshold; boards move after `moves_after` days, and besides there are
    `strict` boards in quiet places, for the platform only.
    """

    def __init__(
        self,
        folder: Path,
        days: int = DAYS,
        home_days: int = HOME_DAYS,
        border_days: int = BORDER_DAYS,
        moves_after: int = MOVES_AFTER,
        strict: int = STRICT_BOARDS,
    ) -> None:
        self.folder = folder
        self.moves_after, self.platform_days = moves_after, 2 * moves_after
        self.records = folder / "deployments"
        self.clock = At()
        self.registry = Registry(folder / "registry.db")
        made = [
            ("recorded", STANDARD_COUNTER, worlds.recorded_days(days)),
            ("quiet", STANDARD_COUNTER, worlds.quiet_quarters(days, QUIET_BELOW)),
            ("border", STANDARD_COUNTER, worlds.border(border_days, STANDARD_COUNTER.k)),
            *((f"strict-{n}", STRICT, worlds.hours(self.platform_days, seed=10 + n)) for n in range(strict)),
        ]
        self.counters = [
            Board(name, self.registry.enrol("counter", name), profile, counts)
            for name, profile, counts in made
        ]
        self.home = worlds.home(home_days)
        # Nothing of it is ever public: a few days show that.
        indoors = self.home.indoor[: self.platform_days * worlds.WINDOWS_A_DAY]
        self.indoor = Board("home", self.registry.enrol("air", "home"), AIR, samples=indoors)
        front = self.home.front()
        self.front = Board("front", self.registry.enrol("air", "front"), FRONT, samples=front)
        self.boards = [*self.counters, self.indoor, self.front]
        self.days = max(days, home_days, border_days)
        self._generator = random.Random(4)
        self.points = [self._point() for _ in self.boards]

    def _point(self) -> Place:
        """Give a point in the city, with all the digits that a telephone tells."""
        east, north = self._generator.uniform(-0.02, 0.02), self._generator.uniform(-0.01, 0.01)
        return round(LONGITUDE + east, 7), round(LATITUDE + north, 7)

    def name(self, number: int, data_set: int) -> str:
        """Return the public name of a board in the first or the second data set: its pole's."""
        return f"{('zomer', 'winter')[data_set]}-{self._pole(number, data_set)}"

    def _pole(self, number: int, data_set: int) -> int:
        return (number + data_set) % len(self.counters)

    def write_records(self, data_set: int, firmware: bytes) -> None:
        """Put the records of the first or the second data set in force, and take the other's away."""
        for file in self.records.glob("*.toml"):
            file.unlink()
        season = ("zomer", "winter")[data_set]
        for kind, profile in (("fietspad", STANDARD_COUNTER), ("stil", STRICT)):
            poles = [
                records.Pole(
                    self.name(n, data_set), board.device.device_id, self.points[self._pole(n, data_set)]
                )
                for n, board in enumerate(self.counters)
                if board.profile == profile
            ]
            if poles:
                records.write(self.records, f"{kind}-{season}", poles, profile, firmware)
        # Both at one home, in one place.
        place = self.points[-1]
        inside = records.Pole("huis", self.indoor.device.device_id, place)
        records.write(self.records, "thuis", [inside], AIR, firmware, indoor=True)
        front = records.Pole("gevel", self.front.device.device_id, place)
        records.write(self.records, "thuis-buiten", [front], FRONT, firmware, at_home=True)

    def deployment(self, board: Board, data_set: int) -> str:
        """Return the id of a counter's deployment."""
        kind = "fietspad" if board.profile == STANDARD_COUNTER else "stil"
        return f"{kind}-{('zomer', 'winter')[data_set]}"

    async def run(self, step: Step = lambda _: None) -> Published:
        """Live, publish and collect. Raises AuditError, StreetError and PlatformError."""
        messages = live_all(self.boards, on_done=lambda: step("boards lived"))
        found = self._truth(messages)
        firmware = self.boards[0].firmware_digest(messages[0])
        self.write_records(0, firmware)
        catalogue = Catalogue(self.records)
        by_day = _by_day(messages)
        file = OpenData()
        async with SensorThingsServer(self.folder / PLATFORM) as server:
            step("platform started")
            for data_set, days in enumerate(
                (range(self.moves_after), range(self.moves_after, self.platform_days))
            ):
                if data_set:
                    self.write_records(data_set, firmware)
                    catalogue.reload()
                async with await self._open(OpenData.name, PLATFORM) as store:
                    await self._take(store, catalogue, by_day, days)
                    sink = SensorThingsSink(PLATFORM, Service(server.url, None), store)
                    await publish_all(store, [file, sink], catalogue, self.clock)
                    found.public |= await pages(store, catalogue, self.clock, self.folder, data_set)
                    found.public |= exports(catalogue)
                step("published on a platform")
            public = await platform(server.url)
            found.public |= public.documents
            found.sets = self._sets(public)
            found.answers = await self._asked(public)
            step("asked again and again")
        async with await self._open(OpenData.name) as store:
            for first in range(self.platform_days, self.days, 10):
                await self._take(store, catalogue, by_day, range(first, min(first + 10, self.days)))
                await publish_all(store, [file], catalogue, self.clock)
                step("published as a file")
            found.counted = {"published": len(file.figures), "messages": sum(map(len, messages))}
        found.figures = file.figures
        found.numbers = {cell_of(figure): number for number, figure in enumerate(file.figures)}
        found.home_figures, found.home_quality = (
            [figure for figure in rows if figure.thing.startswith("thuis")]
            for rows in (file.figures, file.quality)
        )
        return found

    async def _open(self, *sinks: str) -> Store:
        return await Store.open(self.folder / "data" / "store.db", sinks=sinks)

    async def _take(
        self,
        store: Store,
        catalogue: Catalogue,
        by_day: Mapping[int, Sequence[tuple[int, Sealed]]],
        days: range,
    ) -> None:
        """Have the gateway take what the boards sent on some days, each a minute after midnight."""
        flow = Flow(Keyring(self.registry), catalogue, store, self.clock)
        for day in days:
            self.clock.moment = worlds.BEGAN + (day + 1) * worlds.DAY_S + LATE_S
            sent = [self.boards[n].delivery(message) for n, message in by_day.get(day, ())]
            await flow.store(sent)

    def _truth(self, messages: Sequence[Sequence[Sealed]]) -> Published:
        found = Published(home=self.home)
        found.same = {self.name(n, 0): self.name(n, 1) for n in range(len(self.counters))}
        for number, (board, sealed) in enumerate(zip(self.counters, messages, strict=False)):
            for window, counts in enumerate(board.counts):
                start = worlds.BEGAN + window * board.profile.window_s
                moved = start >= worlds.BEGAN + self.moves_after * worlds.DAY_S
                for stream, count in zip(self._streams(number, int(moved)), counts, strict=True):
                    found.truth[stream, start, start + board.profile.window_s] = count
            for data_set in (0, 1):
                one, other = self._streams(number, data_set)
                found.partners |= {one: other, other: one}
            if board.profile == STANDARD_COUNTER:
                found.streams[board.name] = [
                    s for data_set in (0, 1) for s in self._streams(number, data_set)
                ]
                self._observe(found, board, sealed)
        for number, board in enumerate(self.boards):
            found.canaries[f"serial {number}"] = board.device.device_id
            found.canaries[f"key {number}"] = board.device.root_key.hex()
            # To a metre; a cell's outline has other digits.
            longitude, latitude = self.points[number]
            found.canaries |= {f"east {number}": f"{longitude:.5f}", f"north {number}": f"{latitude:.5f}"}
        found.canaries |= {f"owner {key}": value for key, value in records.OWNER.items()}
        found.known_words = {"organisation": records.ORGANISATION, "pole": self.name(0, 0)}
        return found

    def _streams(self, number: int, data_set: int) -> list[str]:
        board = self.counters[number]
        thing = f"{self.deployment(board, data_set)}/{self.name(number, data_set)}"
        return [f"{thing}/bicycle_towards", f"{thing}/bicycle_away"]

    def _observe(self, found: Published, board: Board, sealed: Sequence[Sealed]) -> None:
        """Write down what an observer of the network sees of each report, and what its noise was."""
        for message in sealed:
            if message.kind != topics.REPORT:
                continue
            said = board.opened(message)
            end = float(message.end)
            exact = board.counts[said.window - worlds.BEGAN // board.profile.window_s]
            if board.name == "recorded":
                found.sent[end], found.passed[end] = said.seq, float(sum(exact))
            noisy = [value[0] for _, value in sorted(said.values.items())]
            found.noise.append(sum(abs(n - e) for n, e in zip(noisy, exact, strict=True)))
            found.delays.append(message.delay_us)
            found.sizes.append(len(message.payload))
            published = [max(n, 0) if n >= board.profile.k else 0 for n in noisy]
            found.known.append((*map(_cbor_bytes, published), _cbor_bytes(said.seq), said.health))

    def _sets(self, public: Public) -> list[dict[str, Any]]:
        """Sort what the platform says of sensors by data set."""
        found: list[dict[str, Any]] = [{}, {}]
        for number in range(len(self.counters)):
            for data_set in (0, 1):
                name = self.name(number, data_set)
                found[data_set][name] = public.things[name]
        return found

    async def _asked(self, public: Public) -> list[Figure]:
        """Ask the platform, and the store after starting it anew, for the same figures again and again."""
        streams = {
            stream
            for number, board in enumerate(self.counters)
            if board.profile == STANDARD_COUNTER
            for stream in self._streams(number, 0)
        }
        answers = await public.ask(streams, ASKED)
        windows_a_stream = self.moves_after * worlds.WINDOWS_A_DAY
        for _ in range(RESTARTS):
            async with await self._open() as store:
                for _ in range(ASKED_EACH):
                    for stream, windows in (await store.latest_of(sorted(streams), windows_a_stream)).items():
                        answers += [
                            Figure(
                                stream, w.window_start, w.window_start + w.window_s, float(w.result), stream
                            )
                            for w in windows
                            if w.result is not None and w.window_s is not None
                        ]
        return answers


def _by_day(messages: Sequence[Sequence[Sealed]]) -> dict[int, list[tuple[int, Sealed]]]:
    """Sort (board, message) by the day in which it was sent; a statement goes with what follows it."""
    found: dict[int, list[tuple[int, Sealed]]] = {}
    for number, sealed in enumerate(messages):
        day = 0
        for message in sealed:
            if message.end:
                day = (message.end - 1 - worlds.BEGAN) // worlds.DAY_S
            found.setdefault(day, []).append((number, message))
    return found


def _cbor_bytes(value: int) -> int:
    """Return how many bytes CBOR takes for a whole number of 0 or more."""
    return 1 if value < 24 else 2 if value < 256 else 3 if value < 65_536 else 5
