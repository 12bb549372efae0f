"""The store's front door: every read and write of the gateway, as coroutines.

One thread writes, so that transactions follow each other without fighting for the lock; a few read. What was
awaited from a writing method is on the disk. Nothing is ever waited for inside a transaction.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from peilmerk_gateway.refusal import Refusal
from peilmerk_gateway.registry_trail import RegistryTrail
from peilmerk_gateway.store import (
    batch,
    commands,
    device_streams,
    engine,
    figures,
    halts,
    held,
    meanwhile,
    mirror,
    outbox,
    probe,
    quarantine,
    records,
    removal,
    schema,
    spent,
    trail,
    trail_check,
    upkeep,
)
from peilmerk_gateway.store.batch_process import BatchProcess
from peilmerk_gateway.store.device_streams import Streams
from peilmerk_gateway.store.engine import StoreDamaged, StoreError
from peilmerk_gateway.store.keeping import Keeping
from peilmerk_gateway.store.removal import Removed, Term
from peilmerk_gateway.store.restated import Left
from peilmerk_gateway.store.rows import (
    AttestationRow,
    BatchRows,
    BudgetLine,
    CommandRow,
    Figures,
    Known,
    KnownCommand,
    OutboxRow,
    ParkedRow,
    Probe,
    Seen,
    SpentLine,
    Stored,
    Window,
)
from peilmerk_gateway.store_place import Database, Place

T = TypeVar("T")
READERS = 3
# Of the trail, which we wrote: those between the judging of a batch and its writing are a handful.
OWN_ENTRIES = 256
# How soon a page, or a publisher, learns of what another process wrote, seconds.
FOLLOW_S = 0.5

_log = structlog.get_logger(__name__)


class Store(Keeping):
    """An open store. Make it with `await Store.open(...)`, close it with `await store.close()`.

    `where` is the path of an SQLite file or a database. `sinks` are the names of the platforms for which
    stored observations are queued; an observation that was stored before a sink was named is not queued for
    it.
    """

    def __init__(self, where: Place, sinks: Sequence[str] = (), *, apart: bool = False) -> None:
        self.url = engine.database_url(where)
        self.sinks = tuple(sinks)
        self.bounds = quarantine.Bounds()
        """How much of what was refused is kept."""
        self._writing = engine.open_engine(where, writer=True)
        self._reading = engine.open_engine(where, writer=False)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="store-writer")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="store-reader")
        self._left = Left()
        self._streams = Streams()
        self.damage = asyncio.Event()
        """Set once a page of an SQLite file was found damaged."""
        self.mirror = None if isinstance(where, Database) else mirror.Mirror(Path(where))
        """What keeps a second copy of an SQLite file, where there is to be one: see `store.mirror`."""
        self._loop = asyncio.get_running_loop()
        self._apart = None if isinstance(where, Database) or not apart else BatchProcess(Path(where))
        self.is_shared = isinstance(where, Database)
        """Whether gateways in other processes may write batches too."""
        self._entries: deque[int] = deque(maxlen=OWN_ENTRIES)
        self._records: int | None = None
        self._changes = 0
        self._changed = asyncio.Event()

    @classmethod
    async def open(cls, where: Place, sinks: Sequence[str] = (), *, apart: bool = False) -> Store:
        """Open a store, making it or bringing it to this version's tables first. Raises StoreError.

        `apart` has batches written by a process of their own, where the store is an SQLite file.
        """
        store = cls(where, sinks, apart=apart)
        try:
            store._protect()
            store._guard()
            if store._apart is not None:
                # It opens the file with its first batch: what it takes to start goes on beside what follows.
                await store._in(store._writer, store._apart.start)
            await store._in(store._writer, lambda: engine.migrate(store._writing))
        except BaseException:
            await store.close()
            raise
        return store

    @classmethod
    async def look(cls, where: Place, sinks: Sequence[str] = ()) -> Store:
        """Open a store to read it, changing nothing. Raises StoreError when there is none of this version."""
        engine.check_there(where)
        store = cls(where, sinks)
        try:
            store._guard()
            found, wanted = await store._in(store._readers, lambda: engine.revisions(store._reading))
            if found is None:
                raise StoreError(
                    f"{store.url.render_as_string()}: found no store in it, wanted one: "
                    "'peilmerk gateway run' makes it"
                )
            if found != wanted:
                raise StoreError(
                    f"{store.url.render_as_string()}: found a store of revision {found}, wanted {wanted}"
                )
        except BaseException:
            await store.close()
            raise
        return store

    def _protect(self) -> None:
        """Make an SQLite file before SQLite does, readable by its owner only; the journals take its mode."""
        if self.url.get_backend_name() != "sqlite" or self.url.database is None:
            return
        file = Path(self.url.database)
        try:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as reason:
            raise StoreError(f"{file}: cannot open the store: {reason.strerror}") from reason

    def _guard(self) -> None:
        if self.mirror is not None:
            self.mirror.guard()

    async def close(self) -> None:
        """Finish the transaction at hand and let go of the database."""
        if self._apart is not None:
            await self._in(self._writer, self._apart.close)
        for threads in (self._writer, self._readers):
            await asyncio.to_thread(threads.shutdown)
        await asyncio.to_thread(self._let_go)

    def _let_go(self) -> None:
        ours = self.mirror
        last = None
        if ours is not None and self.is_mirrored:
            try:
                if self.damage.is_set():
                    raise sqlite3.DatabaseError("a page of the store is damaged")
                last = ours.open()
            except sqlite3.Error as reason:
                # With the last connection SQLite would write the journal into the file, and delete it.
                _log.error("the store's journal is left as it is", reason=str(reason))
                self._note_damage(reason)
                mirror.leave_open((self._writing, self._reading))
                ours.unguard(close=False)
                ours.release()
                return
        self._writing.dispose()
        self._reading.dispose()
        if ours is not None:
            ours.unguard(close=True)
        if ours is not None and last is not None:
            try:
                ours.close(last)
            except (sqlite3.Error, OSError) as reason:
                _log.error("the store's mirror is not in step at the end", reason=str(reason))
                self._note_damage(reason)

    @property
    def is_mirrored(self) -> bool:
        """Whether there is to be a mirror of an SQLite file that is there."""
        if self.mirror is None or self.url.database is None:
            return False
        file = Path(self.url.database)
        return mirror.is_wanted(file) and file.exists()

    def _note_damage(self, reason: BaseException | None) -> bool:
        if engine.is_damage(reason):
            # Also from a thread of the store; a loop that is over has nobody who waits.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self.damage.set)
            return True
        return False

    def _mirrored(self) -> bool:
        """Bring the mirror in step, where there is one to be; return whether it is. Writer's thread only."""
        # Also when the mirror's folder went away meanwhile: nobody else makes checkpoints.
        if self.mirror is None or not (self.mirror.keeps or self.is_mirrored):
            return False
        try:
            return self.mirror.step()
        except (sqlite3.Error, OSError) as reason:
            if not self._note_damage(reason):
                _log.error("the store's mirror is not in step, trying again", reason=str(reason))
            return False

    def _see_to_mirror(self) -> None:
        """Bring the mirror in step when the log is long enough. Writer's thread only."""
        if self.mirror is not None and self.mirror.is_due():
            self._mirrored()

    def _may_empty(self) -> bool:
        """Whether the journal may be emptied: nothing of it would get into the file past the mirror."""
        if self.mirror is None:
            return True
        # While both files are compared or copied, neither is to change.
        return not self.mirror.is_read and (not self._mirrored() or self.mirror.is_whole)

    async def mirror_now(self) -> bool:
        """Bring the mirror in step and make a checkpoint; return whether it is in step."""
        return await self._in(self._writer, self._mirrored)

    async def __aenter__(self) -> Store:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    # What the stages ask and write.

    async def known(self, probes: Sequence[Probe]) -> dict[Probe, Known]:
        """Return what is stored that bears on these messages."""
        if not probes:
            return {}
        return await self._read(lambda connection: probe.look_up(connection, probes))

    async def parked(
        self, device_ids: Sequence[str] | None = None, *, before: float | None = None, limit: int = 1_000
    ) -> list[ParkedRow]:
        """Return reports that wait for their device's statement, oldest first: of these devices, or all.

        `before`: only those that wait since before this moment (wall clock, unix seconds).
        """
        return await self._read(lambda connection: probe.parked(connection, device_ids, before, limit))

    async def commit_batch(self, rows: BatchRows, now: float) -> Stored:
        """Write a judged batch in one transaction; on return it is on the disk. The same again changes no
        row. Raises StoreError, and WriterFault for what is no fault of the store.
        """
        apart = self._apart
        if apart is not None:

            def hand_over() -> Stored:
                stored = apart.write(rows, self.sinks, now, self.bounds)
                self._see_to_mirror()
                return stored

            stored = await self._in(self._writer, hand_over)
            self._tell()
            return stored

        def write(connection: Connection) -> tuple[Stored, range]:
            if rows.asked_at is None:
                own: set[int] = set()
                before = after = 0
            else:
                self._by_the_records_in_force(connection)
                own = set(self._entries)
                before = upkeep.head(connection)[0]
            stored = batch.write_batch(connection, rows, self.sinks, now, self.bounds, self._streams, own)
            if rows.asked_at is not None:
                after = upkeep.head(connection)[0]
            return stored, range(before + 1, after + 1)

        stored, entries = await self._write(write, then=self._streams.stand)
        # Only what is certain to be committed: a number that was not is somebody else's by now.
        self._entries.extend(entries)
        return stored

    async def as_of(self) -> int | None:
        """Return the last entry of the audit trail, of which a judgement is to know; None where nobody else
        writes batches.
        """
        return (await self._read(upkeep.head))[0] if self.is_shared else None

    def _by_the_records_in_force(self, connection: Connection) -> None:
        """Raise StoreError when others took records into force that we have not read yet."""
        if self._records is not None and meanwhile.records_number(connection) != self._records:
            raise StoreError("other deployment records are in force than were read here: they are read first")

    # What hosts say.

    async def halts(self, device_ids: Sequence[str]) -> halts.Halts:
        """Return what the hosts of these devices paused and withdrew."""
        return await self._read(lambda connection: halts.look_up(connection, device_ids))

    async def halt(self, device_id: str, action: str, now: float) -> bool:
        """Pause, resume or withdraw a device (`halts.PAUSE`...); on return it is on the disk and in force.

        Returns whether it changed anything. Raises HaltRefused. Also another process may do so.
        """
        return await self._write(lambda connection: halts.change(connection, device_id, action, now))

    async def held(self, device_id: str) -> dict[str, list[Mapping[str, Any]]]:
        """Return everything that is stored about a device, by what it is."""
        return await self._read(lambda connection: held.held(connection, device_id))

    # What is deleted for good.

    async def kept(self) -> tuple[list[str], list[str]]:
        """Return every datastream of which something is stored, and every device with a report."""
        return await self._read(removal.kept)

    async def overdue(self, streams: Sequence[Term], devices: Sequence[Term]) -> Removed:
        """Return how much is older than these terms."""
        return await self._read(lambda connection: removal.count(connection, streams, devices))

    async def due(self, streams: Sequence[Term], devices: Sequence[Term], limit: int) -> list[removal.Due]:
        """Return up to about `limit` rows that are older than these terms: the oldest of each."""
        return await self._read(lambda connection: removal.due(connection, streams, devices, limit))

    async def age_out(self, rows: Sequence[removal.Due], now: float) -> Removed:
        """Delete such rows, and say so in the audit trail."""
        return await self._write(lambda c: removal.age_out(c, self._left, rows, now), tell=False)

    async def erase(self, device_id: str, now: float, limit: int = 500) -> Removed:
        """Delete what a device sent and was never published, and every report of it; say so in the trail."""
        removed = Removed()
        # Once by looking at every row, which holds nobody up: what is deleted for good rests on no index.
        streams = await self._read(lambda connection: device_streams.told_streams(connection, device_id))
        await self._write(lambda c: device_streams.complete(c, device_id, streams), tell=False)
        withheld = await self._read(lambda connection: removal.withheld_of(connection, device_id))
        while True:
            some = await self._write(lambda c: removal.erase(c, self._left, device_id, withheld, limit, now))
            if not some.rows:
                return removed
            removed.add(some)

    async def give_back(self, most_pages: int = 1_000) -> int:
        """Give pages that deletions left empty back to the disk, a few at a time; return how many are left.

        SQLite only, and a file that was made so (see `rewrite`); any other database does so by itself.
        """
        return await self._in(
            self._writer, lambda: engine.give_back(self._writing, most_pages, self._may_empty)
        )

    async def rewrite(self) -> None:
        """Write the whole SQLite file anew without what was deleted, and so that `give_back` works on it.

        Takes as much disk again for as long as it runs, and holds writers meanwhile. A mirror that is not in
        step then is deleted: nothing that was erased is to stay in it.
        """

        def run() -> None:
            engine.rewrite(self._writing, self._may_empty)
            if self.is_mirrored and not self._mirrored():
                try:
                    mirror.drop(Path(str(self.url.database)), "is made anew after the store was written anew")
                except OSError as reason:
                    raise StoreError(
                        f"{mirror.folder_of(Path(str(self.url.database)))}: what was deleted is there still: "
                        f"{reason.strerror}"
                    ) from reason

        await self._in(self._writer, run)

    # What devices are told to do.

    async def queue_command(
        self, device_id: str, verb: int, argument: bytes, expiry: int, now: float
    ) -> CommandRow:
        """Put a command in the queue of its device; on return it is on the disk. `argument` is CBOR.

        Raises CommandRefused when too many wait. Also another process than the gateway's may do so.
        """
        return await self._write(lambda c: commands.queue(c, device_id, verb, argument, expiry, now))

    async def withdraw_command(self, device_id: str, counter: int, now: float) -> CommandRow:
        """Take back a command that is not answered yet. Raises CommandRefused."""
        return await self._write(lambda connection: commands.withdraw(connection, device_id, counter, now))

    async def waiting_commands(self) -> list[CommandRow]:
        """Return every command that is queued or sent, each device's in the order of sending."""
        return await self._read(commands.waiting)

    async def command_sent(self, device_id: str, counter: int, now: float) -> bool:
        """Write down that a command is about to be sent; False when it was withdrawn or is over."""
        return await self._write(lambda c: commands.sent(c, device_id, counter, now))

    async def expire_commands(self, now: float) -> None:
        """Give up commands whose time is over."""
        await self._write(lambda connection: commands.expire(connection, now))

    async def beacon_counters(self, device_ids: Sequence[str]) -> dict[str, int]:
        """Take the counter of a time beacon for each device, once; one that has none free until it answers is
        left out.
        """
        return await self._write(lambda connection: commands.beacons(connection, device_ids), tell=False)

    async def known_commands(self, asked: Sequence[tuple[str, int]]) -> dict[tuple[str, int], KnownCommand]:
        """Return what is known of these (device, counter); what was never sent is left out."""
        if not asked:
            return {}
        return await self._read(lambda connection: commands.known(connection, asked))

    async def commands(self, device_id: str | None = None, limit: int = 100) -> list[CommandRow]:
        """Return the newest commands, newest first: of one device, or of all."""
        return await self._read(lambda connection: commands.listed(connection, device_id, limit))

    async def command(self, device_id: str, counter: int) -> CommandRow | None:
        """Return one command, or None."""
        return await self._read(lambda connection: commands.one(connection, device_id, counter))

    # What the publishers ask and write.

    async def claim(self, sink: str, limit: int, now: float) -> list[OutboxRow]:
        """Take up to `limit` observations due at `now`, oldest first, and mark them as being sent."""
        return await self._write(lambda connection: outbox.claim(connection, sink, limit, now), tell=False)

    async def in_doubt(self, sink: str, limit: int = 1_000) -> list[OutboxRow]:
        """Return observations marked as being sent, of which the sink's answer was never written down."""
        return await self._read(lambda c: outbox.in_state(c, sink, schema.SENDING, limit))

    async def rejected(self, sink: str, limit: int = 1_000) -> list[OutboxRow]:
        """Return observations that the sink refused for good."""
        return await self._read(lambda c: outbox.in_state(c, sink, schema.REJECTED, limit))

    async def mark_done(self, sink: str, published: Sequence[tuple[int, str | None]], now: float) -> None:
        """Write down that the sink has these (observation id, sink's id or None)."""
        await self._write(lambda connection: outbox.done(connection, sink, published, now))

    async def mark_again(self, sink: str, ids: Sequence[int], error: str, next_attempt_at: float) -> None:
        """Put these observations back to be sent again, not before `next_attempt_at`."""
        await self._write(lambda c: outbox.again(c, sink, ids, error, next_attempt_at), tell=False)

    async def mark_rejected(self, sink: str, refused: Sequence[tuple[int, str]], now: float) -> None:
        """Write down that the sink will never take these (observation id, what it said)."""
        await self._write(lambda connection: outbox.rejected(connection, sink, refused, now))

    async def entities(self, sink: str) -> dict[tuple[str, str], str]:
        """Return (kind, key) -> the sink's id of everything made there."""
        return await self._read(lambda connection: outbox.entities(connection, sink))

    async def remember_entity(self, sink: str, kind: str, key: str, remote_id: str) -> None:
        """Write down under which id the sink knows something of ours."""
        await self._write(lambda c: outbox.remember_entity(c, sink, kind, key, remote_id), tell=False)

    # What the audit trail is told that no other transaction tells it, and what is asked of it.

    async def note_records(self, records: Mapping[str, Mapping[str, object]], now: float) -> bool:
        """Write down which deployment records are in force, {file: facts}; False if that is known."""

        def note(connection: Connection) -> bool:
            told = trail.note_if_new(connection, trail.RECORDS, {"records": records}, now)
            self._records = meanwhile.records_number(connection)
            return told

        return await self._write(note, tell=False)

    async def records_told(self) -> list[records.RecordsEntry]:
        """Return which deployment records were in force when, as the audit trail tells it, oldest first."""
        return await self._read(records.told)

    async def note_rules(self, gateway: str, now: float) -> bool:
        """Write down which version of the gateway judges; False if that is known."""
        return await self._note(trail.RULES, {"gateway": gateway}, now)

    async def _note(self, kind: str, body: Mapping[str, object], now: float) -> bool:
        return await self._write(lambda c: trail.note_if_new(c, kind, body, now), tell=False)

    async def check_trail(
        self, expected: tuple[int, str] | None = None, registry: RegistryTrail | None = None
    ) -> trail_check.Verdict:
        """Verify the audit trail, of one and the same moment; see `trail_check.check`."""
        return await self._read(lambda connection: trail_check.check(connection, expected, registry))

    # What pages and people ask.

    async def figures(self) -> Figures:
        """Return the totals since the store was made."""
        return await self._read(lambda connection: figures.figures(connection, self.sinks))

    async def latest(self, datastream: str, n: int) -> list[Window]:
        """Return the last `n` windows of a datastream, oldest first, withheld ones without figure."""
        return await self._read(lambda connection: figures.latest(connection, datastream, n))

    async def latest_of(self, datastreams: Sequence[str], n: int) -> Mapping[str, list[Window]]:
        """Return `latest` for several datastreams, of one and the same moment."""
        return await self._read(
            lambda connection: {key: figures.latest(connection, key, n) for key in datastreams}
        )

    async def budget_today(self, now: float) -> list[BudgetLine]:
        """Return what was spent on windows of the day (UTC) of `now`."""
        return await self._read(lambda connection: figures.budget_of_day(connection, now))

    async def spent(self, first_day: int, last_day: int, deployment: str | None = None) -> list[SpentLine]:
        """Return what was spent from one day to another (days since 1970-01-01, UTC), both included."""
        return await self._read(lambda connection: spent.spent(connection, first_day, last_day, deployment))

    async def seen(self, device_ids: Sequence[str]) -> dict[str, Seen]:
        """Return the newest admitted window of each device; one never heard of is left out."""
        return await self._read(lambda connection: figures.seen(connection, device_ids))

    async def stated(self, device_ids: Sequence[str]) -> dict[str, AttestationRow]:
        """Return the last statement of each device; one that never made any is left out."""
        return await self._read(lambda connection: figures.stated(connection, device_ids))

    async def last_refusals(self, n: int) -> list[Refusal]:
        """Return the last `n` refusals, newest first."""
        return await self._read(lambda connection: figures.last_refusals(connection, n))

    async def ping(self) -> None:
        """Ask the database for a sign of life. Raises StoreError."""
        await self._read(lambda connection: connection.execute(text("SELECT 1")))

    # What whoever keeps it running asks and writes.

    async def size(self) -> int:
        """Return how many bytes the store takes on its disk. Raises StoreError."""
        return await self._read(engine.size)

    async def probe(self) -> None:
        """Write something, to see that it can be done. Raises StoreError."""
        await self._write(upkeep.probe, tell=False)

    async def backlog(self, now: float) -> dict[str, upkeep.Backlog]:
        """Return what could be sent to each sink at `now`, or is on its way."""
        return await self._read(lambda connection: upkeep.backlog(connection, self.sinks, now))

    async def resume(self, device_ids: Sequence[str], backed_up_at: float, now: float) -> upkeep.Resumed:
        """Make a store that was restored from a backup fit to go on; see `upkeep`."""
        return await self._write(lambda c: upkeep.resume(c, device_ids, backed_up_at, now))

    async def restored_at(self) -> float | None:
        """Return when the store was restored the last time (unix seconds), None for never."""
        return await self._read(upkeep.restored_at)

    async def trail_head(self) -> tuple[int, str]:
        """Return number and digest of the audit trail's last entry; (0, "") before the first."""
        return await self._read(upkeep.head)

    async def registry_told(self) -> int:
        """Return the number of the registry's last action that the audit trail knows of, nought for none."""
        return await self._read(upkeep.registry_told)

    # Who waits for news.

    async def follow(self, stop: asyncio.Event, every_s: float = FOLLOW_S) -> None:
        """Take note of what others wrote into a shared store, until `stop`, as of what is written here."""
        last = None
        while self.is_shared and not stop.is_set():
            with suppress(StoreError):  # told by whoever needs it
                head = await self.as_of()
                if head != last:
                    last = head
                    self._tell()
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), every_s)
        await stop.wait()

    @property
    def changes(self) -> int:
        """A number that rises when something was written that a page or a publisher would show or send."""
        return self._changes

    async def changed(self, since: int) -> int:
        """Wait until `changes` is more than `since`; return it."""
        while self._changes <= since:
            await self._changed.wait()
        return self._changes

    async def _read(self, ask: Callable[[Connection], T]) -> T:
        def run() -> T:
            with self._reading.begin() as connection:
                return ask(connection)

        return await self._in(self._readers, run)

    async def _write(
        self,
        change: Callable[[Connection], T],
        *,
        tell: bool = True,
        then: Callable[[], None] | None = None,
    ) -> T:
        """Make a change in a transaction, and `then`, when it is on the disk, something beside it."""

        def run() -> T:
            with self._writing.begin() as connection:
                answer = change(connection)
            if then is not None:
                then()
            self._see_to_mirror()
            return answer

        answer = await self._in(self._writer, run)
        if tell:
            self._tell()
        return answer

    def _tell(self) -> None:
        self._changes += 1
        waiting, self._changed = self._changed, asyncio.Event()
        waiting.set()

    async def _in(self, threads: ThreadPoolExecutor, run: Callable[[], T]) -> T:
        # Shielded: whoever is cancelled while waiting must not leave it open whether the transaction was
        # written.
        future: asyncio.Future[Any] = asyncio.get_running_loop().run_in_executor(threads, run)
        try:
            return await asyncio.shield(future)
        except DBAPIError as reason:
            failed = engine.failed(self.url, reason)
            if isinstance(failed, StoreDamaged):
                self.damage.set()
            raise failed from reason
        except StoreDamaged:
            self.damage.set()
            raise
