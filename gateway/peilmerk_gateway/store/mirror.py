"""A second copy of an SQLite store, page by page, kept in step by the store's own write-ahead log.

    mirror/             beside the store; that it is there says that a mirror is wanted. It may be a link to
                        a folder of another disk.
    mirror/store.db     the pages, as they were at a commit
    mirror/state.json   how far it goes, or why there is none
    mirror/lock         held by the gateway that keeps it

SQLite writes every page into its log first, and later into its file: a checkpoint. While there is a mirror
nobody leaves that to SQLite. Whoever is to make a checkpoint takes the write lock, writes the log's pages
into the mirror, has them put on the disk, and only then lets SQLite write them into its file. So mirror and
log together are the store as of its last commit, whatever becomes of a page of its file: nothing is judged
twice and nothing is guessed, what was erased is erased in it too, and the audit trail goes on.

What writes into the file past this (another program, a power cut in the middle of it) is noticed by the
file's size and time: then the mirror is *in doubt* until it was compared or made anew (`mend`).

No file that SQLite locks is opened here: closing it would take this process's locks away. Where the store's
file is to be read while it is in use, another process reads it.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from peilmerk_gateway import disk
from peilmerk_gateway.store import wal
from peilmerk_gateway.store.copier import Copied, Copier, copied

FOLDER, STATE, LOCK = "mirror", "state.json", "lock"
# As often as SQLite would by `engine`'s word, frames; sooner again where a reader held some of it back.
EVERY_FRAMES = 16_384
AGAIN_FRAMES = 4_096
# Where another process has the mirror and does not let go of it: 1 GiB.
WITHOUT_FRAMES = 262_144
# How often to look how long the log is, seconds: four system calls, each of which waits for who computes.
LOOK_S = 0.1
BUSY_S = 30.0
SPARE_BYTES = 16 << 20
IN_STEP, OFF, IN_DOUBT = "in step", "off", "in doubt: compared or made anew at the next start"

_COPY = "import shutil, sys; shutil.copyfile(sys.argv[1], sys.argv[2])"

_log = structlog.get_logger(__name__)


class MirrorError(Exception):
    """The mirror cannot be used; the text says what was found."""


class Reader:
    """Another process of ours that reads or copies files of a store, one at a time; any thread may end it."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._is_over = False

    def run(self, what: str, *arguments: str) -> str:
        """Run Python with these arguments and return what it says. Raises OSError, and MirrorError, whose
        text begins with `what`, when it fails or is ended.
        """
        with self._changing:
            if self._is_over:
                raise MirrorError(f"{what}: it is to end")
            self._process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        said, complaint = self._process.communicate()
        if self._process.returncode:
            raise MirrorError(f"{what}: {(complaint.strip() or '?').splitlines()[-1]}")
        return said

    def end(self) -> None:
        """End it at once, and have none from now on."""
        with self._changing:
            self._is_over = True
            if self._process is not None:
                self._process.kill()


@dataclass(frozen=True, slots=True)
class State:
    """How far a mirror goes: so many frames of that run of the log, over the file as it was then."""

    salts: str
    frames: int
    main: tuple[int, int, int]
    """Inode, bytes and time (ns) of the store's file after its last checkpoint."""


def folder_of(file: Path) -> Path:
    """Return where the mirror of a store lies."""
    return file.parent / FOLDER


def copy_of(file: Path) -> Path:
    """Return where the pages of its mirror lie."""
    return folder_of(file) / file.name


def is_wanted(file: Path) -> bool:
    """Whether a store is to have a mirror, whose folder can be reached."""
    # Not of pathlib, which raises for some of what is in the way: a store goes on without its mirror.
    return os.path.isdir(folder_of(file))


def stamp(file: Path) -> tuple[int, int, int]:
    """Return what changes when anybody writes into a file. Raises OSError."""
    found = file.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def state(file: Path) -> State | None:
    """Return how far the mirror of a store goes, None where there is none."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        told = json.loads((folder_of(file) / STATE).read_bytes())
        inode, size, at = told["main"]
        if copy_of(file).is_file():
            return State(str(told["salts"]), int(told["frames"]), (int(inode), int(size), int(at)))
    return None


def told(file: Path) -> str:
    """Say in words how the mirror of a store is: IN_STEP, OFF, IN_DOUBT, or what was in the way of it."""
    if not is_wanted(file):
        return OFF
    if (found := state(file)) is not None:
        return IN_STEP if _stamp(file) == found.main else IN_DOUBT
    try:
        return str(json.loads((folder_of(file) / STATE).read_bytes())["why"])
    except (OSError, ValueError, KeyError, TypeError):
        return "not made yet"


def note(file: Path, found: State) -> None:
    """Write down how far a mirror goes; on return it is on the disk. Raises OSError."""
    _write(file, {"salts": found.salts, "frames": found.frames, "main": list(found.main)})


def drop(file: Path, why: str) -> None:
    """Delete a mirror's pages, and write down why there are none. Raises OSError."""
    _write(file, {"why": why})
    for old in (copy_of(file), _draft(file)):
        old.unlink(missing_ok=True)


