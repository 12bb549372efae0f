"""Bluetooth occupancy: counts devices in its period, and keeps no address in any form."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

from canaries import encrypt, expand, forms, memory, search
from stepped_street import BEGIN, Street

from peilmerk_bench.board import SensorSpec
from peilmerk_bench.sensors.radio import Advertiser, Air
from peilmerk_protocol import quantities as q

ENTRY = {
    "driver": "radio",
    "from": int(BEGIN) - 3600,
    "until": int(BEGIN) + 86_400,
    "area": "Market square, the north side, 30 m around the fountain",
}
WINDOW_S = 60


def air(devices: list[Advertiser], **options) -> SensorSpec:
    return SensorSpec("air", lambda name: Air(name, devices=devices, **options))


def test_the_hash_is_speck48_96_by_its_designers_vector() -> None:
    keys = expand([0x020100, 0x0A0908, 0x121110, 0x1A1918])
    assert encrypt(0x6D2073, 0x696874, keys) == (0x735E10, 0xB6445D)


def test_the_air_is_heard_for_the_scanners_share_of_the_time() -> None:
    device = Advertiser.canary(1, 100.0, 200.0)
    assert len(Air("air", devices=[device]).heard(0.0, 1000.0)) == 100
    assert 2 <= len(Air("air", devices=[device]).heard(0.0, 1000.0, 0.1)) <= 25
    assert Air("air", devices=[device], silent=True).heard(0.0, 1000.0) == []


async def test_devices_are_counted_once_a_window(street: Street) -> None:
    """Each of 100 advertises ten times a second, so a tenth of the time is enough to hear it in a window."""
    devices = [
        Advertiser.canary(n, BEGIN + 10 * (n % 12), BEGIN + 10 * (n % 12) + 50, 0.1) for n in range(100)
    ]
    counted = await street.count(air(devices), ENTRY, windows=3, window_s=WINDOW_S)
    seen = [window[q.UNCLASSIFIED] for window in counted.windows]
    for i, number in enumerate(seen):
        since, until = BEGIN + i * WINDOW_S, BEGIN + (i + 1) * WINDOW_S
        there = sum(d.since < until - 3 and d.until > since + 3 for d in devices)
        at_all = sum(d.since < until and d.until > since for d in devices)
        assert there <= number <= at_all, i
    assert counted.healthy == [[True]] * 3


async def test_who_is_far_is_left_out_and_a_full_set_is_a_fault(street: Street) -> None:
    near = [Advertiser.canary(n, BEGIN, BEGIN + 60, 0.5) for n in range(80)]
    far = [Advertiser(bytes((n, *b"-far-")), BEGIN, BEGIN + 60, 0.5, -95) for n in range(40)]
    counted = await street.count(air(near + far), {**ENTRY, "least_dbm": -80}, windows=1, window_s=WINDOW_S)
    assert counted.windows[0][q.UNCLASSIFIED] == 80
    counted = await street.count(air(near), {**ENTRY, "most": 64}, windows=1, window_s=WINDOW_S)
    assert counted.windows[0][q.UNCLASSIFIED] == 64
    assert counted.healthy == [[False]]


async def test_who_comes_after_the_border_belongs_to_the_next_window(street: Street) -> None:
    devices = [Advertiser.canary(n, BEGIN + WINDOW_S + 0.1, BEGIN + WINDOW_S + 50, 0.2) for n in range(30)]
    counted = await street.count(air(devices), ENTRY, windows=2, window_s=WINDOW_S, late_ms=5000)
    assert [window[q.UNCLASSIFIED] for window in counted.windows] == [0, 30]


async def test_it_works_in_its_period_only_and_with_a_known_clock_only(street: Street) -> None:
    devices = [Advertiser.canary(n, BEGIN - 60, BEGIN + 600, 0.5) for n in range(50)]
    entry = {**ENTRY, "from": int(BEGIN) + 90, "until": int(BEGIN) + 240}
    board = await street.board(air(devices))
    counted = await street.count((), entry, windows=6, window_s=WINDOW_S, board=board)
    # from the first border within the period to the last
    assert [window[q.UNCLASSIFIED] for window in counted.windows] == [0, 0, 50, 50, 0, 0]
    assert [healthy[0] for healthy in counted.healthy] == [False, False, True, True, False, False]
    scanned = board.sensors["air"].scanned
    assert min(scanned) >= BEGIN + 90
    assert max(scanned) < BEGIN + 240.2
    board = await street.board(air(devices))
    counted = await street.count(
        (), {**ENTRY, "until": int(BEGIN) + 200}, windows=4, window_s=WINDOW_S, board=board
    )
    assert [window[q.UNCLASSIFIED] for window in counted.windows] == [50, 50, 50, 0], (
        "cut short: not a window"
    )
    assert max(board.sensors["air"].scanned) < BEGIN + 200.2
    board = await street.board(air(devices))
    counted = await street.count((), ENTRY, windows=2, window_s=WINDOW_S, board=board, clock=False)
    assert [window[q.UNCLASSIFIED] for window in counted.windows] == [0, 0]
    assert board.sensors["air"].scanned == []


def test_the_search_finds_every_form_of_an_address() -> None:
    address, salt = bytes.fromhex("c0ffee123456"), bytes(range(12))
    for form, pattern in forms(address, [salt]).items():
        hay = bytes(1000) + b"x" * 20 + pattern + b"y" + bytes(500)
        assert search(hay, [address], [salt])[form.split()[0]] >= 1, form


async def test_no_canary_is_left_when_the_window_closes(street: Street) -> None:
    """1,000 devices. During the window the same search finds them, hashed; afterwards it finds nothing."""
    canaries = [Advertiser.canary(n, BEGIN - 10, BEGIN + WINDOW_S, 2.0) for n in range(1000)]
    addresses = [device.address for device in canaries]
    board = await street.board(air(canaries), entropy_seed=b"canary")
    source = street.counting(
        board, {**ENTRY, "most": 1024}, windows=1, window_s=WINDOW_S,
        during="print('DURING'); sys.stdin.readline()",
        after="gc.collect(); print('AFTER'); sys.stdin.readline()",
    )  # fmt: skip
    await street.run(board, f"with open('/main.py', 'w') as file: file.write({source!r})")
    before = len(board.entropy_log)
    board.type(b"\x04")
    await board.console_shows("DURING")
    await asyncio.sleep(0.2)
    salts = [handout.data for handout in board.entropy_log[before:] if len(handout.data) == 12]
    during = search(memory(board), addresses, salts)
    assert during["hashed"] > 700, during
    assert during["raw"] >= 1, "the stack's own copy of the last one"
    board.type(b"\r\n")
    await board.console_shows("AFTER")
    await asyncio.sleep(0.2)
    salts = [handout.data for handout in board.entropy_log[before:] if len(handout.data) == 12]
    assert search(memory(board), addresses, salts) == Counter()
    assert "WINDOW" in board.console_tail
    assert search(board.console_tail.encode(), addresses, salts) == Counter()
    assert search(Path(board.spec.flash).read_bytes(), addresses, salts) == Counter()
