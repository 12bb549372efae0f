"""Read SQLite's write-ahead log: which pages of the database it has, committed, and where.

The format is https://www.sqlite.org/fileformat2.html#walformat: a header of 32 bytes, then frames of 24 bytes
and a page. A frame is of the log's present run if it carries the header's two salts. Checksums are not
looked at here: whoever reads holds the write lock, and SQLite itself tells how many frames count
(`PRAGMA wal_checkpoint`), which is compared.

Run as a program it copies for `copier`, and needs nothing but Python for that: see there.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

HEADER, FRAME_HEADER = 32, 24
_CHUNK, _PIECE = 256, 65_536


def _none() -> array[int]:
    return array("I")


@dataclass(frozen=True, slots=True)
class Frames:
    """What a log has, up to its last commit."""

    salts: str = ""
    """Of this run of the log, 16 hexadecimal digits; empty where there is none."""
    page_size: int = 0
    count: int = 0
    """How many frames, up to the last commit."""
    numbers: array[int] = field(default_factory=_none)
    """Which page each of them has, of those behind the ones that were known already."""
    size: int = 0
    """How many pages the database has after the last commit; nought where nothing is new."""

    def places(self) -> Iterator[dict[int, int]]:
        """Yield {page: where its content lies in the file}, in the order of writing: the last one holds.

        In pieces, since a store that is written anew is in the log as a whole.
        """
        frame = FRAME_HEADER + self.page_size
        first = self.count - len(self.numbers)
        for at in range(0, len(self.numbers), _PIECE):
            places = count(HEADER + (first + at) * frame + FRAME_HEADER, frame)
            yield dict(zip(self.numbers[at : at + _PIECE], places, strict=False))


class CopyError(Exception):
    """What a log has cannot be copied; the text says what was found."""


def of(file: Path) -> Path:
    """Return where the log of a database lies."""
    return file.with_name(f"{file.name}-wal")


def holds(log: Path, frame: int) -> bool:
    """Whether the log's present run has a frame of that number, committed or not."""
    try:
        opened = os.open(log, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        header = os.pread(opened, HEADER, 0)
        if len(header) < HEADER:
            return False
        size = _page_size(header)
        found = os.pread(opened, FRAME_HEADER, HEADER + (frame - 1) * (FRAME_HEADER + size))
        return found[8:16] == header[16:24]
    finally:
        os.close(opened)


def read(log: Path, salts: str = "", known: int = 0) -> Frames:
    """Return what is committed in a log; of the run with these `salts` only what follows `known` frames.

    Raises OSError. Nobody may be writing to the database meanwhile.
    """
    try:
        opened = os.open(log, os.O_RDONLY)
    except FileNotFoundError:
        return Frames()
    try:
        header = os.pread(opened, HEADER, 0)
        if len(header) < HEADER:
            return Frames()
        return _read(opened, header, known if header[16:24].hex() == salts else 0)
    finally:
        os.close(opened)


def copy(log: Path, salts: str, known: int, target: Path) -> Frames:
    """Write the pages that `read` finds into a file that has those before; on return they are on the disk.

    Raises OSError and CopyError. Nobody may be writing to the database meanwhile.
    """
    frames = read(log, salts, known)
    if frames.salts == salts and frames.count < known:
        raise CopyError(f"{log}: found {frames.count} frames, wanted {known}")
    if not frames.numbers:
        return frames
    source = os.open(log, os.O_RDONLY)
    try:
        opened = os.open(target, os.O_RDWR)
        try:
            size = frames.page_size
            for places in frames.places():
                for page, place in sorted(places.items()):
                    content = os.pread(source, size, place)
                    if len(content) != size or os.pwrite(opened, content, (page - 1) * size) != size:
                        raise CopyError(f"{target}: a page was written in part")
            os.ftruncate(opened, frames.size * size)
            os.fdatasync(opened)
        finally:
            os.close(opened)
    finally:
        os.close(source)
    return frames


def _read(opened: int, header: bytes, known: int) -> Frames:
    size, mine = _page_size(header), header[16:24]
    frame = FRAME_HEADER + size
    form = struct.Struct(f">II8s8x{size}x")
    numbers = _none()
    committed = length = 0
    buffer = bytearray(_CHUNK * frame)
    while True:
        got = os.preadv(opened, [buffer], HEADER + (known + len(numbers)) * frame)
        rows = list(form.iter_unpack(memoryview(buffer)[: got // frame * frame]))
        # What is left of an earlier run lies behind this one's.
        while rows and rows[-1][2] != mine:
            rows.pop()
        before = len(numbers)
        numbers.extend([row[0] for row in rows])
        for at in range(len(rows) - 1, -1, -1):
            if rows[at][1]:
                committed, length = before + at + 1, rows[at][1]
                break
        if len(rows) < _CHUNK:
            return Frames(mine.hex(), size, known + committed, numbers[:committed], length)


def _page_size(header: bytes) -> int:
    return int.from_bytes(header[8:12], "big")


def _serve() -> None:
    """Copy what is asked, a line each, until there is nobody who asks."""
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, signal.SIG_IGN)
    for line in sys.stdin:
        log, salts, known, target = json.loads(line)
        try:
            frames = copy(Path(log), salts, known, Path(target))
            told: object = [frames.salts, frames.page_size, frames.count, len(frames.numbers), frames.size]
        except CopyError as reason:
            told = str(reason)
        except OSError as reason:
            told = f"{target}: {reason.strerror or reason}"
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    _serve()
