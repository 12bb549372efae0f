"""A real OGC SensorThings 1.1 server as a child process.

Contract: `SensorThingsServer(data_dir, port=0)` serves the package `django-ogc-sensorthings` on SQLite in
`data_dir` (which it makes), on 127.0.0.1. `await start()` returns when the service answers; `await stop()`
ends it; what was stored is there again at the next start, also after `kill()`. The port is chosen at the
first start and kept by this object, so that a platform that comes back is found where it was. The child
never outlives the process that started it. Its output goes to `data_dir/server.log`.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx

from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.free_port import free_port

API_VERSION = "v1.1"

_READY_WITHIN_S = 60.0
_STOP_WITHIN_S = 10.0
_LOG_TAIL_LINES = 15
_NEEDED = {
    "sensorthings": "django-ogc-sensorthings",
    "django": "django",
    "uvicorn": "uvicorn",
}


class PlatformError(PeilmerkError):
    """The platform could not be started; the message says what is missing or what the server said."""


class SensorThingsServer:
    """One SensorThings service with its own data directory.

    Args:
        data_dir: where the database, the server's secret and its log live; made when missing.
        port: TCP port on 127.0.0.1; 0 takes a free one at the first start.
    """

    def __init__(self, data_dir: Path, port: int = 0) -> None:
        self._data_dir = Path(data_dir)
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Base address of the API, `http://127.0.0.1:<port>/v1.1`; the port is known after `start`."""
        return f"http://127.0.0.1:{self._port}/{API_VERSION}"

    @property
    def log(self) -> Path:
        """The file that takes the server's output."""
        return self._data_dir / "server.log"

    @property
    def running(self) -> bool:
        """Whether the child process is alive."""
        return self._process is not None and self._process.poll() is None

    async def start(self) -> None:
        """Start the server, bring its database up to date and return when it answers.

        Raises:
            PlatformError: a package is missing, the port is taken, or the server ended or stayed silent.
        """
        if self.running:
            return
        missing = sorted(package for module, package in _NEEDED.items() if not _importable(module))
        if missing:
            raise PlatformError(
                f"the SensorThings platform needs {', '.join(missing)}: install it with "
                "pip install 'peilmerk[bench]'"
            )
        self._data_dir.mkdir(parents=True, exist_ok=True)
        listener = self._listen()
        try:
            self._port = listener.getsockname()[1]
            self._process = self._spawn(listener)
        finally:
            listener.close()
        try:
            await self._wait_until_ready()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End the server in good order; after ten seconds, at once."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.terminate()
            try:
                await asyncio.to_thread(process.wait, _STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
        await asyncio.to_thread(process.wait)
        self._process = None

    async def kill(self) -> None:
        """End the server as a power cut would (SIGKILL); `start` brings it back with what was committed."""
        process = self._process
        if process is None:
            return
        process.kill()
        await asyncio.to_thread(process.wait)
        self._process = None

    async def __aenter__(self) -> SensorThingsServer:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    def _listen(self) -> socket.socket:
        # The parent binds, the child inherits: the port is known before the server has loaded and cannot be
        # taken in between. Requests made meanwhile wait in the backlog.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            # Where it will be again after an outage, so nobody else may be given it meanwhile.
            listener.bind(("127.0.0.1", self._port or free_port()))
            listener.listen(128)
        except OSError as error:
            listener.close()
            raise PlatformError(
                f"cannot listen on 127.0.0.1:{self._port} for the SensorThings platform: {error.strerror}"
            ) from error
        return listener

    def _spawn(self, listener: socket.socket) -> subprocess.Popen[bytes]:
        command = [
            sys.executable,
            "-m",
            "peilmerk_bench.platform.serve",
            "--data-dir",
            str(self._data_dir),
            "--descriptor",
            str(listener.fileno()),
            "--port",
            str(self._port),
            "--parent",
            str(os.getpid()),
        ]
        environment = dict(os.environ)
        # The child finds what this process finds, from a source tree too.
        environment["PYTHONPATH"] = os.pathsep.join(entry for entry in sys.path if entry)
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(listener.fileno(),),
                env=environment,
                # Ctrl-C in a terminal belongs to the parent, which stops this child in its own order.
                start_new_session=True,
            )

    async def _wait_until_ready(self) -> None:
        deadline = asyncio.get_running_loop().time() + _READY_WITHIN_S
        async with httpx.AsyncClient(timeout=5.0, trust_env=False) as client:
            while asyncio.get_running_loop().time() < deadline:
                if not self.running:
                    raise PlatformError(
                        f"the SensorThings platform ended while starting:\n{self._log_tail()}"
                    )
                with contextlib.suppress(httpx.HTTPError):
                    answer = await client.get(f"{self.url}/")
                    if answer.status_code == httpx.codes.OK:
                        return
                await asyncio.sleep(0.05)
        raise PlatformError(
            f"the SensorThings platform did not answer on {self.url} within {_READY_WITHIN_S:.0f} s:\n"
            f"{self._log_tail()}"
        )

    def _log_tail(self) -> str:
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return "(no log)"
        return "\n".join(lines[-_LOG_TAIL_LINES:])


def _importable(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
