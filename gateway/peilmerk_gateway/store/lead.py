"""Who of the gateways that share a store does what only one may do: publish, delete, settle what waits.

Whoever leads holds a lock of the database (`pg_try_advisory_lock`) on a connection that it keeps open. The
lock goes with the connection: of a process that is killed at once, of a machine that is away after half a
minute. A leader whose connection was cut learns of it by asking (`held`) before anything leaves the house.
One that asked a moment before, and is slow, may still be at it when the next one leads: so the next one first
waits as long as a platform may still be working on what it was sent, and looks up what is in doubt
(`publish.outbox`).

Every gateway also holds a share of a second lock; how many shares there are is how many gateways there are.

And each holds a share of a third, whose number is that of its files: registry and records are files, and of
two copies one is soon stale; what a stale registry does not know is refused, and lost. So a gateway that
finds another one at work from other files (`this_folder`) does not begin, and one that meets such a one
later, its own connection having been lost for long, ends. It takes no share before it found nobody: the one
that is at work goes on.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import time
import uuid
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.store import engine
from peilmerk_gateway.store.engine import StoreError
from peilmerk_gateway.store_place import UNHEARD_S, Database

# The locks, as pairs of numbers: ours, and which; and of whose files.
OURS, LEADER, MEMBER = 0x7065696C, 1, 2
FILES = OURS + 1
EVERY_S = 1.0
# As long as the database may take to notice that a machine is not there any more, and some.
STRANGERS_S = UNHEARD_S + 10.0

_SHARES = (
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND mode = 'ShareLock'"
    " AND objsubid = 2 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
_MEMBERS = f"{_SHARES} AND classid = {OURS} AND objid = {MEMBER}"

_log = structlog.get_logger(__name__)


class Lead(Protocol):
    """Whether this process leads, and how many there are."""

    @property
    def leads(self) -> bool:
        """Whether it led when that was last looked at."""
        ...

    @property
    def members(self) -> int:
        """How many gateways share the store, this one among them."""
        ...

    async def held(self) -> bool:
        """Ask whether it leads at this moment."""
        ...


class Alone:
    """A gateway whose store is its own."""

    leads = True
    members = 1

    async def held(self) -> bool:
        """See `Lead.held`."""
        return True


class Shared:
    """One of the gateways that share a PostgreSQL store. `run` in a task; `close` when all is done.

    `files` is the number of the files it works from, `strangers_s` how long others may be seen at work from
    other files.
    """

    def __init__(self, where: Database, files: int = 0, strangers_s: float = STRANGERS_S) -> None:
        self._where = where
        self._files = files
        self._strangers_s = strangers_s
        self._strangers_since: float | None = None
        self._engine = engine.open_session(where)
        # Whoever holds a lock is a connection, and that is used by one thread.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store-lead")
        self._connection: Connection | None = None
        self._is_member = self._has_it = False
        self._closed = False
        self.leads = False
        self.members = 1

    async def run(self, stop: asyncio.Event) -> None:
        """Try to lead, again and again, until `stop`. Raises StoreError when others work from other files."""
        while not (stop.is_set() or self._closed):
            led = self.leads
            await self._in_thread()
            self._check_strangers()
            if self.leads is not led:
                _log.info("leads now" if self.leads else "leads no more", gateways=self.members)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), EVERY_S)

    async def begin(self) -> None:
        """Return once nobody works from other files. Raises StoreError when somebody goes on doing so."""
        await self._in_thread()
        while self._strangers_since is not None:
            self._check_strangers()
            # Not in step with one that begins at the same moment: each would find the other again.
            await asyncio.sleep(EVERY_S * random.uniform(0.1, 0.4))
            await self._in_thread()

    def _check_strangers(self) -> None:
        since = self._strangers_since
        if since is not None and time.monotonic() - since >= self._strangers_s:
            raise StoreError(
                f"{self._where}: found a gateway at work on it from other files, wanted all of them on one "
                "machine and one folder: registry and records are files, and a copy of them is soon stale"
            )

    async def held(self) -> bool:
        """See `Lead.held`."""
        return self.leads and await self._in_thread()

    async def close(self) -> None:
        """Lead no more."""
        self._closed, self.leads = True, False
        await asyncio.to_thread(self._thread.shutdown)
        self._let_go()
        self._engine.dispose()

    async def _in_thread(self) -> bool:
        if self._closed:
            return False
        self.leads = await asyncio.get_running_loop().run_in_executor(self._thread, self._try)
        self.leads = self.leads and not self._closed
        return self.leads

    def _try(self) -> bool:
        """Return whether it leads, connecting where there is no connection."""
        try:
            if self._connection is None:
                self._connection = self._engine.connect()
            found = self._finds_strangers(self._connection)
            if not self._is_member:
                if found:
                    return False
                for pair in ((OURS, MEMBER), (FILES, self._files)):
                    self._connection.exec_driver_sql("SELECT pg_advisory_lock_shared(%s, %s)", pair)
                if self._finds_strangers(self._connection):
                    self._let_go()
                    return False
                self._is_member = True
            if self._has_it:
                # That the connection answers is proof: the lock goes with it.
                self.members = int(self._connection.exec_driver_sql(_MEMBERS).scalar_one())
                return True
            tried = self._connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({OURS}, {LEADER})")
            self._has_it = bool(tried.scalar_one())
            self.members = int(self._connection.exec_driver_sql(_MEMBERS).scalar_one())
            return self._has_it
        except (SQLAlchemyError, PeilmerkError):  # the store's trouble is told by who uses it
            self._let_go()
            return False

    def _finds_strangers(self, connection: Connection) -> bool:
        others = f"{_SHARES} AND classid = {FILES} AND objid <> {self._files}"
        if not connection.exec_driver_sql(others).scalar_one():
            self._strangers_since = None
        elif self._strangers_since is None:
            self._strangers_since = time.monotonic()
        return self._strangers_since is not None

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        self._is_member = self._has_it = False
        if connection is not None:
            with suppress(SQLAlchemyError):
                connection.invalidate()
                connection.close()


async def open_lead(where: object, registry: Path, strangers_s: float = STRANGERS_S) -> Alone | Shared:
    """Return who leads a store: nobody else where it is a file.

    Raises StoreError when others are at work on it, and stay there, with another registry than this one.
    """
    if not isinstance(where, Database):
        return Alone()
    shared = Shared(where, this_folder(registry), strangers_s)
    try:
        await shared.begin()
    except BaseException:
        await shared.close()
        raise
    return shared


def this_folder(file: Path) -> int:
    """Return a number (31 bits) of a file on this machine as it runs now; a copy elsewhere has another."""
    try:
        machine = Path("/proc/sys/kernel/random/boot_id").read_text("ascii")
    except OSError:
        machine = str(uuid.getnode())
    found = os.stat(file)
    named = f"{machine} {found.st_dev} {found.st_ino}".encode()
    return int.from_bytes(hashlib.sha256(named).digest()[:4], "big") >> 1


async def while_leading(
    lead: Lead, stop: asyncio.Event, work: Callable[[asyncio.Event], Awaitable[None]]
) -> None:
    """Do what only one gateway may do, again whenever this one leads, until `stop`.

    `work` is given an event that is set when it is to end.
    """
    while not stop.is_set():
        if lead.leads:
            ends = asyncio.Event()
            task = asyncio.ensure_future(work(ends))
            while lead.leads and not stop.is_set() and not task.done():
                await asyncio.wait([task], timeout=EVERY_S / 4)
            ended_unasked = task.done()
            ends.set()
            await task
            if ended_unasked:
                return
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), EVERY_S / 4)
