"""The firmware digest that the statement carries: what is really on this board's flash.

SHA-256 over, for each file of boot.py, main.py, node/** and peilmerk_protocol/** in the order of their
paths (bytes of the UTF-8 path, without a leading slash): path, one zero byte, SHA-256 of the file's
content.
"""

import hashlib
import os

_TOPS = ("boot.py", "main.py", "node", "peilmerk_protocol")
_FOLDER = 0x4000


def firmware_digest(root="/"):
    """Return the 32-byte digest of the firmware below `root` (ends with a slash). A missing top is left
    out.
    """
    paths: list = []
    for top in _TOPS:
        _collect(root, top, paths)
    # MicroPython compares text by its bytes, which is the order wanted.
    paths.sort()
    digest = hashlib.sha256()
    chunk = bytearray(512)
    for path in paths:
        digest.update(path.encode() + b"\0")
        digest.update(_file_digest(root + path, chunk))
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