def remove_draft(file: Path) -> None:
    """Delete a mirror that was being made when somebody was killed. Raises OSError."""
    if is_wanted(file):
        _draft(file).unlink(missing_ok=True)


def remove(file: Path) -> None:
    """Have no mirror from now on. Raises OSError."""
    folder = folder_of(file)
    if folder.is_dir():
        for name in (file.name, _draft(file).name, STATE, f"{STATE}.part", LOCK):
            (folder / name).unlink(missing_ok=True)
        # A link stays the operator's, and so would a file of theirs; but then nobody is told to go on.
        folder.unlink() if folder.is_symlink() else folder.rmdir()


def make(file: Path, reader: Reader | None = None) -> bool:
    """Make a mirror anew from the store's file; False when somebody wrote into that meanwhile.

    Another process copies. What is in the log goes into it with the next step. Raises MirrorError, also when
    that process is told to end.
    """
    folder, draft = folder_of(file), _draft(file)
    try:
        before = stamp(file)
        wanted = before[1] + SPARE_BYTES
        draft.unlink(missing_ok=True)
        old = copy_of(file).stat().st_size if copy_of(file).exists() else 0
        if (free := shutil.disk_usage(folder).free + old) < wanted:
            raise MirrorError(f"{folder}: found {free >> 20} MiB free, wanted {wanted >> 20}")
        # The one before goes first where both have no room: what it was made of is whole.
        if shutil.disk_usage(folder).free < wanted:
            drop(file, "is being made anew")
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        (reader or Reader()).run(
            f"{draft}: cannot be written", "-I", "-S", "-c", _COPY, str(file), str(draft)
        )
        disk.sync(draft)
        with _alone(file):
            if _stamp(file) != before:
                return False
            (folder / STATE).unlink(missing_ok=True)
            draft.replace(copy_of(file))
            note(file, State("", 0, before))
    except OSError as reason:
        raise MirrorError(f"{folder}: {reason.strerror or reason}") from reason
    finally:
        # Most of all where the disk is full by it.
        with suppress(OSError):
            draft.unlink(missing_ok=True)
    return True


