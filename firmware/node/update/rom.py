"""The slots of a board that runs its firmware in place: halves of its partition for a ROM file system.

MicroPython calls the partition `vfs.rom_ioctl(2, 0)`; on ESP32 it is a block device too. Slot a is the first
half, b the second, and boot.py mounts the one that runs where its folder would be. The half that does not run
is written as the update comes. Its very first byte is written last: until then there is no image, wherever
the power is cut.
"""

from micropython import const

from peilmerk_protocol import romfs

_BLOCK = const(4096)


class Rom:
    """The half of slot `slot`, "a" or "b". OSError when this board has none."""

    def __init__(self, slot):
        try:
            import vfs

            self._device = vfs.rom_ioctl(2, 0)
            self._blocks = self._device.ioctl(4, 0) // 2
        except (ImportError, AttributeError):
            raise OSError("no partition")
        self._first = self._blocks if slot == "b" else 0
        self._heads: list = []
        self._at = 0

    def begin(self, files):
        """Forget what is there, for an image of `files`, (path, size, …) each; False when it has no room."""
        self._heads, size = romfs.heads(files)
        self._heads[0] = b"\xff" + self._heads[0][1:]
        self._device.ioctl(6, self._first)
        return size <= self._blocks * _BLOCK

    def file(self, number):
        """The content of this file comes next."""
        self.write(self._heads[number])
        return self

    def write(self, data):
        """Write the next bytes."""
        data = memoryview(data)
        while data:
            block, offset = divmod(self._at, _BLOCK)
            if block and not offset:
                self._device.ioctl(6, self._first + block)
            piece = data[: _BLOCK - offset]
            self._device.writeblocks(self._first + block, piece, offset)
            self._at += len(piece)
            data = data[len(piece) :]

    def close(self):
        """Nothing is kept back."""

    def show(self, path):
        """All was written: make it an image, seen at `path` until `hide`."""
        import vfs

        self._device.writeblocks(self._first, romfs.MAGIC[:1], 0)
        half = memoryview(self._device)[self._first * _BLOCK : (self._first + self._blocks) * _BLOCK]
        vfs.mount(vfs.VfsRom(half), path)  # type: ignore[attr-defined]

    def hide(self, path, good):
        """Look at it no more, and forget it unless it is `good`."""
        import vfs

        vfs.umount(path)
        if not good:
            self._device.ioctl(6, self._first)
