"""When a report is sent: at its device's own slot after the window's end, whatever it holds."""

import json
import random

SENDING = """
import json
from node.outbox import Entry
from node.uplink.link import Link, slot_s
from peilmerk_protocol import topics

class Clock:
    known = True
    now_ms = 0
    def unix_ms(self):
        return self.now_ms

class Bare(Link):
    def __init__(self, device_id, window_s):
        self._clock = Clock()
        self._slot_ms = slot_s(device_id, window_s) * 1000
        self.unpunctual = False

link = Bare("dbcdefghijklmnop", 900)
link._clock.now_ms = 900_000
report = Entry(topics.REPORT, 7, 900, 1, b"nobody passed")
seen = [link.due_in_ms(report), link.due_in_ms(Entry(topics.REPORT, 7, 900, 1, b"a crowd" * 9))]
link._clock.now_ms += seen[0]
seen.append(link.due_in_ms(report))
for kind in (topics.STATEMENT, topics.DAY):
    link._clock.now_ms = 0
    seen.append(link.due_in_ms(Entry(kind, 7, 900, 1, b"")))
link.unpunctual = True
seen.append(link.due_in_ms(report))
link._clock.known = False
seen.append(link.due_in_ms(report))
print(json.dumps([seen, [[slot_s(one, w) for one in given] for w in (3600, 900, 60, 10, 1)]]))
"""


def test_a_report_waits_for_its_devices_slot_and_for_nothing_else(micropython):
    chance = random.Random(1)
    ids = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz234567", k=16)) for _ in range(400)]
    seen = micropython(f"given = {ids!r}\n" + SENDING)
    due, slots = seen
    assert due[0] == due[1] == 1000 * slot_by_hand("dbcdefghijklmnop")
    assert due[2:] == [0, 0, 0, 5000, 0], json.dumps(due)
    for (lowest, highest), found in zip([(5, 59), (5, 59), (5, 34), (5, 9), (5, 5)], slots, strict=True):
        assert (min(found), max(found)) == (lowest, highest)
        # A street does not speak at once.
        assert max(found.count(slot) for slot in set(found)) <= 3 * len(found) / (highest - lowest + 1)


def slot_by_hand(device_id):
    number = 0
    for character in device_id:
        number = (number * 31 + ord(character)) % (1 << 24)
    return 5 + number % 55
