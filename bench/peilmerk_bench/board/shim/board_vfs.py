# ruff: noqa: F401
"""The board's `vfs`: without the host's files."""

from vfs import VfsFat, VfsLfs2, VfsRom, mount, umount
