"""Check every staged file, then move them into place, remove what no longer belongs, and hash the result.

params: {"files": [[staged name, path, SHA-256], ...], "remove": [path, ...], "node": node.json to merge}.
Nothing of the old firmware is touched before every staged file has been read back. The entry points come
last, so that a board that loses power half-way boots old entry points or, at worst, fails to import; a
second run mends both.
"""

# mypy: ignore-errors

import os
from binascii import hexlify

from .common import (
    PROGRAM_FOLDERS,
    STAGE,
    exists,
    firmware_digest,
    program,
    remove_tree,
    say,
    sha256,
    write_node,
)


def make_folders(root, path):
    """Make the folders that a path lies in."""
    at = path.find("/")
    while at > 0:
        if not exists(root + path[:at]):
            os.mkdir(root + path[:at])
        at = path.find("/", at + 1)


def remove_empty_folders(path):
    """Remove folders in which nothing is left; return whether this one went."""
    empty = True
    for entry in list(os.ilistdir(path)):
        if entry[1] != 0x4000 or not remove_empty_folders(path + "/" + entry[0]):
            empty = False
    if empty:
        os.rmdir(path)
    return empty


def main(root, params):
    stage = root + STAGE + "/"
    for name, path, wanted in params["files"]:
        found = hexlify(sha256(stage + name)).decode()
        if found != wanted:
            raise ValueError("flash holds " + found[:12] + " for " + path + ", wanted " + wanted[:12])
    for name, path, _ in params["files"]:
        make_folders(root, path)
        os.rename(stage + name, root + path)
    for path in params["remove"]:
        os.remove(root + path)
    for folder in PROGRAM_FOLDERS:
        if exists(root + folder):
            remove_empty_folders(root + folder)
    wrote_node = write_node(root, params["node"])
    remove_tree(root + STAGE)
    say({"digest": firmware_digest(program(root)), "wrote_node": wrote_node})
