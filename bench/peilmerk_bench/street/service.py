"""The gateway as a process of its own, started as an operator starts it.

`GatewayProcess(folder)` runs `peilmerk gateway run` on the settings in a folder. `start` returns when the
gateway says that everything listens, `stop` ends it in good order, `kill` as a power cut would. Its log
goes to `gateway.log`.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

from peilmerk_bench.street.plan import StreetError
from peilmerk_gateway.child import tied

READY_WITHIN_S = 60.0
STOP_WITHIN_S = 15.0
LOG_TAIL_LINES = 12


class GatewayProcess:
    """One gateway. `ready` is what it announced: addresses by name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self.ready: dict[str, Any] = {}

    @property
    def log(self) -> Path:
        """Where the gateway writes what it does."""
        return self._folder / "gateway.log"

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process is not None else None

    async def start(self) -> None:
        """Start it and return when everything listens. Raises StreetError with the end of its log."""
        command = [sys.executable, "-m", "peilmerk_gateway", "gateway", "run", str(self._folder)]
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *tied(command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                self.ready = await self._wait_until_ready()
        except TimeoutError:
            await self.kill()
            raise StreetError(
                f"the gateway was not ready within {READY_WITHIN_S:.0f} s; {self.log} ends:\n{self._tail()}"
            ) from None

    async def _wait_until_ready(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if isinstance(said, dict) and said.get("event") == "gateway.ready":
                return said
        code = await self._process.wait()
        raise StreetError(f"the gateway ended with exit code {code}; {self.log} ends:\n{self._tail()}")

    def _tail(self) -> str:
        try:
            return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-LOG_TAIL_LINES:])
        except OSError:
            return "(no log)"

    async def stop(self) -> None:
        """End it in good order."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End it with SIGKILL; its broker, a child of its own, ends with it."""
        await self._end(signal.SIGKILL)

    async def _end(self, number: signal.Signals) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(number)
        try:
            await asyncio.wait_for(process.wait(), STOP_WITHIN_S)
        except TimeoutError:
            process.kill()
            await process.wait()
