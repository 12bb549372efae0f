"""Whoever sits in the gateway, and whoever sends again what it has seen: a gateway at work, in a process of
its own, that is started twice.

The first process takes three days of a counter whose counts are canaries, and its memory, its store and its
log are kept. The second, on the same folder, is sent again what the first has taken: as it was, under another
board's name, and as another kind of message.
"""

from __future__ import annotations

import json
import random
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from peilmerk_bench.audit.attacks import records, search, worlds
from peilmerk_bench.audit.attacks.boards import Board, Sealed
from peilmerk_bench.audit.attacks.score import OURS, WEAK, Score
from peilmerk_bench.audit.attacks.weak_publisher import ForgetfulSubscriber
from peilmerk_bench.audit.gateway_side import SOURCES, in_gateway
from peilmerk_bench.audit.overlay import Change, changed_copy
from peilmerk_gateway.registry import Device, Registry
from peilmerk_protocol import cose, keys, report, statement, topics
from peilmerk_protocol import profile as profiles
from peilmerk_protocol.profile import STANDARD_COUNTER, Profile

MODULE = "peilmerk_bench.audit.attacks.gateway_process"
DAYS = 3
LEAST, STEP = 20_000, 61
TALKS = (
    Change(
        "flow.py",
        "            received=len(batch.deliveries),\n",
        "            received=[one.payload.hex() for one in batch.deliveries],\n"
        "            keys=[k.hex() for k in self._judge._keyring._keys.values() if isinstance(k, bytes)],\n",
    ),
)
"""What makes of the gateway one that logs what helps to find a fault."""


