"""Unmodified mpremote on a virtual board: every command a technician or a developer uses."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import signal
import sys
from pathlib import Path

import serial
from patience import DEADLINE_S

BINARY = bytes(range(256)) * 11 + b"\x03\x0d\x0a\x0d\x0d\x0a\x0a\x03\x18\x04\x01\x02" * 40


async def test_exec_prints_and_reports_errors(start) -> None:
    bench = await start()
    assert await bench.mpremote("exec", "print(6 * 7)") == "42\n"
    failed = await bench.mpremote("exec", "raise ValueError('no')", fails=1)
    assert failed.rstrip().endswith("ValueError: no")


async def test_output_lines_end_in_cr_lf_like_a_board(start) -> None:
    bench = await start()
    await bench.mpremote("exec", "print('a\\nb')")
    assert "a\r\nb\r\n\x04" in bench.board.console_tail


async def test_run_a_local_script(start, tmp_path: Path) -> None:
    bench = await start()
    (tmp_path / "script.py").write_text("for i in range(3):\n    print('line', i)\n")
    assert await bench.mpremote("run", str(tmp_path / "script.py")) == "line 0\nline 1\nline 2\n"


async def test_files_go_there_and_back_unchanged(start, tmp_path: Path) -> None:
    bench = await start()
    local, back = tmp_path / "local.bin", tmp_path / "back.bin"
    local.write_bytes(BINARY)
    await bench.mpremote("fs", "mkdir", "lib")
    await bench.mpremote("fs", "cp", str(local), ":lib/there.bin")
    assert f"{len(BINARY):>12} there.bin" in await bench.mpremote("fs", "ls", "lib")
    sums = await bench.mpremote("fs", "sha256sum", "lib/there.bin")
    assert hashlib.sha256(BINARY).hexdigest() in sums
    await bench.mpremote("fs", "cp", ":lib/there.bin", str(back))
    assert back.read_bytes() == BINARY
    await bench.mpremote("fs", "rm", "lib/there.bin")
    assert "there.bin" not in await bench.mpremote("fs", "ls", "lib")
    missing = await bench.mpremote("fs", "rm", "lib/there.bin", fails=1)
    assert "No such file or directory" in missing


async def test_df_shows_the_flash_of_an_esp32_and_nothing_of_the_host(start) -> None:
    bench = await start()
    lines = (await bench.mpremote("df")).splitlines()
    assert len(lines) == 2
    assert lines[1].split()[1] == "983040"
    assert lines[1].split()[-1] == "/"


async def test_host_files_cannot_be_seen(start) -> None:
    bench = await start()
    source = """
import os, vfs
print(os.listdir('/'))
for path in ('/etc/passwd', '/proc/self/status'):
    try: open(path)
    except OSError as error: print(error.errno)
print(hasattr(os, 'VfsPosix'), hasattr(vfs, 'VfsPosix'), hasattr(os, 'system'), hasattr(os, 'getenv'))
import uos; print(uos is os)
"""
    assert await bench.run(source) == "['boot.py']\n2\n2\nFalse False False False\nTrue\n"


async def test_soft_reset_forgets_and_runs_boot_but_not_main_in_the_raw_repl(start) -> None:
    bench = await start()
    await bench.install("boot.py", "print('booting')\nBOOTED = 1\n")
    await bench.install("main.py", "print('main ran')\n")
    bench.board._tail.clear()
    assert await bench.mpremote("exec", "print('X' in globals(), BOOTED)\nX = 1") == "False 1\n"
    assert "OK\r\nMPY: soft reboot\r\nbooting\r\nraw REPL; CTRL-B to exit\r\n>" in bench.board.console_tail
    assert await bench.mpremote("resume", "exec", "print(X)") == "1\n"
    assert "main ran" not in bench.board.console_tail
    await bench.mpremote("soft-reset")
    assert "main ran" not in bench.board.console_tail
    bench.board.type(b"\x04")
    await bench.board.console_shows("MPY: soft reboot\r\nbooting\r\nmain ran\r\n")
    assert await bench.mpremote("exec", "print('X' in globals())") == "False\n"


async def test_reset_is_a_hard_reset_that_runs_main(start) -> None:
    bench = await start()
    await bench.install("main.py", "import machine\nprint('cause', machine.reset_cause())\n")
    await bench.mpremote("reset")
    await bench.board.console_shows("cause 2")
    assert bench.board.resets[-1][1] == 2


async def test_machine_soft_reset_from_code(start) -> None:
    bench = await start()
    await bench.install("main.py", "import machine\nprint('cause', machine.reset_cause())\n")
    await bench.mpremote("resume", "exec", "X = 1")
    await bench.mpremote("resume", "exec", "--no-follow", "import machine; machine.soft_reset()")
    await asyncio.sleep(0)
    assert await bench.mpremote("resume", "exec", "print('X' in globals())") == "False\n"


async def test_mount_serves_binary_content_and_imports_from_it(start, tmp_path: Path) -> None:
    bench = await start()
    folder = tmp_path / "local"
    folder.mkdir()
    (folder / "data.bin").write_bytes(BINARY)
    # names and lengths of 10 and 13 characters put LF and CR into the protocol itself
    (folder / "abcdefg.py").write_text("VALUE = 7\n")
    (folder / "tenletters.py").write_text("import hashlib, binascii\nfrom abcdefg import VALUE\n# \x03\r\n")
    source = """
