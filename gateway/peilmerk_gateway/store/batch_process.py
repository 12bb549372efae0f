"""Batches are written by a process of their own, beside the one that judges.

Python computes on one processor at a time. What a batch costs is, in equal parts, judging it and writing it;
in one process they wait for each other, in two they have a processor each. There is one writer all the same:
the store's thread hands a batch over, waits for the answer, and does nothing else meanwhile.

`BatchProcess` is the gateway's end, `batch_program` the other one. That ends with the gateway, at once and
however that ends (`child.tied`), in the middle of a transaction, too: what was not answered was not
acknowledged. Should it end by itself, the batch at hand fails, and the next one starts it anew.

    request    length, 4 bytes big-endian; pickle of (plain rows, sinks, now, bounds)
    answer     length; pickle of Stored, or of (kind, text) of what was in the way

They are spoken on a pair of sockets that nobody else has, between two processes of one program.
"""

from __future__ import annotations

import pickle
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from peilmerk_gateway import child
from peilmerk_gateway.store.engine import StoreDamaged, StoreError, StoreRefused
from peilmerk_gateway.store.quarantine import Bounds
from peilmerk_gateway.store.rows import (
    BatchRows,
    Entry,
    LedgerRow,
    ObservationRow,
    ReportRow,
    Stored,
    WithheldRow,
)

PROGRAM = "peilmerk_gateway.store.batch_program"
END_S = 10.0
_LENGTH = 4
_KINDS = {kind.__name__: kind for kind in (StoreError, StoreRefused, StoreDamaged)}
FAULT = "fault"
Answer = Stored | tuple[str, str]
_PLAIN = [one.name for one in fields(BatchRows) if one.name != "entries"]


class WriterFault(Exception):
    """What went wrong in the other process, and is no fault of the store; `kind` names the exception."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class BatchProcess:
    """The gateway's end. Not to be used by two threads at a time, and closed by the one that used it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    @property
    def pid(self) -> int | None:
        """Which process it is, None for none now."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start it, unless it runs. It ends with the thread that started it. Raises StoreError."""
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        ours, theirs = socket.socketpair()
        with theirs:
            program = [sys.executable, "-P", "-m", PROGRAM, str(self._file), str(theirs.fileno())]
            try:
                self._process = subprocess.Popen(
                    child.tied(program),
                    stdin=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                    umask=0o077,
                )
            except OSError as reason:
                ours.close()
                raise StoreError(f"the process that writes cannot be started: {reason.strerror}") from reason
        self._socket = ours

    def write(self, rows: BatchRows, sinks: Sequence[str], now: float, bounds: Bounds) -> Stored:
        """Have a batch written; on return it is on the disk. Raises StoreError and WriterFault."""
        self.start()
        assert self._socket is not None
        try:
            send(
                self._socket, pickle.dumps((plain(rows), tuple(sinks), now, bounds), pickle.HIGHEST_PROTOCOL)
            )
            told = pickle.loads(receive(self._socket))
        except (OSError, EOFError) as reason:
            raise StoreError(f"the process that writes ended ({self._ended()}): started anew") from reason
        if isinstance(told, Stored):
            return told
        kind, text = told
        if kind == FAULT:
            raise WriterFault(text)
        raise _KINDS[kind](text)

    def _ended(self) -> str:
        """Make sure that it is over; say how it ended."""
        process = self._process
        self.close()
        code = None if process is None else process.returncode
        return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"

    def close(self) -> None:
        """End it."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        process, self._process = self._process, None
        if process is not None:
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def plain(rows: BatchRows) -> tuple[Any, ...]:
    """Return a batch without a record in what there is much of: pickle would ask Python about each."""
    entries = [
        (
            tuple(entry.report),
            [*map(tuple, entry.observations)],
            [*map(tuple, entry.withheld)],
            [*map(tuple, entry.ledger)],
            entry.levels,
        )
        for entry in rows.entries
    ]
    return (entries, *(getattr(rows, name) for name in _PLAIN))


def from_plain(told: tuple[Any, ...]) -> BatchRows:
    """Return the batch of `plain`."""
    entries = [
        Entry(
            ReportRow._make(report),
            tuple(map(ObservationRow._make, observations)),
            tuple(map(WithheldRow._make, withheld)),
            tuple(map(LedgerRow._make, ledger)),
            levels,
        )
        for report, observations, withheld, ledger, levels in told[0]
    ]
    return BatchRows(entries, **dict(zip(_PLAIN, told[1:], strict=True)))


def send(to: socket.socket, data: bytes) -> None:
    """Send a message. Raises OSError when the other end is gone."""
    to.sendall(len(data).to_bytes(_LENGTH, "big") + data)


def receive(of: socket.socket) -> bytearray:
    """Return what was sent. Raises EOFError when the other end is gone."""
    return _exactly(of, int.from_bytes(_exactly(of, _LENGTH), "big"))


def _exactly(of: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    view, got = memoryview(data), 0
    while got < size:
        if not (some := of.recv_into(view[got:])):
            raise EOFError
        got += some
    return data
