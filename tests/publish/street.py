"""A small street for the publishers' tests: two sensors, five datastreams, windows of 15 minutes."""

from __future__ import annotations

from collections.abc import Sequence

from peilmerk_gateway.publish import Description
from peilmerk_gateway.store import BatchRows, Entry, ObservationRow, ReportRow, Store
from peilmerk_protocol import quantities_names

DAY = 1_793_491_200  # 2026-11-01T00:00:00Z
WINDOW_S = 900
CELL = "rd-100-1552-4630"
OUTLINE = ((5.3871, 52.1551), (5.3886, 52.1551), (5.3886, 52.156), (5.3871, 52.156), (5.3871, 52.1551))
DEPLOYMENT = "kerkstraat"
COUNTER, AIR = "fietspad-noord", "lucht-noord"
# What must never leave: names of boards, and the points at which they hang.
DEVICES = {COUNTER: "canaryaaaaaaaaa2", AIR: "canarybbbbbbbbb3"}

COUNTS = ("bicycle_towards", "bicycle_away")
MEANS = ("pm2_5", "temperature", "humidity")


def key(thing: str, quantity: str) -> str:
    """The key of a datastream of this street."""
    return f"{DEPLOYMENT}/{thing}/{quantity}"


def description(thing: str, quantity: str) -> Description:
    """The public words of one datastream."""
    return Description(
        datastream=key(thing, quantity),
        deployment=DEPLOYMENT,
        deployment_text="Counting bicycles in the Kerkstraat",
        thing=thing,
        cell=CELL,
        outline=OUTLINE,
        sensor_type="beam counter" if thing == COUNTER else "particle sensor",
        sensor_model="two light beams" if thing == COUNTER else "SDS011",
        quantity=quantities_names.by_name(quantity),
        datastream_text=f"{quantity} every quarter of an hour",
        facts={"window_s": WINDOW_S},
    )


class Words:
    """What may be published of the street, and in which words; `closed` takes datastreams out."""

    def __init__(self) -> None:
        self.closed: set[str] = set()
        self._all = {
            about.datastream: about
            for about in (
                *(description(COUNTER, quantity) for quantity in COUNTS),
                *(description(AIR, quantity) for quantity in MEANS),
            )
        }

    def describe(self, datastream: str) -> Description | None:
        """See `Describes.describe`."""
        return None if datastream in self.closed else self._all.get(datastream)


def counter_entry(window: int, towards: int, away: int) -> Entry:
    """The admitted report of the counter's n-th window of the day."""
    start = DAY + window * WINDOW_S
    row = ObservationRow(
        datastream=key(COUNTER, "bicycle_towards"),
        deployment=DEPLOYMENT,
        thing=COUNTER,
        device_id=DEVICES[COUNTER],
        quantity=quantities_names.by_name("bicycle_towards").number,
        window_start=start,
        window_s=WINDOW_S,
        result=towards,
        noise_scale=2.0,
    )
    other = row._replace(
        datastream=key(COUNTER, "bicycle_away"),
        quantity=quantities_names.by_name("bicycle_away").number,
        result=away,
    )
    report = ReportRow(DEVICES[COUNTER], window + 1, start, WINDOW_S, 1, 0, None)
    return Entry(report, (row, other))


def air_entry(window: int, pm2_5: int, temperature: int, humidity: int) -> Entry:
    """The admitted report of the air sensor's n-th window of the day, in wire units (tenths)."""
    start = DAY + window * WINDOW_S
    rows = tuple(
        ObservationRow(
            datastream=key(AIR, quantity),
            deployment=DEPLOYMENT,
            thing=AIR,
            device_id=DEVICES[AIR],
            quantity=quantities_names.by_name(quantity).number,
            window_start=start,
            window_s=WINDOW_S,
            result=result,
            spread=7,
            samples=890,
        )
        for quantity, result in zip(MEANS, (pm2_5, temperature, humidity), strict=True)
    )
    return Entry(ReportRow(DEVICES[AIR], window + 1, start, WINDOW_S, 1, 0, None), rows)


def batch(entries: Sequence[Entry]) -> BatchRows:
    """One judged batch of these reports."""
    return BatchRows(entries=entries, received=len(entries))


async def fill(store: Store, windows: range) -> int:
    """Store five observations for each of these windows; return how many that are."""
    entries = []
    for window in windows:
        entries.append(counter_entry(window, 10 + window, 500 + window))
        entries.append(air_entry(window, 123 + window, -35 + window, 800 + window % 100))
    stored = await store.commit_batch(batch(entries), DAY)
    return stored.observations


def expected(windows: range) -> dict[tuple[str, int], float]:
    """What `fill` must look like on a platform: (datastream, window start) -> figure in its unit."""
    figures: dict[tuple[str, int], float] = {}
    for window in windows:
        start = DAY + window * WINDOW_S
        figures[key(COUNTER, "bicycle_towards"), start] = 10 + window
        figures[key(COUNTER, "bicycle_away"), start] = 500 + window
        figures[key(AIR, "pm2_5"), start] = (123 + window) / 10
        figures[key(AIR, "temperature"), start] = (-35 + window) / 10
        figures[key(AIR, "humidity"), start] = (800 + window % 100) / 10
    return figures
