"""Time: SNTP against a real UDP server, bounds, eras, and a clock that counts from 2000."""

import asyncio
import time

import pytest
from on_micropython import MICROPYTHON, environment
from sntp_server import Sntp


async def ask(tmp_path, servers, tail, timeout_s=1, not_before=0):
    """Run the firmware's clock against `servers`; what it printed."""
    loop = asyncio.get_running_loop()
    opened = [await loop.create_datagram_endpoint(lambda s=s: s, ("127.0.0.1", 0)) for s in servers]
    addresses = [["127.0.0.1", transport.get_extra_info("sockname")[1]] for transport, _ in opened]
    script = tmp_path / "clock.py"
    script.write_text(
        f"""
import asyncio, time
from node.uplink import clock
async def main():
    c = clock.Clock({not_before})
    try:
        doubt = await c.synchronise({addresses!r}, {timeout_s})
    except clock.ClockError as fault:
        print("error", fault)
        return
{tail}
asyncio.run(main())
"""
    )
    process = await asyncio.create_subprocess_exec(
        str(MICROPYTHON),
        str(script),
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), 30)
    finally:
        for transport, _ in opened:
            transport.close()
    return out.decode().strip()


PRINT = "    print(c.unix_ms() - time.time_ns() // 1000000, doubt, c.known, c.age_s())"


@pytest.mark.parametrize("offset", [0.0, 3600.5, -86400.25, 15 * 365.25 * 86400])
async def test_the_clock_reads_what_the_server_reads(tmp_path, offset):
    server = Sntp(offset)
    error, doubt, known, age = (await ask(tmp_path, [server], PRINT)).split()
    assert abs(int(error) - offset * 1000) <= int(doubt) + 5
    assert int(doubt) <= 50
    assert (known, age, server.asked) == ("True", "0", 6)


@pytest.mark.parametrize("faults", [{}, {"late_there": True}])
async def test_slow_answers_widen_nothing(tmp_path, faults):
    """Five of six are 200 ms late, on the way back or there; the bounds are those of the quick one."""
    slow = Sntp(100.0, delays=[0.2, 0.2, 0.0, 0.2, 0.2, 0.2], **faults)
    error, doubt, *_ = (await ask(tmp_path, [slow], PRINT)).split()
    assert int(doubt) <= 30
    assert abs(int(error) - 100_000) <= int(doubt) + 5


async def test_one_wrong_server_of_three_is_outvoted(tmp_path):
    servers = [Sntp(7200.0), Sntp(0.0, delays=[0.03] * 6), Sntp(0.0, delays=[0.03] * 6)]
    error, *_ = (await ask(tmp_path, servers, PRINT)).split()
    assert abs(int(error)) < 60


async def test_a_dead_server_does_not_hide_a_living_one(tmp_path):
    error, *_ = (await ask(tmp_path, [Sntp(0.0, delays=[5.0] * 6), Sntp(50.0)], PRINT)).split()
    assert abs(int(error) - 50_000) < 60


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ({"stratum": 0}, "found a server that is not synchronised (stratum 0)"),
        ({"flags": 0xE4}, "found a server that is not synchronised (stratum 2)"),
        ({"flags": 0x23}, "found mode 3, wanted 4 (server)"),
        ({"cookie": True}, "no answer in 1 s"),
    ],
)
async def test_bad_answers_are_refused(tmp_path, server, said):
    found = await ask(tmp_path, [Sntp(0.0, **server)], PRINT)
    assert found.startswith("error found no time, wanted an answer from an NTP server (127.0.0.1: ")
    assert said in found


async def test_a_server_far_behind_the_flash_is_refused(tmp_path):
    found = await ask(tmp_path, [Sntp(0.0)], PRINT, not_before=int(time.time()) + 2 * 86400)
    assert found.startswith("error found ")
    assert "wanted a time after" in found


def test_eras_epochs_and_the_board_clock(micropython):
    seen = micropython(
        """
        import json, struct, time
        import machine
        from node.uplink import clock
        def packet(received, sent):
            return bytes((0x24, 2)) + bytes(22) + b"cookie!!" + struct.pack(">IIII", *received, *sent)
        seen = [clock.parse(packet((2208988800, 0), (2208988801, 1 << 31)), b"cookie!!")]
        seen.append(clock.parse(packet((0xFFFFFFFF, 0), (1, 0)), b"cookie!!"))   # over the end of era 0
        for p in (packet((0, 0), (1, 0)), packet((2, 0), (1, 0)), b"short"):
            try:
                clock.parse(p, b"cookie!!")
            except clock.ClockError as fault:
                seen.append(str(fault))
        tick = 5000
        clock.ticks_ms = lambda: tick
        c = clock.Clock()
        seen.append(c.keep())
        c.set(1893456000123, 4000)
        seen.append([c.unix_ms(), c.tick_of(1893456002123), c.moved_ms, machine.RTC.written])
        tick += (1 << 28) + 10000
        seen.append(c.unix_ms() - 1893456000123)
        tick += 7
        seen.append(c.unix_ms() - 1893456000123)
        c.set(c.unix_ms() + 2500, tick)
        seen.append(c.moved_ms)
        kept = clock.Clock(int(time.time()) - 5)
        seen.append([kept.keep(), kept.age_s() > 86400 * 365])
        seen.append(clock.Clock(int(time.time()) + 100).keep())
        # A port that counts from 2000 (the ESP32) sets its clock to the same year.
        clock._EPOCH = 946684800
        gmtime = time.gmtime
        class Time2000:
            @staticmethod
            def gmtime(s):
                return gmtime(s + 946684800)
        clock.time = Time2000
        clock._set_rtc(1893456000)
        seen.append(machine.RTC.written)
        print(json.dumps(seen))
        """
    )
    assert seen[:2] == [[0, 1500], [2085978495000, 2085978497000]]
    assert seen[2:5] == [
        "found no time in the answer",
        "found an answer sent before the question came",
        "found 5 bytes, wanted 48",
    ]
    assert seen[5] is False
    assert seen[6] == [1893456001123, 6000, 0, [2030, 1, 1, 1, 0, 0, 1, 0]]
    assert seen[7:10] == [1000 + 2**28 + 10000, 1007 + 2**28 + 10000, 2500]
    assert seen[10:12] == [[True, True], False]
    assert seen[12] == [2030, 1, 1, 1, 0, 0, 0, 0]


def test_the_narrowest_bounds_that_most_agree_with(micropython):
    chosen = micropython(
        """
        import json
        from node.uplink.clock import choose
        print(json.dumps([
            choose([(100, 140, 0), (115, 120, 0), (90, 200, 0)]),
            choose([(100, 140, 0), (500, 501, 0), (90, 200, 0)]),
            choose([(100, 140, 0), (1118, 1122, 1000), (90, 200, 0)]),
            choose([(100, 140, 0), (500, 501, 0)]),
        ]))
        """
    )
    assert chosen == [[115, 120, 0], [100, 140, 0], [1118, 1122, 1000], [500, 501, 0]]
