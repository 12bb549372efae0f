"""The board's clock: world time at any speed, wrapping ticks, asyncio on it, and causality of pin edges."""

from __future__ import annotations

import ast
import asyncio
import calendar
import socket
import ssl
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import BUSY
from patience import DEADLINE_S

from peilmerk_bench.board import counter_sensors
from peilmerk_bench.world.clock import WorldClock
from peilmerk_bench.world.passages import PassageReplay
from peilmerk_bench.world.sntp import SntpServer

# How late a busy host may wake a board at sixty times speed: a second of the host. What is not scaled is late
# by much more.
LATE_MS = 600_000

SLEEPS = """
import asyncio, time
async def main():
    out = []
    for ms in (1, 50, 1000, 20000, 60000):
        start = time.ticks_ms()
        await asyncio.sleep_ms(ms)
        out.append((ms, time.ticks_diff(time.ticks_ms(), start)))
    print(out)
asyncio.run(main())
"""


async def test_asyncio_sleeps_world_time_at_sixty_times_speed(start) -> None:
    bench = await start(speed=60.0)
    began = time.monotonic()
    slept = ast.literal_eval(await bench.run(SLEEPS))
    # The five together are 81 s of the world: not scaled they would take as long here.
    assert time.monotonic() - began < 60
    for wanted, found in slept:
        assert wanted <= found <= wanted + LATE_MS, slept


async def test_ordinary_speed_is_ordinary(start) -> None:
    bench = await start()
    source = SLEEPS.replace("1, 50, 1000, 20000, 60000", "1, 50, 500")
    for wanted, found in ast.literal_eval(await bench.run(source)):
        assert wanted <= found <= wanted + 20_000


async def test_every_way_to_wait_follows_the_world(start) -> None:
    bench = await start(speed=60.0)
    source = """
import time, select, asyncio, machine
def ms(call):
    start = time.ticks_ms(); call(); return time.ticks_diff(time.ticks_ms(), start)
print([ms(lambda: time.sleep(6)), ms(lambda: time.sleep_ms(6000)), ms(lambda: time.sleep_us(6000000)),
       ms(lambda: select.poll().poll(6000)), ms(lambda: machine.lightsleep(6000))])
async def waits():
    flag = asyncio.ThreadSafeFlag(); event = asyncio.Event()
    machine.Timer(0, mode=machine.Timer.ONE_SHOT, period=6000, callback=lambda t: flag.set())
    start = time.ticks_ms(); await flag.wait(); a = time.ticks_diff(time.ticks_ms(), start)
    async def forever(): await event.wait()
    start = time.ticks_ms()
    try: await asyncio.wait_for(forever(), 6)
    except asyncio.TimeoutError: b = time.ticks_diff(time.ticks_ms(), start)
    ticks = []
    timer = machine.Timer(1, period=1000, callback=lambda t: ticks.append(time.ticks_ms()))
    await asyncio.sleep(5.5); timer.deinit(); await asyncio.sleep(3)
    return [a, b], [y - x for x, y in zip(ticks, ticks[1:])]
waited, periods = asyncio.run(waits())
print(waited); print(periods)
"""
    waits, waited, periods = (ast.literal_eval(line) for line in (await bench.run(source)).splitlines())
    for found in waits + waited:
        assert 6000 <= found <= 6000 + LATE_MS, (waits, waited)
    assert periods == [1000] * 4


async def test_epoch_ticks_and_calendar_are_those_of_esp32(start) -> None:
    bench = await start()
    moments = [
        (2000, 1, 1, 0, 0, 0),
        (2026, 3, 2, 12, 0, 1),
        (2028, 2, 29, 23, 59, 59),
        (2100, 3, 1, 1, 2, 3),
    ]
    source = f"""
import time
print(time.ticks_add(0, -1), time.ticks_diff(5, (1 << 30) - 5), time.gmtime(0))
for m in {moments}: print(time.mktime(m + (0, 0)), time.gmtime(time.mktime(m + (0, 0)))[:6] == m)
print(time.time() < 60, time.ticks_ms() < 60000, time.localtime() == time.gmtime())
"""
    lines = (await bench.run(source)).splitlines()
    assert lines[0] == f"{2**30 - 1} 10 (2000, 1, 1, 0, 0, 0, 5, 1)"
    for line, moment in zip(lines[1:5], moments, strict=True):
        assert line == f"{calendar.timegm((*moment, 0, 0, 0)) - 946_684_800} True"
    assert lines[5] == "True True True"


