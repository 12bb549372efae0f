"""The outbox: sealed messages wait on flash until the broker acknowledged them. Runs on both Pythons.

Contract
--------
* `append` returns only after the message is on flash; what is on flash is sent with exactly these bytes, as
  often as it takes. A message leaves the outbox by `acknowledge` (PUBACK) or, when the outbox is full, by
  dropping the oldest segment, which is counted.
* A sequence number that was ever on flash is never given out again, and a window or a day that was ever
  released is refused (`AlreadyReleased`): one draw for each, also after a power cut. Both follow from the
  records themselves: a number is used only by the append that makes it durable. A number whose append failed
  belongs to the message it was tried with, until `skip`: nobody knows how much of it reached the flash.
* Memory is constant: no list of entries is ever held.

Files under the root folder
---------------------------
`NNNNNNNN.log`   segments of at most `segment_bytes`, numbered upwards, append-only. A record is

    u8 magic 0xB7 | u8 kind | u16 length | u32 seq | u32 window | u32 reports | u32 crc32 | payload

  little endian; `window` is the Unix second at which the window of a report, or the day of a day's total,
  ended (0 for other kinds), which stays true when the length of windows changes; `reports` counts the reports
  ever sealed, this one included; the CRC covers header (without itself) and payload. What follows a record
  that does not check is ignored, and nothing is ever appended behind it.
`mark.0/.1`      u32 acknowledged, dropped, seq, reports, window, day (see mark.py). All entries with a
  sequence number up to `acknowledged` are done. The newest segment is kept even when done, so that the
  numbers survive a lost mark.

A power cut between PUBACK and mark sends one entry again, byte for byte the same; the gateway knows it by
its number.
"""

import os
import struct
from binascii import crc32
from collections import namedtuple

from node.mark import Mark, make_folder

try:
    from micropython import const
except ImportError:  # CPython, where the bench reads an outbox offline

    def const(value):  # type: ignore[misc]
        return value


# The kinds that belong to a window and to a day (peilmerk_protocol.topics).
REPORT = const(1)
DAY = const(5)
_MAGIC = const(0xB7)
_HEADER = "<BBHIII"
_HEADER_BYTES = const(20)
_MAX_PAYLOAD = const(512)
_SEQ_LIMIT = const(0xFFFFFFFF)

Entry = namedtuple("Entry", ("kind", "seq", "window", "reports", "payload"))


class OutboxError(Exception):
    """The outbox was asked for something that would break its contract."""


class AlreadyReleased(OutboxError):
    """The window or day was released before; its figures must not be drawn a second time."""


