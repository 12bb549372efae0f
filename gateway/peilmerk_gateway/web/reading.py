"""Reads what the page shows: the deployment records say who and where, the store says what and how much.

Bounded whatever the gateway holds: at most PART sensors, the last WINDOWS windows of each of their public
datastreams, the ledger of one day, and totals that the store keeps as running sums.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from peilmerk_gateway.deployments.catalogue import Catalogue
from peilmerk_gateway.deployments.deployment import Deployment
from peilmerk_gateway.deployments.mandate import Mandate, Stream
from peilmerk_gateway.deployments.record import Device
from peilmerk_gateway.settings import SinkSettings
from peilmerk_gateway.store import BudgetLine, Figures, Seen, Store, Window
from peilmerk_gateway.web.chart import Slot
from peilmerk_gateway.web.street import (
    Budget,
    Day,
    Kind,
    Platform,
    Refused,
    Sensor,
    Series,
    Street,
    fragment_name,
)
from peilmerk_protocol import quantities, topics
from peilmerk_protocol.quantities_names import Quantity
from peilmerk_protocol.report import HEALTH_PAUSED

# Sensors on one page, and windows in one chart.
PART = 24
WINDOWS = 24
# How many more are read, because the newest of a home may not be told yet: an hour of the shortest windows.
HELD = 60
DAY_S = 86_400
# Windows that may pass without a report before a sensor counts as silent: one to end, one for a slow link.
PATIENCE = 3

# A place in the catalogue: what one board does under one record.
Site = tuple[Deployment, Device, Mandate]


def parts(catalogue: Catalogue) -> int:
    """How many parts of at most PART sensors the street has; at least one."""
    return max(1, -(-len(_sites(catalogue)) // PART))


async def read(
    store: Store, catalogue: Catalogue, sinks: Sequence[SinkSettings], now: float, part: int
) -> Street:
    """Read one part (from 1 to `parts`) of the street as it is at `now` (unix s). Raises StoreError."""
    sites = _sites(catalogue)
    shown = sites[(part - 1) * PART : part * PART]
    streams = [stream for _, _, mandate in shown for stream in mandate.observed.values()]
    keys = [key for stream in streams for key in (stream.key, stream.day_key)]
    # A day's total is described only where there are any.
    found = await store.latest_of(
        [key for key in keys if catalogue.describe(key) is not None], WINDOWS + HELD
    )
    windows = _ripe(found, shown, now)
    seen = await store.seen([device.device_id for _, device, _ in shown])
    spent: dict[tuple[str, str], list[BudgetLine]] = {}
    for line in await store.budget_today(now):
        spent.setdefault((line.deployment, line.device_id), []).append(line)
    figures = await store.figures()
    return Street(
        sensors=tuple(_sensor(site, windows, seen, spent, now, bool(sinks)) for site in shown),
        total=len(sites),
        part=part,
        parts=parts(catalogue),
        first=(part - 1) * PART + 1,
        broken=len(catalogue.broken),
        platforms=_platforms(sinks, figures),
        refused=tuple(
            Refused(reason, n)
            for reason, n in sorted(figures.refused.items(), key=lambda item: -item[1])
            if n
        ),
        figures=_totals(figures),
    )


def _sites(catalogue: Catalogue) -> list[Site]:
    """Every board under a usable record, by deployment and name; what hangs indoors is nobody's business."""
    return [
        (deployment, device, deployment.mandates[device.device_id])
        for _, deployment in sorted(catalogue.deployments.items())
        if not deployment.record.location.indoor
        for device in sorted(deployment.record.devices, key=lambda device: device.name)
    ]


def _ripe(
    found: Mapping[str, Sequence[Window]], shown: Sequence[Site], now: float
) -> dict[str, list[Window]]:
    """Return the last WINDOWS of each datastream that may be told at `now`; of a home none too fresh."""
    ripe = {}
    for _, _, mandate in shown:
        for stream in mandate.observed.values():
            for key, kind in ((stream.key, topics.REPORT), (stream.day_key, topics.DAY)):
                if key in found:
                    newest = now - mandate.hold_s - mandate.length_s(kind) if mandate.hold_s else now
                    ripe[key] = [window for window in found[key] if window.window_start <= newest][-WINDOWS:]
    return ripe