COUNT = """
import asyncio, time
from machine import Pin
seen = []
def broken(pin):
    seen.append((time.time_ns() // 1000, pin is a, pin.value()))
a, b = Pin(4, Pin.IN), Pin(5, Pin.IN)
a.irq(broken, Pin.IRQ_FALLING | Pin.IRQ_RISING)
b.irq(broken, Pin.IRQ_FALLING)
began = time.ticks_ms()
async def main():
    await asyncio.sleep(WAIT)
    ended = time.time_ns() // 1000
    for entry in seen: print(*entry)
    print('end', ended)
asyncio.run(main())
"""


def world_us(bench, board_us: int) -> int:
    """World time in microseconds of what the board's time_ns() // 1000 said; its clock was never set."""
    powered_at = round(bench.board.on_periods[-1][0] * 1e6)
    return powered_at + board_us


def check_edges(bench, printed: str) -> int:
    """Every edge of the world in the listening time came at its own microsecond; returns their number."""
    *lines, last = printed.splitlines()
    until = world_us(bench, int(last.split()[1])) / 1e6
    beam = bench.board.sensors["beam_pair"]
    shown = [edge for edge in beam.edges(bench.board.listening[-1][0], until) if edge[1] == 4 or edge[2] == 0]
    seen = [line.split() for line in lines]
    found = [(world_us(bench, int(us)), 4 if is_a == "True" else 5, int(level)) for us, is_a, level in seen]
    assert found == [(round(at * 1e6), pin, level) for at, pin, level in shown]
    return len(found)


async def test_every_edge_arrives_at_its_own_microsecond(start) -> None:
    bench = await start(speed=60.0, sensors=counter_sensors())
    assert check_edges(bench, await bench.run(COUNT.replace("WAIT", "300"))) > 20


async def test_edges_do_not_depend_on_a_busy_host(start) -> None:
    bench = await start(speed=60.0, sensors=counter_sensors())
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    try:
        printed = await bench.run(COUNT.replace("WAIT", "300"))
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
    assert check_edges(bench, printed) > 20


async def test_edges_do_not_depend_on_busy_board_code(start) -> None:
    """The board never waits; asking for the time is enough to be told what happened before."""
    bench = await start(speed=60.0, sensors=counter_sensors())
    busy = COUNT.replace(
        "    await asyncio.sleep(WAIT)", "    while time.ticks_diff(time.ticks_ms(), began) < 300000: pass"
    )
    assert check_edges(bench, await bench.run(busy)) > 20


async def test_no_time_is_told_before_its_edges(start) -> None:
    """At every reading of the clock, the count so far is exactly the trace's count up to that reading."""
    bench = await start(speed=60.0, sensors=counter_sensors())
    source = """
import time
from machine import Pin
count = 0
def broken(pin):
    global count
    count += 1
Pin(4).irq(broken, Pin.IRQ_FALLING)
before = [time.time_ns() // 1000, count]
for i in range(30000):
    us = time.time_ns() // 1000
    if count != before[1]: print(*before, us, count)
    before[:] = us, count
    if i % 100 == 0: time.sleep_ms(1000)
"""
    lines = (await bench.run(source)).splitlines()
    beam = bench.board.sensors["beam_pair"]
    edges = beam.edges(bench.board.listening[-1][0], bench.board.clock.now())
    breaks = [round(at * 1e6) for at, pin, level in edges if (pin, level) == (4, 0)]
    assert len(lines) > 3
    for earlier, fewer, later, more in (map(int, line.split()) for line in lines):
        happened = breaks[fewer:more]
        assert len(happened) == more - fewer
        assert all(world_us(bench, earlier) < at <= world_us(bench, later) for at in happened)


async def test_board_reads_world_time_from_a_time_server(start) -> None:
    bench = await start(speed=60.0)
    server = SntpServer(bench.board.clock)
    port = await server.start()
    source = f"""
import socket, struct, time, machine
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.sendto(b'\\x1b' + bytes(47), socket.getaddrinfo('127.0.0.1', {port})[0][-1])
data = s.recv(48)
seconds, fraction = struct.unpack('!II', data[40:48])
seconds -= 3155673600
t = time.gmtime(seconds)
machine.RTC().datetime((t[0], t[1], t[2], 0, t[3], t[4], t[5], fraction * 1000000 >> 32))
print(time.time() + 946684800)
"""
    before = bench.board.clock.now()
    told = int(await bench.run(source))
    assert before - 1 <= told <= bench.board.clock.now()
    await server.stop()
    assert server.answered == 1


