# ruff: noqa: I001
"""The board's flash: a block device over an image file of the host, and the place where power may be cut.

Every program and every erase counts as one write. When the count reaches what the supervisor has asked for,
only the first half of that write reaches the image and the power goes. Count and wish live in a small file
shared with the supervisor, two unsigned 64-bit numbers, so that a write costs no message.
"""

import bus
import struct
import uselect


class Flash:
    """Block device of the extended interface (offset within a block) for littlefs.

    image, ledger: open binary files; block: bytes a block; blocks: their number.
    """

    def __init__(self, image, ledger, block, blocks):
        self._image = image
        self._ledger = ledger
        self._block = block
        self._blocks = blocks
        self._blank = b"\xff" * block
        self._words = bytearray(16)

    def readblocks(self, number, buffer, offset=0):
        try:
            self._read(number, buffer, offset)
        except KeyboardInterrupt:
            # littlefs must not be left in the middle: finish, and ask for the interrupt again
            self._read(number, buffer, offset)
            bus.post("interrupt_again")

    def writeblocks(self, number, data, offset=None):
        try:
            self._write(number, data, offset)
        except KeyboardInterrupt:
            self._write(number, data, offset)
            bus.post("interrupt_again")

    def ioctl(self, operation, argument):
        if operation == 4:
            return self._blocks
        if operation == 5:
            return self._block
        if operation == 6:
            self.writeblocks(argument, self._blank, 0)
        return 0

    def is_blank(self):
        """Whether the first two blocks, where littlefs keeps its root, were never written."""
        # In small steps: the board's memory may be small.
        buffer = bytearray(256)
        for at in range(0, 2 * self._block, 256):
            self._read(0, buffer, at)
            if buffer != self._blank[:256]:
                return False
        return True

    def _read(self, number, buffer, offset):
        self._image.seek(number * self._block + offset)
        self._image.readinto(buffer)

    def counted(self, data):
        """Count one more write; returns what of the data still gets there before the power goes, or None when
        it does not go.
        """
        self._ledger.seek(0)
        self._ledger.readinto(self._words)
        cut_at, count = struct.unpack("<QQ", self._words)
        count += 1
        struct.pack_into("<QQ", self._words, 0, cut_at, count)
        self._ledger.seek(0)
        self._ledger.write(self._words)
        return memoryview(data)[: len(data) // 2] if count == cut_at else None

    def power_goes(self):
        bus.post("power_cut")
        uselect.poll().poll()  # the supervisor takes the power away; nothing runs any more

    def _write(self, number, data, offset):
        last = self.counted(data)
        self._image.seek(number * self._block + (offset or 0))
        if last is not None:
            self._image.write(last)
            self.power_goes()
        self._image.write(data)
