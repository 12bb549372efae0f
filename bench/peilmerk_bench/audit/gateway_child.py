"""The gateway's part of an audit, in a process of its own: PYTHONPATH says which gateway it imports.

    python -m peilmerk_bench.audit.gateway_child < {"what": "publish" | "crash", ...} > JSON

publish  takes the noisy figures that a board could send through report, admission's form and `account`
crash    sends a batch through the whole flow into a real SQLite store, in a process that dies by SIGKILL
         before its n-th statement or commit, for every n; then the broker brings the batch again
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import sys
import tempfile
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from peilmerk_bench.street.plan import House
from peilmerk_bench.street.records import write_records
from peilmerk_gateway.account import account
from peilmerk_gateway.admit import Admitted
from peilmerk_gateway.clock import ScaledClock
from peilmerk_gateway.deployments.catalogue import Catalogue
from peilmerk_gateway.deployments.deployment import parse
from peilmerk_gateway.deployments.mandate import Mandate
from peilmerk_gateway.flow import Flow
from peilmerk_gateway.ingest import Delivery
from peilmerk_gateway.open import Keyring
from peilmerk_gateway.registry import Registry
from peilmerk_gateway.store import Store
from peilmerk_protocol import cose, keys, report, statement, topics
from peilmerk_protocol import profile as profiles
from peilmerk_protocol.profile import STANDARD_COUNTER, Profile

NOW = 1_740_000_100.0
FIRMWARE = bytes(range(32))
DEVICE = "abcdefghijklmnop"
TOWARDS, AWAY = 5, 6


def write_record(folder: Path, device_id: str) -> None:
    """Write the record of the demo's street for one counter."""
    write_records(folder, [House("fietspad-1", "counter", 0.0, device_id)], {"counter": FIRMWARE.hex()})


def mandate_of(profile: Profile) -> Mandate:
    """Return the terms that the street's record would give a counter with this profile."""
    with tempfile.TemporaryDirectory(prefix="peilmerk-record-") as folder:
        write_record(Path(folder), DEVICE)
        (file,) = Path(folder).glob("*.toml")
        mandate = parse(file.read_bytes(), file).mandates[DEVICE]
    return replace(
        mandate,
        window_s=profile.window_s,
        epsilon_leaf=Fraction(*profile.epsilon_leaf),
        epsilon_day=Fraction(*profile.epsilon_day),
        k=profile.k,
        m_assumed=profile.m,
        _digests={},
    )


def publish(profile: Profile, kind: int, figures: list[int | str]) -> list[dict[str, Any]]:
    """Tell for each noisy figure what the gateway makes of it: `kept`, all that it writes down, as text;
    `result`, what may be published; `reason`, why it is withheld; `spent`, the lines of the ledger, in
    millionths.
    """
    mandate = mandate_of(profile)
    decode = report.decode_day if kind == topics.DAY else report.decode
    window = int(NOW) // mandate.length_s(kind) - 1
    rows = []
    for figure in figures:
        values: dict[int, tuple[int, ...]] = {} if isinstance(figure, str) else {TOWARDS: (figure,)}
        body = report.encode(2, window, profile.revision, 0, values)
        digest = hashlib.sha256(body).digest()
        entry = account(Admitted(DEVICE, decode(body), mandate, digest, kind))
        rows.append(
            {
                "kept": repr(entry),
                "result": entry.observations[0].result if entry.observations else None,
                "reason": entry.withheld[0].reason if entry.withheld else None,
                "spent": [line.epsilon_micro for line in entry.ledger],
            }
        )
    return rows


