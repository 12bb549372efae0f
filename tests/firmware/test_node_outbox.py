"""The outbox: nothing lost, nothing renumbered, nothing drawn twice, wherever the power goes."""

import pytest

from node.mark import Mark
from node.outbox import AlreadyReleased, Outbox, OutboxError

REPORT, STATEMENT, DAY = 1, 2, 5


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


def test_a_day_is_never_released_twice_and_is_no_window(tmp_path):
    outbox = Outbox(str(tmp_path))
    put(outbox, 86400, kind=DAY)
    assert not outbox.has_window(900)
    put(outbox, 86400)
    assert (outbox.last_window(), outbox.sealed()) == (86400, 1)
    for _ in range(2):
        assert outbox.has_day(86400)
        assert not outbox.has_day(2 * 86400)
        with pytest.raises(AlreadyReleased, match="day 86400: the last one released is 86400"):
            put(outbox, 86400, kind=DAY)
        drain(outbox)
        outbox = Outbox(str(tmp_path))
    for name in ("mark.0", "mark.1"):
        (tmp_path / name).unlink()
    again = Outbox(str(tmp_path))
    assert (again.has_day(86400), again.has_window(86400), again.last_window()) == (True, True, 86400)


def test_a_number_that_failed_is_for_the_same_message_or_for_none(tmp_path, monkeypatch):
    outbox = Outbox(str(tmp_path))
    put(outbox, 1, b"first")
    real = open

    def failing(name, mode="r"):
        if "a" in mode:
            with real(name, mode) as file:
                file.write(b"\xb7\x01")
            raise OSError(5)
        return real(name, mode)

    monkeypatch.setattr("builtins.open", failing)
    with pytest.raises(OSError, match="5"):
        put(outbox, 2, b"second")
    monkeypatch.undo()
    with pytest.raises(
        OutboxError, match="found another message for sequence number 2, wanted the same again"
    ):
        outbox.append(REPORT, 2, 3, b"third")
    outbox.skip(1)
    assert outbox.next_seq() == 2
    outbox.append(REPORT, 2, 2, b"second")
    outbox.skip(3)
    assert outbox.next_seq() == 3
    monkeypatch.setattr("builtins.open", failing)
    with pytest.raises(OSError, match="5"):
        put(outbox, 3, b"third")
    monkeypatch.undo()
    outbox.skip(3)
    outbox.append(REPORT, 4, 4, b"fourth")
    expected = [(1, b"first"), (2, b"second"), (4, b"fourth")]
    again = Outbox(str(tmp_path))
    assert (again.waiting(), drain(again)) == (3, expected)


def test_a_message_that_was_written_twice_is_sent_and_counted_once(tmp_path):
    """An append may fail at its very end: the record is whole, and the next attempt writes it again."""
    outbox = Outbox(str(tmp_path))
    put(outbox, 1, b"first")
    segment = tmp_path / "00000001.log"
    whole = segment.read_bytes()
    (tmp_path / "00000002.log").write_bytes(whole)
    again = Outbox(str(tmp_path))
    assert (again.waiting(), again.next_seq()) == (1, 2)
    put(again, 2, b"second")
    assert drain(again) == [(1, b"first"), (2, b"second")]


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
