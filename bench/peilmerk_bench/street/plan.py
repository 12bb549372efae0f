"""What stands in a street, and what of it must be the same at the next run: boards, ports and the world's
time.

Kept in `street.json` in the street's folder. World time goes on where the last run stopped, so that a
window is never lived through twice; after a run that could not say when it stopped, it goes on a little
later than the last time noted.
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.free_port import free_port

FILE_NAME = "street.json"
# The recorded day of Münster, replayed by its own clock; at half past two its afternoon rush lies ahead.
WORLD_START = datetime(2024, 2, 28, 14, 30, tzinfo=UTC).timestamp()
# World time is noted every second of a run; a killed run may have lived this much further, in seconds of real
# time.
NOTED_EVERY_S = 1.0
PAGE_PORT = 8642


class StreetError(PeilmerkError):
    """The street cannot stand here; the text names what was found and what was wanted."""


@dataclass
class House:
    """One board of the street: `name` is its public name, `kind` counter or air, `shift_s` how much later
    than the recording it lives, so that two boards on one trace do not see the same moment.
    """

    name: str
    kind: str
    shift_s: float
    device_id: str = ""


@dataclass
class Plan:
    """The street: `boards`, its ports on 127.0.0.1, and where world time is (unix seconds)."""

    folder: Path
    boards: list[House] = field(default_factory=list)
    ports: dict[str, int] = field(default_factory=dict)
    world: float = WORLD_START
    stopped_well: bool = True
    firmware: str = ""
    """Digests of the firmware that the boards carry, one a kind."""

    @classmethod
    def load(cls, folder: Path) -> Plan | None:
        """Read the plan of a street that stood here before; None when there was none. Raises StreetError."""
        file = folder / FILE_NAME
        try:
            kept = json.loads(file.read_text("utf-8"))
            boards = [House(**house) for house in kept.pop("boards")]
            return cls(folder=folder, boards=boards, **kept)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as reason:
            raise StreetError(
                f"{file}: found no plan of a street ({reason}); remove the folder {folder} to begin anew"
            ) from reason

    @classmethod
    def new(
        cls, folder: Path, counters: int, air: int, page_port: int = PAGE_PORT, world: float = WORLD_START
    ) -> Plan:
        """Plan a street with so many boards; ports other than the page's are any free ones."""
        boards = [House(f"fietspad-{number + 1}", "counter", 180.0 * number) for number in range(counters)]
        boards += [House(f"lucht-{number + 1}", "air", 420.0 * number) for number in range(air)]
        return cls(folder=folder, boards=boards, ports={"page": page_port}, world=world)

    def take_ports(self) -> None:
        """Choose the ports that have none yet, and check that those from before are still free.

        Raises StreetError naming the port that is taken and what it is for.
        """
        taken = []
        for name, kind in PORTS.items():
            if not (port := self.ports.get(name, 0)):
                while (port := free_port(kind=kind)) in self.ports.values():
                    pass
            with socket.socket(socket.AF_INET, kind) as probe:
                if kind == socket.SOCK_STREAM:
                    # A listener that has just gone leaves connections behind that do not hinder a new one.
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError as reason:
                    taken.append(f"port {port} for the {USES[name]}: {os.strerror(reason.errno or 0)}")
                else:
                    self.ports[name] = probe.getsockname()[1]
        if taken:
            raise StreetError(
                "; ".join(taken)
                + f". Stop what holds it, give --port for the page, or change {self.folder / FILE_NAME}"
            )

    def save(self, world: float, stopped_well: bool) -> None:
        """Note where world time is; whole or not at all."""
        self.world, self.stopped_well = world, stopped_well
        kept = {key: value for key, value in asdict(self).items() if key != "folder"}
        draft = self.folder / f".{FILE_NAME}"
        draft.write_text(json.dumps(kept, indent=2) + "\n", "utf-8")
        draft.replace(self.folder / FILE_NAME)

    def resume_at(self, speed: float) -> float:
        """World time at which the next run begins, never before a moment that was lived through."""
        return self.world if self.stopped_well else self.world + 3 * NOTED_EVERY_S * speed


PORTS = {
    "page": socket.SOCK_STREAM,
    "platform": socket.SOCK_STREAM,
    "mqtt": socket.SOCK_STREAM,
    "update": socket.SOCK_STREAM,
    "time": socket.SOCK_DGRAM,
}
USES = {
    "page": "gateway's page",
    "platform": "SensorThings platform",
    "mqtt": "broker (MQTT over TLS)",
    "update": "gateway's firmware (HTTPS)",
    "time": "time server of the street",
}
