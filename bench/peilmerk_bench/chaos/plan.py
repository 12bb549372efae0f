"""What a campaign of kills is asked for, the same for each of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """How often to kill, under what load.

    `folder`: must be empty. `kills`: how many, in turn. `seed`: makes the same moments again. `boards`: in
    software. `rate`: reports a second of each of them. `kinds`: what is killed, all that the campaign knows
    by default. `workers`: processes of a gateway that take turns, where a campaign has several. `say`: hears
    how far it is.
    """

    folder: Path
    kills: int
    seed: int
    boards: int = 12
    rate: float = 5.0
    say: Say = lambda _: None
    kinds: tuple[str, ...] | None = None
    workers: int = 3
