"""Takes an update in pieces of any size, from the network or the cable, and fills the slot that does not run.

Nothing is written before the manifest is verified and wanted; no file counts before its hash is right; and
the slot is hashed whole before the board is told to try it. On a board with a partition for a ROM file system
that has room, the slot is half of it (`node.update.rom`); otherwise a folder.
"""

import hashlib
import os
import sys

from micropython import const

from node.attest import digest_with, firmware_digest
from node.console import say
from node.update import UpdateError
from node.update.rom import Rom
from peilmerk_protocol import manifest

_MALFORMED = const(1)
_UNKNOWN_KEY = const(2)
_FORGED = const(3)
_CHIP = const(4)
_ABI = const(5)
_MICROPYTHON = const(6)
_KIND = const(7)
_OLDER = const(8)
_NO_ROOM = const(9)
_TRUNCATED = const(10)
_ALTERED = const(11)
_ENTRY = const(12)
_NO_KEY = const(13)
_ON_TRIAL = const(15)

_FOLDER = const(0x4000)
# Blocks for folders, and for what else the board has to write meanwhile.
_SPARE = const(24)
_SAY_EVERY = const(16384)


def chip():
    """What this board calls its chip: "esp32", "esp32s3", …; the platform's name where it does not say."""
    return getattr(sys.implementation, "_machine", "").split(" with ")[1:] or [sys.platform]


class Receiver:
    """One update on its way into the slot that does not run.

    slots: Slots; kind: the node's; offered: [manifest's SHA-256, size of all, version], or None for what
    comes over the cable. Raises UpdateError, and OSError when flash refuses.
    """

    def __init__(self, slots, kind, offered=None):
        self._slots = slots
        self._kind = kind
        self._offered = offered
        self._manifest: manifest.Manifest = None  # type: ignore[assignment]
        self._head = bytearray()
        self._wanted = manifest.PREFIX
        self._number = 0
        self._file = None
        self._left = 0
        self._hash = hashlib.sha256()
        # Bytes taken so far.
        self.taken = 0
        if slots.trial or not slots.running:
            raise UpdateError(_ON_TRIAL, "firmware on trial", "proven firmware")
        self._slot = slots.root + slots.rival() + "/"
        self._rom = None
        if offered:
            self._newer(offered[2])
        try:
            with open(slots.root + "release.der", "rb") as file:
                self._keys = manifest.moduli(file.read(1024))
        except OSError:
            raise UpdateError(_NO_KEY, "nothing", "/release.der")

    def write(self, data):
        """Take the next bytes."""
        view = memoryview(data)
        at = 0
        while at < len(data):
            if not self._manifest:
                count = min(len(data) - at, self._wanted - len(self._head))
                self._head.extend(view[at : at + count])
                if len(self._head) == self._wanted:
                    self._head_complete()
            elif not self._file:
                raise UpdateError(_ALTERED, "more", "no more")
            else:
                count = min(len(data) - at, self._left)
                piece = view[at : at + count]
                self._file.write(piece)
                self._hash.update(piece)
                self._left -= count
                self._next_file()
            at += count
            self.taken += count
            if self.taken % _SAY_EVERY < count:
                say("update: %d bytes", self.taken)

    def finish(self):
        """Everything was sent: prove the slot and let the next boot try it."""
        if not self._manifest or self._file:
            self.abandon()
            raise UpdateError(_TRUNCATED, "%d bytes" % self.taken, "more")
        rom = self._rom
        if rom:
            rom.show(self._slot[:-1])
        good = firmware_digest(self._slots.root, self._slot) == self._manifest.digest
        if rom:
            rom.hide(self._slot[:-1], good)
        if not good:
            raise OSError("reads back otherwise")
        self._slots.try_rival()
        say("update: %d.%d.%d is tried at the next start" % self._manifest.version)

    def abandon(self):
        """Let go of the file at hand."""
        if self._file:
            self._file.close()

    def _head_complete(self):
        try:
            if self._wanted == manifest.PREFIX:
                self._wanted = manifest.length(self._head)
                return
            if self._offered and hashlib.sha256(self._head).digest() != self._offered[0]:
                raise UpdateError(_ALTERED, "another manifest", "what was offered")
            found = manifest.decode(manifest.verify(self._head, self._keys))
        except manifest.ManifestError as fault:
            known = {"key": _UNKNOWN_KEY, "forged": _FORGED}
            raise UpdateError(known.get(fault.reason, _MALFORMED), fault.reason, "a signed manifest")
        self._check(found)
        self._head = bytearray()
        remove(self._slot[:-1])
        self._place(found)
        self._manifest = found
        self._next_file()

    def _newer(self, version):
        version = tuple(version)
        floor = self._slots.floor()
        if version <= floor:
            raise UpdateError(_OLDER, version, "newer than %s" % (floor,))

    def _check(self, found):
        system = sys.implementation
        abi = system._mpy & (0xFFFF if found.mpy > 255 else 255)
        total = self._wanted + sum([file[1] for file in found.files])
        self._newer(found.version)
        digest = digest_with(self._slots.root, [(file[0], file[2]) for file in found.files])
        offered = self._offered or (0, total, found.version)
        for reason, have, wanted in (
            (_ALTERED, found.version, tuple(offered[2])),
            (_TRUNCATED, total, offered[1]),
            (_ABI, found.mpy, abi),
            (_KIND, manifest.KINDS[found.kind], self._kind if found.kind else "any"),
            # The update was made for other entry points: by cable, they come along.
            (_ENTRY, found.digest.hex(), digest.hex()),
        ):
            if have != wanted:
                raise UpdateError(reason, have, wanted)
        if chip()[0].lower() not in found.chips:
            raise UpdateError(_CHIP, found.chips, chip()[0])
        if found.micropython > tuple(system.version[:3]):
            raise UpdateError(_MICROPYTHON, system.version, found.micropython)

    def _place(self, found):
        """Choose where it goes; there must be room."""
        try:
            # Also when there is too little room: what lies there would come before the folder.
            rom = Rom(self._slots.rival())
            if rom.begin(found.files):
                self._rom = rom
                return
        except OSError:
            pass  # no such partition
        flash = os.statvfs(self._slots.root)
        blocks = _SPARE + sum([(file[1] + flash[0] - 1) // flash[0] for file in found.files])
        if blocks > flash[3]:
            raise UpdateError(_NO_ROOM, "%d blocks" % flash[3], blocks)

    def _next_file(self):
        files = self._manifest.files
        while not self._file or not self._left:
            if self._file:
                self._file.close()
                self._file = None
                if self._hash.digest() != files[self._number][2]:
                    raise UpdateError(_ALTERED, files[self._number][0], "what was signed")
                self._number += 1
            if self._number == len(files):
                return
            path, self._left, _ = files[self._number]
            self._hash = hashlib.sha256()
            if self._rom:
                self._file = self._rom.file(self._number)
                continue
            path = self._slot + path
            at = path.find("/", 1)
            while at > 0:
                try:
                    os.mkdir(path[:at])
                except OSError:
                    pass  # it is there, or the file in it says what is wrong
                at = path.find("/", at + 1)
            self._file = open(path, "wb")


def remove(path):
    """Remove a folder with all that is in it, if it is there.

    Looks again when it is not empty after all: LittleFS hides a file whose move was cut short until something
    is written or removed.
    """
    while True:
        try:
            names = os.listdir(path)
        except OSError:
            return
        for name in names:
            inner = path + "/" + name
            if os.stat(inner)[0] & _FOLDER:
                remove(inner)
            else:
                os.remove(inner)
        try:
            os.rmdir(path)
        except OSError:
            if not os.listdir(path):
                raise
