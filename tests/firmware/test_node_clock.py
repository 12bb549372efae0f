"""Time: SNTP against a real UDP server, bounds, eras, and a clock that counts from 2000."""

import asyncio
import time

import pytest
from mqtt_broker import certificate, der
from on_micropython import MICROPYTHON, environment
from patience import DEADLINE_S
from sntp_server import Sntp


async def ask(tmp_path, servers, tail, timeout_s=1, not_before=None):
    """Run the firmware's clock against `servers`; what it printed. Flash proves `not_before`, else now."""
    if not_before is None:
        not_before = int(time.time())
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
        out, _ = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    finally:
        for transport, _ in opened:
            transport.close()
    return out.decode().strip()


PRINT = "    print(c.unix_ms() - time.time_ns() // 1000000, doubt, c.known, c.age_s())"


@pytest.mark.parametrize("offset", [0.0, 3600.5, -86400.25, 15 * 365.25 * 86400])
async def test_the_clock_reads_what_the_server_reads(tmp_path, offset):
    server = Sntp(offset)
    error, doubt, known, age = (
        await ask(tmp_path, [server], PRINT, not_before=int(time.time() + offset))
    ).split()
    assert abs(int(error) - offset * 1000) <= int(doubt) + 5
    assert int(doubt) <= 300
    assert (known, age, server.asked) == ("True", "0", 6)


@pytest.mark.parametrize("faults", [{}, {"late_there": True}])
async def test_slow_answers_widen_nothing(tmp_path, faults):
    """Five of six are 800 ms late, on the way back or there; the bounds are those of the quick one."""
    slow = Sntp(100.0, delays=[0.8, 0.8, 0.0, 0.8, 0.8, 0.8], **faults)
    error, doubt, *_ = (await ask(tmp_path, [slow], PRINT)).split()
    # Half of the way of the slow ones would be 400.
    assert int(doubt) <= 300
    assert abs(int(error) - 100_000) <= int(doubt) + 5


async def test_one_wrong_server_of_three_is_outvoted(tmp_path):
    servers = [Sntp(7200.0), Sntp(0.0, delays=[0.03] * 6), Sntp(0.0, delays=[0.03] * 6)]
    error, *_ = (await ask(tmp_path, servers, PRINT)).split()
    assert abs(int(error)) < 1000


async def test_a_dead_server_does_not_hide_a_living_one(tmp_path):
    error, *_ = (await ask(tmp_path, [Sntp(0.0, delays=[5.0] * 6), Sntp(50.0)], PRINT)).split()
    assert abs(int(error) - 50_000) < 1000


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


YEARS = 10 * 365 * 86400


@pytest.mark.parametrize("offset", [-2 * 86400, 2 * 86400, YEARS, -YEARS])
@pytest.mark.parametrize("first_boot", [False, True])
async def test_servers_that_are_all_far_off_set_no_clock(tmp_path, offset, first_boot):
    """Nor does any time at a first boot: nothing is known that it could be far from."""
    servers = [Sntp(offset), Sntp(offset)]
    found = await ask(tmp_path, servers, PRINT, not_before=0 if first_boot else int(time.time()))
    said, _, told = found.partition("found ")
    assert said == "error "
    assert abs(int(told.partition(",")[0]) - offset - time.time()) < 60
    assert found.endswith(", wanted a likely time or the gateway's word")


def test_eras_epochs_and_the_board_clock(micropython):
    seen = micropython(
        """
        import json, struct, time
        import machine
        from node.uplink import clock
        def packet(received, sent):
            return bytes((0x24, 2)) + bytes(22) + b"cookie!!" + struct.pack(">IIII", *received, *sent)
        seen = [clock.parse(packet((2208988800, 0), (2208988801, 1 << 31)))]
        seen.append(clock.parse(packet((0xFFFFFFFF, 0), (1, 0))))   # over the end of era 0
        for p in (packet((0, 0), (1, 0)), packet((2, 0), (1, 0))):
            try:
                clock.parse(p)
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
    assert seen[2:4] == ["found no time in the answer", "found an answer sent before the question came"]
    assert seen[4] is False
    assert seen[5] == [1893456001123, 6000, 0, [2030, 1, 1, 1, 0, 0, 1, 0]]
    assert seen[6:9] == [1000 + 2**28 + 10000, 1007 + 2**28 + 10000, 2500]
    assert seen[9:11] == [[True, True], False]
    assert seen[11] == [2030, 1, 1, 1, 0, 0, 0, 0]


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
        tick += 4000
        seen += [c.beacon(1893459600), c.unix_ms(), c.age_s(), c.known]
        seen.append(c.beacon(1893470000))                  # nobody asked again
        seen.append(c.unix_ms())
        c.asked(120)
        seen += [c.beacon(1893459600 + 50), c.unix_ms()]   # asked, and nearly the same
        c.asked(120)
        tick += 2000
        seen += [c.beacon(1893459600 + 3600), c.unix_ms(), list(moved)]
        tick += 43200000                                   # half a day on, and still no server
        c.asked(120)
        tick += 3000
        seen += [c.beacon(1893459600 + 3600 + 43200 + 6), c.unix_ms(), list(moved)]
        c.told(c.unix_ms() - 3600000, tick)                # servers overrule it, within a day
        seen += [c.unix_ms(), len(moved)]
        print(json.dumps(seen))
        """
    )
    assert seen[:3] == [False, False, False]
    assert seen[3:7] == [True, 1893459602500, 0, True]
    assert seen[7:9] == [True, 1893459602500]
    assert seen[9:11] == [True, 1893459602500]
    assert seen[11:14] == [True, 1893463201500, [3597000]]
    assert seen[14:17] == [True, 1893463201500 + 43206000 + 500, [3597000, 3500]]
    assert seen[17:] == [1893463201500 + 43206500 - 3600000, 3]


