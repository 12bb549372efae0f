"""A small record on flash that is either the old one or the new one, never neither.

Two files are written in turn; each holds a generation, the values and a CRC-32. The newer one that reads
back whole is the record. LittleFS already makes one write atomic; the second file is for a cell that goes
bad and for file systems that promise less. Runs on MicroPython and CPython.
"""

import os
import struct
from binascii import crc32


class Mark:
    """One durable tuple of integers at `path` (files `path.0` and `path.1`).

    `layout` is a struct format without byte order, one item a value ("IIB"). The folder must exist when
    saving.
    """

    def __init__(self, path, layout):
        self._path = path
        self._layout = "<I" + layout
        self._size = struct.calcsize(self._layout)
        self._generation = 0

    def load(self):
        """Return the newest whole record as a tuple, or None when there is none."""
        newest = max(self._read(0), self._read(1))
        self._generation = newest[0]
        return newest[1:] or None

    def save(self, *values):
        """Replace the record. Raises OSError when the flash refuses; the old record then still stands."""
        following = (self._generation + 1) & 0xFFFFFFFF
        body = struct.pack(self._layout, following, *values)
        with open(self._name(following & 1), "wb") as file:
            file.write(body + struct.pack("<I", crc32(body)))
        self._generation = following

    def _name(self, turn):
        return "%s.%d" % (self._path, turn)

    def _read(self, turn):
        """(generation, values ...), or (0,) when it does not read back whole."""
        try:
            with open(self._name(turn), "rb") as file:
                data = file.read(self._size + 5)
        except OSError:
            return (0,)
        body = data[:-4]
        if len(body) != self._size or data[-4:] != struct.pack("<I", crc32(body)):
            return (0,)
        return struct.unpack(self._layout, body)


def make_folder(path):
    """Make `path` and the folders above it; existing ones are fine. Raises OSError when it cannot."""
    made = ""
    for part in path.split("/"):
        made += part
        if part:
            try:
                os.stat(made)
            except OSError:
                os.mkdir(made)
        made += "/"