@dataclass
class Insider:
    """A gateway's folder with one counter and another board. `days` that the counter lives."""

    folder: Path
    days: int = DAYS
    counts: list[list[int]] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with closing(Registry(self.folder / "registry.db")) as registry:
            self.device = registry.enrol("counter", "canary")
            self.other = registry.enrol("counter", "other")
        numbers = random.Random(6).sample(
            range(LEAST, LEAST + STEP * 192 * self.days, STEP), 2 * worlds.WINDOWS_A_DAY * self.days
        )
        self.counts = [list(pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)]
        self.board = Board("canary", self.device, STANDARD_COUNTER, self.counts)
        self.began = worlds.BEGAN
        self.now = float(self.began + self.days * worlds.DAY_S + 60)

    def live(self) -> list[Sealed]:
        """Have the counter live, and put its record in force."""
        messages = self.board.live()
        self.write_record(self.board.firmware_digest(messages))
        return messages

    def write_record(self, firmware: bytes) -> None:
        """Put the record of both boards in force."""
        point = 5.1214, 52.0907
        poles = [
            records.Pole("paal-1", self.device.device_id, point),
            records.Pole("paal-2", self.other.device_id, point),
        ]
        records.write(self.folder / "deployments", "fietspad", poles, STANDARD_COUNTER, firmware)

    def exact(self) -> list[Sealed]:
        """Seal the exact counts, as a sensor without noise sends them."""
        return [
            self._sealed(
                topics.REPORT, report.encode(2 + n, self._window(n), 1, 0, {5: (one,), 6: (other,)}), 2 + n
            )
            for n, (one, other) in enumerate(self.counts)
        ]

    def _window(self, number: int) -> int:
        return self.began // STANDARD_COUNTER.window_s + number

    def stated(self, profile: Profile, firmware: bytes, seq: int = 1) -> Sealed:
        """Seal a statement by which the counter runs `profile`."""
        said = statement.Statement(
            seq,
            profile.revision,
            firmware,
            profiles.digest(profile),
            1,
            (0, 1, 0),
            (1, 29, 0),
            1,
            3_600,
            50_000,
            90_000,
        )
        return self._sealed(topics.STATEMENT, statement.encode(said), seq)

    def _sealed(self, kind: int, body: bytes, seq: int, device: Device | None = None) -> Sealed:
        device = device or self.device
        key = keys.derive(device.root_key, keys.UP)
        return Sealed(kind, seq, 0, cose.seal(key, kind, device.device_id, body), 0)

    def gateway(
        self, takes: list[list[tuple[str, Sealed]]], gateway: Path | None = None, dumps: bool = False
    ) -> list[dict[str, int]]:
        """Start a gateway, have it take (device id, message) batch by batch, and end it; what was stored."""
        told = {
            "folder": str(self.folder),
            "now": self.now,
            "log": str(self.log),
            "dumps": [str(file) for file in self.dumps] if dumps else [],
            "takes": [
                [[device, message.kind, message.payload.hex(), False] for device, message in take]
                for take in takes
            ],
        }
        found: list[dict[str, int]] = json.loads(in_gateway(MODULE, told, gateway))
        return found

    @property
    def log(self) -> Path:
        """What all processes logged."""
        return self.folder / "gateway.log"

    @property
    def dumps(self) -> tuple[Path, Path]:
        """The memory before the messages and after them."""
        return self.folder / "before.memory", self.folder / "after.memory"

    def batches(self, messages: list[Sealed]) -> list[list[tuple[str, Sealed]]]:
        """Return messages of the counter as a broker brings them: what has waited comes all at once."""
        return [[(self.device.device_id, message) for message in messages]]

    def search(self, side: str, messages: list[Sealed]) -> list[Score]:
        """Look for exact counts in what the gateway of this folder left, and for keys in store and log."""
        noisy: dict[tuple[int, int], int] = {}
        for message in messages:
            if message.kind == topics.REPORT:
                said = self.board.opened(message)
                for way, quantity in enumerate(sorted(said.values)):
                    noisy[said.window - self._window(0), way] = said.values[quantity][0]
        exact = {(n, way): count for n, pair in enumerate(self.counts) for way, count in enumerate(pair)}
        sent = set(noisy.values())
        # What noise left as it was is known from what was published.
        canaries = {count for at, count in exact.items() if side == WEAK or count not in sent}
        taken = sent | set(exact.values())
        decoys = {count + 23 for count in exact.values()} - taken
        scores = []
        before, after = (search.numbers_in(file.read_bytes()) for file in self.dumps)
        scores.append(search.score_counts(side, "memory", before, after, canaries, decoys, sent))
        kept = self._database()
        scores.append(search.score_counts(side, "database", Counter(), kept, canaries, decoys, sent))
        return scores

    def secrets(self, side: str, messages: list[Sealed]) -> Score:
        """Look for keys and messages in the log, and for keys in the store."""
        wanted = {
            "root key": self.device.root_key,
            "key for sealing": keys.derive(self.device.root_key, keys.UP),
        } | {f"message {message.seq}": message.payload for message in messages[:50]}
        places = {"log": self.log.read_bytes()}
        places["store"] = search.read(self.folder.glob("store.db*"))
        return search.score_secrets(side, "log", places, wanted)

    def _database(self) -> Counter[int]:
        found: Counter[int] = Counter()
        with closing(sqlite3.connect(self.folder / "store.db")) as db:
            for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                found += search.numbers_of_columns(db.execute(f'SELECT * FROM "{table}"'))
        return found

    def replays(self, messages: list[Sealed]) -> list[list[tuple[str, Sealed]]]:
        """Return what is sent again, one by one: as it was, under the other board's name, as another kind."""
        mine, other = self.device.device_id, self.other.device_id
        swap = {topics.REPORT: topics.DAY, topics.DAY: topics.REPORT, topics.STATEMENT: topics.REPORT}
        some = messages[:: max(1, len(messages) // 60)]
        again = [(mine, message) for message in some]
        again += [(other, message) for message in some]
        again += [(mine, Sealed(swap[m.kind], m.seq, m.end, m.payload, 0)) for m in some]
        return [[one] for one in again]


def accepted(stored: list[dict[str, int]]) -> int:
    """Return of how many batches anything was taken."""
    return sum(any(row[name] for name in ("reports", "days", "statements", "observations")) for row in stored)


def score_replay(side: str, taken: int, sent: int, words: str) -> Score:
    """Say which share of what was sent again was taken again."""
    return Score(
        "replay", side, "messages taken a second time, share", taken / sent, 0.0, 0.0, 0.0, sent, words
    )


def ours(folder: Path, days: int = DAYS) -> dict[str, list[Score]]:
    """Attack the gateway that is shipped. Raises AuditError."""
    insider = Insider(folder, days)
    messages = insider.live()
    insider.gateway(insider.batches(messages), dumps=True)
    scores = {"search": insider.search(OURS, messages)}
    again = insider.replays(messages)
    taken = accepted(insider.gateway(again))
    words = "after a restart: as they were, under another board's name, as another kind"
    scores["replay"] = [score_replay(OURS, taken, len(again), words)]
    scores["secrets"] = [insider.secrets(OURS, messages)]
    for file in insider.dumps:
        file.unlink()
    return scores


def weak(folder: Path, days: int = DAYS) -> dict[str, list[Score]]:
    """Attack a gateway that is sent exact counts and logs what it takes, and a subscriber that forgets."""
    insider = Insider(folder / "gateway", days)
    firmware = bytes(32)
    insider.write_record(firmware)
    exact = insider.exact()
    talkative = talkative_gateway(folder / "room")
    insider.gateway(
        insider.batches([insider.stated(STANDARD_COUNTER, firmware), *exact]), talkative, dumps=True
    )
    scores = {"search": insider.search(WEAK, exact), "secrets": [insider.secrets(WEAK, exact)]}
    file = folder / "subscriber.db"
    key = keys.derive(insider.device.root_key, keys.UP)
    for _ in range(2):
        with closing(ForgetfulSubscriber(file, key, insider.device.device_id)) as subscriber:
            taken = sum(subscriber.take(message.kind, message.payload) for message in exact)
    scores["replay"] = [score_replay(WEAK, taken, len(exact), "after a restart: as they were")]
    for dump in insider.dumps:
        dump.unlink()
    return scores


def talkative_gateway(folder: Path) -> Path:
    """Make a gateway that logs messages and keys; returns the folder that it can be imported from."""
    changed_copy(SOURCES, TALKS, folder / SOURCES.name)
    return folder
