"""Who of the gateways that share a store does what only one may do: publish, delete, settle what waits.

Whoever leads holds a lock of the database (`pg_try_advisory_lock`) on a connection that it keeps open. The
lock goes with the connection: of a process that is killed at once, of a machine that is away after half a
minute. A leader whose connection was cut learns of it by asking (`held`) before anything leaves the house.
One that asked a moment before, and is slow, may still be at it when the next one leads: so the next one first
waits as long as a platform may still be working on what it was sent, and looks up what is in doubt
(`publish.outbox`).

Every gateway also holds a share of a second lock; how many shares there are is how many gateways there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Protocol

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.store import engine
from peilmerk_gateway.store_place import Database

# The two locks, as pairs of numbers: ours, and which.
OURS, LEADER, MEMBER = 0x7065696C, 1, 2
EVERY_S = 1.0

_MEMBERS = (
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND mode = 'ShareLock'"
    f" AND classid = {OURS} AND objid = {MEMBER} AND objsubid = 2"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)

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
    """One of the gateways that share a PostgreSQL store. `run` in a task; `close` when all is done."""

    def __init__(self, where: Database) -> None:
        self._engine = engine.open_session(where)
        # Whoever holds a lock is a connection, and that is used by one thread.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store-lead")
        self._connection: Connection | None = None
        self._has_it = False
        self._closed = False
        self.leads = False
        self.members = 1

    async def run(self, stop: asyncio.Event) -> None:
        """Try to lead, again and again, until `stop`."""
        while not (stop.is_set() or self._closed):
            led = self.leads
            await self._in_thread()
            if self.leads is not led:
                _log.info("leads now" if self.leads else "leads no more", gateways=self.members)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), EVERY_S)

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
                self._connection.exec_driver_sql(f"SELECT pg_advisory_lock_shared({OURS}, {MEMBER})")
                self._has_it = False
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

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(SQLAlchemyError):
                connection.invalidate()
                connection.close()


async def open_lead(where: object) -> Alone | Shared:
    """Return who leads a store: nobody else where it is a file."""
    if not isinstance(where, Database):
        return Alone()
    shared = Shared(where)
    await shared._in_thread()
    return shared


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
