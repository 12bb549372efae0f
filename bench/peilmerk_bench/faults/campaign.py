"""Makes faults in a running street, one after the other, and finds out what each has lost, doubled and taken.

A street of one counter and one air node, a real broker, gateway and SensorThings platform. Each fault is
made, stands for a while and is mended; then the campaign waits until the street is itself again:

    what is sent        both boards are connected, and every window they sealed is in the gateway's store
    what is measured    a report of a window that began after the mending is whole and tells no sensor fault

and says how long that took, in the boards' time and on this machine. Lost are sequence numbers that the store
misses below its newest; unsealed are windows that a board closed and the store misses, because the board died
before the report was on its flash, as it must when its power is cut at that moment: counts live in RAM only.
Doubled are observations that the platform has twice. All is counted once more at the end against the boards'
own flash.
"""

from __future__ import annotations

import asyncio
import json as jsonlib
import re
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from peilmerk_bench.demo import settled
from peilmerk_bench.faults.faults import BROKER_NAME, FAULTS, Fault, Scene
from peilmerk_bench.street import Plan, Street
from peilmerk_bench.street.run import CLOSED, WINDOW_S
from peilmerk_bench.street.tally import observations_on
from peilmerk_gateway.errors import PeilmerkError
from peilmerk_protocol import report

PATIENCE_S = 150.0
"""How long, in real seconds, a street may take to be itself again."""

CUTS_POWER = frozenset({"power-cut"})

SLOT_S = 90
"""A window is at the gateway so long after its end, in the boards' time, or it is late."""

SEALED = re.compile(r"window (\d+): \d+ of \d+ quantities released")
LINK = re.compile(r"peilmerk: (?:link: (\w+)|\w+, boot )")
"""What a board says of its link; a boot is the end of every connection before."""

