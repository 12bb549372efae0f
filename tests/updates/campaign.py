"""Cut the power at every flash write of an update, on MicroPython, over a real LittleFS.

    micropython campaign.py FOLDER BLOCKS ROM STEP COURSE…

FOLDER holds `flash/` (a board that is at work), `release` (a signed update), `deploy.py` (what deploying by
cable sends) and `digests` (of node/ and peilmerk_protocol/, old and new). ROM: blocks of the partition for a
ROM file system, 0 for none. The flash is a block device in memory, the partition in its last blocks, that
counts programs and erases; at the wished one only the first half of it happens and the power is gone. Then
the board boots as a board does: boot.py and main.py from its flash, the firmware out of the slot.
What must hold after every cut: it boots, and what runs is the old or the new firmware, whole.

Prints one JSON object: how many cuts of each course were made, and how often which firmware ran after them.
"""

import hashlib
import json
import os
import sys
from binascii import unhexlify

import vfs

from node.update import receive
from node.update import slots as slots_of_firmware

FOLDER, COURSES = sys.argv[1], sys.argv[5:]
BLOCKS, ROM, STEP = [int(word) for word in sys.argv[2:5]]
BLOCK = 4096
BLANK = b"\xff" * BLOCK
PIECE = 1000
# Where the new firmware takes over: every one of these is cut, whatever STEP says.
LAST = 30
TOPS = ("node", "peilmerk_protocol")


class PowerCut(BaseException):
    """The power is gone."""


class Flash:
    """A flash of BLOCKS blocks over `image`; the power goes at write `cut` (0: never)."""

    def __init__(self, image, cut=0):
        self.image = image
        self.cut = cut
        self.writes = 0
        self.dead = False

    def readblocks(self, number, buffer, offset=0):
        at = number * BLOCK + offset
        buffer[:] = memoryview(self.image)[at : at + len(buffer)]

    def writeblocks(self, number, data, offset=0):
        if number + (offset + len(data) - 1) // BLOCK >= BLOCKS + ROM:
            raise OSError("beyond the flash")
        if self.dead:
            return
        self.writes += 1
        at = number * BLOCK + offset
        if self.writes == self.cut:
            half = len(data) // 2
            self.image[at : at + half] = memoryview(data)[:half]
            self.dead = True
            raise PowerCut
        self.image[at : at + len(data)] = data

    def ioctl(self, operation, argument):
        if operation == 4:
            return BLOCKS
        if operation == 5:
            return BLOCK
        if operation == 6:
            self.writeblocks(argument, BLANK)
        return 0


class Partition(bytearray):
    """The partition for a ROM file system, as ESP32 has it: a block device whose bytes can be read as memory.
    Made anew whenever somebody looks, as this port's memory cannot be two objects.
    """

    def writeblocks(self, number, data, offset):
        at = number * BLOCK + offset
        for place in range(len(data)):
            # A flash only ever clears bits.
            assert self[at + place] & data[place] == data[place], "written before it was erased"
        flash.writeblocks(BLOCKS + number, data, offset)
        self[at : at + len(data)] = data

    def ioctl(self, operation, argument):
        if operation == 4:
            return ROM
        if operation == 6:
            flash.writeblocks(BLOCKS + argument, BLANK)
            self[argument * BLOCK : (argument + 1) * BLOCK] = BLANK
        return 0


class Vfs:
    """`vfs` with such a partition."""

    VfsLfs2 = vfs.VfsLfs2
    VfsRom = vfs.VfsRom
    mount = staticmethod(vfs.mount)
    umount = staticmethod(vfs.umount)

    @staticmethod
    def rom_ioctl(operation, number):
        assert (operation, number) == (2, 0)
        return Partition(flash.image[BLOCKS * BLOCK :]) if ROM else -22


class Machine:
    """What main.py asks of the chip."""

    DEEPSLEEP_RESET = 4

    class WDT:
        def __init__(self, timeout):
            assert timeout >= 60000

    def reset_cause(self):
        return 1

    def reset(self):
        raise AssertionError("the firmware did not start")


def below(folder, inner=""):
    for name, kind, *_ in os.ilistdir(folder + inner):
        if kind == 0x4000:
            yield from below(folder, inner + "/" + name)
        else:
            yield inner + "/" + name


def read(path):
    with open(path, "rb") as file:
        return file.read()


def packages(folder):
    """The digest of what lies in a slot."""
    paths = [folder[:-1] + path for top in TOPS for path in below(folder[:-1], "/" + top)]
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path[len(folder) :].encode() + b"\0" + hashlib.sha256(read(path)).digest())
    return digest.digest()


def deployed():
    """The image of the board as deploying left it."""
    files = [(path, read(FOLDER + "/flash" + path)) for path in below(FOLDER + "/flash")]
    image = bytearray(BLANK * (BLOCKS + ROM))
    flash = Flash(image)
    vfs.VfsLfs2.mkfs(flash)
    vfs.umount("/")
    vfs.mount(vfs.VfsLfs2(flash, mtime=False), "/")
    for path, data in files:
        at = path.find("/", 1)
        while at > 0:
            try:
                os.mkdir(path[:at])
            except OSError:
                pass
            at = path.find("/", at + 1)
        with open(path, "wb") as file:
            file.write(data)
    os.mkdir("/data")
    vfs.umount("/")
    return image