class Street:
    """A folder with one enrolled counter and its record, and a batch of what the counter sent."""

    def __init__(self, folder: Path, profile: Profile = STANDARD_COUNTER) -> None:
        self.folder = folder
        registry = Registry(folder / "registry.db")
        self.device = registry.enrol("counter", "fietspad-1")
        registry.close()
        (folder / "deployments").mkdir()
        write_record(folder / "deployments", self.device.device_id)
        self.profile = profile
        self.window = int(NOW) // profile.window_s - 1
        self.day = int(NOW) // profiles.DAY_S - 1

    def sealed(self, kind: int, body: bytes, root_key: bytes | None = None) -> Delivery:
        """Seal a body under the counter's key, or another."""
        key = keys.derive(root_key or self.device.root_key, keys.UP)
        return Delivery(self.device.device_id, kind, cose.seal(key, kind, self.device.device_id, body), False)

    def batch(self) -> list[Delivery]:
        """A statement, a day's total and two windows; the first direction is below the threshold."""
        p = self.profile
        said = statement.Statement(
            1, p.revision, FIRMWARE, profiles.digest(p), 1, (0, 1, 0), (1, 29, 0), 1, 3_600, 50_000, 100_000
        )
        return [
            self.sealed(topics.STATEMENT, statement.encode(said)),
            self.sealed(topics.DAY, report.encode(2, self.day, p.revision, 0, _both(40, 900))),
            self.sealed(topics.REPORT, report.encode(3, self.window - 1, p.revision, 0, _both(2, 41))),
            self.sealed(topics.REPORT, report.encode(4, self.window, p.revision, 0, _both(-1, 57))),
        ]

    def forged(self) -> Delivery:
        """A report of the window before, from somebody without the key."""
        body = report.encode(5, self.window - 2, self.profile.revision, 0, _both(30, 30))
        return self.sealed(topics.REPORT, body, root_key=bytes(32))

    def ledger_wanted(self) -> dict[str, int]:
        """{"quantity/kind/start": millionths} of the batch."""
        p = self.profile
        wanted = {}
        for quantity in (TOWARDS, AWAY):
            wanted[f"{quantity}/{topics.DAY}/{self.day * profiles.DAY_S}"] = _micro(p.epsilon_day)
            for window in (self.window - 1, self.window):
                wanted[f"{quantity}/{topics.REPORT}/{window * p.window_s}"] = _micro(p.epsilon_leaf)
        return wanted

    async def take(self, store_file: Path, deliveries: list[Delivery]) -> None:
        """Send deliveries through the flow into a store."""
        registry = Registry(self.folder / "registry.db")
        try:
            async with await Store.open(store_file, sinks=("city",)) as store:
                catalogue = Catalogue(self.folder / "deployments")
                flow = Flow(Keyring(registry), catalogue, store, ScaledClock(NOW, 0.0, 0.0))
                await flow.store(deliveries)
        finally:
            registry.close()


def _both(towards: int, away: int) -> dict[int, tuple[int, ...]]:
    return {TOWARDS: (towards,), AWAY: (away,)}


def _micro(epsilon: tuple[int, int]) -> int:
    return epsilon[0] * 1_000_000 // epsilon[1]


def _ledger(store_file: Path) -> list[tuple[str, int]]:
    with closing(sqlite3.connect(store_file)) as db:
        rows = db.execute("SELECT quantity, kind, window_start, epsilon_micro FROM ledger").fetchall()
    return sorted((f"{quantity}/{kind}/{start}", micro) for quantity, kind, start, micro in rows)


def _unspent(store_file: Path) -> int:
    """How many figures are kept without a line in the ledger."""
    with closing(sqlite3.connect(store_file)) as db:
        spent = set(db.execute("SELECT quantity, window_start FROM ledger"))
        kept = set(db.execute("SELECT quantity, window_start FROM observation"))
        return len(kept - spent)


def _die_before(step: int) -> None:
    """Make this process end by SIGKILL before its `step`-th statement or commit of a database."""
    left = step

    def one(*_: object, **__: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    for name in ("before_cursor_execute", "commit"):
        event.listen(Engine, name, one)


def _attempt(street: Street, store_file: Path, step: int) -> bool:
    """Take the batch in a process that dies before a step; whether it lived to the end."""
    child = os.fork()
    if not child:
        code = 1
        try:
            _die_before(step)
            asyncio.run(street.take(store_file, street.batch()))
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return False
    if os.waitstatus_to_exitcode(status):
        raise RuntimeError(f"the gateway failed before step {step}")
    return True


def crash() -> dict[str, Any]:
    """Crash at every step; `wrong` tells where the ledger was not what it must be, `crashes` how many."""
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="peilmerk-ledger-") as name:
        folder = Path(name)
        street = Street(folder)
        asyncio.run(street.take(folder / "empty.db", []))
        wanted = sorted(street.ledger_wanted().items())
        step, lived = 0, False
        while not lived:
            step += 1
            store_file = folder / f"store-{step}.db"
            for file in folder.glob("empty.db*"):
                shutil.copy(file, folder / file.name.replace("empty", f"store-{step}"))
            lived = _attempt(street, store_file, step)
            if unspent := _unspent(store_file):
                wrong.append(f"step {step}: {unspent} figures kept and not spent")
            # As a broker does with what was not acknowledged; the gateway has started again.
            again = [replace(delivery, redelivered=True) for delivery in street.batch()]
            asyncio.run(street.take(store_file, [*again, street.forged()]))
            if (found := _ledger(store_file)) != wanted:
                wrong.append(f"step {step}: found {len(found)} lines, wanted {len(wanted)}: {found}")
    return {"crashes": step - 1, "lines": len(wanted), "wrong": wrong}


def main() -> int:
    """Answer one question."""
    told = json.load(sys.stdin)
    if told["what"] == "crash":
        print(json.dumps(crash()))
    else:
        profile = profiles.from_fields(told["profile"])
        print(json.dumps(publish(profile, told["kind"], told["figures"])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
