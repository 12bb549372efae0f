"""The deployment records of our street under attack, with an owner whose particulars must never be public."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from peilmerk_bench.audit.attacks.location import Place
from peilmerk_gateway.deployments.template import NewDevice, new_record
from peilmerk_protocol.profile import Profile

ORGANISATION = "Gemeente Voorbeeld"
OWNER = {
    "name": "Wilhelmina Kanarievogel",
    "email": "w.kanarievogel@voliere.example",
    "phone": "+31 6 98765432",
    "address": "Volierelaan 77, 3511 AB Utrecht",
    "kvk": "87654321",
}
"""Nobody's, and in no other text: what is found in public bytes leaked."""
BEGINS, ENDS = date(2024, 1, 1), date(2034, 1, 1)


@dataclass(frozen=True)
class Pole:
    """A board where it hangs, under its public name."""

    name: str
    device_id: str
    point: Place


def write(
    folder: Path,
    id: str,
    poles: Sequence[Pole],
    profile: Profile,
    firmware: bytes,
    *,
    indoor: bool = False,
    at_home: bool = False,
    version: str = "1",
) -> None:
    """Write the record of one deployment; all its boards run `profile` and the firmware of that digest.

    `at_home`: a private person's; its first square is the one of a home.
    """
    text = new_record(
        id=id,
        description=f"Deployment {id}, attacked by an audit",
        longitude=poles[0].point[0],
        latitude=poles[0].point[1],
        devices=[
            NewDevice(pole.name, pole.device_id, firmware, "sensor", "Peilmerk", pole.point) for pole in poles
        ],
        profile=profile,
        notified_at=None if at_home else date(2023, 6, 1),
        active_from=BEGINS,
        active_until=ENDS,
        organisation=ORGANISATION,
        contact="sensoren@voorbeeld.example",
        objection_url="https://voorbeeld.example/bezwaar",
        version=version,
    )
    owner = "".join(f'{key} = "{value}"\n' for key, value in OWNER.items())
    text = text.replace("[owner]\n", f"[owner]\n{owner}", 1)
    if indoor:
        text = text.replace("indoor = false", "indoor = true", 1)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{id}.toml").write_text(text, "utf-8")
