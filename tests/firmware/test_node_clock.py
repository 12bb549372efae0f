"""Time: SNTP against a real UDP server, bounds, eras, and a clock that counts from 2000."""

import asyncio
import time

import pytest
from mqtt_broker import certificate, der
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


def test_a_beacon_sets_the_clock_only_in_answer_to_a_statement(micropython):
    seen = micropython(
        """
        import json
        from node.uplink import clock
        tick = 5000
        clock.ticks_ms = lambda: tick
        moved = []
        c = clock.Clock(1893456000)
        c.on_moved = moved.append
        seen = [c.beacon(1893459600), c.known]            # nobody asked
        c.asked(120)
        tick += 120001
        seen.append(c.beacon(1893459600))                  # too late
        c.asked(120)
        seen.append(c.beacon(1893455999))                  # before what flash proves
        c.asked(120)
        tick += 4000
        seen += [c.beacon(1893459600), c.unix_ms(), c.age_s(), c.known]
        seen.append(c.beacon(1893460000))                  # not needed
        seen.append(c.unix_ms())
        c.asked(120)
        tick += 43200000                                   # half a day on, and still no server
        c.asked(120)
        tick += 3000
        seen += [c.beacon(1893459600 + 43200 + 60, 1000), c.unix_ms(), list(moved)]
        c.set(1893456000000, tick)                         # a server overrules it at any time
        seen += [c.unix_ms(), len(moved)]
        print(json.dumps(seen))
        """
    )
    assert seen[:4] == [False, False, False, False]
    assert seen[4:8] == [True, 1893459602500, 0, True]
    assert seen[8:10] == [True, 1893459602500]
    assert seen[10:12] == [True, (1893459600 + 43260) * 1000 + 1000]
    assert seen[12] == [55500]
    assert seen[13:] == [1893456000000, 2]


def test_a_guessed_time_is_a_bound_and_is_not_kept(micropython):
    seen = micropython(
        """
        import json, time
        import machine
        from node.uplink import clock
        now = int(time.time())
        seen = [clock.Clock(0).guess(0)]                   # nothing is known to be past
        c = clock.Clock(now - 500)
        seen += [c.guess(now - 9000), c.known, machine.RTC.written == clock.time.gmtime(now - 500)]
        seen.append(clock.Clock(now - 500).keep())         # a reset: the guess is no time
        c.set(now * 1000, clock.ticks_ms())
        seen += [c.guess(0), clock.Clock(now - 500).keep()]
        clock.Clock(now - 500).guess(now - 400)
        seen.append(clock.Clock(now - 500).keep())
        print(json.dumps(seen))
        """
    )
    assert seen == [False, True, False, False, False, True, True, False]


def test_the_day_a_certificate_begins(micropython):
    """Also where the number of the certificate looks like the tag of a time."""
    pair = certificate("Authority", authority=True)
    begins = int(pair[0].not_valid_before_utc.timestamp())
    body = der(pair)
    decoy = body[:20] + b"\x17\x0d" + body[20:]
    found = micropython(
        f"""
        import json
        from node.uplink.clock import begins
        print(json.dumps([begins({body!r}), begins({decoy!r}), begins(b"\\x17\\x0d12"), begins(b"")]))
        """
    )
    assert found == [begins, begins, 0, 0]


def test_answers_of_a_name_server_are_read_and_rubbish_ends(micropython):
    question = b"\x06broker\x02nl\0\0\1\0\1"
    end = 12 + len(question)
    address = b"\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\x07"
    here = b"\xc0\x0c"
    alias = here + b"\0\5\0\1\0\0\0\x3c\0\4\1x" + here

    def packet(number, records, body, code=0):
        return number + bytes((0x81, 0x80 | code, 0, 1, 0, records, 0, 0, 0, 0)) + question + body

    packets = [
        [packet(b"ab", 1, here + address)],
        [packet(b"ab", 2, alias + here + address)],
        [packet(b"ab", 1, b"\1x" + here + address)],
        [packet(b"zz", 1, alias), packet(b"ab", 1, here + address)],  # the answer to another question first
        [packet(b"ab", 0, b"", 3)],
        [packet(b"ab", 1, alias)],
    ]
    seen = micropython(
        f"""
        import asyncio, json, random
        from node.uplink.resolve import _answer
        class Stream:
            def __init__(self, answers):
                self.answers = list(answers)
            async def read(self, size):
                return self.answers.pop(0)
        async def read(answers):
            try:
                return await _answer(Stream(answers), b"ab", {end})
            except Exception as fault:
                return type(fault).__name__ + ": " + str(fault)
        async def main():
            seen = []
            for answers in {packets!r}:
                seen.append(await read(answers))
            random.seed(1)
            kinds = set()
            for _ in range(3000):
                rubbish = bytes([random.getrandbits(8) for _ in range(random.getrandbits(6))])
                kinds.add((await read([b"ab" + rubbish])).split(":")[0])
            print(json.dumps([seen, sorted(kinds)]))
        asyncio.run(main())
        """
    )
    assert seen[0][:4] == ["192.0.2.7"] * 4
    assert seen[0][4:] == ["OSError: found no address, code 3", "OSError: found no address, code 0"]
    assert len(seen[1]) > 1  # every one of them is one clear error of the resolver: it takes any Exception
