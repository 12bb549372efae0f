"""Commands: carried out once, whatever comes and wherever the power goes. On MicroPython, over LittleFS."""

import json

from peilmerk_protocol import command, cose, keys

DEVICE = "dbcdefghijklmnop"
ROOT_KEY = bytes(range(50, 82))
UP = keys.derive(ROOT_KEY, keys.UP)
DOWN = keys.derive(ROOT_KEY, keys.DOWN)
NOW = 1_900_000_000
ISSUED = [1, 900, 96, 7, 10, 3, 10, 10, 4]
AGREED = [2, 3600, 96, 7, 20, 3, 20, 10, 4]
KIND_ACK, KIND_COMMAND = 3, 4

# A board's flash in memory, whose power can go at any write; Commands and Control on it, and who listens.
BOARD = f"""
import asyncio, json, os, sys, vfs
from node.commands import Commands
from node.control import Control, FOR_EVER
from node.uplink.clock import Clock
from peilmerk_protocol import command, cose, keys, profile

class PowerCut(BaseException):
    pass

class Flash:
    def __init__(self, blocks=32):
        self.data = bytearray(4096 * blocks)
        self.left = -1
        self.writes = 0

    def readblocks(self, block, buffer, offset=0):
        at = block * 4096 + offset
        buffer[:] = self.data[at : at + len(buffer)]

    def writeblocks(self, block, buffer, offset=0):
        at = block * 4096 + offset
        self.writes += 1
        self.left -= 1
        if self.left == 0:
            half = len(buffer) // 2
            self.data[at : at + half] = buffer[:half]
            raise PowerCut()
        self.data[at : at + len(buffer)] = buffer

    def ioctl(self, order, argument):
        if order == 4:
            return len(self.data) // 4096
        if order == 5:
            return 4096
        if order == 6:
            self.writes += 1
            self.left -= 1
            if self.left == 0:
                raise PowerCut()
            self.data[argument * 4096 : (argument + 1) * 4096] = b"\\xff" * 4096
        return 0

class Settings:
    indicator = {{"pin": 2}}
    device_id = {DEVICE!r}
    every_s = 0
    key = keys.derive({ROOT_KEY!r}, keys.UP)
    command_key = keys.derive({ROOT_KEY!r}, keys.DOWN)

class Listener:
    def __init__(self):
        self.acks = []
        self.away = False

    async def send_now(self, kind, payload):
        if self.away:
            raise OSError("not connected")
        assert kind == 3
        opened = cose.open_sealed(Settings.key, 3, Settings.device_id, payload)
        ack = command.decode_ack(opened)
        self.acks.append([ack.counter, command.OUTCOME_NAMES[ack.outcome], ack.detail])

class Board:
    def __init__(self, flash=None, known=True):
        self.flash = flash or Flash()
        self.reboots = self.forgets = self.pauses = self.told = 0
        self.listener = Listener()
        if flash is None:
            vfs.VfsLfs2.mkfs(self.flash)
        self.boot(known)

    def boot(self, known=True):
        try:
            vfs.umount("/flash")
        except OSError:
            pass
        vfs.mount(vfs.VfsLfs2(self.flash), "/flash")
        self.config = Settings()
        self.config.issued_profile = profile.from_fields({ISSUED!r})
        self.config.next_profile = None
        self.clock = Clock()
        if known:
            import time
            self.clock.set({NOW} * 1000, time.ticks_ms())
        self.control = Control("/flash/data", "/flash/")
        self.config.profile = self.control.profile(self.config.issued_profile)
        self.control.reboot = self._reboot
        self.control.forget = self._forget
        self.control.pause = self._pause
        self.commands = Commands(self.config, self.clock, self.control, self.listener, "/flash/data")

    def _reboot(self):
        self.reboots += 1
        self.told = len(self.listener.acks)

    def _forget(self):
        self.forgets += 1
        self.told = len(self.listener.acks)

    def _pause(self, until, remote=False):
        self.pauses += 1
        Control.pause(self.control, until, remote)

    def hear(self, *payloads):
        for payload in payloads:
            self.commands.take(payload)
        async def all():
            work = asyncio.create_task(self.commands.run())
            while self.commands.waiting():
                await asyncio.sleep_ms(1)
            work.cancel()
        asyncio.run(all())
        return self.listener.acks[-1] if self.listener.acks else None
"""


def sealed(counter, verb, argument=None, expiry=NOW + 600, key=DOWN, device=DEVICE):
    body = command.encode(command.Command(counter, expiry, verb, argument))
    return cose.seal(key, KIND_COMMAND, device, body)


def raw(body):
    return cose.seal(DOWN, KIND_COMMAND, DEVICE, body)


