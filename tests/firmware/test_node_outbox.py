"""The outbox: nothing lost, nothing renumbered, nothing drawn twice, wherever the power goes."""

import pytest

from node.mark import Mark
from node.outbox import AlreadyReleased, Outbox, OutboxError

REPORT, STATEMENT = 1, 2


def put(outbox, window, payload=b"sealed", kind=REPORT):
    seq = outbox.next_seq()
    outbox.append(kind, seq, window, payload)
    return seq


def drain(outbox):
    found = []
    while (entry := outbox.oldest()) is not None:
        found.append((entry.seq, entry.payload))
        assert outbox.acknowledge(entry.seq)
    return found


def test_entries_come_back_in_order_and_after_reopening(tmp_path):
    root = str(tmp_path / "data" / "outbox")
    outbox = Outbox(root)
    assert (outbox.waiting(), outbox.sealed(), outbox.dropped(), outbox.next_seq()) == (0, 0, 0, 1)
    assert outbox.oldest() is None
    for number in range(200):
        assert put(outbox, 1000 + number, b"report %d" % number) == number + 1
    put(outbox, 0, b"statement", STATEMENT)
    again = Outbox(root)
    assert (again.waiting(), again.sealed(), again.last_window(), again.next_seq()) == (201, 200, 1199, 202)
    assert again.oldest()[:3] == (REPORT, 1, 1000)
    assert again.oldest() is again.oldest()
    assert not again.acknowledge(2)
    expected = [(n + 1, b"report %d" % n) for n in range(200)] + [(201, b"statement")]
    assert drain(again) == expected
    assert again.waiting() == 0
    # Only the newest segment stays.
    assert [path.suffix for path in (tmp_path / "data" / "outbox").glob("*.log")] == [".log"]
    third = Outbox(root)
    assert (third.waiting(), third.sealed(), third.next_seq(), third.last_window()) == (0, 200, 202, 1199)


def test_a_window_is_never_released_twice(tmp_path):
    outbox = Outbox(str(tmp_path))
    put(outbox, 500)
    for window in (500, 499):
        with pytest.raises(AlreadyReleased, match=f"window {window}: the last one released is 500"):
            put(outbox, window)
    drain(outbox)
    again = Outbox(str(tmp_path))
    assert again.has_window(500)
    assert not again.has_window(501)
    with pytest.raises(AlreadyReleased):
        put(again, 500)


def test_wrong_numbers_and_sizes_are_refused(tmp_path):
    outbox = Outbox(str(tmp_path))
    with pytest.raises(OutboxError, match="found sequence number 2, wanted 1"):
        outbox.append(REPORT, 2, 5, b"")
    with pytest.raises(OutboxError, match="found 513 bytes, wanted at most 512"):
        outbox.append(REPORT, 1, 5, bytes(513))


def test_full_outbox_drops_the_oldest_and_counts_them(tmp_path):
    outbox = Outbox(str(tmp_path), limit_bytes=1536, segment_bytes=512)
    for number in range(100):
        put(outbox, number + 1, bytes([number]) * 40)
    # 8 records of 60 bytes a segment, three segments of which the newest holds 4.
    assert (outbox.waiting(), outbox.dropped(), outbox.sealed()) == (20, 80, 100)
    assert sum(path.stat().st_size for path in tmp_path.glob("*.log")) <= 1536
    again = Outbox(str(tmp_path), limit_bytes=1536, segment_bytes=512)
    assert (again.waiting(), again.dropped()) == (20, 80)
    assert [seq for seq, _ in drain(again)] == list(range(81, 101))


def test_dropping_the_entry_in_flight_makes_its_acknowledgement_void(tmp_path):
    outbox = Outbox(str(tmp_path), limit_bytes=1024, segment_bytes=512)
    for number in range(16):
        put(outbox, number + 1, bytes(40))
    assert outbox.oldest().seq == 1
    put(outbox, 17, bytes(40))
    assert outbox.dropped() == 8
    assert not outbox.acknowledge(1)
    assert outbox.oldest().seq == 9


def test_ten_days_fit_the_default_limit(tmp_path):
    outbox = Outbox(str(tmp_path))
    for number in range(960):
        put(outbox, number + 1, bytes(51))
    assert outbox.dropped() == 0
    assert outbox.waiting() == 960


@pytest.mark.parametrize("cut", range(1, 66))
def test_a_torn_tail_is_ignored_and_never_appended_to(tmp_path, cut):
    outbox = Outbox(str(tmp_path))
    put(outbox, 1, b"a" * 46)
    put(outbox, 2, b"b" * 46)
    segment = tmp_path / "00000001.log"
    segment.write_bytes(segment.read_bytes()[:-cut])
    again = Outbox(str(tmp_path))
    assert (again.waiting(), again.next_seq(), again.last_window()) == (1, 2, 1)
    put(again, 2, b"c" * 46)
    assert drain(Outbox(str(tmp_path))) == [(1, b"a" * 46), (2, b"c" * 46)]


@pytest.mark.parametrize("place", [0, 1, 4, 17, 25, 60])
def test_a_bad_byte_costs_at_most_the_rest_of_its_segment(tmp_path, place):
    outbox = Outbox(str(tmp_path), segment_bytes=256)
    for number in range(12):
        put(outbox, number + 1, b"%02d" % number * 20)
    segment = tmp_path / "00000002.log"
    data = bytearray(segment.read_bytes())
    data[place] ^= 0x10
    segment.write_bytes(data)
    again = Outbox(str(tmp_path), segment_bytes=256)
    assert again.next_seq() == 13
    found = dict(drain(again))
    assert set(range(1, 5)) | set(range(9, 13)) <= set(found)
    assert all(found[seq] == b"%02d" % (seq - 1) * 20 for seq in found)


