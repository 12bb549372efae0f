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
    # Entry points sort before packages; MicroPython compares text by its bytes, which is the order wanted.
    paths: list = []
    for top in ("node", "peilmerk_protocol"):
        _collect(slot, top, paths)
    paths.sort()
    digest = hashlib.sha256()
    chunk = bytearray(512)
    for base, names in ((root, ("boot.py", "main.py")), (slot, paths)):
        for path in names:
            try:
                found = _file_digest(base + path, chunk)
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


def _file_digest(path, chunk):
    digest = hashlib.sha256()
    view = memoryview(chunk)
    with open(path, "rb") as file:
        while True:
            count = file.readinto(chunk)
            if not count:
                return digest.digest()
            digest.update(view[:count])
