# ruff: noqa: F401
"""The board's `os`: files on its flash only, randomness from its supervisor."""

import bus
import uos
import worldtime
from uos import (
    VfsFat,
    VfsLfs2,
    chdir,
    getcwd,
    ilistdir,
    listdir,
    mkdir,
    mount,
    remove,
    rename,
    rmdir,
    sep,
    stat,
    statvfs,
    umount,
    unlink,
)

_from_supervisor = False


def begin(hello):
    """hello["seeded"]: whether randomness is handed out by the supervisor, which writes it down for tests."""
    global _from_supervisor
    _from_supervisor = hello["seeded"]


def urandom(count):
    if _from_supervisor:
        return bytes.fromhex(bus.call("urandom", worldtime.now(), count))
    return uos.urandom(count)


def sync():
    pass


def uname():
    return _uname


class _Uname:
    sysname = "virtual"
    nodename = "virtual"
    release = "1.29.0"
    version = "Peilmerk virtual board"
    machine = "Peilmerk virtual board with the unix port of MicroPython"


_uname = _Uname()