async def test_two_boards_and_their_world_agree(start) -> None:
    one, two = await start(speed=60.0, name="one"), await start(speed=60.0, name="two")
    source = "import time\nprint(time.time_ns() // 1000)"
    for bench in (one, two):
        before = bench.board.clock.now() - bench.board.on_periods[0][0]
        shown = int(await bench.run(source)) / 1e6
        after = bench.board.clock.now() - bench.board.on_periods[0][0]
        assert before - 0.001 <= shown <= after


async def test_idle_boards_cost_next_to_nothing(start) -> None:
    """Four boards with a second's heartbeat at 60 times speed use a small part of one core."""
    boards = [
        await start(speed=60.0, name=f"b{i}", sensors=counter_sensors(PassageReplay())) for i in range(4)
    ]
    main = COUNT.replace("WAIT", "1000000").replace("asyncio.run(main())", "")
    main += "async def beat():\n    while True: await asyncio.sleep(1)\nprint('up')\nasyncio.run(beat())\n"
    for bench in boards:
        await bench.install("main.py", main)
        bench.board._tail.clear()
        bench.board.type(b"\x04")
        await bench.board.console_shows("up")
    pids = [bench.board.pid for bench in boards]
    before = [cpu_seconds(pid) for pid in pids]
    await asyncio.sleep(3)
    used = [cpu_seconds(pid) - start_cpu for pid, start_cpu in zip(pids, before, strict=True)]
    # A board that polls uses all of a core: 3 s, or what is left to it on a busy host.
    assert max(used) < 1.5, used


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


async def test_tls_streams_wait_without_busy_polling(start, tmp_path: Path) -> None:
    """A TLS stream behind asyncio: handshake, data and a long silence that costs no processor time."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    make_certificate(key, certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    silence = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(5) == b"hello"
        writer.write(b"x" * 40_000 + b"end")
        await writer.drain()
        silence.set()
        await reader.readexactly(4)
        writer.write(b"late")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    source = f"""
import asyncio, ssl, time
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.verify_mode = ssl.CERT_NONE
async def main():
    r, w = await asyncio.open_connection('127.0.0.1', {port}, ssl=context)
    w.write(b'hello'); await w.drain()
    data = await r.readexactly(40003)
    print(len(data), data[-3:])
    async def later():
        await asyncio.sleep(120); w.write(b'now!'); await w.drain()
    asyncio.create_task(later())
    print(await r.readexactly(4))
asyncio.run(main())
"""
    bench = await start(speed=60.0)
    running = asyncio.create_task(bench.run(source))
    await asyncio.wait_for(silence.wait(), DEADLINE_S)
    before = cpu_seconds(bench.board.pid)
    await asyncio.sleep(1.0)
    # Polling would use all of the second.
    assert cpu_seconds(bench.board.pid) - before < 0.5
    assert await running == "40003 b'end'\nb'late'\n"
    server.close()


def make_certificate(key: Path, certificate: Path) -> None:
    """A self-signed certificate that nobody has to trust."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    key.write_bytes(private.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))


async def test_sntp_answers_to_the_byte() -> None:
    clock = WorldClock(BUSY, time.time(), 1000.0)
    server = SntpServer(clock)
    port = await server.start()
    request = b"\x23" + bytes(39) + b"\x11\x22\x33\x44\x55\x66\x77\x88"
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.connect(("127.0.0.1", port))
        client.send(b"too short")
        client.send(b"\x24" + request[1:])  # a server's packet is not a question
        before = clock.now()
        client.send(request)
        reply = await asyncio.wait_for(loop.sock_recv(client, 100), DEADLINE_S)
        after = clock.now()
    assert len(reply) == 48
    assert reply[0] == 4 << 3 | 4
    assert reply[1] == 2
    assert reply[24:32] == request[40:48]
    received, sent = (
        struct.unpack_from("!II", reply, offset)[0]
        - 2_208_988_800
        + struct.unpack_from("!II", reply, offset)[1] / 2**32
        for offset in (32, 40)
    )
    assert before <= received + 1e-3
    assert received <= sent <= after + 1e-3
    assert server.answered == 1
    await server.stop()


def test_world_clock_is_three_numbers() -> None:
    began = time.time()
    clock = WorldClock(1000.0, began - 2, 60.0)
    assert 1120 <= clock.now() <= 1120 + 60 * (time.time() - began) + 1e-3
    assert WorldClock.from_json(clock.to_json()) == clock
    assert clock.host_seconds(120) == 2
    assert clock.microseconds()[2:] == (60, 1)
    with pytest.raises(ValueError, match="speed is 0"):
        WorldClock(0, 0, 0)
