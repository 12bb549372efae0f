"""Count, after a street was stopped, what went where: on the boards' flash, in the gateway's store, on the
platform.

Each side is read on its own: the flash images offline with LittleFS and the firmware's own outbox reader,
the store with plain SQL, the platform by its public API. `lost` and `doubled` follow from comparing them.
"""

from __future__ import annotations

import importlib
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
from littlefs import LittleFS
from littlefs.context import UserContextFile
from littlefs.errors import LittleFSError

from peilmerk_bench.street.plan import StreetError
from peilmerk_protocol import topics
from peilmerk_provisioning.bundle import firmware_folder

BLOCK_BYTES = 4096
OUTBOX = "/data/outbox"
PAGE = 100


@dataclass(frozen=True, slots=True)
class OnBoard:
    """What one board's flash holds: messages ever sealed (highest number), numbers that still wait,
    dropped.
    """

    sealed: int
    reports: int
    waiting: frozenset[int]
    dropped: int


@dataclass(slots=True)
class Tally:
    """Totals of a street. `lost` are messages neither stored, nor refused, nor waiting on a board."""

    reports_sealed: int = 0
    waiting_on_boards: int = 0
    dropped_on_boards: int = 0
    received: int = 0
    refused: int = 0
    reports_stored: int = 0
    observations: int = 0
    withheld: int = 0
    on_platform: int = 0
    published: int = 0
    lost: int = 0
    duplicated: int = 0
    missing_on_platform: int = 0
    refused_by_reason: dict[str, int] = field(default_factory=dict)

    def since(self, before: Tally) -> Tally:
        """What came about after `before`; what is lost, doubled, missing or waiting stays as it is now."""
        counted = {name: getattr(self, name) - getattr(before, name) for name in COUNTED}
        reasons = {
            reason: number - before.refused_by_reason.get(reason, 0)
            for reason, number in self.refused_by_reason.items()
        }
        return replace(self, **counted, refused_by_reason={name: n for name, n in reasons.items() if n})

    @property
    def ok(self) -> bool:
        """Nothing lost, nothing doubled, and everything stored is on the platform."""
        return not (self.lost or self.duplicated or self.missing_on_platform or self.dropped_on_boards)


# Totals that only grow from run to run.
COUNTED = (
    "reports_sealed",
    "received",
    "refused",
    "reports_stored",
    "observations",
    "withheld",
    "on_platform",
    "published",
)


def read_flash(image: Path) -> OnBoard:
    """Read a switched-off board's outbox from its flash image."""
    outbox_type = _outbox_type()
    size = image.stat().st_size
    context = UserContextFile(str(image))
    disk = LittleFS(context=context, block_size=BLOCK_BYTES, block_count=size // BLOCK_BYTES, mount=True)
    with tempfile.TemporaryDirectory(prefix="peilmerk-") as folder:
        try:
            names = disk.listdir(OUTBOX)
        except LittleFSError as reason:
            if reason.code != LittleFSError.Error.LFS_ERR_NOENT:
                raise StreetError(f"{image}: the flash cannot be read: {reason}") from reason
            return OnBoard(0, 0, frozenset(), 0)
        for name in names:
            with disk.open(f"{OUTBOX}/{name}", "rb") as file:
                (Path(folder) / name).write_bytes(file.read())
        box = outbox_type(folder)
        sealed, reports, dropped = box.last_seq(), box.sealed(), box.dropped()
        waiting = set()
        while (entry := box.oldest()) is not None:
            waiting.add(entry.seq)
            box.acknowledge(entry.seq)
    return OnBoard(sealed, reports, frozenset(waiting), dropped)


def _outbox_type() -> Any:
    """The firmware's own outbox, which reads the same files under CPython."""
    folder = str(firmware_folder())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return importlib.import_module("node.outbox").Outbox


async def tally(flashes: Mapping[str, Path], store: Path, platform_url: str) -> Tally:
    """Count what the boards (device id -> flash image), the store and the platform hold."""
    total = Tally()
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
        kept: dict[str, set[int]] = {}
        for table in ("report", "attestation"):
            for device_id, seq in db.execute(f"SELECT device_id, seq FROM {table}"):
                kept.setdefault(device_id, set()).add(seq)
        total.reports_stored = _one(db, f"SELECT count(*) FROM report WHERE kind = {topics.REPORT}")
        total.observations = _one(db, "SELECT count(*) FROM observation")
        total.withheld = _one(db, "SELECT count(*) FROM withheld")
        total.published = _one(db, "SELECT count(*) FROM publish_outbox WHERE state = 'done'")
        total.duplicated += _one(
            db,
            "SELECT count(*) FROM (SELECT 1 FROM observation"
            " GROUP BY datastream, window_start HAVING count(*) > 1)",
        )
        totals = dict(db.execute("SELECT name, n FROM tally"))
    total.received = totals.get("received", 0)
    total.refused_by_reason = {
        name.removeprefix("refused:"): n for name, n in sorted(totals.items()) if name.startswith("refused:")
    }
    total.refused = sum(total.refused_by_reason.values())
    for device_id, image in flashes.items():
        board = read_flash(image)
        total.reports_sealed += board.reports
        total.dropped_on_boards += board.dropped
        here = kept.get(device_id, set())
        total.waiting_on_boards += len(board.waiting - here)
        total.lost += len(set(range(1, board.sealed + 1)) - here - board.waiting)
    on_platform = await observations_on(platform_url)
    counted = Counter((row["datastream"], row["phenomenonTime"]) for row in on_platform)
    total.on_platform = len(on_platform)
    total.duplicated += sum(n - 1 for n in counted.values())
    total.missing_on_platform = total.observations - len(counted)
    return total


def _one(db: sqlite3.Connection, query: str) -> int:
    (number,) = db.execute(query).fetchone()
    return int(number)


async def observations_on(platform_url: str) -> list[dict[str, Any]]:
    """Read every observation of a SensorThings service, with the name of its datastream.

    Raises StreetError when the service does not answer as the standard says.
    """
    found: list[dict[str, Any]] = []
    async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
        for stream in await _all(client, f"{platform_url}/Datastreams?$top={PAGE}"):
            link = f"{stream['Observations@iot.navigationLink']}?$top={PAGE}"
            rows: Iterable[dict[str, Any]] = await _all(client, link)
            found.extend(row | {"datastream": stream["name"]} for row in rows)
    return found


async def _all(client: httpx.AsyncClient, link: str) -> list[dict[str, Any]]:
    rows: dict[object, dict[str, Any]] = {}
    following: str | None = link
    while following:
        answer = await client.get(following)
        if answer.status_code != httpx.codes.OK:
            raise StreetError(f"{following}: found status {answer.status_code}, wanted 200")
        page = answer.json()
        # The service pages by number and gives the last of one page again as the first of the next.
        rows |= {row["@iot.id"]: row for row in page["value"]}
        following = page.get("@iot.nextLink")
    return list(rows.values())
