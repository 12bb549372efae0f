"""A gateway as an operator runs it, a process of its own with a real broker, and boards that reach it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mqtt_board import board
from patience import DEADLINE_S
from sealed_street import Counter

from peilmerk_gateway.child import tied
from peilmerk_gateway.settings import Settings
from peilmerk_gateway.store import Figures, Store
from peilmerk_gateway.trust import ensure_trust
from peilmerk_protocol import topics


class Gateway:
    """One `peilmerk gateway run` as a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self.log = log
        self.ready: dict[str, Any] = {}

    async def listen(self) -> None:
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), DEADLINE_S)
        assert line, f"the gateway ended: {self.log.read_text()}"
        self.ready = json.loads(line)

    async def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), DEADLINE_S)


@asynccontextmanager
async def gateway(settings: Settings) -> AsyncIterator[Gateway]:
    """A running gateway that is ended at the end."""
    folder = settings.file.parent
    log = folder / "gateway.log"
    with log.open("ab") as stderr:
        process = await asyncio.create_subprocess_exec(
            *tied([sys.executable, "-m", "peilmerk_gateway", "gateway", "run", str(folder)]),
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
    running = Gateway(process, log)
    try:
        await running.listen()
        yield running
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def connected(settings: Settings, running: Gateway, counter: Counter) -> Any:
    """A board of this gateway."""
    place: Any = SimpleNamespace(mqtt_port=running.ready["mqtt_port"], trust=ensure_trust(settings))
    return board(place, counter.device)


async def figures(settings: Settings) -> Figures:
    async with await Store.look(settings.gateway.data_dir / "store.db") as store:
        return await store.figures()


async def reached(settings: Settings, reports: int, refused: dict[str, int] | None = None) -> Figures:
    """Wait until exactly so many reports are stored and these are refused."""
    end = time.monotonic() + DEADLINE_S
    while ((now := await figures(settings)).reports, now.refused) != (reports, refused or {}):
        assert time.monotonic() < end, f"found {now}, wanted {reports} reports, {refused} refused"
        await asyncio.sleep(0.05)
    return now


@asynccontextmanager
async def begun(settings: Settings, counter: Counter, window: int) -> AsyncIterator[Gateway]:
    """A gateway that has the counter's first statement, and its report of a window as number 2.

    Its board is still connected. At the end the gateway is ended in good order.
    """
    async with gateway(settings) as running:
        async with connected(settings, running, counter) as one:
            one.send(topics.STATEMENT, counter.statement(1).payload)
            await asyncio.to_thread(one.report, counter.report(2, window).payload)
            await reached(settings, 1)
            yield running
        assert await running.end(signal.SIGTERM) == 0
