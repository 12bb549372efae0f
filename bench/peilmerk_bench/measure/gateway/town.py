"""The town that a gateway is measured with: settings, an enrolled fleet, its records, and what boards seal.

Everything is what an operator has: `gateway.toml`, the registry as enrolment writes it, records of a hundred
counters each. The one platform in the settings does not answer, so that every public figure is queued for it.
"""

from __future__ import annotations

import random
import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import bcrypt

from peilmerk_gateway import mosquitto_hash
from peilmerk_gateway.deployments.template import NewDevice, new_record
from peilmerk_gateway.registry import BCRYPT_ROUNDS, Registry
from peilmerk_gateway.settings import Settings, SinkSettings, load, write_default
from peilmerk_protocol import cose, keys, profile, report, statement, topics
from peilmerk_protocol.device_ids import new_device_id

SINK = "city"
# Nobody listens on the port of "discard".
NOBODY = "http://127.0.0.1:9/v1.1"
FIRMWARE = bytes(range(32))
TOWARDS, AWAY = 5, 6
A_RECORD = 100
DAYS_BACK = 90
_COLUMNS = "device_id, kind, label, root_key, password_hash, enrolled_at, revoked_at, mosquitto_hash"


@dataclass
class Board:
    """One counter: its name and secrets, the number of its next message, the window of its next report."""

    device_id: str
    password: str = field(repr=False)
    key: bytes = field(repr=False)
    seq: int = 1
    window: int = 0

    @property
    def topic(self) -> str:
        """Where it publishes reports."""
        return topics.topic(self.device_id, topics.REPORT)

    def statement(self) -> bytes:
        """Seal the next message: a statement of running what the record says."""
        said = statement.Statement(
            self._number(),
            profile.STANDARD_COUNTER.revision,
            FIRMWARE,
            profile.digest(profile.STANDARD_COUNTER),
            1,
            (0, 1, 0),
            (1, 29, 0),
            1,
            3_600,
            50_000,
            100_000,
        )
        return cose.seal(self.key, topics.STATEMENT, self.device_id, statement.encode(said))

    def report(self, draw: random.Random) -> bytes:
        """Seal the next message: a window's report of two counts, about one in nine below the threshold."""
        values: dict[int, tuple[int, ...]] = {
            number: (round(draw.gauss(25, 12)),) for number in (TOWARDS, AWAY)
        }
        body = report.encode(self._number(), self.window, 1, 0, values)
        self.window += 1
        return cose.seal(self.key, topics.REPORT, self.device_id, body)

    def _number(self) -> int:
        self.seq += 1
        return self.seq - 1


@dataclass(frozen=True)
class Town:
    """A folder with everything that a gateway needs, and the boards that its records name."""

    folder: Path
    settings: Settings
    boards: Sequence[Board]

    @property
    def store(self) -> Path:
        """Where the gateway's store is."""
        return self.settings.gateway.data_dir / "store.db"


def found(folder: Path, devices: int) -> Town:
    """Set up a folder for so many boards, each in a record and none with a message yet."""
    file = write_default(
        folder,
        host="127.0.0.1",
        mqtt_port=0,
        web_port=0,
        update_port=0,
        sinks=[SinkSettings(name=SINK, kind="sensorthings", url=NOBODY)],
    )
    settings = load(file)
    boards = enrol(settings.gateway.registry, devices)
    for first in range(0, devices, A_RECORD):
        name = f"fietspad-{first // A_RECORD}"
        text = new_record(
            id=name,
            description="A cycle path of a town that is measured",
            longitude=5.1214,
            latitude=52.0907,
            devices=[
                NewDevice(f"teller-{number}", board.device_id, FIRMWARE, "bicycle counter", "bench")
                for number, board in enumerate(boards[first : first + A_RECORD], first)
            ],
            profile=profile.STANDARD_COUNTER,
            notified_at=date(2023, 6, 1),
            active_from=date(2024, 1, 1),
            active_until=date(2044, 1, 1),
            organisation="Peilmerk bench",
            contact="bench@peilmerk.invalid",
        )
        (settings.deployments.directory / f"{name}.toml").write_text(text, "utf-8")
    return Town(folder, settings, boards)


def enrol(file: Path, devices: int) -> list[Board]:
    """Put counters into a registry in one transaction: one by one would be a hundred thousand syncs.

    They share the password, not the key. The registry's trail of enrolments does not tell of them.
    """
    Registry(file).close()
    password = secrets.token_urlsafe(32)
    hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(BCRYPT_ROUNDS)).decode()
    for_mosquitto = mosquitto_hash.hash_password(password)
    now = time.time()
    roots = [(new_device_id(secrets.token_bytes(10)), secrets.token_bytes(32)) for _ in range(devices)]
    with closing(sqlite3.connect(file)) as db, db:
        db.executemany(
            f"INSERT INTO device ({_COLUMNS}) VALUES (?, 'counter', 'bench', ?, ?, ?, NULL, ?)",
            ((device_id, root, hashed, now, for_mosquitto) for device_id, root in roots),
        )
        db.execute("UPDATE credentials SET revision = revision + 1")
    first = int(now - DAYS_BACK * profile.DAY_S) // profile.STANDARD_COUNTER.window_s
    return [Board(device_id, password, keys.derive(root, keys.UP), window=first) for device_id, root in roots]


def backlog(boards: Sequence[Board], reports: int, seed: int = 1) -> Iterator[tuple[Board, list[bytes]]]:
    """Seal what boards have in their outboxes after an outage: so many reports in all."""
    draw = random.Random(seed)
    for number, board in enumerate(boards):
        share = reports // len(boards) + (number < reports % len(boards))
        if share:
            yield board, [board.report(draw) for _ in range(share)]
