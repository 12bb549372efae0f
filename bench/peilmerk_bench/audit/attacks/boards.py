"""Our boards: the firmware that is shipped lives through a world under MicroPython and seals its messages."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from peilmerk_bench.audit.attacks.worlds import BEGAN
from peilmerk_bench.audit.children import answer_of
from peilmerk_bench.audit.device_side import SCRIPTS, micropython
from peilmerk_gateway.ingest import Delivery
from peilmerk_gateway.registry import Device
from peilmerk_protocol import cose, keys, report, statement, topics
from peilmerk_protocol.profile import Profile
from peilmerk_protocol.report import Report
from peilmerk_provisioning.bundle import firmware_folder

PATIENCE_S = 600


@dataclass(frozen=True, slots=True)
class Sealed:
    """One sealed message of a board: `end` of its window (Unix s, 0 for a statement), and how long after it
    the message was ready, in microseconds.
    """

    kind: int
    seq: int
    end: int
    payload: bytes = field(repr=False)
    delay_us: int


@dataclass(frozen=True)
class Board:
    """A board in a world: `counts` or `samples`, as on_micropython/street.py takes them."""

    name: str
    device: Device
    profile: Profile
    counts: list[list[int]] = field(default_factory=list, repr=False)
    samples: list[list[list[int]]] = field(default_factory=list, repr=False)

    def live(self, firmware: Path | None = None) -> list[Sealed]:
        """Live through the world on a firmware's sources (None: as shipped). Raises AuditError."""
        start, environment = micropython(firmware)
        told = {
            "device_id": self.device.device_id,
            "key": self._key.hex(),
            "profile": self.profile.fields(),
            "began": BEGAN,
            "root": f"{firmware or firmware_folder()}/",
        }
        rows = self.counts or self.samples
        told |= {"windows": len(rows), "counts": bool(self.counts)}
        lines = [json.dumps(told), *map(json.dumps, rows)]
        with tempfile.TemporaryDirectory(prefix="peilmerk-board-") as folder:
            said = answer_of(
                [*start, str(SCRIPTS / "street.py"), folder],
                environment,
                f"the board {self.name}",
                PATIENCE_S,
                "\n".join(lines) + "\n",
            )
        said_rows = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
        return [
            Sealed(row["kind"], row["seq"], row["end"], bytes.fromhex(row["payload"]), row["us"])
            for row in said_rows
        ]

    def delivery(self, sealed: Sealed) -> Delivery:
        """Return a message as a broker brings it."""
        return Delivery(self.device.device_id, sealed.kind, sealed.payload)

    def opened(self, sealed: Sealed) -> Report:
        """Open a report or a day's total of this board, as who has its key."""
        decode = report.decode_day if sealed.kind == topics.DAY else report.decode
        return decode(cose.open_sealed(self._key, sealed.kind, self.device.device_id, sealed.payload))

    def firmware_digest(self, messages: Sequence[Sealed]) -> bytes:
        """Return the digest of the firmware that the board states it runs."""
        said = next(message for message in messages if message.kind == topics.STATEMENT)
        body = cose.open_sealed(self._key, said.kind, self.device.device_id, said.payload)
        return statement.decode(body).firmware_digest

    @property
    def _key(self) -> bytes:
        return keys.derive(self.device.root_key, keys.UP)


def live_all(
    boards: Sequence[Board], firmware: Path | None = None, on_done: Callable[[], None] = lambda: None
) -> list[list[Sealed]]:
    """Have several boards live, as many at a time as there are processors."""

    def one(board: Board) -> list[Sealed]:
        messages = board.live(firmware)
        on_done()
        return messages

    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        return list(threads.map(one, boards))
