# ruff: noqa: F401
"""The board's `vfs`: without the host's files, and with the partition for a ROM file system as ESP32 has it.

There the partition is a block device whose bytes also lie in the memory that the processor sees
(micropython, ports/esp32/esp32_partition.c); here it is a file that is mapped into this process.
"""

import sys

import uctypes
from vfs import VfsFat, VfsLfs2, VfsRom, mount, umount

_BLOCK = 4096
_EINVAL = 22
_rom = None
_size = 0


def begin(hello):
    """hello["romfs"]: bytes of the partition, 0 for a MicroPython that has none and knows of none."""
    global _size
    _size = hello["romfs"]
    if not _size:
        del globals()["rom_ioctl"]


def map_rom(address, flash):
    """The partition lies at this address; its writes count as `flash`'s do."""
    global _rom
    if _size:
        _rom = Partition(address, flash)


def mount_rom():
    """What MicroPython does at its start: a ROM file system at the partition's beginning is seen at /rom."""
    if _rom:
        try:
            mount(VfsRom(_rom), "/rom")
        except OSError:
            return
        sys.path.extend(("/rom", "/rom/lib"))


class Partition(uctypes.struct):
    """Block device and readable buffer in one; a block is erased before it is written, bits only fall."""

    def __init__(self, address, flash):
        super().__init__(address, {"bytes": (uctypes.ARRAY | 0, uctypes.UINT8 | _size)})
        state.append((uctypes.bytearray_at(address, _size), flash))

    def readblocks(self, number, buffer, offset=0):
        at = number * _BLOCK + offset
        buffer[:] = state[0][0][at : at + len(buffer)]

    def writeblocks(self, number, data, offset=None):
        if offset is None:
            self.ioctl(6, number)
            offset = 0
        self._program(number * _BLOCK + offset, data, False)

    def ioctl(self, operation, argument):
        if operation == 4:
            return _size // _BLOCK
        if operation == 5:
            return _BLOCK
        if operation == 6:
            self._program(argument * _BLOCK, b"\xff" * _BLOCK, True)
        return 0

    def _program(self, at, data, erases):
        cells, flash = state[0]
        if at + len(data) > _size:
            raise OSError(_EINVAL)
        last = flash.counted(data)
        now = data if last is None else last
        for place in range(len(now)):
            cells[at + place] = now[place] if erases else cells[at + place] & now[place]
        if last is not None:
            flash.power_goes()


# An object that lies over the partition has no room for more of its own.
state: list = []


def rom_ioctl(operation, *arguments):
    if operation == 1:
        return 1
    if operation == 2 and arguments[0] == 0:
        return _rom
    return -_EINVAL
