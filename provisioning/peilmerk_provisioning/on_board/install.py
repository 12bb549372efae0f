"""Build the firmware in the slot that does not run, prove it, switch to it, and remove what it replaces.

params: {"files": [[path, SHA-256, staged name or "", path to copy from or ""], ...] or None to leave the
firmware as it is, "heads": {path: base64 of what comes before its bytes in the ROM file system} or None to
put them into a folder, "digest": what the result must hash to, "node": node.json to merge}. A power cut
before the one write that switches leaves the old firmware, one after it the new; a second run removes what is
left over.
"""

# mypy: ignore-errors

import hashlib
import os
from binascii import a2b_base64, hexlify

from .common import (
    BLOCK,
    PROGRAM_FILES,
    PROGRAM_FOLDERS,
    STAGE,
    exists,
    files_below,
    firmware_digest,
    mount_rom,
    other,
    program,
    remove_tree,
    replace_file,
    rom_half,
    say,
    sha256,
    slots,
    unmount_rom,
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


def copy_file(source, target):
    """Copy a file in small blocks."""
    block = bytearray(512)
    view = memoryview(block)
    with open(source, "rb") as read, open(target, "wb") as write:
        while True:
            size = read.readinto(block)
            if not size:
                return
            write.write(view[:size])


def check(path, name, wanted):
    found = hexlify(sha256(path)).decode()
    if found != wanted:
        raise ValueError("flash holds " + found[:12] + " for " + name + ", wanted " + wanted[:12])


def fill(root, good, target, files):
    """Make the target slot hold exactly these files; entry points stay staged."""
    stage = root + STAGE + "/"
    for path, wanted, staged, _ in files:
        if staged:
            check(stage + staged, path, wanted)
    keep = [path for path, _, _, _ in files]
    for folder in PROGRAM_FOLDERS:
        for path in files_below(root + target + "/", folder):
            if path not in keep:
                os.remove(root + target + "/" + path)
    for path, wanted, staged, source in files:
        if path in PROGRAM_FILES:
            continue
        make_folders(root, target + "/" + path)
        if staged:
            os.rename(stage + staged, root + target + "/" + path)
        elif source:
            copy_file(root + source, root + target + "/" + path)
        check(root + target + "/" + path, path, wanted)
    if exists(root + target):
        remove_empty_folders(root + target)


class Rom:
    """What is written to a slot's half of the partition, from its beginning on."""

    def __init__(self, slot):
        self._device, self._first, _ = rom_half(slot)
        self._at = 0
        self.erase(0)

    def erase(self, block):
        self._device.ioctl(6, self._first + block)

    def write(self, data):
        data = memoryview(data)
        while data:
            block, offset = divmod(self._at, BLOCK)
            if block and not offset:
                self.erase(block)
            piece = data[: BLOCK - offset]
            self._device.writeblocks(self._first + block, piece, offset)
            self._at += len(piece)
            data = data[len(piece) :]

    def finish(self, first):
        """Now it is an image: until here its first byte was missing."""
        self._device.writeblocks(self._first, first, 0)


def fill_rom(root, target, files, heads):
    """Make the target slot's half of the partition hold exactly these files; entry points stay staged."""
    block = bytearray(512)
    view = memoryview(block)
    rom = Rom(target)
    first = b""
    for path, wanted, staged, source in files:
        if path in PROGRAM_FILES:
            continue
        head = a2b_base64(heads[path])
        if not first:
            first, head = head[:1], b"\xff" + head[1:]
        rom.write(head)
        digest = hashlib.sha256()
        with open(root + STAGE + "/" + staged if staged else root + source, "rb") as read:
            while True:
                size = read.readinto(block)
                if not size:
                    break
                rom.write(view[:size])
                digest.update(view[:size])
        if hexlify(digest.digest()).decode() != wanted:
            raise ValueError("flash holds something else for " + path + ", wanted " + wanted[:12])
    rom.finish(first)
    if not mount_rom(root, target):
        raise ValueError("flash gives back no ROM file system, wanted what was written")


def main(root, params):
    good = slots(root)[0]
    files = params["files"]
    if files is not None:
        target = other(good)
        if good:
            # What may be on trial there is about to be taken apart.
            replace_file(root + "slots", bytes((ord(good), 0, 0)))
        unmount_rom(root, target)
        if params.get("heads"):
            remove_tree(root + target)
            fill_rom(root, target, files, params["heads"])
        else:
            if rom_half(target):
                # What lies there would come before the folder.
                Rom(target)
            fill(root, good, target, files)
        for path, _, staged, _ in files:
            if staged and path in PROGRAM_FILES:
                os.rename(root + STAGE + "/" + staged, root + path)
        found = firmware_digest(program(root, target))
        if found != params["digest"]:
            raise ValueError("flash holds firmware " + found[:12] + ", wanted " + params["digest"][:12])
        replace_file(root + "slots", bytes((ord(target), 0, 0)))
        good = target
    unmount_rom(root, other(good))
    remove_tree(root + other(good))
    for folder in PROGRAM_FOLDERS:
        remove_tree(root + folder)
    wrote_node = write_node(root, params["node"])
    remove_tree(root + STAGE)
    say({"digest": firmware_digest(program(root, good)), "wrote_node": wrote_node})
