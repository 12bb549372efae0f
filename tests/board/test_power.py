"""Power, resets and what survives which: flash, real-time clock, RTC memory, watchdog, deep sleep."""

from __future__ import annotations

import asyncio

import pytest
from patience import DEADLINE_S

from peilmerk_bench.board import BoardError, BoardSpec, VirtualBoard
from peilmerk_bench.board.chip import (
    DEEPSLEEP_RESET,
    HARD_RESET,
    PWRON_RESET,
    SOFT_RESET,
    WDT_RESET,
    Chip,
)
from peilmerk_bench.world.clock import SkippingClock, WorldClock


async def test_power_cut_keeps_the_flash_and_loses_memory_and_clock(start) -> None:
    bench = await start()
    await bench.install("kept.txt", "here")
    await bench.run(
        "import machine; machine.RTC().datetime((2026, 3, 2, 0, 12, 0, 0, 0)); machine.RTC().memory(b'x')"
    )
    show = (
        "import machine; print(machine.RTC().datetime()[:5], machine.RTC().memory(), open('kept.txt').read())"
    )
    assert await bench.run(show) == "(2026, 3, 2, 0, 12) b'x' here\n"
    await bench.board.hard_reset()
    assert await bench.run(show) == "(2026, 3, 2, 0, 12) b'x' here\n"
    await bench.board.power_cut()
    assert not bench.board.powered
    assert bench.board.pid is None
    await bench.board.power_on()
    assert await bench.run(show) == "(2000, 1, 1, 5, 0) b'' here\n"
    (began, ended), (again, still) = bench.board.on_periods
    assert began < ended < again
    assert still == float("inf")


async def test_reset_causes(start) -> None:
    bench = await start()
    await bench.install("main.py", "import machine\nprint('cause', machine.reset_cause())\n")
    await bench.board.power_cut()
    await bench.board.power_on()
    await bench.board.console_shows("cause 1")
    bench.board.type(b"\x04")
    await bench.board.console_shows("cause 5")
    bench.board.type(b"import machine; machine.reset()\r")
    await bench.board.console_shows("cause 2")
    bench.board.type(b"machine.deepsleep(200)\r".replace(b"machine", b"__import__('machine')"))
    await bench.board.console_shows("cause 4")
    bench.board.type(b"import machine, time; w = machine.WDT(timeout=100); time.sleep(5)\r")
    await bench.board.console_shows("cause 3")
    causes = [cause for _, cause in bench.board.resets[-5:]]
    assert causes == [PWRON_RESET, SOFT_RESET, HARD_RESET, DEEPSLEEP_RESET, WDT_RESET]


async def test_a_fed_watchdog_does_not_bite(start) -> None:
    bench = await start()
    source = """
import machine, time
dog = machine.WDT(timeout=2000)
for _ in range(25):
    time.sleep_ms(100)
    dog.feed()
print('alive')
"""
    assert await bench.run(source) == "alive\n"
    assert all(cause != WDT_RESET for _, cause in bench.board.resets)


async def test_deep_sleep_keeps_rtc_memory_and_wakes_after_world_time(start) -> None:
    bench = await start(speed=60.0)
    source = "import machine\nr = machine.RTC()\nprint('memory', r.memory(), machine.reset_cause())\n"
    await bench.install("main.py", source)
    await bench.mpremote(
        "resume",
        "exec",
        "--no-follow",
        "import machine; machine.RTC().memory(b'abc'); machine.deepsleep(30000)",
    )
    await bench.board.console_shows("memory b'abc' 4")
    (slept_at, _), (woke_at, _) = bench.board.resets[-2:]
    assert woke_at - slept_at > 30


async def test_power_goes_in_the_middle_of_the_nth_flash_write(start) -> None:
    bench = await start()
    writer = """
open('/old', 'w').close()
n = 0
while True:
    n += 1
    with open('/new', 'w') as file: file.write(str(n) * 200)
"""
    await bench.install("writer.py", writer)
    for count in (1, 2, 3, 5, 8, 13, 21, 34):
        before = bench.board.flash_writes
        bench.board.cut_power_after_writes(count)
        bench.board._tail.clear()
        bench.board.type(b"\x04")
        await bench.board.console_shows("MPY: soft reboot")
        bench.board.type(b"import writer\r")
        async with asyncio.timeout(DEADLINE_S):
            await bench.board.until_off()
        assert bench.board.flash_writes == before + count
        assert not bench.board.powered
        bench.board._tail.clear()
        await bench.board.power_on()
        assert "damaged" not in bench.board.console_tail
        # littlefs gives the old content or the new one, whole
        source = """
import os
d = open('/new').read() if 'new' in os.listdir('/') else ''
print(len(d) and d == d[:len(d) // 200] * 200)
"""
        shown = await bench.run(source)
        assert shown in ("True\n", "0\n")


