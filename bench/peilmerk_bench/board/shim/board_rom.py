"""The partition for a ROM file system of a board that has one; loaded there only.

On ESP32 it is a block device whose bytes also lie in the memory that the processor sees (micropython,
ports/esp32/esp32_partition.c); here it is a file that is mapped into this process.
"""

import sys

import board_vfs
import uctypes

_BLOCK = 4096
_EINVAL = 22
# [bytes, flash that counts writes, partition]: an object that lies over memory has no room for more.
_state: list = []


def begin(address, size, flash):
    """The partition of `size` bytes lies at this address; its writes count as `flash`'s do. What MicroPython
    does at its start is done: a ROM file system at its beginning is seen at /rom.
    """
    _state.extend((uctypes.bytearray_at(address, size), flash))
    _state.append(Partition(address, {"bytes": (uctypes.ARRAY | 0, uctypes.UINT8 | size)}))
    board_vfs.rom_ioctl = rom_ioctl
    try:
        board_vfs.mount(board_vfs.VfsRom(_state[2]), "/rom")
    except OSError:
        return
    sys.path.extend(("/rom", "/rom/lib"))


def rom_ioctl(operation, *arguments):
    if operation == 1:
        return 1
    if operation == 2 and arguments[0] == 0:
        return _state[2]
    return -_EINVAL


class Partition(uctypes.struct):
    """Block device and readable buffer in one; a block is erased before it is written, bits only fall."""

    def readblocks(self, number, buffer, offset=0):
        at = number * _BLOCK + offset
        buffer[:] = _state[0][at : at + len(buffer)]

    def writeblocks(self, number, data, offset=None):
        if offset is None:
            self.ioctl(6, number)
            offset = 0
        self._program(number * _BLOCK + offset, data, False)

    def ioctl(self, operation, argument):
        if operation == 4:
            return len(_state[0]) // _BLOCK
        if operation == 5:
            return _BLOCK
        if operation == 6:
            self._program(argument * _BLOCK, b"\xff" * _BLOCK, True)
        return 0

    def _program(self, at, data, erases):
        cells, flash, _ = _state
        if at + len(data) > len(cells):
            raise OSError(_EINVAL)
        last = flash.counted(data)
        now = data if last is None else last
        for place in range(len(now)):
            cells[at + place] = now[place] if erases else cells[at + place] & now[place]
        if last is not None:
            flash.power_goes()
