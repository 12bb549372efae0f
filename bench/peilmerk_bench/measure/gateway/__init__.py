"""How fast the gateway is, how late, how large, and what a report costs as registry and store grow.

    drain    boards send what an outage left them to the gateway's own broker over MQTT and TLS, while no
             gateway runs; then `peilmerk gateway run` drains the stream through every stage and rule into
             SQLite with synchronous=FULL. Beside it, in the same run, the bare cost: the HMAC, cbor2, and the
             same rows inserted in a bare loop.
    latency  boards publish at a steady rate; from the hand-over to a board's socket until the row can be read
             from the store by another process.
    curve    the stages from `open` to `store` as the registry and the store grow; see `curve`.

Everything is a real part. Rows are told from outside, by a reader of the store. The platform in the settings
does not answer, so publishing costs nothing here and every public figure is queued.
"""

from __future__ import annotations

import asyncio
import contextlib
import json as jsonlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from peilmerk_bench.gateway_processes import peak_mib
from peilmerk_bench.measure.gateway import bare, curve, load, town, watch
from peilmerk_bench.street.service import GatewayProcess
from peilmerk_gateway.broker import NatsBroker
from peilmerk_gateway.registry import Registry

REPORTS_A_SECOND = 10_000
TIMES_BARE = 3.0
P99_MS = 250.0
RESIDENT_MIB = 250.0
GROWTH = 1.5
"""How many times dearer a report may be at the end of the curve than at its beginning: room for noise."""
PARTS = ("drain", "latency", "curve")
BARE_REPORTS = 20_000
SETTLE_S = 60.0

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much to measure with."""

    reports: int = 100_000
    devices: int = 1_000
    rate: int = 1_000
    seconds: float = 20.0
    registry: int = 100_000
    observations: int = 2_000_000


def limits(sizes: Sizes) -> Figures:
    """Return what is held, for the parts that can be."""
    return {
        "reports_a_second": REPORTS_A_SECOND,
        "times_bare": TIMES_BARE,
        "p99_ms": P99_MS,
        "resident_mib": RESIDENT_MIB,
        "growth": GROWTH,
    }


async def gateway_report(
    parts: Sequence[str], sizes: Sizes, folder: Path, told: Callable[[str], None] = lambda _: None
) -> Figures:
    """Measure: {"name", "ok", "figures", "limits"}. Raises PeilmerkError when it cannot be measured."""
    figures: Figures = {"sizes": {name: getattr(sizes, name) for name in sizes.__slots__}}
    if "drain" in parts or "latency" in parts:
        figures |= await _run_town(parts, sizes, folder / "town", told)
    if "curve" in parts:
        told("curve: a town of its own")
        place = town.found(folder / "growing", sizes.devices)
        points = await curve.measure(place, sizes.registry, sizes.observations, told)
        first, grown = points[0], points[-1]
        figures["curve"] = {
            "points": [point.as_dict() for point in points],
            "growth": round(grown.cpu_us / first.cpu_us, 2),
            # Of the rows alone: what of it is the database's.
            "bare_growth": round(grown.bare_cpu_us / first.bare_cpu_us, 2),
        }
    held = limits(sizes)
    return {"name": "gateway", "ok": _ok(figures, held), "figures": figures, "limits": held}


def _ok(figures: Mapping[str, Any], held: Mapping[str, Any]) -> bool:
    good = True
    if drained := figures.get("drain"):
        good &= drained["reports_a_second"] >= held["reports_a_second"]
        good &= drained["times_bare"] <= held["times_bare"]
        good &= drained["adds_up"]
    if late := figures.get("latency"):
        good &= late["p99_ms"] <= held["p99_ms"] and late["unseen"] == 0
    if "resident_mib" in figures:
        good &= figures["resident_mib"] <= held["resident_mib"]
    if grown := figures.get("curve"):
        good &= grown["growth"] <= held["growth"]
    return bool(good)


async def _run_town(parts: Sequence[str], sizes: Sizes, folder: Path, told: Callable[[str], None]) -> Figures:
    told(f"founding a town of {sizes.devices:,} boards")
    place = await asyncio.to_thread(town.found, folder, sizes.devices)
    context = None
    reports = sizes.reports if "drain" in parts else 0
    with Registry(place.settings.gateway.registry) as registry:
        broker = NatsBroker(place.settings, registry)
        await broker.start()
        try:
            context = load.trusting(broker.trust.authority)

            def filled(done: int) -> None:
                told(f"drain: {done:,} of {reports:,} reports are in the broker")

            sent = await load.fill(place.boards, reports, broker.mqtt_port, context, filled)
        finally:
            await broker.stop()
    gateway = GatewayProcess(folder)
    figures: Figures = {}
    await gateway.start()
    try:
        assert gateway.pid is not None
        if "drain" in parts:
            drained = await asyncio.to_thread(
                watch.drain,
                place.store,
                gateway.pid,
                reports,
                lambda done: told(f"drain: {done:,} of {reports:,} reports are stored"),
            )
            figures["drain"] = await _drained(place, drained, reports)
        else:
            await _statements_there(place, sizes.devices)
        if "latency" in parts:
            told(f"latency: {sizes.rate:,} reports a second for {sizes.seconds:g} s")
            figures["latency"] = await _latency(place, gateway, sizes, context)
        figures["resident_mib"] = round(peak_mib(gateway.pid), 1)
    finally:
        await gateway.stop()
    if "drain" in parts:
        told("the bare cost of the same reports")
        found = await asyncio.to_thread(
            bare.measure, sent, place.store, folder / "bare.db", min(reports, BARE_REPORTS)
        )
        a_report = 1e6 / figures["drain"]["reports_a_second"]
        figures["drain"]["bare"] = {
            "reports": found.reports,
            "rows": found.rows,
            "hmac_us": round(found.verify / found.reports * 1e6, 2),
            "cbor2_us": round(found.decode / found.reports * 1e6, 2),
            "insert_us": round(found.insert / found.reports * 1e6, 2),
            "us": round(found.a_report_us, 2),
            "cpu_us": round(found.cpu / found.reports * 1e6, 2),
        }
        figures["drain"]["times_bare"] = round(a_report / found.a_report_us, 2)
        # What does not depend on what else the machine does.
        by_cpu = figures["drain"]["gateway_cpu_us"] * found.reports / found.cpu / 1e6
        figures["drain"]["times_bare_by_cpu"] = round(by_cpu, 2)
    return figures


async def _drained(place: town.Town, drained: watch.Drained, reports: int) -> Figures:
    reader = watch.StoreWatch(place.store)
    try:
        for _ in range(int(SETTLE_S / 0.05)):
            tally = reader.tally()
            if tally["received"] - tally.get("redelivered", 0) >= reports + len(place.boards):
                break
            await asyncio.sleep(0.05)
    finally:
        reader.close()
    refused = sum(n for name, n in tally.items() if name.startswith("refused:"))
    figures = {name: tally.get(name, 0) for name in ("received", "redelivered", "reports", "statements")}
    figures |= {"observations": tally.get("observations", 0), "withheld": tally.get("withheld", 0)}
    figures["refused"] = refused
    return {
        **figures,
        "published": reports,
        "adds_up": (
            tally["reports"] == reports
            and tally["statements"] == len(place.boards)
            and figures["observations"] + figures["withheld"] == 2 * reports
            and not refused
        ),
        "seconds": round(drained.seconds, 2),
        "reports_a_second": round(drained.a_second),
        "us": round(drained.seconds / max(1, drained.reports) * 1e6, 1),
        "gateway_cpu_us": round(drained.cpu.gateway / max(1, drained.reports) * 1e6, 1),
        "broker_cpu_us": round(drained.cpu.broker / max(1, drained.reports) * 1e6, 1),
    }


async def _statements_there(place: town.Town, devices: int) -> None:
    with contextlib.closing(watch.StoreWatch(place.store)) as reader:
        for _ in range(int(SETTLE_S / 0.05)):
            if reader.tally().get("statements", 0) >= devices:
                return
            await asyncio.sleep(0.05)
    raise load.LoadError(f"found no statement of each of {devices} boards after {SETTLE_S:g} s")


async def _latency(place: town.Town, gateway: GatewayProcess, sizes: Sizes, context: Any) -> Figures:
    arrivals = watch.Arrivals(place.store)
    arrivals.start()
    try:
        boards = place.boards[: min(len(place.boards), 100)]
        sent = await load.steadily(boards, sizes.rate, sizes.seconds, gateway.ready["mqtt_port"], context)
        for _ in range(int(SETTLE_S / 0.05)):
            if len(arrivals.seen) >= len(sent):
                break
            await asyncio.sleep(0.05)
    finally:
        await asyncio.to_thread(arrivals.finish)
    late = sorted((arrivals.seen[key] - at) * 1e3 for key, at in sent.items() if key in arrivals.seen)
    took = max(sent.values()) - min(sent.values())

    def share(part: float) -> float:
        return round(late[min(len(late) - 1, int(part * len(late)))], 1) if late else 0.0

    return {
        "published": len(sent),
        "unseen": len(sent) - len(late),
        "a_second": round(len(sent) / took) if took else 0,
        "p50_ms": share(0.5),
        "p90_ms": share(0.9),
        "p99_ms": share(0.99),
        "p999_ms": share(0.999),
        "most_ms": round(late[-1], 1) if late else 0.0,
    }


def run(parts: Sequence[str], sizes: Sizes, json: bool, told: Callable[[str], None]) -> int:
    """Print the measurement, as tables or as one JSON object; exit code 0, or 1 above a limit."""
    with tempfile.TemporaryDirectory(prefix="peilmerk-gateway-") as folder:
        result = asyncio.run(gateway_report(parts, sizes, Path(folder), told))
    if json:
        print(jsonlib.dumps(result))
    else:
        _print(result)
    return 0 if result["ok"] else 1


def _print(result: Figures) -> None:
    console = Console(soft_wrap=True)
    figures, held = result["figures"], result["limits"]
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("figure", no_wrap=True)
    table.add_column("found", justify="right")
    table.add_column("wanted", justify="right")
    if drained := figures.get("drain"):
        cost = drained["bare"]
        table.add_row(
            "reports a second", f"{drained['reports_a_second']:,}", f"≥ {held['reports_a_second']:,}"
        )
        table.add_row("of them refused or missing", "none" if drained["adds_up"] else "some", "none")
        table.add_row("a report, µs", f"{drained['us']}", "")
        table.add_row("  processor: gateway, µs", f"{drained['gateway_cpu_us']}", "")
        table.add_row("  processor: broker, µs", f"{drained['broker_cpu_us']}", "")
        table.add_row("bare: HMAC + cbor2 + rows, µs", f"{cost['us']}", "")
        table.add_row("times bare", f"{drained['times_bare']}", f"≤ {held['times_bare']:g}")
    if late := figures.get("latency"):
        table.add_row("reports a second, steadily", f"{late['a_second']:,}", "")
        for name in ("p50", "p90", "p99", "p999", "most"):
            wanted = f"≤ {held['p99_ms']:g}" if name == "p99" else ""
            table.add_row(f"  {name}, ms to the store", f"{late[name + '_ms']}", wanted)
    if "resident_mib" in figures:
        table.add_row("resident memory, MiB", f"{figures['resident_mib']}", f"≤ {held['resident_mib']:g}")
    if grown := figures.get("curve"):
        table.add_row("growth of a report's cost", f"{grown['growth']}", f"≤ {held['growth']:g}")
    console.print(table)
    if grown:
        points = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
        headings = ("devices", "observations", "store, MiB", "a report, µs", "processor, µs")
        for heading in (*headings, "its rows bare, µs", "processor, µs"):
            points.add_column(heading, justify="right")
        for point in grown["points"]:
            points.add_row(
                *(
                    f"{point[name]:,}"
                    for name in (
                        *("devices", "observations", "store_mib", "wall_us", "cpu_us"),
                        *("bare_wall_us", "bare_cpu_us"),
                    )
                )
            )
        console.print(points)
    console.print("[green]ok[/]" if result["ok"] else "[bold red]beyond a limit[/]")