async def test_spec_asks_for_the_cut_from_the_first_power(tmp_path) -> None:
    spec = BoardSpec("cut", "test", tmp_path / "cut.img", power_cut_at_write=2)
    board = VirtualBoard(spec, WorldClock.starting(1e9), tmp_path)
    await board.start()  # formatting the blank flash takes more than two writes
    await asyncio.wait_for(board.until_off(), DEADLINE_S)
    assert board.flash_writes == 2
    assert [cause for _, cause in board.resets] == [PWRON_RESET]
    await board.stop()


async def test_two_boards_cannot_have_one_flash(start, tmp_path) -> None:
    await start(name="first")
    spec = BoardSpec("second", "test", tmp_path / "first.img")
    board = VirtualBoard(spec, WorldClock.starting(1e9), tmp_path)
    with pytest.raises(BoardError, match=r"first\.img is in use by another board"):
        await board.start()
    await board.stop()


async def test_a_damaged_flash_is_said_and_not_formatted(start, tmp_path) -> None:
    (tmp_path / "board.img").write_bytes(b"\x55" * 983_040)
    bench = await start()
    await bench.board.console_shows("The filesystem on the flash appears to be damaged")
    assert (tmp_path / "board.img").read_bytes() == b"\x55" * 983_040


async def test_flash_of_another_size_is_refused(tmp_path) -> None:
    (tmp_path / "small.img").write_bytes(b"\xff" * 4096)
    board = VirtualBoard(BoardSpec("b", "test", tmp_path / "small.img"), WorldClock.starting(1e9), tmp_path)
    with pytest.raises(BoardError, match="has 4096 bytes, wanted 983040"):
        await board.start()
    await board.stop()


async def test_image_is_read_by_another_littlefs(start, tmp_path) -> None:
    import littlefs

    bench = await start()
    await bench.install("note.txt", "from the board")
    await bench.board.stop()
    context = littlefs.UserContext(buffsize=983_040)
    context.buffer[:] = (tmp_path / "board.img").read_bytes()
    files = littlefs.LittleFS(context=context, block_size=4096, block_count=240, mount=True)
    with files.open("note.txt") as file:
        assert file.read() == "from the board"


async def test_heap_limit_is_the_boards_own(start) -> None:
    small, large = await start(name="small", heap_kib=64), await start(name="large", heap_kib=256)
    show = "import gc; gc.collect(); print(gc.mem_free())"
    free = int(await small.run(show)), int(await large.run(show))
    assert 60 * 1024 <= free[0] <= 68 * 1024
    assert 250 * 1024 <= free[1] <= 262 * 1024
    failed = await small.mpremote("exec", "bytearray(70000)", fails=1)
    assert "MemoryError" in failed


async def test_unique_ids_differ_and_stay(start) -> None:
    one, other = await start(name="one"), await start(name="other")
    show = "import machine; print(machine.unique_id().hex())"
    first = await one.run(show)
    assert first.strip() == one.board.unique_id.hex()
    assert first != await other.run(show)


def test_a_clock_that_drifts_wakes_the_board_early_and_shows_what_it_thinks(tmp_path) -> None:
    spec = BoardSpec("b", "test", tmp_path / "b.img", rtc_drift=0.25)
    chip = Chip(spec, WorldClock.starting(1e9), lambda why: None)
    before = chip.rtc_offset_us
    chip.deepsleep(0, 100_000_000)
    assert chip.asleep() == 80.0
    assert chip.rtc_offset_us - before == 20_000_000


async def test_sleep_is_skipped_and_told_apart_from_being_awake(tmp_path) -> None:
    spec = BoardSpec("b", "test", tmp_path / "b.img")
    board = VirtualBoard(spec, SkippingClock.starting(1e9), tmp_path)
    try:
        await board.start()
        board.type(b"import machine; machine.lightsleep(3600000); machine.deepsleep(7200000)\r")
        async with asyncio.timeout(DEADLINE_S):
            while board.wakes < 1:
                await asyncio.sleep(0.02)
        assert 3 * 3600 <= board.clock.now() - 1e9 < 3 * 3600 + 60
        assert [seconds for _, seconds in board.naps] == [3600.0]
        assert 0 < board.awake_s < 60
        assert [cause for _, cause in board.resets] == [PWRON_RESET, DEEPSLEEP_RESET]
    finally:
        await board.stop()
