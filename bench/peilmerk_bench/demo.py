"""The demo: run a street for a while, show how it goes, then count what went where.

`run_demo` returns the report of the run in the shape every `--json` report has. It ends by itself after
`seconds`, or at the first SIGINT, SIGTERM or SIGHUP; a second one ends it at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import sqlite3
import time
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from peilmerk_bench.street import Plan, Street, StreetError, Tally
from peilmerk_bench.street.plan import FILE_NAME

# What was sealed before the boards were switched off gets this long to reach the platform.
SETTLE_S = 30.0
SHOW_EVERY_S = 1.0
SHOW_WITHOUT_TERMINAL_EVERY_S = 10.0
# A window must be on the platform this soon after the boards have booted (seconds of real time).
FIRST_PUBLISHED_LIMIT_S = 120.0


def plan_for(
    folder: Path, *, counters: int, air: int, page_port: int | None, fresh: bool, default_port: int
) -> Plan:
    """Return the plan of the street in `folder`, an earlier one or a new one.

    Raises StreetError when the folder holds something that is not a street.
    """
    if fresh and (folder / FILE_NAME).exists():
        shutil.rmtree(folder)
    plan = Plan.load(folder)
    if plan is None:
        if folder.exists() and any(folder.iterdir()):
            raise StreetError(
                f"{folder}: found a folder with other things in it, wanted an empty one or a street"
            )
        folder.mkdir(parents=True, exist_ok=True)
        plan = Plan.new(folder, counters, air, page_port or default_port)
    elif page_port is not None:
        plan.ports["page"] = page_port
    return plan


async def run_demo(plan: Plan, *, speed: float, seconds: float | None, console: Console) -> dict[str, Any]:
    """Run the street of `plan`, for `seconds` of real time or until asked to stop, and report.

    Raises PeilmerkError when it cannot start.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    me = asyncio.current_task()
    assert me is not None

    def asked() -> None:
        if stop.is_set():
            me.cancel()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, asked)
    street = Street(plan, speed, say=lambda text: console.print(text, style="dim"))
    began = time.monotonic()
    starting = asyncio.create_task(street.start())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await starting
            raise StreetError("stopped before the street stood")
        await starting
        booted = time.monotonic()
        address = f"http://127.0.0.1:{plan.ports['page']}/"
        console.print(f"\nThe street runs. Its page: [bold link={address}]{address}[/]", highlight=False)
        console.print("Ctrl-C stops it; the next run goes on where this one stops.\n", style="dim")
        first = await _watch(street, stop, seconds, booted, console)
        ran = time.monotonic() - booted
        console.print("switching the boards off and counting", style="dim")
        await street.quiet_moment()
        await street.power_off_boards()
        total = await settled(street)
    finally:
        stopping.cancel()
        await asyncio.shield(street.stop())
    return _report(street, total, booted - began, ran, first)


async def _watch(
    street: Street, stop: asyncio.Event, seconds: float | None, booted: float, console: Console
) -> float | None:
    """Show how the street goes until it is to stop; return when the first window was published, s after
    boot.
    """
    first: float | None = None
    shown = 0.0
    before = (await asyncio.to_thread(_totals, street.store_file)).get("published", 0)
    live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
    with live if live is not None else contextlib.nullcontext():
        while not stop.is_set():
            elapsed = time.monotonic() - booted
            if seconds is not None and elapsed >= seconds:
                break
            now = await asyncio.to_thread(_totals, street.store_file)
            if first is None and now.get("published", 0) > before:
                first = elapsed
            if live is not None:
                live.update(_screen(street, now, elapsed, seconds), refresh=True)
            elif elapsed - shown >= SHOW_WITHOUT_TERMINAL_EVERY_S:
                shown = elapsed
                console.print(_line(street, now, elapsed, seconds), highlight=False)
            left = SHOW_EVERY_S if seconds is None else min(SHOW_EVERY_S, max(0.0, seconds - elapsed))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), left)
    return first


def _totals(store: Path) -> dict[str, int]:
    """Read the gateway's totals; empty while there is no store yet."""
    try:
        with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=5)) as db:
            rows = db.execute("SELECT name, n FROM tally").fetchall()
    except sqlite3.Error:
        return {}
    totals: dict[str, int] = {}
    for name, number in rows:
        totals[name.split(":")[0]] = totals.get(name.split(":")[0], 0) + number
    return totals


_SHOWN = {
    "reports": "reports stored",
    "observations": "observations",
    "withheld": "withheld (below the threshold)",
    "published": "on the platform",
    "refused": "refused",
}


def _world(street: Street) -> str:
    return datetime.fromtimestamp(street.clock.now(), UTC).strftime("%a %d %b %Y %H:%M UTC")


def _line(street: Street, totals: dict[str, int], elapsed: float, seconds: float | None) -> str:
    of = f" of {seconds:.0f}" if seconds is not None else ""
    counts = ", ".join(f"{words} {totals.get(name, 0)}" for name, words in _SHOWN.items())
    return f"{elapsed:4.0f}{of} s  {_world(street)}  {counts}"


def _screen(street: Street, totals: dict[str, int], elapsed: float, seconds: float | None) -> Group:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, words in _SHOWN.items():
        table.add_row(words, f"[bold]{totals.get(name, 0)}[/]")
    of = f" of {seconds:.0f}" if seconds is not None else ""
    head = Text(f"{elapsed:.0f}{of} s   in the street: {_world(street)}")
    boards = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, board in street.boards.items():
        lines = board.console_tail.splitlines()
        boards.add_row(name, Text(lines[-1] if lines else "", overflow="ellipsis", no_wrap=True, style="dim"))
    return Group(head, table, boards)


async def settled(street: Street) -> Tally:
    """Count until everything has arrived, or its time is up."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        total = await street.count()
        if total.ok or time.monotonic() > deadline:
            return total
        await asyncio.sleep(0.5)


def _report(
    street: Street, total: Tally, starting_s: float, ran_s: float, first_s: float | None
) -> dict[str, Any]:
    total = total.since(street.before)
    # A window that a board closed and of which there is no report is lost like a report on the way.
    unsealed = max(0, len(street.closed) - total.reports_sealed)
    figures: dict[str, Any] = {
        "boards_booted": len(street.boards),
        "windows_closed": len(street.closed),
        **asdict(total),
        "stored": total.observations,
        "lost": total.lost + unsealed,
        "speed": street.speed,
        "starting_s": round(starting_s, 1),
        "ran_s": round(ran_s, 1),
        "first_published_s": None if first_s is None else round(first_s, 1),
    }
    limits = {"lost": 0, "duplicated": 0, "missing_on_platform": 0, "dropped_on_boards": 0}
    ok = all(figures[name] <= limit for name, limit in limits.items())
    # A run that is shorter than that cannot be held to it.
    if first_s is not None or ran_s >= FIRST_PUBLISHED_LIMIT_S:
        limits["first_published_s"] = round(FIRST_PUBLISHED_LIMIT_S)
        ok = ok and first_s is not None and first_s <= FIRST_PUBLISHED_LIMIT_S
    return {"name": "demo", "ok": ok, "figures": figures, "limits": limits}
