"""The outbox and the mark on this board's own flash, in a folder that is removed afterwards."""

import os

from unit import same

_FOLDER = "/unit-test"


def _clear():
    try:
        names = os.listdir(_FOLDER)
    except OSError:
        return
    for name in names:
        os.remove(_FOLDER + "/" + name)
    os.rmdir(_FOLDER)


def _clean(test):
    _clear()
    try:
        test()
    finally:
        _clear()


def test_an_outbox_gives_back_what_it_took():
    _clean(_outbox)


def _outbox():
    from node import outbox

    box = outbox.Outbox(_FOLDER)
    for number in range(1, 41):
        same(box.next_seq(), number)
        box.append(outbox.REPORT, number, 1000 + number, bytes([number]) * 40)
    box = outbox.Outbox(_FOLDER)
    same(box.waiting(), 40, "after opening anew")
    for number in range(1, 41):
        entry = box.oldest()
        same((entry.seq, entry.payload), (number, bytes([number]) * 40))
        assert box.acknowledge(number)
    same(box.waiting(), 0)
    assert box.has_window(1040)
    same(outbox.Outbox(_FOLDER).next_seq(), 41, "numbers are never used again")


def test_a_mark_is_the_newest_whole_one():
    _clean(_mark)


def _mark():
    from node import mark

    mark.make_folder(_FOLDER)
    written = mark.Mark(_FOLDER + "/m", "II")
    same(written.load(), None)
    written.save(1, 2)
    written.save(3, 4)
    same(mark.Mark(_FOLDER + "/m", "II").load(), (3, 4))
    newest = [name for name in os.listdir(_FOLDER) if name.endswith(".0")][0]
    with open(_FOLDER + "/" + newest, "r+b") as file:
        file.write(b"\xff")
    same(mark.Mark(_FOLDER + "/m", "II").load(), (1, 2), "with the newest one spoilt")