class Mirror:
    """What an open store does for its mirror. Not to be used by two threads at a time.

    `keeps` is said of the one gateway that makes checkpoints while it runs; others do at their end, where no
    gateway runs.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._log = wal.of(file)
        self._due_at = EVERY_FRAMES
        self._lock: int | None = None
        self._copier: Copier | None = None
        self._look_at = 0.0
        self._guard: sqlite3.Connection | None = None
        self.keeps = False
        self._is_refused = False
        """Whether this gateway was to keep it, and another process has it."""
        self.is_read = False
        """Set while both files are to stay as they are, copied or compared; the log grows."""
        self.wanted = False
        """Set when it is to be made anew."""
        self.is_whole = False
        """Whether the last checkpoint wrote all of the log into the file: no reader held any of it back."""

    def guard(self) -> None:
        """Have a connection that is closed after all others, before these are opened.

        One that fails, on a damaged page say, is closed at once. Were it the only one, SQLite would write the
        log into its file past the mirror, and delete it.
        """
        if self._guard is None and is_wanted(self._file) and self._log.exists():
            self._guard = sqlite3.connect(self._file, isolation_level=None, check_same_thread=False)
            # Whatever this finds, the log is opened by it.
            with suppress(sqlite3.Error):
                self._guard.execute("PRAGMA wal_autocheckpoint = 0").close()
                self._guard.execute("SELECT count(*) FROM sqlite_master").fetchone()

    def unguard(self, *, close: bool) -> None:
        """Close that connection while another one is open, or never."""
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.close() if close else leave_open(guard)

    def take(self) -> None:
        """Keep the mirror from now on, unless another gateway does. Raises OSError."""
        self.keeps = self._hold()
        self._is_refused = not self.keeps
        if self._lock is not None:
            self._copier = Copier(self._lock)

    def _hold(self) -> bool:
        file = folder_of(self._file) / LOCK
        try:
            lock = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        except PermissionError:
            file.unlink()  # made by a command that another user gave
            lock = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            return False
        self._lock, self._is_refused = lock, False
        return True

    def release(self) -> None:
        """Let another gateway keep it."""
        if self._copier is not None:
            self._copier.close()
            self._copier = None
        if self._lock is not None:
            os.close(self._lock)
        self._lock, self.keeps = None, False

    def is_due(self) -> bool:
        """Whether the log is long enough; asked after every transaction, and looked at now and then."""
        if not (self.keeps or self._is_refused) or self.is_read:
            return False
        if (now := time.monotonic()) < self._look_at:
            return False
        self._look_at = now + LOOK_S
        try:
            return wal.holds(self._log, self._due_at if self.keeps else WITHOUT_FRAMES)
        except OSError:  # a process without a descriptor left, say: what was committed stays so
            return False

    def open(self) -> sqlite3.Connection:
        """Open a connection of its own, and with it the log. Raises sqlite3.Error."""
        opened = sqlite3.connect(self._file, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            for pragma in ("wal_autocheckpoint = 0", "synchronous = FULL"):
                opened.execute(f"PRAGMA {pragma}").close()
            opened.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except BaseException:
            opened.close()
            raise
        return opened

    def step(self) -> bool:
        """Bring the mirror in step and make a checkpoint; return whether it is in step.

        Where there is no mirror, or it cannot be written, a checkpoint is made all the same: the log is not
        to fill the disk. Raises sqlite3.Error, such as of a damaged page, and OSError.
        """
        with closing(self.open()) as lock, closing(self.open()) as writes:
            return self._step(lock, writes)

    def _step(self, lock: sqlite3.Connection, writes: sqlite3.Connection) -> bool:
        lock.execute("BEGIN IMMEDIATE")
        self.is_whole = False
        try:
            with _alone(self._file):
                return self._step_alone(writes)
        finally:
            lock.execute("ROLLBACK")

    def _step_alone(self, writes: sqlite3.Connection) -> bool:
        if self.is_read:
            return False
        known = state(self._file)
        if known is not None and _stamp(self._file) != known.main:
            known = None  # in doubt: what is there stays, and is looked at
            self.wanted = True
        if self._is_refused and wal.holds(self._log, WITHOUT_FRAMES):
            known = None  # and in doubt by what follows: the log is not to fill the disk
        done = self._take(known) if known is not None else None
        _, told, written = writes.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        self.is_whole = told == written
        if done is None:
            self.wanted = True
            self._due_at = EVERY_FRAMES
            return False
        if told > done.count or (told < done.count and done.new):
            # Frames of a transaction that was given up lay behind the last commit.
            drop(self._file, "found another log than SQLite")
            self.wanted = True
            return False
        note(self._file, State(done.salts, done.count, stamp(self._file)))
        self._due_at = EVERY_FRAMES if self.is_whole else done.count + AGAIN_FRAMES
        return True

    def _take(self, known: State) -> Copied | None:
        """Write the log's new pages into the mirror; None, and no mirror any more, where that fails."""
        asked = self._log, known.salts, known.frames, copy_of(self._file)
        try:
            done = copied(wal.copy(*asked)) if self._copier is None else self._copier.copy(*asked)
        except (OSError, wal.CopyError) as reason:
            why = str(reason) if isinstance(reason, wal.CopyError) else f"{reason.strerror or reason}"
            _log.error("the store's mirror cannot be kept, it is made anew later", reason=why)
            # Where not even that can be written, the checkpoint that follows puts it in doubt.
            with suppress(OSError):
                drop(self._file, why)
            return None
        return done

    def close(self, last: sqlite3.Connection) -> None:
        """Bring the mirror in step for the last time and close `last`, which `open` gave before all others
        of this process were closed: SQLite deletes the log with the last one.

        Raises sqlite3.Error, and leaves the connection open then, which leaves the log.
        """
        try:
            if self.keeps or self._hold():
                with closing(self.open()) as writes:
                    self._step(last, writes)
        except BaseException:
            leave_open(last)
            raise
        finally:
            self.release()
        last.close()


def leave_open(what: object) -> None:
    """Never close a connection, or whatever has some, not even when the interpreter ends.

    With the last one SQLite would write its log into its file, and delete it.
    """
    # One reference more than will ever be given back: the interpreter empties what modules hold at its end.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(what))


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Have no other process, nor thread, change the mirror meanwhile: a step that began with the one before
    would say of a new one that it has what was written into that.
    """
    folder: int | None = None
    with suppress(OSError):  # no mirror, or on a file system that cannot: then it is compared once a day
        folder = os.open(folder_of(file), os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if folder is not None:
            os.close(folder)


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        return stamp(file)
    except OSError:
        return None


def _draft(file: Path) -> Path:
    return folder_of(file) / f"{file.name}.part"


def _write(file: Path, told: dict[str, object]) -> None:
    folder = folder_of(file)
    draft = folder / f"{STATE}.part"
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as opened:
        json.dump(told, opened)
        opened.flush()
        os.fsync(opened.fileno())
    draft.replace(folder / STATE)
    disk.sync(folder)
