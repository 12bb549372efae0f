"""The firmware digest that the statement carries: what is really on this board's flash.

SHA-256 over, for each file of boot.py, main.py, node/** and peilmerk_protocol/** in the order of their
paths (bytes of the UTF-8 path, without a leading slash): path, one zero byte, SHA-256 of the file's
content. The last two lie in a slot, whose name is no part of the path: the same firmware has one digest.
"""

import hashlib
import os

from node.update.slots import folder

_FOLDER = 0x4000


def firmware_digest(root="/", slot=None):
    """Return the 32-byte digest of the firmware below `root`, in the folder `slot` (default: what runs); both
    end with a slash. What is missing is left out.
    """
    slot = slot or folder(root)
    paths: list = []
    for top in ("node", "peilmerk_protocol"):
        _collect(slot, top, paths)
    # MicroPython compares text by its bytes, which is the order wanted.
    paths.sort()
    return digest_with(root, [(path, slot + path) for path in paths])


def digest_with(root, files):
    """Return the digest of the entry points below `root` with these files: pairs of path and SHA-256, or path
    and where the file lies, in the order of their paths, which is after the entry points.
    """
    digest = hashlib.sha256()
    for path, found in [("boot.py", root + "boot.py"), ("main.py", root + "main.py")] + files:
        if isinstance(found, str):
            try:
                found = file_digest(found)
            except OSError:
                continue
        digest.update(path.encode() + b"\0")
        digest.update(found)
    return digest.digest()


def _collect(root, path, paths):
    try:
        mode = os.stat(root + path)[0]
    except OSError:
        return
    if mode & _FOLDER:
        for name in os.listdir(root + path):
            _collect(root, path + "/" + name, paths)
    else:
        paths.append(path)


def file_digest(path):
    """SHA-256 of a file, read in small blocks. OSError."""
    digest = hashlib.sha256()
    chunk = bytearray(512)
    view = memoryview(chunk)
    with open(path, "rb") as file:
        while True:
            count = file.readinto(chunk)
            if not count:
                return digest.digest()
            digest.update(view[:count])