def _sensor(
    site: Site,
    windows: Mapping[str, Sequence[Window]],
    seen: Mapping[str, Seen],
    spent: Mapping[tuple[str, str], Sequence[BudgetLine]],
    now: float,
    has_sinks: bool,
) -> Sensor:
    deployment, device, mandate = site
    record = deployment.record
    heard = seen.get(device.device_id)
    last = heard.window_start if heard is not None else None
    streams = [stream for _, stream in sorted(mandate.observed.items())]
    today = datetime.fromtimestamp(now, UTC).date()
    in_force = (record.active_from is None or record.active_from <= today) and today <= record.active_until
    return Sensor(
        name=device.name.replace("-", " ").capitalize(),
        key=f"{deployment.id}/{device.name}",
        fragment=fragment_name(deployment.id, device.name),
        kind=_kind([stream.quantity for stream in streams]),
        model=device.model,
        description=device.description or record.location.description,
        cell=deployment.cells[device.name].id,
        cell_m=deployment.cells[device.name].size_m,
        goals=tuple(purpose.goal for purpose in record.purposes),
        responsible=(record.roles.controller if record.roles else None) or record.owner.organisation,
        contact=record.public_contact or record.owner.website or "",
        objection=record.objection_url or "",
        documents=_documents(deployment),
        window_s=mandate.window_s,
        active=device.active and in_force,
        series=tuple(
            _series(stream, windows[stream.key], windows.get(stream.day_key, ()), mandate.window_s, has_sinks)
            for stream in streams
            if stream.key in windows
        ),
        kept=tuple(stream.quantity for stream in streams if stream.key not in windows),
        budget=_budget(mandate, spent.get((deployment.id, device.device_id), ()), now),
        last_window=last,
        silent=last is not None and now > last + (1 + PATIENCE) * mandate.window_s,
        paused=heard is not None and bool(heard.health & HEALTH_PAUSED),
    )


def _documents(deployment: Deployment) -> tuple[str, ...]:
    record = deployment.record
    found = [purpose.privacy_declaration_url for purpose in record.purposes]
    found += [stream.documentation for stream in record.datastreams]
    found += [record.dpia.url if record.dpia else None]
    return tuple(dict.fromkeys(address for address in found if address))


def _kind(measured: Sequence[Quantity]) -> Kind:
    if any(quantity.is_count for quantity in measured):
        return "counter"
    if any(quantity.kind == quantities.KIND_LEVEL for quantity in measured):
        return "noise"
    return "air" if any(quantity.eea for quantity in measured) else "other"


def _series(
    stream: Stream, windows: Sequence[Window], days: Sequence[Window], window_s: int, has_sinks: bool
) -> Series:
    key, quantity = stream.key, stream.quantity
    day = _day(days[-1], quantity) if days else None
    if not windows:
        return Series(key, quantity, (), day)
    by_start = {window.window_start: window for window in windows}
    newest = windows[-1].window_start
    starts = range(newest - (WINDOWS - 1) * window_s, newest + 1, window_s)
    return Series(
        key, quantity, tuple(_slot(start, by_start.get(start), quantity, has_sinks) for start in starts), day
    )


def _day(window: Window, quantity: Quantity) -> Day:
    numerator, denominator = quantity.scale
    value = None if window.result is None else window.result * numerator / denominator
    return Day(window.window_start, value, window.noise_scale, window.reason)


def _slot(start: int, window: Window | None, quantity: Quantity, has_sinks: bool) -> Slot:
    if window is None:
        return Slot(start, "missing")
    if window.result is None:
        return Slot(start, "withheld")
    numerator, denominator = quantity.scale
    scale = numerator / denominator
    return Slot(
        start=start,
        state="published" if window.published or not has_sinks else "waiting",
        value=window.result * scale,
        spread=None if window.spread is None else window.spread * scale,
        noise=None if window.noise_scale is None else window.noise_scale * scale,
        samples=window.samples,
    )


def _budget(mandate: Mandate, lines: Sequence[BudgetLine], now: float) -> Budget | None:
    if not any(stream.quantity.is_count for stream in mandate.streams.values()):
        return None
    return Budget(
        # Every count of a report shares its window, and a passage is in one count of it only.
        windows=max((line.windows for line in lines), default=0),
        leaf=mandate.epsilon_leaf,
        day=mandate.epsilon_day,
        m=mandate.m_assumed,
        k=mandate.k,
        since=now // DAY_S * DAY_S,
    )


def _platforms(sinks: Sequence[SinkSettings], figures: Figures) -> tuple[Platform, ...]:
    found = []
    for sink in sinks:
        state = figures.sinks.get(sink.name)
        if state is None:
            found.append(Platform(sink.name, sink.kind, 0, 0, 0))
        else:
            waiting = state.waiting + state.sending
            found.append(Platform(sink.name, sink.kind, waiting, state.published, state.rejected))
    return tuple(found)


def _totals(figures: Figures) -> dict[str, int]:
    sinks = figures.sinks.values()
    return {
        # With several platforms, what the one that is furthest has; with none, what this page shows.
        "published": max((sink.published for sink in sinks), default=figures.observations),
        "waiting": max((sink.waiting + sink.sending for sink in sinks), default=0),
        "withheld": figures.withheld,
        "refused": sum(figures.refused.values()),
    }