SPOILT = report.HEALTH_SENSOR | report.HEALTH_PARTIAL

Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What one fault came to.

    recovery_s: the boards' time from when its mending began to when the street was itself again, None when it
    was not within the campaign's patience; recovery_real_s: the same on this machine.
    """

    fault: str
    words: str
    held_s: float
    lost: int
    unsealed: int
    doubled: int
    recovery_s: float | None
    recovery_real_s: float | None

    @property
    def ok(self) -> bool:
        unsealed = self.unsealed and self.fault not in CUTS_POWER
        return not (self.lost or self.doubled or unsealed) and self.recovery_s is not None


class Campaign:
    """Faults in a street below a folder, which must be empty."""

    def __init__(
        self,
        folder: Path,
        speed: float = 60.0,
        say: Say = lambda _: None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._plan = Plan.new(folder, counters=1, air=1, page_port=0)
        self._street = Street(self._plan, speed=speed, say=say, broker_name=BROKER_NAME)
        self._say = say
        self._patience_s = patience_s

    async def run(self, faults: Sequence[Fault], on_outcome: Callable[[Outcome], None]) -> dict[str, Any]:
        """Make the faults and return the whole as figures. Raises PeilmerkError when there is no street."""
        street = self._street
        await street.start()
        outcomes: list[Outcome] = []
        try:
            scene = Scene(street, street.boards["fietspad-1"], street.boards["lucht-1"])
            await self._until(lambda: self._stored_windows().keys() >= self._devices())
            for fault in faults:
                outcome = await self._one(fault, scene)
                outcomes.append(outcome)
                on_outcome(outcome)
            await street.power_off_boards()
            total = await settled(street)
        finally:
            await street.stop()
        return {
            "name": "faults",
            "ok": all(outcome.ok for outcome in outcomes) and total.ok,
            "figures": {
                "faults": [asdict(outcome) for outcome in outcomes],
                "sealed": total.reports_sealed,
                "stored": total.reports_stored,
                "lost": total.lost,
                "doubled": total.duplicated,
                "dropped_on_boards": total.dropped_on_boards,
                "refused": total.refused_by_reason,
                "speed": street.speed,
            },
            "limits": {"lost": 0, "doubled": 0},
        }

    async def _one(self, fault: Fault, scene: Scene) -> Outcome:
        street = self._street
        await street.quiet_moment()
        self._say(f"{fault.name}: {fault.words}")
        before = self._lost(), self._unsealed(), await self._doubled()
        began = time.monotonic()
        await fault.make(scene)
        await asyncio.sleep(fault.hold_s)
        mended, mended_world = time.monotonic(), street.clock.now()
        await fault.mend(scene)
        whole = self._measures_well if fault.senses else self._has_sent
        recovered: float | None = None
        try:
            await self._until(lambda: whole(mended_world))
            recovered = time.monotonic() - mended
        except TimeoutError:
            self._say(f"{fault.name}: not itself again within {self._patience_s:.0f} s")
        return Outcome(
            fault.name,
            fault.words,
            round(mended - began, 1),
            self._lost() - before[0],
            self._unsealed() - before[1],
            await self._doubled() - before[2],
            None if recovered is None else round(recovered * street.speed),
            None if recovered is None else round(recovered, 1),
        )

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(self._patience_s):
            while not condition():  # noqa: ASYNC110 - what it reads is another process's file
                await asyncio.sleep(0.1)

    # -- what a street that is itself again looks like ------------------------------------------------------

    def _has_sent(self, mended: float) -> bool:
        """Every board is connected, and all that it ever said it sealed is stored."""
        stored = self._stored_windows()
        for house in self._plan.boards:
            said = self._street.boards[house.name].console_tail
            sealed = {int(number) * WINDOW_S for number in SEALED.findall(said)}
            if (
                LINK.findall(said)[-1:] != ["connected"]
                or not sealed <= stored.get(house.device_id, {}).keys()
            ):
                return False
        return True

    def _measures_well(self, mended: float) -> bool:
        """The air node has reported a window that began after the mending, whole and with no sensor fault."""
        device = next(house.device_id for house in self._plan.boards if house.kind == "air")
        found = self._stored_windows().get(device, {})
        return any(start >= mended and not health & SPOILT for start, health in found.items())

    def _devices(self) -> set[str]:
        return {house.device_id for house in self._plan.boards}

    def _stored_windows(self) -> dict[str, dict[int, int]]:
        """{device: {start of window: health}} of all that is stored."""
        found: dict[str, dict[int, int]] = {}
        for device, start, health in self._rows("SELECT device_id, window_start, health FROM report"):
            found.setdefault(device, {})[start] = health
        return found

    def _lost(self) -> int:
        """How many sequence numbers below a board's newest the store misses."""
        numbers: dict[str, set[int]] = {}
        for table in ("report", "attestation"):
            for device, seq in self._rows(f"SELECT device_id, seq FROM {table}"):
                numbers.setdefault(device, set()).add(seq)
        return sum(max(found) - len(found) for found in numbers.values())

    def _unsealed(self) -> int:
        """How many windows boards have closed of which the store has nothing, though it is time."""
        stored = self._stored_windows()
        late = self._street.clock.now() - WINDOW_S - SLOT_S
        missed = 0
        for house in self._plan.boards:
            closed = CLOSED.findall(self._street.boards[house.name].console_tail)
            due = {start for start in (int(number) * WINDOW_S for number in closed) if start < late}
            missed += len(due - stored.get(house.device_id, {}).keys())
        return missed

    async def _doubled(self) -> int:
        assert self._street.platform is not None
        rows = await observations_on(self._street.platform.url)
        counted = Counter((row["datastream"], row["phenomenonTime"]) for row in rows)
        return sum(number - 1 for number in counted.values())

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        try:
            with closing(sqlite3.connect(f"file:{self._street.store_file}?mode=ro", uri=True)) as db:
                return db.execute(query).fetchall()
        except sqlite3.OperationalError:
            return []  # the store is being made


def choose(names: Sequence[str]) -> list[Fault]:
    """Return the faults of these names, all of them without any. Raises PeilmerkError for an unknown one."""
    known = {fault.name: fault for fault in FAULTS}
    for name in names:
        if name not in known:
            raise PeilmerkError(f"found no fault {name!r}, wanted one of {', '.join(known)}")
    return [known[name] for name in names] if names else list(FAULTS)


def run(names: Sequence[str], speed: float, json: bool, say: Say) -> int:
    """Run a campaign in a folder of its own and print what came of it; exit code 0, or 1 when something was
    lost, doubled or did not come back.
    """
    faults = choose(names)

    def told(outcome: Outcome) -> None:
        if json:
            return
        back = (
            "never"
            if outcome.recovery_s is None
            else f"{outcome.recovery_s:.0f} s ({outcome.recovery_real_s} s here)"
        )
        counts = f"lost {outcome.lost}  unsealed {outcome.unsealed}  doubled {outcome.doubled}"
        print(f"{outcome.fault:20} {counts}  recovered after {back}", flush=True)

    with tempfile.TemporaryDirectory(prefix="peilmerk-faults-") as folder:
        result = asyncio.run(Campaign(Path(folder), speed, say).run(faults, told))
    if json:
        print(jsonlib.dumps(result))
    else:
        figures = result["figures"]
        print(
            f"{figures['sealed']} reports sealed, {figures['stored']} stored, lost {figures['lost']}, "
            f"doubled {figures['doubled']}: {'ok' if result['ok'] else 'NOT ok'}"
        )
    return 0 if result["ok"] else 1
