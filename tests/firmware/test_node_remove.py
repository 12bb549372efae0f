"""Removing a slot from a flash on which a move was cut short, on real LittleFS in MicroPython's memory."""

import pytest

CUT = """
import json, os, sys
from node.update import receive

class Flash:
    # 64 blocks of 512 bytes; `left` is how many programs and erasures the power lasts for.
    def __init__(self, data):
        self.data = data
        self.left = -1

    def spend(self):
        if not self.left:
            raise OSError(5)
        self.left -= 1

    def readblocks(self, block, buffer, offset=0):
        at = block * 512 + offset
        buffer[:] = self.data[at : at + len(buffer)]

    def writeblocks(self, block, buffer, offset=None):
        if offset is None:
            self.ioctl(6, block)
        self.spend()
        at = block * 512 + (offset or 0)
        self.data[at : at + len(buffer)] = buffer

    def ioctl(self, what, block):
        if what == 6:
            self.spend()
            self.data[block * 512 : block * 512 + 512] = b"\\xff" * 512
        return {4: 64, 5: 512}.get(what, 0)

def made():
    flash = Flash(bytearray(b"\\xff" * 32768))
    os.VfsLfs2.mkfs(flash)
    os.mount(os.VfsLfs2(flash), "/f")
    for folder in ("/f/b", "/f/b/node", "/f/c"):
        os.mkdir(folder)
    for name in ("/f/b/z.py", "/f/b/node/app.py", "/f/b/node/cycle.py"):
        with open(name, "w") as file:
            file.write(name * 50)
    return flash

seen = []
hidden = 0
rmdir = os.rmdir

class Os:
    # What looks empty and cannot be removed is what the move has hidden.
    def __getattr__(self, name):
        return getattr(os, name)

    def rmdir(self, path):
        global hidden
        try:
            rmdir(path)
        except OSError:
            hidden += 1
            raise

receive.os = Os()
done = False
while not done:
    flash = made()
    flash.left = len(seen)
    try:
        os.rename(sys.argv[1], sys.argv[2])
        done = True
    except OSError:
        pass
    os.umount("/f")
    os.mount(os.VfsLfs2(Flash(flash.data)), "/f")
    try:
        receive.remove("/f/b")
        seen.append(os.listdir("/f") == ["c"])
    except OSError as fault:
        seen.append(fault.errno)
    os.umount("/f")
print(json.dumps([seen, hidden]))
"""


@pytest.mark.parametrize("moved", ["/b/node", "/b/node/app.py"])
def test_a_folder_with_a_file_that_a_cut_move_has_hidden_is_removed(micropython, moved):
    """The power goes at every write of a move out of the folder; whatever is left of it, the folder goes."""
    seen, hidden = micropython(CUT, "/f" + moved, "/f/c/moved", heap="2M")
    # A cut before the move, one in its middle, and the whole of it.
    assert seen == [True, True, True]
    # The case is not made up: at one of these cuts LittleFS showed an empty folder that was not empty.
    assert hidden == 1