def test_an_identify_that_nobody_would_see_is_refused_with_its_reason(micropython):
    found = micropython(
        BOARD
        + f"""
Settings.indicator = None
board = Board()
print(json.dumps([board.hear({sealed(1, command.IDENTIFY, 60)!r}), board.control.identifying()]))
"""
    )
    assert found == [[1, "refused", command.NO_LIGHT], False]


def test_firmware_that_never_counts_takes_no_profile_with_counts(micropython):
    """Without the modules of noise, as an air node carries it: agreed on the way, or kept from before."""
    orders = (sealed(1, command.PROFILE, AGREED), sealed(2, command.PROFILE, AGREED))
    found = micropython(
        BOARD
        + f"""
board = Board()
first = board.hear({orders[0]!r})
import sys
class Absent:
    pass
sys.modules["node.day"] = Absent
board.boot()
in_force = board.config.profile.fields()
board.config.next_profile = None
print(json.dumps([first, in_force, board.hear({orders[1]!r})]))
"""
    )
    assert found == [[1, "done", 0], ISSUED, [2, "refused", 0]]


def test_each_verb_is_carried_out_once_and_acknowledged(micropython):
    orders = [
        sealed(1, command.IDENTIFY, 60),
        sealed(2, command.SELF_TEST),
        sealed(3, command.PAUSE, NOW + 1000),
        sealed(4, command.RESUME),
        sealed(5, command.PROFILE, AGREED),
        sealed(6, command.REBOOT),
        sealed(6, command.REBOOT),
        sealed(7, command.FORGET),
    ]
    found = micropython(
        BOARD
        + f"""
board = Board()
board.commands.examine = lambda: 258
orders = {orders!r}
seen = []
for order in orders:
    board.hear(order)
    seen.append([board.control.identifying(), board.control.paused({NOW}), board.reboots, board.forgets])
    if board.reboots:
        assert board.told == 6 + board.forgets * 2  # acknowledged before
agreed = board.config.next_profile.fields()
exists = "forget" in os.listdir("/flash")
board.boot()
print(json.dumps([board.listener.acks, seen, agreed, board.config.profile.fields(), exists]))
"""
    )
    acks, seen, agreed, after_boot, flagged = found
    done = [[n, "done", 258 if n == 2 else 0] for n in (1, 2, 3, 4, 5, 6, 6, 7)]
    assert acks == done
    assert seen == [
        [True, False, 0, 0],
        [True, False, 0, 0],
        [True, True, 0, 0],
        [True, False, 0, 0],
        [True, False, 0, 0],
        [True, False, 1, 0],
        [True, False, 1, 0],
        [True, False, 1, 1],
    ]
    assert agreed == after_boot == AGREED
    assert flagged


def test_old_late_unknown_and_impossible_commands_are_told_so(micropython):
    without_noise = [3, 900, 96, 0, 1, 3, 10, 10, 4]
    other_with_same_revision = [1, 3600, 96, 7, 10, 3, 10, 10, 4]
    orders = [
        sealed(5, command.IDENTIFY, 9, expiry=NOW - 1),
        sealed(6, command.IDENTIFY, 9),
        sealed(4, command.IDENTIFY, 9),
        sealed(5, command.IDENTIFY, 9, expiry=NOW - 1),
        sealed(6, command.IDENTIFY, 10),
        raw(b"\x84\x07\x1a\x80\x00\x00\x00\x18\x63\xf6"),
        raw(cbor([8, NOW + 9, command.PROFILE, without_noise])),
        raw(cbor([9, NOW + 9, command.PROFILE, other_with_same_revision])),
        raw(cbor([10, NOW + 9, command.IDENTIFY, 0])),
        sealed(11, command.UPDATE, [bytes(32), 100, [1, 0, 0]]),
        sealed(12, command.PROFILE, ISSUED),
    ]
    found = micropython(
        BOARD
        + f"""
sys.modules["node.update"] = None  # a board whose firmware has no updates
board = Board()
for order in {orders!r}:
    board.hear(order)
print(json.dumps([board.listener.acks, board.commands.refused, board.config.next_profile]))
"""
    )
    outcomes = [[5, "expired"], [6, "done"], [4, "stale"], [5, "expired"], [6, "stale"], [7, "unknown"]]
    outcomes += [[8, "refused"], [9, "refused"], [10, "refused"], [11, "refused"], [12, "done"]]
    assert [ack[:2] for ack in found[0]] == outcomes
    assert found[1:] == [0, None]


def cbor(value):
    import cbor2

    return cbor2.dumps(value, canonical=True)


