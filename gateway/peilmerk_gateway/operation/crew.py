"""The other gateways of a machine: processes that take turns with this one at the broker's messages.

Each is `peilmerk gateway worker` on the same folder. One that ends is started anew, after a pause that grows
while it keeps ending; all of them end when this process does, however it ends.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import structlog

from peilmerk_gateway import child

PAUSE_FIRST_S = 0.5
PAUSE_MOST_S = 30.0
WELL_AFTER_S = 60.0

_log = structlog.get_logger(__name__)


class Crew:
    """So many workers on the settings in a file. `run` in a task."""

    def __init__(self, settings_file: Path, workers: int) -> None:
        self._command = [sys.executable, "-m", "peilmerk_gateway", "gateway", "worker", str(settings_file)]
        self._workers = workers
        self._running: dict[int, asyncio.subprocess.Process] = {}

    def hang_up(self) -> None:
        """Have every worker read its settings anew."""
        for process in self._running.values():
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGHUP)

    async def run(self, stop: asyncio.Event) -> None:
        """Keep the workers running until `stop`, then end them in good order."""
        tasks = [asyncio.create_task(self._keep(number, stop)) for number in range(self._workers)]
        try:
            await stop.wait()
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, number: int, stop: asyncio.Event) -> None:
        pause = PAUSE_FIRST_S
        while not stop.is_set():
            began = time.monotonic()
            process = await asyncio.create_subprocess_exec(
                *child.tied(self._command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                # Systemd listens to the main process only, and complains of every other.
                env={name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"},
            )
            self._running[number] = process
            ending = asyncio.create_task(stop.wait())
            ended = asyncio.create_task(process.wait())
            try:
                await asyncio.wait([ending, ended], return_when=asyncio.FIRST_COMPLETED)
                if stop.is_set():
                    await child.end(process)
                    return
            finally:
                ending.cancel()
                self._running.pop(number, None)
                if process.returncode is None:
                    process.kill()
                await ended
            if time.monotonic() - began > WELL_AFTER_S:
                pause = PAUSE_FIRST_S
            _log.error("a worker ended unasked", status=process.returncode, pause_s=pause)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause)
            pause = min(pause * 2, PAUSE_MOST_S)