def test_the_gateway_stands_above_servers_and_flash(micropython):
    """All servers lie; its word is taken even where flash, from a lie before, says that it is past."""
    seen = micropython(
        """
        import json
        from node.uplink import clock
        tick = 5000
        clock.ticks_ms = lambda: tick
        YEARS, DAY = 10 * 365 * 86400, 86400
        T = 1893456000
        seen = []
        def told(c, unix_s):
            try:
                c.told(unix_s * 1000, tick)
                seen.append(True)
            except clock.ClockError:
                seen.append(False)
        c = clock.Clock(T + 2 * DAY)
        told(c, T)                                         # the truth, which flash refuses
        c.asked(120)
        seen += [c.beacon(T), c.unix_ms() - T * 1000]
        told(c, T + 5)                                     # and now it is believed
        for unix_s in (T + YEARS, T + DAY + 100, T - DAY - 100, T - YEARS):
            told(c, unix_s)
        # A day is the most, in one step or in many, until the gateway has spoken.
        told(c, T + DAY // 2)
        told(c, T + DAY)
        told(c, T + DAY + DAY // 2)
        told(c, T)
        told(c, T + DAY)
        told(c, T + DAY + 1)
        seen.append(c.unix_ms() - T * 1000)
        c.asked(120)
        seen += [c.beacon(T + DAY), c.unix_ms() - T * 1000]
        c.asked(120)
        seen += [c.beacon(T), c.unix_ms() - T * 1000]      # it may also be far behind us
        told(c, T + DAY)
        print(json.dumps(seen))
        """
    )
    assert seen[:4] == [False, True, 500, True]
    assert seen[4:8] == [False] * 4
    assert seen[8:14] == [True, True, False, True, True, False]
    assert seen[14:] == [86400000, True, 86400000, True, 500, True]


def test_what_is_only_tried_is_believed_when_its_certificate_held_and_the_gateway_kept_silent(micropython):
    seen = micropython(
        """
        import json
        import machine
        from node.uplink import clock
        tick = 5000
        clock.ticks_ms = lambda: tick
        YEARS = 10 * 365 * 86400
        T, BEGUN = 1893456000, 1890000000
        shown = lambda: clock.time.mktime(tuple(machine.RTC.written[:3] + machine.RTC.written[4:7]) + (0, 0))
        def told(c, unix_s):
            try:
                c.told(unix_s * 1000, tick)
                return True
            except clock.ClockError:
                return False
        seen = []
        c = clock.Clock()
        seen.append(told(c, T))
        for _ in range(3):                                 # in turn with what is known to be past
            tick += 1000
            c.guess(BEGUN)
            seen.append(shown())
        c.asked(120)
        tick += 3750
        seen.append(told(c, T + 7))                        # the gateway has not had its time yet
        tick += 1
        seen.append(told(c, T + YEARS))                    # not what the certificate held under
        seen.append(told(c, T + YEARS))
        seen.append(told(c, T + 7))
        c.guess(BEGUN)
        seen.append(shown())
        c.asked(120)
        tick += 3751
        seen += [c.known, told(c, T + 11), c.known, c.unix_ms() - T * 1000]
        # A statement that went out under the bound says nothing about what servers tell.
        c = clock.Clock()
        seen += [told(c, T), c.guess(BEGUN), c.guess(BEGUN)]
        c.asked(120)
        tick += 60000
        c.guess(BEGUN)
        seen += [told(c, T + 60), c.known]
        # Nor does one under a time that is told no more.
        c = clock.Clock()
        told(c, T)
        c.guess(BEGUN)
        told(c, T + YEARS)
        c.asked(120)
        tick += 60000
        seen += [told(c, T + YEARS + 60), c.known]
        # A line that breaks after the statement does not undo what was proven.
        c = clock.Clock()
        told(c, T)
        c.guess(BEGUN)
        c.asked(120)
        tick += 3751
        c.guess(BEGUN)
        seen += [told(c, T + 4), c.known]
        # What lies before all that is known is never shown.
        c = clock.Clock(T)
        seen += [told(c, T - YEARS), c.guess(BEGUN), shown() - T, c.guess(BEGUN), shown() - T]
        print(json.dumps(seen))
        """
    )
    at, begun = 1893456000, 1890000000
    assert seen[:4] == [False, at + 1, begun, at + 3]
    assert seen[4:8] == [False, False, False, False]
    assert seen[8:13] == [at + 7, False, True, True, 11000]
    assert seen[13:18] == [False, True, True, False, False]
    assert seen[18:20] == [False, False]
    assert seen[20:22] == [True, True]
    assert seen[22:] == [False, True, 0, True, 0]


@pytest.mark.parametrize(("asleep_s", "led_s"), [(8000, 1000), (80_000_000, 86400)])
def test_a_clock_that_ran_on_in_deep_sleep_is_led_by_an_eighth_of_it(micropython, asleep_s, led_s):
    """That much its oscillator may be off and more; never by more than a day, whenever it was set."""
    seen = micropython(
        f"""
        import json, time
        from node.uplink import clock
        now = int(time.time())
        c = clock.Clock()
        c.resume(now - {asleep_s})
        seen = [c.known]
        for ahead in ({led_s} + 60, {led_s} - 60):
            try:
                c.told((now + ahead) * 1000, clock.ticks_ms())
            except clock.ClockError as fault:
                seen.append("wanted a likely time" in str(fault))
            seen.append(c.synchronised_s() - now)
        print(json.dumps(seen))
        """
    )
    assert seen == [True, True, -asleep_s, led_s - 60]


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