RELEASE = read(FOLDER + "/release")
DEPLOY = read(FOLDER + "/deploy.py").decode()
OLD, NEW = read(FOLDER + "/digests").decode().split()
sys.modules["machine"] = Machine()
sys.modules["vfs"] = Vfs
receive.say = lambda *_: None
KEPT = dict(sys.modules)
IMAGE = deployed()


def power(image, cut=0):
    """The power comes; the flash is mounted."""
    global flash
    flash = Flash(image, cut)
    vfs.mount(vfs.VfsLfs2(flash, mtime=False), "/")
    return flash


def boot():
    """boot.py and main.py, from the flash; gives (the firmware that ran, its slots)."""
    sys.path[:] = [""]
    unmount()
    for name in list(sys.modules):
        if name == "node" or name.startswith("node."):
            del sys.modules[name]
    for entry in ("/boot.py", "/main.py"):
        exec(read(entry), globals())
    ran = sys.modules["node"].VERSION
    sys.modules.update(KEPT)
    found = slots_of_firmware.Slots()
    # As the firmware that runs would have it.
    slots_of_firmware.VERSION = ran
    which = {(0, 1, 0): OLD, (0, 2, 0): NEW}[ran]
    assert packages(slots_of_firmware.folder()) == unhexlify(which), "what runs is not whole"
    return ran, found


def unmount():
    for slot in ("/a", "/b"):
        try:
            vfs.umount(slot)
        except OSError:
            pass  # not in the partition, or not there


def in_rom():
    """Whether the firmware that runs lies in the partition."""
    return os.statvfs(slots_of_firmware.folder()) != os.statvfs("/")


def take(found):
    """The whole update, as it comes over the network or the cable."""
    receiver = receive.Receiver(found, "counter")
    for at in range(0, len(RELEASE), PIECE):
        receiver.write(RELEASE[at : at + PIECE])
    receiver.finish()
    assert bool(receiver._rom) == bool(ROM)


def forwards():
    """Update, trial, an acknowledged report, and the boot after it."""
    ran, found = boot()
    assert ran == (0, 1, 0)
    take(found)
    ran, found = boot()
    assert (ran, found.trial) == ((0, 2, 0), True)
    found.good()
    ran, found = boot()
    assert (ran, found.trial) == ((0, 2, 0), False)


def back():
    """Update, a trial of three boots without a report, and the way back; then the next attempt."""
    _, found = boot()
    take(found)
    for _ in range(3):
        ran, found = boot()
        assert (ran, found.trial) == ((0, 2, 0), True)
    ran, found = boot()
    assert (ran, found.trial) == ((0, 1, 0), False)


def again():
    """An update over what an earlier one left in the slot, which had come back."""
    _, found = boot()
    take(found)
    boot()[1].good()
    boot()


def cable():
    """Deploying by cable; also what brings a board without slots to them."""
    boot()
    exec(DEPLOY, {})
    ran, found = boot()
    assert (ran, found.trial) == ((0, 2, 0), False)


def recover(by_cable):
    """After a cut: boots, and is brought to the new firmware; gives the firmware that ran first."""
    first, found = boot()
    ran = first
    if by_cable:
        exec(DEPLOY, {})
        ran, found = boot()
    elif ran == (0, 1, 0):
        take(found)
        ran, found = boot()
    assert ran == (0, 2, 0)
    found.good()
    ran, found = boot()
    assert (ran, found.trial) == ((0, 2, 0), False)
    return first


def main():
    result = {}
    for course in [globals()[name] for name in COURSES]:
        start = bytearray(IMAGE)
        if course is again:
            power(start)
            back()
            unmount()
            vfs.umount("/")
        power(bytearray(start))
        course()
        # The old firmware, to which `back` goes, came into a folder.
        assert course is back or in_rom() == bool(ROM)
        unmount()
        vfs.umount("/")
        writes = flash.writes
        after = {"old": 0, "new": 0}
        cuts = 0
        for cut in [n for n in range(1, writes + 1) if n % STEP == 0 or n > writes - LAST]:
            image = bytearray(start)
            power(image, cut)
            try:
                course()
            except BaseException as fault:
                # Closing a file of a dead flash may fail in its own way on the way out.
                if not flash.dead:
                    raise fault
            assert flash.dead, "the power did not go"
            unmount()
            vfs.umount("/")
            sys.modules.update(KEPT)
            power(image)
            try:
                ran = recover(course is cable)
            except Exception as fault:
                print(course, "cut at write", cut, "of", writes)
                raise fault
            after["old" if ran == (0, 1, 0) else "new"] += 1
            cuts += 1
            unmount()
            vfs.umount("/")
        result[course.__name__] = {"writes": writes, "cuts": cuts, "after": after}
    print(json.dumps(result))


main()
