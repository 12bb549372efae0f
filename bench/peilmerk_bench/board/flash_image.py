"""The files behind a board's flash, and the ledger in which the board counts its writes.

The ledger is two unsigned 64-bit numbers, shared with the board's process: the number of the write at which
the power goes (0: never), and how many writes there were. The image is locked while a board has it.
"""

from __future__ import annotations

import fcntl
import os
import struct
import tempfile
from pathlib import Path

from peilmerk_bench.board.spec import BoardError

_LEDGER = struct.Struct("<QQ")


class FlashImage:
    """A flash of `size` bytes in the file `path`, erased (FF) when the file is made, and beside it a
    partition of `romfs` bytes.
    """

    def __init__(self, path: Path, size: int, run_dir: Path, romfs: int = 0) -> None:
        self.path = path.absolute()
        self.size = size
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise BoardError(f"flash image {path}: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            raise BoardError(f"flash image {path} is in use by another board") from None
        found = os.fstat(self._file).st_size
        if not found:
            os.pwrite(self._file, b"\xff" * size, 0)
        elif found != size:
            os.close(self._file)
            raise BoardError(f"flash image {path} has {found} bytes, wanted {size}")
        self.romfs_path = self.path.with_name(self.path.name + ".romfs")
        if romfs and not self.romfs_path.exists():
            self.romfs_path.write_bytes(b"\xff" * romfs)
        elif romfs and self.romfs_path.stat().st_size != romfs:
            os.close(self._file)
            raise BoardError(f"flash image {self.romfs_path}: wanted {romfs} bytes")
        run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._ledger, name = tempfile.mkstemp(prefix="ledger-", dir=run_dir)
        self.ledger_path = Path(name)
        os.pwrite(self._ledger, _LEDGER.pack(0, 0), 0)

    @property
    def writes(self) -> int:
        """Programs and erases so far."""
        return int(_LEDGER.unpack(os.pread(self._ledger, _LEDGER.size, 0))[1])

    def cut_at(self, write: int) -> None:
        """The power goes in the middle of this write, counted like `writes`; 0 for never."""
        os.pwrite(self._ledger, struct.pack("<Q", write), 0)

    def close(self) -> None:
        """Let go of the image and remove the ledger."""
        os.close(self._file)
        os.close(self._ledger)
        self.ledger_path.unlink(missing_ok=True)