def test_what_is_forged_or_no_command_is_counted_and_not_answered(micropython):
    good = sealed(1, command.REBOOT)
    wrong = [
        sealed(1, command.REBOOT, key=UP),
        sealed(1, command.REBOOT, device="ebcdefghijklmnop"),
        cose.seal(DOWN, KIND_ACK, DEVICE, command.encode(command.Command(1, NOW + 9, command.REBOOT))),
        good[:-1] + bytes([good[-1] ^ 1]),
        good[:-1],
        b"",
        bytes(600),
        raw(b""),
        raw(cbor([1, NOW + 9, command.REBOOT])),
        raw(cbor([0, NOW + 9, command.REBOOT, None])),
        raw(cbor([1, -1, command.REBOOT, None])),
        raw(cbor([1, NOW + 9, "reboot", None])),
        raw(cbor({1: 2})),
    ]
    found = micropython(
        BOARD
        + f"""
board = Board()
for order in {wrong!r}:
    board.hear(order)
before = [board.listener.acks[:], board.commands.refused, board.reboots]
board.hear({good!r})
for _ in range(9):  # more than the queue holds
    board.commands.take({good!r})
print(json.dumps([before, board.listener.acks, board.commands.refused, board.reboots]))
"""
    )
    assert found == [[[], len(wrong), 0], [[1, "done", 0]], len(wrong) + 5, 1]


def test_without_the_time_only_a_beacon_is_heard(micropython):
    found = micropython(
        BOARD
        + f"""
Clock.beacon = lambda self, unix: self.set(unix * 1000, 0) or True
board = Board(known=False)
board.hear({sealed(1, command.REBOOT)!r})
early = [board.listener.acks[:], board.reboots]
board.hear({sealed(2, command.TIME, NOW, expiry=NOW - 50)!r})
print(json.dumps([early, board.listener.acks, board.clock.known, board.commands.refused]))
"""
    )
    assert found == [[[], 0], [[2, "done", 0]], True, 0]


def test_a_clock_that_runs_ahead_hears_the_beacon_that_mends_it(micropython):
    found = micropython(
        BOARD
        + f"""
import time
board = Board()
board.clock.set(({NOW} + 7200) * 1000, time.ticks_ms())
board.clock.asked(120)
board.hear({sealed(1, command.TIME, NOW, expiry=NOW + 300)!r})
off = abs(board.clock.unix_ms() // 1000 - {NOW})
# Nobody asked for this one, and what else is over is over.
board.hear({sealed(2, command.TIME, NOW + 86400, expiry=NOW + 300)!r})
board.hear({sealed(3, command.IDENTIFY, 9, expiry=NOW - 100)!r})
print(json.dumps([board.listener.acks, off <= 2, board.clock.unix_ms() // 1000 < {NOW} + 100]))
"""
    )
    assert found == [[[1, "done", 0], [2, "done", 0], [3, "expired", 0]], True, True]


def test_the_host_at_the_board_has_the_last_word(micropython):
    found = micropython(
        BOARD
        + f"""
board = Board()
state = lambda *times: [board.control.paused({NOW} + t) for t in times]
board.control.pause({NOW} + 100)
seen = [state(0, 99, 100)]
seen.append(board.hear({sealed(1, command.PAUSE, NOW + 10)!r})[1:2] + state(11, 100))
seen.append(board.hear({sealed(2, command.RESUME)!r})[1:2] + state(0, 99))
board.boot()
seen.append(state(0, 99, 100))
board.hear({sealed(3, command.PAUSE, 0)!r})
board.boot()
seen.append(state(0, 100, 1 << 31))
seen.append([board.control.resume()] + state(0, -{NOW}))
board.hear({sealed(4, command.PAUSE, NOW + 50)!r})
board.boot(known=False)
# The time is not known: the pause holds until it is.
seen.append([board.control.paused(0)] + state(49, 50))
print(json.dumps(seen))
"""
    )
    assert found == [
        [True, True, False],
        ["done", True, False],
        ["refused", True, True],
        [True, True, False],
        [True, True, True],
        [True, False, False],
        [True, True, False],
    ]


def test_a_profile_written_by_a_technician_replaces_the_agreed_one(micropython):
    found = micropython(
        BOARD
        + f"""
board = Board()
board.hear({sealed(1, command.PROFILE, AGREED)!r})
board.boot()
kept = board.config.profile.fields()
written = profile.from_fields([3] + {ISSUED[1:]!r})
print(json.dumps([kept, board.control.profile(written).fields()]))
"""
    )
    assert found == [AGREED, [3, *ISSUED[1:]]]


def test_acknowledgements_that_cannot_be_sent_stop_nothing(micropython):
    found = micropython(
        BOARD
        + f"""
from node import commands
commands.asyncio.sleep = lambda _: asyncio.sleep_ms(0)
board = Board()
board.listener.away = True
board.hear({sealed(1, command.REBOOT)!r})
board.listener.away = False
board.hear({sealed(1, command.REBOOT)!r})
print(json.dumps([board.reboots, board.listener.acks]))
"""
    )
    assert found == [1, [[1, "done", 0]]]