class Outbox:
    """The outbox in folder `root`; opening it only reads.

    limit_bytes bounds the flash it takes (196,608 bytes hold over 30 days of 15-minute reports);
    segment_bytes is what is dropped at once when it is full, one flash block by default.
    """

    def __init__(self, root, limit_bytes=196608, segment_bytes=4096):
        self._root = root
        self._segment_bytes = segment_bytes
        self._max_segments = max(2, limit_bytes // segment_bytes)
        self._mark = Mark(root + "/mark", "IIIIII")
        kept: tuple = self._mark.load() or (0, 0, 0, 0, 0, 0)
        self._acknowledged, self._dropped, self._seq, self._reports, self._window, self._day = kept
        # CRC-32 of the payload that an append failed with, None when the last one succeeded.
        self._failed = None
        self._waiting = 0
        self._newest = self._acknowledged
        self._cached = None
        self._first, self._last = self._segments()
        # Where the next record goes, and where the oldest entry that still waits lies.
        self._tail = 0
        self._appendable = False
        self._read_segment = self._last
        self._read_offset = 0
        self._scan()

    def next_seq(self):
        """The number the next append will take: seal with it, then append. Raises OutboxError when all are
        used.
        """
        if self._seq >= _SEQ_LIMIT:
            raise OutboxError("found all sequence numbers used, wanted one: enrol the board anew")
        return self._seq + 1

    def has_window(self, window):
        """Whether the window that ended at `window` (Unix second) or a later one was released before."""
        return self._window > 0 and window <= self._window

    def has_day(self, day):
        """Whether the total of the day that ended at `day` (Unix second) or of a later one was released."""
        return self._day > 0 and day <= self._day

    def skip(self, seq):
        """Give up on the message of a failed append: its number is not used again."""
        if self._failed is not None and seq == self.next_seq():
            self._seq = seq
            self._failed = None

    def append(self, kind, seq, window, payload):
        """Put one sealed message on flash; it is durable when this returns.

        seq must be `next_seq()`; window is the Unix second at which the window or day ended, 0 otherwise.
        Raises AlreadyReleased, OutboxError (wrong number, payload over 512 bytes, another payload than the
        one that failed with this number) or OSError (flash).
        """
        if seq != self.next_seq():
            raise OutboxError("found sequence number %d, wanted %d" % (seq, self._seq + 1))
        if len(payload) > _MAX_PAYLOAD:
            raise OutboxError("found %d bytes, wanted at most %d" % (len(payload), _MAX_PAYLOAD))
        check = crc32(payload)
        if self._failed is not None and self._failed != check:
            raise OutboxError("found another message for sequence number %d, wanted the same again" % seq)
        reports = self._reports
        if kind == REPORT:
            if self.has_window(window):
                raise AlreadyReleased("window %d: the last one released is %d" % (window, self._window))
            reports += 1
        elif kind == DAY and self.has_day(window):
            raise AlreadyReleased("day %d: the last one released is %d" % (window, self._day))
        header = struct.pack(_HEADER, _MAGIC, kind, len(payload), seq, window, reports)
        record = header + struct.pack("<I", crc32(payload, crc32(header))) + payload
        if not self._appendable or self._tail + len(record) > self._segment_bytes:
            self._rotate()
        # Until the write has succeeded the tail is unknown: a failure makes the next append rotate.
        self._appendable = False
        self._failed = check
        with open(self._name(self._last), "ab") as file:
            file.write(record)
        self._appendable = True
        self._failed = None
        self._tail += len(record)
        self._seq = seq
        self._reports = reports
        if kind == REPORT:
            self._window = window
        elif kind == DAY:
            self._day = window
        self._waiting += 1

    def oldest(self):
        """The entry to send next, or None. The same entry, byte for byte, until it is acknowledged or
        dropped.
        """
        while self._cached is None and self._waiting and self._read_segment <= self._last:
            entry, following = self._next_waiting(self._read_segment, self._read_offset)
            if entry is None:
                if self._read_segment == self._last:
                    self._waiting = 0
                    break
                self._read_segment += 1
                self._read_offset = 0
            else:
                self._cached = entry
                self._read_offset = following
        return self._cached

    def acknowledge(self, seq):
        """The broker has the entry `seq` safely: never send it again. False when it was not the one
        waiting.
        """
        entry = self.oldest()
        if entry is None or entry.seq != seq:
            return False
        self._save_mark(seq, self._dropped)
        self._cached = None
        self._waiting -= 1
        while self._first < self._read_segment:
            self._remove_first()
        return True

    def waiting(self):
        """How many entries wait for their acknowledgement."""
        return self._waiting

    def sealed(self):
        """How many reports were ever sealed on this board."""
        return self._reports

    def dropped(self):
        """How many entries were ever dropped unsent because the outbox was full."""
        return self._dropped

    def last_window(self):
        """The Unix second at which the newest window ever released ended, 0 when none was: the time is
        later.
        """
        return self._window

    def last_seq(self):
        """The newest sequence number ever given out, 0 when none was."""
        return self._seq

    def newest(self, number):
        """Yield the last `number` entries that are on flash, done or not, oldest first, each with whether it
        is done. One is held at a time.
        """
        total = 0
        for turn in range(2):
            place = 0
            for segment in range(max(self._first, self._last - 1), self._last + 1):
                offset = 0
                while True:
                    entry, offset = self._entry(segment, offset)
                    if entry is None:
                        break
                    place += 1
                    if turn and place > total - number:
                        yield entry, entry.seq <= self._acknowledged
            total = place

    def _entry(self, segment, offset):
        try:
            with open(self._name(segment), "rb") as file:
                return _read_record(file, offset)
        except OSError:
            return None, offset

    def _name(self, segment):
        return "%s/%08d.log" % (self._root, segment)

    def _segments(self):
        first = last = 0
        try:
            names = os.listdir(self._root)
        except OSError:
            names = []
        for name in names:
            if name.endswith(".log") and name[:-4].isdigit():
                number = int(name[:-4])
                first = number if not first else min(first, number)
                last = max(last, number)
        return (first, last) if last else (1, 0)

    def _scan(self):
        for segment in range(self._first, self._last + 1):
            offset = self._scan_segment(segment)
            if segment == self._last:
                self._tail = offset
                self._appendable = offset == self._size(segment)
        if not self._waiting:
            # The next record may still go into this segment, behind what was done.
            self._read_segment = self._last
            self._read_offset = self._tail

    def _scan_segment(self, segment):
        """Take in what `segment` holds; returns where its whole records end."""
        offset = 0
        try:
            with open(self._name(segment), "rb") as file:
                while True:
                    entry, following = _read_record(file, offset)
                    if entry is None:
                        return offset
                    # What an append that failed at the very end wrote, its second attempt wrote again.
                    fresh = entry.seq > self._newest
                    self._newest = max(self._newest, entry.seq)
                    # A lost mark leaves the records as the only witnesses of the highest numbers.
                    self._seq = max(self._seq, entry.seq)
                    self._reports = max(self._reports, entry.reports)
                    if entry.kind == DAY:
                        self._day = max(self._day, entry.window)
                    else:
                        self._window = max(self._window, entry.window)
                    if fresh:
                        if not self._waiting:
                            self._read_segment = segment
                            self._read_offset = offset
                        self._waiting += 1
                    offset = following
        except OSError:
            return offset  # a hole in the numbering

    def _size(self, segment):
        try:
            return os.stat(self._name(segment))[6]
        except OSError:
            return 0

    def _next_waiting(self, segment, offset):
        """The first record at or after `offset` that is not acknowledged, and where the next one starts."""
        try:
            with open(self._name(segment), "rb") as file:
                while True:
                    entry, offset = _read_record(file, offset)
                    if entry is None or entry.seq > self._acknowledged:
                        return entry, offset
        except OSError:
            return None, offset

    def _save_mark(self, acknowledged, dropped):
        self._mark.save(acknowledged, dropped, self._seq, self._reports, self._window, self._day)
        self._acknowledged = acknowledged
        self._dropped = dropped

    def _rotate(self):
        """Begin a new segment, and drop the oldest when there would be too many."""
        if self._last == 0:
            make_folder(self._root)
        while self._last - self._first + 2 > self._max_segments:
            self._drop_first()
        self._last += 1
        self._tail = 0
        # A file left by an append that failed half-way must not be appended to.
        while self._size(self._last):
            self._last += 1
        if not self._waiting:
            self._read_segment = self._last
            self._read_offset = 0

    def _drop_first(self):
        acknowledged = self._acknowledged
        lost = 0
        offset = 0
        while True:
            entry, offset = self._next_waiting(self._first, offset)
            if entry is None:
                break
            acknowledged = entry.seq
            lost += 1
        if lost:
            # Counted before it is gone: a power cut in between finds a segment in which nothing waits.
            self._save_mark(acknowledged, self._dropped + lost)
            self._waiting -= lost
            if self._cached is not None and self._cached.seq <= acknowledged:
                self._cached = None
        if self._read_segment <= self._first:
            self._read_segment = self._first + 1
            self._read_offset = 0
        self._remove_first()

    def _remove_first(self):
        try:
            os.remove(self._name(self._first))
        except OSError:
            pass  # a hole in the numbering: nothing to remove
        self._first += 1


def _read_record(file, offset):
    """The record at `offset` and where the next one starts; (None, offset) where no whole record is."""
    file.seek(offset)
    header = file.read(_HEADER_BYTES)
    if len(header) < _HEADER_BYTES:
        return None, offset
    magic, kind, length, seq, window, reports = struct.unpack(_HEADER, header[:16])
    if magic != _MAGIC or length > _MAX_PAYLOAD:
        return None, offset
    payload = file.read(length)
    check = struct.unpack("<I", header[16:])[0]
    if len(payload) != length or check != crc32(payload, crc32(header[:16])):
        return None, offset
    return Entry(kind, seq, window, reports, payload), offset + _HEADER_BYTES + length
