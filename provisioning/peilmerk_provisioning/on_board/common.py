"""What every script on the board uses. Sent first; runs on MicroPython 1.24 and newer."""

# mypy: ignore-errors

import hashlib
import json
import os
from binascii import hexlify

# Top-level names that deploying owns; everything else on the flash is left alone.
PROGRAM_FILES = ("boot.py", "main.py")
PROGRAM_FOLDERS = ("node", "peilmerk_protocol")
STAGE = ".stage"
BLOCK = 4096


def say(result):
    """Print a result as the one line that the other end picks out of whatever else the board prints."""
    print("\npeilmerk-says:" + json.dumps(result))


def exists(path):
    """Return whether there is a file or folder of this name."""
    try:
        os.stat(path)
        return True
    except OSError:
        return False


def sha256(path):
    """Return a file's SHA-256 in bytes, reading 512 bytes at a time."""
    digest = hashlib.sha256()
    block = bytearray(512)
    view = memoryview(block)
    with open(path, "rb") as file:
        while True:
            size = file.readinto(block)
            if not size:
                return digest.digest()
            digest.update(view[:size])


def files_below(root, folder):
    """Return the paths, relative to root, of all files at any depth of a folder; none if it is missing."""
    found = []
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        try:
            entries = list(os.ilistdir(root + here))
        except OSError:
            continue
        for entry in entries:
            path = here + "/" + entry[0]
            if entry[1] == 0x4000:
                waiting.append(path)
            else:
                found.append(path)
    return found


def slots(root):
    """Return (good slot, what is left of the trial of the other one, failed boots) as /slots says.

    Without slots, as before the first deployment, the good slot is "".
    """
    try:
        with open(root + "slots", "rb") as file:
            good, trial, failed = file.read(4)
    except (OSError, ValueError):
        good = trial = failed = 0
    if good not in b"ab":
        # As boot.py has it.
        return ("a" if exists(root + "a/node") else "", 0, 0)
    return chr(good), trial, failed


def other(slot):
    """Return the slot beside this one."""
    return "b" if slot == "a" else "a"


def rom_half(slot):
    """Return (block device, first block, blocks) of a slot's half of the partition for a ROM file system, or
    None on a board without one (firmware, node/update/rom.py).
    """
    try:
        import vfs

        device = vfs.rom_ioctl(2, 0)
        half = device.ioctl(4, 0) // 2
    except (ImportError, AttributeError, OSError):
        return None
    return device, half if slot == "b" else 0, half


def unmount_rom(root, slot):
    """Look at a slot's folder on the flash, whatever lay over it."""
    try:
        import vfs

        vfs.umount(root + slot)
    except (ImportError, OSError):
        pass


def mount_rom(root, slot):
    """See a slot that lies in the partition where its folder would be; return whether it lies there."""
    found = rom_half(slot)
    unmount_rom(root, slot)
    if found is None:
        return False
    import vfs

    device, first, blocks = found
    try:
        vfs.mount(vfs.VfsRom(memoryview(device)[first * BLOCK : (first + blocks) * BLOCK]), root + slot)
    except OSError:
        return False
    return True


def program(root, slot):
    """Return {path: SHA-256} of every file that counts as firmware; "" is the flash without slots."""
    files = {name: sha256(root + name) for name in PROGRAM_FILES if exists(root + name)}
    base = root + slot + "/" if slot else root
    for folder in PROGRAM_FOLDERS:
        for path in files_below(base, folder):
            files[path] = sha256(base + path)
    return files


def firmware_digest(files):
    """Return the digest over paths and contents, as hexadecimal text."""
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.encode() + b"\0" + files[path])
    return hexlify(digest.digest()).decode()


def read_json(path):
    """Return the object in a JSON file, or None when it is missing or not one."""
    try:
        with open(path) as file:
            found = json.load(file)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def replace_file(path, data):
    """Put data under a name so that a power cut leaves the old file or the new one, read back before it
    counts.
    """
    draft = path + ".new"
    with open(draft, "wb") as file:
        file.write(data)
    if sha256(draft) != hashlib.sha256(data).digest():
        raise ValueError("flash gives back other bytes than were written to " + draft)
    os.rename(draft, path)


def remove_tree(path):
    """Remove a folder with all that is in it; nothing happens if it is missing.

    Looks again when it is not empty after all: a file whose move out of the folder was cut short by a power
    loss is hidden by LittleFS at first and comes back when something is written or removed.
    """
    if not exists(path):
        return
    while True:
        for entry in list(os.ilistdir(path)):
            inner = path + "/" + entry[0]
            if entry[1] == 0x4000:
                remove_tree(inner)
            else:
                os.remove(inner)
        try:
            os.rmdir(path)
            return
        except OSError:
            if not list(os.ilistdir(path)):
                raise


def merged_node(old, new):
    """Return node.json as it should be: `new` over `old`, the link and its Wi-Fi networks joined.

    A network that both name counts as new.
    """
    node = dict(old or {})
    for key in new:
        if key != "link":
            node[key] = new[key]
    link = dict(node.get("link") or {})
    for key in new.get("link") or {}:
        if key != "wifi":
            link[key] = new["link"][key]
    fresh = (new.get("link") or {}).get("wifi") or []
    names = [network[0] for network in fresh]
    networks = [network for network in link.get("wifi") or [] if network[0] not in names] + fresh
    if networks:
        link["wifi"] = networks
    if link:
        node["link"] = link
    return node


def write_node(root, new):
    """Merge into node.json; return whether anything had to be written."""
    old = read_json(root + "node.json")
    node = merged_node(old, new)
    if node == old:
        return False
    replace_file(root + "node.json", json.dumps(node).encode())
    return True