def test_a_power_cut_at_any_write_never_repeats_a_command(micropython):
    orders = {
        "profile": sealed(9, command.PROFILE, AGREED),
        "pause": sealed(9, command.PAUSE, NOW + 100),
        "reboot": sealed(9, command.REBOOT),
        "forget": sealed(9, command.FORGET),
    }
    found = micropython(
        BOARD
        + f"""
board = Board()
board.hear({sealed(8, command.IDENTIFY, 1)!r})
image = bytes(board.flash.data)
found = {{}}
for name, order in {orders!r}.items():
    found[name] = []
    cut = 0
    through = False
    while not through:
        cut += 1
        board.flash.data[:] = image
        board.boot()
        board.reboots = board.forgets = board.pauses = 0
        board.listener.acks = []
        board.flash.left = cut
        try:
            board.hear(order)
            through = True
        except PowerCut:
            pass
        board.flash.left = -1
        first = board.listener.acks[:]
        board.boot()
        acted = [
            board.config.profile.revision == 2,
            board.control.paused({NOW}),
            board.reboots,
            "forget" in os.listdir("/flash"),
        ]
        again = board.hear(order)
        acted_again = [
            (board.config.next_profile or board.config.profile).revision == 2,
            board.control.paused({NOW}),
            board.reboots,
            "forget" in os.listdir("/flash"),
        ]
        found[name].append([first, again, acted, acted_again, board.pauses, through])
print(json.dumps(found))
""",
        timeout=120,
    )
    for name, place in (("profile", 0), ("pause", 1), ("reboot", 2), ("forget", 3)):
        cases = found[name]
        assert len(cases) >= 3, json.dumps(cases)
        for first, again, acted, acted_again, pauses, through in cases:
            where = (name, first, again, acted, acted_again)
            counter, outcome, _ = again
            assert counter == 9, where
            assert outcome in ("done", "failed"), where
            if first:  # what was told once is told again
                assert first[0] == again, where
            if through:
                assert outcome == "done", where
                assert acted[place], where
            if name == "profile":
                assert (outcome == "done") == acted_again[place], where
            assert pauses <= 1, where
            if name == "reboot":
                assert acted_again[place] <= 1, where
            if name == "forget" and acted[place]:
                assert acted_again[place], where


def test_a_power_cut_while_forgetting_leaves_nothing_that_reports(micropython):
    found = micropython(
        BOARD
        + """
from node.control import finish_forgetting
from node import forget
board = Board()
board.flash.data[:] = bytes(len(board.flash.data))
vfs.umount("/flash")
vfs.VfsLfs2.mkfs(board.flash)
board.boot()
os.mkdir("/flash/a")
os.mkdir("/flash/data/outbox")
FILES = {"identity.json": "the root key", "node.json": "wifi" * 100, "wifi.json": "own",
         "trust.der": "t" * 600, "data/outbox/00000001.log": "sealed" * 300,
         "boot.py": "boot", "a/app.mpy": "firmware"}
for name, text in FILES.items():
    with open("/flash/" + name, "w") as file:
        file.write(text)
image = bytes(board.flash.data)
there = lambda name: name in os.listdir("/flash")
found = []
cut = 0
through = False
while not through:
    cut += 1 if cut < 16 else 29
    board.flash.data[:] = image
    board.boot()
    board.flash.left = cut
    try:
        board.control.will_forget()
        finish_forgetting("/flash/")
        through = True
    except PowerCut:
        pass
    board.flash.left = -1
    # What a boot does first.
    vfs.umount("/flash")
    vfs.mount(vfs.VfsLfs2(board.flash), "/flash")
    begun = there("forget")
    whole = there("identity.json") and there("node.json") and there("data")
    finish_forgetting("/flash/")
    rest = sorted(os.listdir("/flash"))
    left = [text[:12] for text in ("the root key", "wifiwifiwifi", "sealedsealed")
            if text.encode() in board.flash.data]
    found.append([cut, begun, whole, rest, left])
print(json.dumps(found))
""",
        heap="2M",
        timeout=120,
    )
    assert len(found) > 16
    for cut, begun, whole, rest, left in found:
        if rest == ["a", "boot.py"]:
            assert left == [], (cut, left)
        else:
            # The power went before the wish to forget was on flash: the board is as it was.
            assert not begun, (cut, rest)
            assert whole, (cut, rest)
            assert cut <= 3, (cut, rest)
    assert found[-1][3] == ["a", "boot.py"]