def test_a_lost_mark_reuses_no_number(tmp_path):
    outbox = Outbox(str(tmp_path))
    for number in range(5):
        put(outbox, number + 1)
    drain(outbox)
    for name in ("mark.0", "mark.1"):
        (tmp_path / name).unlink()
    again = Outbox(str(tmp_path))
    assert (again.next_seq(), again.last_window(), again.sealed()) == (6, 5, 5)


def test_mark_survives_the_loss_of_either_file(tmp_path):
    mark = Mark(str(tmp_path / "m"), "II")
    assert mark.load() is None
    mark.save(1, 2)
    mark.save(3, 4)
    assert Mark(str(tmp_path / "m"), "II").load() == (3, 4)
    newest = tmp_path / "m.0"
    newest.write_bytes(newest.read_bytes()[:-1])
    damaged = Mark(str(tmp_path / "m"), "II")
    assert damaged.load() == (1, 2)
    damaged.save(5, 6)
    assert Mark(str(tmp_path / "m"), "II").load() == (5, 6)


POWER_CUTS = """
import gc, json, os
from node.outbox import Outbox

BLOCK, BLOCKS = 4096, 24
OPTIONS = {"limit_bytes": 1536, "segment_bytes": 512}


class PowerCut(Exception):
    pass


class Flash:
    # NOR flash behind LittleFS: the n-th program or erase is left half done, and nothing is written after it.
    def __init__(self, image):
        self.image = image
        self.left = -1
        self.writes = 0

    def readblocks(self, block, buffer, offset=0):
        start = block * BLOCK + offset
        buffer[:] = self.image[start:start + len(buffer)]

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
        if self.left == 0:
            raise PowerCut()
        self.writes += 1
        if self.left > 0:
            self.left -= 1
            if self.left == 0:
                half = len(data) // 2
                self.image[start:start + half] = bytes(data[:half])
                raise PowerCut()
        self.image[start:start + len(data)] = data


def mounted(flash):
    vfs = os.VfsLfs2(flash, readsize=32, progsize=32, lookahead=32)
    os.mount(vfs, "/f")


def payload(seq, window):
    return b"%d/%d " % (seq, window) * 6


class Story:
    # What the outbox promised so far.
    def __init__(self):
        self.kept = {}
        self.acknowledged = 0
        self.doubtful = 0
        self.appending = None
        self.window = 0


def live(outbox, story, rounds):
    for turn in range(rounds):
        for _ in range(3):
            seq = outbox.next_seq()
            window = story.window + 1
            story.appending = (seq, window)
            outbox.append(1, seq, window, payload(seq, window))
            story.kept[seq] = window
            story.window = window
            story.appending = None
        for _ in range(2 if turn % 4 else 1):
            entry = outbox.oldest()
            story.doubtful = entry.seq
            outbox.acknowledge(entry.seq)
            story.acknowledged = entry.seq
            story.doubtful = 0


def check(story):
    outbox = Outbox("/f/data/outbox", **OPTIONS)
    # No number that was on flash comes again, and no window either.
    newest = max(story.kept) if story.kept else 0
    assert outbox.next_seq() > newest
    assert not story.window or outbox.has_window(story.window)
    if story.appending and outbox.next_seq() > story.appending[0]:
        story.kept[story.appending[0]] = story.appending[1]
        story.window = story.appending[1]
        assert outbox.has_window(story.window)
    assert outbox.sealed() == len(story.kept)
    found = []
    while True:
        entry = outbox.oldest()
        if entry is None:
            break
        assert entry.payload == payload(entry.seq, story.kept[entry.seq]), entry
        found.append(entry.seq)
        outbox.acknowledge(entry.seq)
    assert found == sorted(found)
    first = found[0] if found else max(story.kept or {0: 0}) + 1
    # What is not found was acknowledged before, or dropped and counted.
    assert found == [seq for seq in sorted(story.kept) if seq >= first]
    gone = [seq for seq in story.kept if seq < first]
    unacknowledged = [seq for seq in gone if seq > story.acknowledged and seq != story.doubtful]
    assert len(unacknowledged) <= outbox.dropped(), (unacknowledged, outbox.dropped())
    # Never sent again once the acknowledgement was kept, unless the power went while it was being kept.
    assert not found or found[0] > story.acknowledged
    seq = outbox.next_seq()
    outbox.append(1, seq, story.window + 1, b"after")
    assert Outbox("/f/data/outbox", **OPTIONS).oldest().payload == b"after"
    return outbox.dropped()


blank = bytearray(b"\\xff" * BLOCK * BLOCKS)
os.VfsLfs2.mkfs(Flash(blank), readsize=32, progsize=32, lookahead=32)


def run(cut, rounds):
    flash = Flash(bytearray(blank))
    mounted(flash)
    story = Story()
    flash.left = cut
    flash.writes = 0
    try:
        live(Outbox("/f/data/outbox", **OPTIONS), story, rounds)
        survived = True
    except PowerCut:
        survived = False
    os.umount("/f")
    after = Flash(flash.image)
    mounted(after)
    dropped = check(story)
    os.umount("/f")
    gc.collect()
    return survived, flash.writes, dropped


survived, writes, dropped = run(-1, ROUNDS)
assert survived and dropped
cuts = 0
for cut in range(1, writes + 1):
    survived, _, _ = run(cut, ROUNDS)
    assert not survived
    cuts += 1
print(json.dumps({"writes": writes, "cuts": cuts}))
"""


def test_power_cut_at_every_flash_write(micropython):
    """Appends, acknowledgements, rotations and drops, cut at every program and erase."""
    result = micropython(POWER_CUTS.replace("ROUNDS", "24"), heap="4M", timeout=240)
    assert result["cuts"] == result["writes"] > 300
