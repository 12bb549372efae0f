"""Back to factory state: everything on flash goes, but for the firmware itself.

The keys go first, so that a board whose power is cut in the middle has nothing left to report with; then all
the rest; then the free flash is overwritten, because LittleFS frees blocks without erasing them. Loaded only
when a board forgets.
"""

import os

from micropython import const

_FOLDER = const(0x4000)
# What stays: the firmware, wherever it lies, and the mark that tells that the board is not done yet.
_KEPT = ("boot.py", "main.py", "node", "peilmerk_protocol", "slots", "a", "b", "lib", "forget")
_FIRST = ("identity.json", "data", "node.json")
_FILL = "fill"
_BLOCK = const(4096)
# Commits into a folder's own pair of blocks until both were erased: two blocks of small files.
_COMMITS = const(160)


def erase(root="/"):
    """Erase all but the firmware below `root` (ends with a slash). OSError: not all of it; call again."""
    for name in _FIRST:
        _remove(root + name)
    for name in os.listdir(root):
        if name not in _KEPT:
            _remove(root + name)
    _forget_memory()
    _overwrite(root)


def _remove(path):
    try:
        mode = os.stat(path)[0]
    except OSError:
        return
    if mode & _FOLDER:
        for name in os.listdir(path):
            _remove(path + "/" + name)
        os.rmdir(path)
    else:
        os.remove(path)


def _forget_memory():
    try:
        import machine

        machine.RTC().memory(b"")
    except (ImportError, AttributeError):
        pass  # a port without such memory


def _overwrite(root):
    zeros = bytes(_BLOCK)
    try:
        with open(root + _FILL, "wb") as file:
            while True:
                file.write(zeros)
    except OSError:
        pass  # full: nothing free is left that was not written
    _remove(root + _FILL)
    # Small files lie in the folder's own blocks, where the settings lay too.
    small = memoryview(zeros)[:64]
    for _ in range(_COMMITS):
        with open(root + _FILL, "wb") as file:
            file.write(small)
    _remove(root + _FILL)
