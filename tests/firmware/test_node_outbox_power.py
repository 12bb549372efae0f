"""The outbox and the power, on the real LittleFS under real MicroPython.

One life of appends, acknowledgements, rotations and drops. Before each block write of it (program or erase)
the flash is copied, the write torn at some point is put into the copy, and the copy is mounted beside the
original: that is the board that lost its power there, and everything the outbox promised must hold on it. It
then goes on, and loses its power once more somewhere.
"""

import os

import pytest

SOAK = os.environ.get("HYPOTHESIS_PROFILE") == "soak"

CUTS = """
import gc, json, os, random
from node.outbox import DAY, Outbox

REPORT, STATEMENT = 1, 2
BLOCK, BLOCKS = 4096, 24
OPTIONS = {"limit_bytes": 1536, "segment_bytes": 512}
TEARS = (0, 1, 2, 4)
SEED, ROUNDS, DEEPER = PARAMETERS
random.seed(SEED)


class Flash:
    def __init__(self, image):
        self.image = image
        self.before = None
        self.writes = 0

    def readblocks(self, block, buffer, offset=0):
        start = block * BLOCK + offset
        buffer[:] = self.image[start : start + len(buffer)]

    def writeblocks(self, block, buffer, offset=0):
        self.change(block * BLOCK + offset, buffer)

    def ioctl(self, op, argument):
        if op == 4:
            return BLOCKS
        if op == 5:
            return BLOCK
        if op == 6:
            self.change(argument * BLOCK, b"\\xff" * BLOCK)
        return 0

    def change(self, start, data):
        self.writes += 1
        if self.before is not None:
            self.before(start, data)
        self.image[start : start + len(data)] = data


def mount(flash, where):
    os.mount(os.VfsLfs2(flash, readsize=32, progsize=32, lookahead=32), where)


class Story:
    # What the outbox promised so far, and what the broker has seen.
    def __init__(self):
        self.kept = {}
        self.sent = {}
        self.acknowledged = 0
        self.appending = None
        self.ends = {REPORT: 0, DAY: 0, STATEMENT: 0}
        self.number = 0

    def copy(self):
        other = Story()
        other.kept = dict(self.kept)
        other.sent = dict(self.sent)
        other.acknowledged = self.acknowledged
        other.appending = self.appending
        other.ends = dict(self.ends)
        other.number = self.number
        return other


def append(outbox, story, kind):
    story.number += 1
    seq = outbox.next_seq()
    end = story.number * 900 if kind != STATEMENT else 0
    # Differs from whatever another life put under this number.
    payload = b"%d %d %d " % (kind, seq, random.getrandbits(24)) * random.choice((1, 3, 3, 5))
    story.appending = (seq, kind, end, payload)
    outbox.append(kind, seq, end, payload)
    settle(story)


def settle(story):
    seq, kind, end, payload = story.appending
    assert seq not in story.kept, "a number was given out twice"
    assert seq not in story.sent
    story.kept[seq] = (kind, end, payload)
    story.ends[kind] = max(story.ends[kind], end)
    story.appending = None


def send(outbox, story):
    entry = outbox.oldest()
    if entry is None:
        return None
    assert story.kept[entry.seq] == (entry.kind, entry.window, entry.payload), entry
    assert story.sent.get(entry.seq, entry.payload) == entry.payload, "sent twice with different content"
    story.sent[entry.seq] = entry.payload
    assert outbox.acknowledge(entry.seq)
    story.acknowledged = entry.seq
    return entry.seq


def live(outbox, story, rounds):
    for turn in range(rounds):
        for _ in range(3):
            append(outbox, story, REPORT)
        if turn % 4 == 3:
            append(outbox, story, DAY)
            append(outbox, story, STATEMENT)
        for _ in range(random.choice((1, 2, 2, 3, 6 if turn % 8 == 7 else 2))):
            send(outbox, story)


def verify(root, story):
    # The board boots on what the power left.
    outbox = Outbox(root, **OPTIONS)
    if story.appending and outbox.next_seq() > story.appending[0]:
        settle(story)
    story.appending = None
    newest = max(story.kept) if story.kept else 0
    assert outbox.next_seq() == newest + 1
    for kind, has in ((REPORT, outbox.has_window), (DAY, outbox.has_day)):
        end = story.ends[kind]
        assert not end or has(end), (kind, end)
        assert not has(end + 900)
    assert outbox.sealed() == len([1 for kind, _, _ in story.kept.values() if kind == REPORT])
    already = story.acknowledged
    # The broker has what was sent, whether or not its acknowledgement was kept.
    sent = set(story.sent)
    found = []
    while True:
        seq = send(outbox, story)
        if seq is None:
            break
        found.append(seq)
    assert found == sorted(found)
    # Never again once the acknowledgement was kept; the one under way may come again.
    assert not found or found[0] > already
    first = found[0] if found else newest + 1
    assert found == [seq for seq in sorted(story.kept) if seq >= first]
    missing = [seq for seq in story.kept if already < seq < first and seq not in sent]
    assert len(missing) <= outbox.dropped(), (missing, outbox.dropped())
    assert outbox.waiting() == 0
    return outbox


scratch = [bytearray(BLOCK * BLOCKS), bytearray(BLOCK * BLOCKS)]
boards = [0, 0]


def torn(image, start, data, tear, level):
    # The board whose power went in this write, its first part done.
    copy = scratch[level]
    copy[:] = image
    part = (len(data) // 4 * tear) or (len(data) - 1 if tear else 0)
    copy[start : start + part] = bytes(data[:part])
    boards[level] += 1
    return Flash(copy)


def second(flash, story, seen):
    def before(start, data):
        seen[0] += 1
        if seen[0] % DEEPER == 0:
            other = torn(flash.image, start, data, random.choice(TEARS), 1)
            mount(other, "/h")
            verify("/h/data/outbox", story.copy())
            os.umount("/h")

    return before


rewrites = [0]


def first(flash, story):
    def before(start, data):
        for tear in TEARS if flash.writes % 5 == 0 else (2,):
            board = torn(flash.image, start, data, tear, 0)
            mount(board, "/g")
            other = story.copy()
            board.before = second(board, other, rewrites)
            outbox = verify("/g/data/outbox", other)
            append(outbox, other, REPORT)
            append(outbox, other, DAY)
            assert send(outbox, other)
            board.before = None
            os.umount("/g")
        gc.collect()

    return before


flash = Flash(bytearray(b"\\xff" * BLOCK * BLOCKS))
os.VfsLfs2.mkfs(flash, readsize=32, progsize=32, lookahead=32)
mount(flash, "/f")
story = Story()
flash.writes = 0
flash.before = first(flash, story)
outbox = Outbox("/f/data/outbox", **OPTIONS)
live(outbox, story, ROUNDS)
seen = {"writes": flash.writes, "boards": boards, "dropped": outbox.dropped(), "kept": len(story.kept)}
print(json.dumps(seen))
"""


def campaign(micropython, seed, rounds, deeper, timeout):
    script = CUTS.replace("PARAMETERS", repr((seed, rounds, deeper)))
    return micropython(script, heap="8M", timeout=timeout)


def test_power_goes_at_every_block_write_and_then_once_more(micropython):
    seen = campaign(micropython, 1, 28, 40, 300)
    assert seen["dropped"] > 5
    assert seen["kept"] == 28 * 3 + 7 * 2
    assert seen["boards"][0] > seen["writes"] > 400
    assert seen["boards"][1] > 200


@pytest.mark.skipif(not SOAK, reason="long lives of an outbox take minutes: make soak")
@pytest.mark.parametrize("seed", range(2, 12))
def test_long_lives(micropython, seed):
    seen = campaign(micropython, seed, 150, 7, 3000)
    assert seen["dropped"] > 50
    assert seen["boards"][1] > 10_000
