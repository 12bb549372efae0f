"""Puts what stands for the port's C modules in their place, before the firmware is loaded.

This build's collector does not see a frame of more than some ten words while it runs: it would free it. So
the firmware's own calls of `gc.collect` wait until no task runs, and what runs around the real collector has
small frames.
"""

import gc
import sys

import host
import uos


class _Os:
    """`os` with the host's randomness: the interpreter has none of its own here."""

    def __getattr__(self, name):
        return getattr(uos, name)

    def urandom(self, size):
        data = b""
        while len(data) < size:
            data += bytes.fromhex(host.call("entropy", ""))
        return data[:size]

    def statvfs(self, path):
        return (4096, 4096, 240, 120, 120, 0, 0, 0, 0, 255)


class _Gc:
    """`gc` whose `collect` waits for a moment at which it is safe."""

    def __getattr__(self, name):
        return getattr(gc, name)

    def collect(self):
        pass

    def threshold(self, *_):
        pass


def fuel():
    """Instructions so far."""
    return int(host.call("fuel", ""))


def begin():
    """Take the places of the built-in modules of the same names."""
    sys.modules["os"] = _Os()
    sys.modules["gc"] = _Gc()
    for name in ("time", "asyncio", "machine", "network", "socket", "ssl", "select"):
        sys.modules.pop(name, None)
        __import__(name)


def mount(image):
    """Mount a ROM file system image and load from it; returns how many bytes of heap it takes here."""
    global _rom
    import vfs

    with open(image, "rb") as file:
        _rom = file.read()
    vfs.mount(vfs.VfsRom(_rom), "/rom")
    sys.path[0] = "/rom"
    return len(_rom)


def used():
    """Bytes of heap in use, garbage aside."""
    gc.collect()
    gc.collect()
    return gc.mem_alloc()