import tenletters, hashlib, binascii
print(tenletters.VALUE)
with open('data.bin', 'rb') as file: data = file.read()
print(len(data), binascii.hexlify(hashlib.sha256(data).digest()).decode())
with open('out.bin', 'wb') as file: file.write(data)
"""
    shown = await bench.mpremote("mount", str(folder), "exec", source)
    assert "7\n" in shown
    assert f"{len(BINARY)} {hashlib.sha256(BINARY).hexdigest()}\n" in shown
    assert (folder / "out.bin").read_bytes() == BINARY
    assert await bench.run("print(1)") == "1\n"


async def test_mount_works_at_sixty_times_speed(start, tmp_path: Path) -> None:
    bench = await start(speed=60.0)
    (tmp_path / "far.py").write_text("print('imported')\n")
    assert "imported\n" in await bench.mpremote("mount", str(tmp_path), "exec", "import far")


async def test_rtc_is_set_and_read(start) -> None:
    bench = await start()
    assert (await bench.mpremote("rtc")).startswith("(2000, 1, 1, 5, 0, 0, ")
    await bench.mpremote("rtc", "--set")
    year = int(re.match(r"\((\d+),", await bench.mpremote("rtc"))[1])
    assert year >= 2024


async def test_eval_and_chained_commands(start) -> None:
    bench = await start()
    assert await bench.mpremote("eval", "1 + 2", "eval", "'x' * 3") == "3\nxxx\n"


async def test_repl_is_sane(start) -> None:
    bench = await start()
    bench.board.type(b"1 + 41\r")
    await bench.board.console_shows(">>> 1 + 41\r\n42\r\n>>> ")
    bench.board.type(b"for i in range(2): print('i', i)\r\r")
    await bench.board.console_shows("i 0\r\ni 1\r\n>>> ")
    bench.board.type(b"\x05print('pasted')\r\x04")
    await bench.board.console_shows("=== \r\npasted\r\n>>> ")
    bench.board.type(b"\x04")
    await bench.board.console_shows("MPY: soft reboot\r\n")


async def test_ctrl_c_stops_code_that_waits_and_code_that_computes(start) -> None:
    bench = await start()
    for source in (
        "import time; time.sleep(1000)\r",
        "while True: pass\r\r",
        "import sys; sys.stdin.read(1)\r",
    ):
        bench.board._tail.clear()
        bench.board.type(source)
        await bench.board.console_shows(source.strip())
        await until_running(bench)
        bench.board.type(b"\x03")
        await bench.board.console_shows("KeyboardInterrupt")
        await bench.board.console_shows("\r\n>>> ")


async def test_mpremote_enters_a_board_that_is_busy_with_its_main(start) -> None:
    bench = await start()
    main = "import asyncio\nasync def f():\n    while True: await asyncio.sleep_ms(20)\n"
    await bench.install("main.py", main + "print('up')\nasyncio.run(f())\n")
    for _ in range(3):
        await bench.reboot()
        await bench.board.console_shows("up")
        assert await bench.mpremote("exec", "print(5)") == "5\n"
    await bench.install("main.py", "print('up')\nn = 0\nwhile True: n += 1\n")
    for _ in range(3):
        await bench.reboot()
        await bench.board.console_shows("up")
        assert await bench.mpremote("exec", "print(6)") == "6\n"


async def test_uncaught_exception_in_main_leaves_the_repl(start) -> None:
    bench = await start()
    await bench.install("main.py", "def f():\n    raise OSError(5)\nf()\n")
    bench.board.type(b"\x04")
    await bench.board.console_shows('File "main.py", line 2, in f\r\nOSError: [Errno 5] EIO\r\n')
    await bench.board.console_shows(">>> ")
    assert await bench.mpremote("resume", "exec", "print(1)") == "1\n"


async def test_system_exit_in_main_restarts_it(start) -> None:
    bench = await start()
    await bench.install("main.py", "import sys, machine\nprint('cause', machine.reset_cause())\nsys.exit()\n")
    bench.board._tail.clear()
    await bench.board.hard_reset()
    await bench.board.console_shows("cause 2\r\nMPY: soft reboot\r\ncause 5\r\n")


async def test_a_flood_nobody_reads_neither_blocks_nor_grows(start) -> None:
    bench = await start()
    source = "for i in range(20000): print('0123456789' * 8)\nopen('done', 'w').close()\n"
    await bench.install("main.py", source)
    bench.board._tail.clear()
    await bench.board.hard_reset()
    await bench.board.console_shows(">>> ")
    assert " done" in await bench.mpremote("resume", "fs", "ls")
    assert len(bench.board.console_tail) <= 65_536


async def test_a_slow_reader_gets_every_byte(start) -> None:
    bench = await start()
    shown = await bench.run("for i in range(3000): print(i, 'x' * 40)")
    assert shown.splitlines() == [f"{i} {'x' * 40}" for i in range(3000)]


async def test_a_reader_that_holds_the_port_and_pauses_loses_nothing(start) -> None:
    bench = await start()
    with serial.Serial(bench.board.port, timeout=0.2, exclusive=True) as port:
        bench.board.type("for i in range(2000): print(i, 'x' * 40)\r\r")
        await asyncio.sleep(1.5)  # three times as long as a port without anybody is waited for
        read = b""
        async with asyncio.timeout(DEADLINE_S):
            while not read.endswith(b"xx\r\n>>> "):
                read += await asyncio.to_thread(port.read, 65536)
    assert read.splitlines()[-2001:-1] == [b"%d %s" % (i, b"x" * 40) for i in range(2000)]


async def test_power_goes_while_output_waits_for_a_reader(start) -> None:
    bench = await start()
    with serial.Serial(bench.board.port, exclusive=True):
        bench.board.type("while True: print('x' * 80)\r\r")
        await asyncio.sleep(0.5)
        await asyncio.wait_for(bench.board.power_cut(), DEADLINE_S)
    assert bench.board.pid is None


async def test_nothing_is_left_behind(start, tmp_path: Path) -> None:
    bench = await start()
    pid = bench.board.pid
    await bench.board.stop()
    assert not Path(f"/proc/{pid}").exists()
    assert list((tmp_path / "run").iterdir()) == []


async def test_the_board_dies_with_its_supervisor(tmp_path: Path) -> None:
    """Also where hang-ups are ignored, as under nohup, and in the middle of a program that sleeps."""
    words = [
        sys.executable,
        "-m",
        "peilmerk_bench.cli",
        "board",
        "--json",
        "--flash",
        str(tmp_path / "f.img"),
    ]
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", "trap '' HUP; exec \"$@\"", "sh", *words),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    port = json.loads(await asyncio.wait_for(process.stdout.readline(), DEADLINE_S))["port"]
    with serial.Serial(port, timeout=0.2) as console:
        console.write(b"import time; print('asl' + 'eep'); time.sleep(1000)\r")
        shown = b""
        async with asyncio.timeout(DEADLINE_S):
            while b"asleep" not in shown:
                shown += await asyncio.to_thread(console.read, 64)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) == 1
    process.send_signal(signal.SIGKILL)
    await process.wait()
    async with asyncio.timeout(DEADLINE_S):
        while alive(int(children[0])):
            await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def until_running(bench) -> None:
    """Wait until the board's code runs, not its REPL."""
    async with asyncio.timeout(DEADLINE_S):
        while not bench.board._interpreter._runs():
            await asyncio.sleep(0.005)


async def test_an_interpreter_that_dies_of_ctrl_c_still_comes_to_the_prompt(start) -> None:
    bench = await start()
    await bench.install("main.py", "print('main runs')\nwhile True:\n    pass\n")
    await bench.reboot()
    await bench.board.console_shows("main runs")
    running = bench.board.pid
    assert running is not None
    os.kill(running, signal.SIGSTOP)  # so that nobody sees the interrupt before the end
    bench.board.type(b"\r\x03")
    bench.board.type(b"\r\x01")
    os.kill(running, signal.SIGKILL)
    await bench.board.console_shows("raw REPL; CTRL-B to exit\r\n>")
    assert bench.board.pid != running
    assert bench.board.console_tail.count("main runs") == 1
