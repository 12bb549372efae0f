"""The simulators against the data sheets' own bytes, and on a board through the ordinary `machine` API."""

from __future__ import annotations

import ast
import asyncio

import pytest
from patience import DEADLINE_S

from peilmerk_bench.board import SensorSpec, air_sensors
from peilmerk_bench.sensors.beam import BeamPair
from peilmerk_bench.sensors.device import BusHang, Nack
from peilmerk_bench.sensors.sds011 import FRAME_S, SDS011, data_frame
from peilmerk_bench.sensors.sensirion import crc8, words
from peilmerk_bench.sensors.sht3x import SHT3x
from peilmerk_bench.world.passages import Passage

SLEEP = bytes.fromhex("aab406010000000000000000000000ffff05ab")
WAKE = bytes.fromhex("aab406010100000000000000000000ffff06ab")
QUERY = bytes.fromhex("aab404000000000000000000000000ffff02ab")
CONTINUOUS = bytes.fromhex("aab408010000000000000000000000ffff07ab")
QUERY_MODE = bytes.fromhex("aab402010100000000000000000000ffff02ab")


def command(*head: int, identity: bytes = b"\xff\xff") -> bytes:
    body = bytes(head).ljust(13, b"\0") + identity
    return b"\xaa\xb4" + body + bytes((sum(body) & 0xFF, 0xAB))


def sds011(**options) -> SDS011:
    sensor = SDS011("sds011", air=lambda at: (123.6, 261.8), **options)
    sensor.power(0.0, True)
    return sensor


def answers(sensor: SDS011, at: float, data: bytes) -> bytes:
    """What comes back within 50 ms, reports aside."""
    sensor.read(at)
    sensor.receive(at, data)
    return sensor.read(at + 0.05)


def test_sds011_report_is_the_data_sheets_vector() -> None:
    assert data_frame(1236, 2618, b"\xa1\x60").hex() == "aac0d4043a0aa1601dab"
    sensor = sds011()
    sensor.read(19.5)
    assert sensor.next_at(19.5) == pytest.approx(20 + FRAME_S)
    assert sensor.read(20 + FRAME_S + 1e-9).hex() == "aac0d4043a0aa1601dab"
    assert sensor.served[-1].values == {"pm2_5": 123.6, "pm10": 261.8}
    assert sensor.served[-1].good


def test_sds011_bytes_come_one_by_one_at_9600_baud() -> None:
    sensor = sds011()
    sensor.read(19.5)
    assert sensor.read(20.0 + 3.5 / 960) == bytes.fromhex("aac0d4")
    assert sensor.read(20.0 + 9.5 / 960) == bytes.fromhex("043a0aa1601d")
    assert sensor.read(20.5) == b"\xab"
    assert sensor.read(20.9) == b""


def test_sds011_reports_every_second_and_too_little_while_it_warms_up() -> None:
    sensor = sds011()
    frames = sensor.read(30.5)
    assert len(frames) == 30 * 10
    assert [s.good for s in sensor.served] == [False] * 14 + [True] * 16
    assert sensor.served[0].values["pm2_5"] < 60 < sensor.served[13].values["pm2_5"] < 123.6


@pytest.mark.parametrize(
    ("sent", "reply"),
    [
        (SLEEP, "aac506010000a16008ab"),
        (WAKE, "aac506010100a16009ab"),
        (CONTINUOUS, "aac508010000a1600aab"),
        (QUERY_MODE, "aac502010100a16005ab"),
        (command(8, 1, 5), "aac508010500a1600fab"),
        (command(8, 0), "aac508000000a16009ab"),
        (command(2, 0), "aac502000000a16003ab"),
        (command(7, 0), "aac507120b10a16035ab"),
        (command(5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12, 0x34), "aac50500000012344bab"),
    ],
)
def test_sds011_answers_commands(sent: bytes, reply: str) -> None:
    assert answers(sds011(), 20.1, sent).hex() == reply


def test_sds011_query_mode_reports_only_when_asked() -> None:
    sensor = sds011()
    answers(sensor, 20.1, QUERY_MODE)
    assert sensor.next_at(21.0) is None
    assert sensor.read(60.0) == b""
    assert answers(sensor, 60.0, QUERY).hex() == "aac0d4043a0aa1601dab"


def test_sds011_asleep_answers_only_the_command_that_wakes_it_and_warms_up_again() -> None:
    sensor = sds011()
    answers(sensor, 20.1, SLEEP)
    assert sensor.read(100.0) == b""
    assert answers(sensor, 100.0, QUERY) == b""
    assert answers(sensor, 100.1, CONTINUOUS) == b""
    assert answers(sensor, 100.2, WAKE).hex() == "aac506010100a16009ab"
    sensor.read(110.0)
    assert not sensor.served[-1].good
    sensor.read(120.0)
    assert sensor.served[-1].good


def test_sds011_period_works_half_a_minute_and_reports_once() -> None:
    sensor = sds011()
    answers(sensor, 100.0, command(8, 1, 2))
    assert sensor.read(129.0) == b""
    assert len(sensor.read(131.0)) == 10
    assert sensor.served[-1].good
    assert sensor.read(249.0) == b""
    assert len(sensor.read(251.0)) == 10
    assert sensor.served[-1].good


def test_sds011_ignores_others_ids_wrong_checksums_and_noise() -> None:
    sensor = sds011()
    assert answers(sensor, 20.1, command(6, 1, 0, identity=b"\x12\x34")) == b""
    assert answers(sensor, 20.2, SLEEP[:-2] + b"\x00\xab") == b""
    assert answers(sensor, 20.3, b"\xaa\xb4\x06" + b"\xaa" * 3 + SLEEP) != b""
    assert answers(sensor, 20.5, command(6, 1, 1, identity=b"\xa1\x60")).hex() == "aac506010100a16009ab"


def test_sds011_keeps_mode_and_period_without_power_but_not_its_sleep() -> None:
    sensor = sds011()
    answers(sensor, 20.1, QUERY_MODE)
    answers(sensor, 20.2, SLEEP)
    sensor.power(30.0, False)
    assert sensor.read(31.0) == b""
    sensor.power(40.0, True)
    assert sensor.read(60.0) == b""
    assert answers(sensor, 60.0, QUERY).hex() == "aac0d4043a0aa1601dab"


def test_sds011_faults() -> None:
    sensor = sds011()
    changes = []
    sensor.on_change = lambda: changes.append(1)
    sensor.read(20.5)
    sensor.bad_checksums = True
    assert sensor.read(21.5).hex() == "aac0d4043a0aa16048ab"
    assert not sensor.served[-1].good
    sensor.bad_checksums = False
    sensor.silent = True
    assert sensor.next_at(22.0) is None
    assert sensor.read(30.5) == b""
    sensor.silent = False
    assert sensor.read(31.5) != b""
    assert len(changes) == 4


def test_crc8_is_sensirions() -> None:
    vectors = ((b"\xbe\xef", 0x92), (b"\x03\x00", 0xAC), (b"\x05\x00", 0xF6), (b"\x00\x00", 0x81))
    for data, crc in vectors:
        assert crc8(data) == crc


def sht3x() -> SHT3x:
    sensor = SHT3x("sht3x", climate=lambda at: (21.5, 55.0))
    sensor.power(0.0, True)
    return sensor


def test_sht3x_measurement_is_the_sheets_vector_and_is_read_once() -> None:
    sensor = sht3x()
    sensor.write(1.0, b"\x24\x00")
    with pytest.raises(Nack):
        sensor.read(1.015, 6)
    assert sensor.read(1.016, 6).hex() == "61478a8ccc2c"
    with pytest.raises(Nack):
        sensor.read(1.1, 6)
    assert sensor.served[-1].values["temperature"] == pytest.approx(21.5, abs=0.002)
    assert sensor.served[-1].values["humidity"] == pytest.approx(55.0, abs=0.001)


@pytest.mark.parametrize(
    ("code", "busy"), [(b"\x24\x00", 0.0155), (b"\x24\x0b", 0.0065), (b"\x24\x16", 0.0045)]
)
def test_sht3x_repeatability_takes_its_time(code: bytes, busy: float) -> None:
    sensor = sht3x()
    sensor.write(1.0, code)
    with pytest.raises(Nack):
        sensor.write(1.0 + busy - 1e-4, b"")
    assert len(sensor.read(1.0 + busy + 1e-4, 6)) == 6


def test_sht3x_status_heater_reset_and_serial() -> None:
    sensor = sht3x()

    def ask(at: float, code: str, size: int = 3) -> str:
        sensor.write(at, bytes.fromhex(code))
        return sensor.read(at + 0.001, size).hex()

    assert ask(1.0, "f32d") == words(0x8010).hex() == "8010e1"
    sensor.write(1.1, b"\x30\x41")
    assert ask(1.2, "f32d") == words(0x0000).hex()
    sensor.write(1.3, b"\x30\x6d")
    assert ask(1.4, "f32d") == words(0x2000).hex()
    sensor.write(1.5, b"\x30\x66")
    assert ask(1.6, "f32d") == words(0x0000).hex()
    with pytest.raises(Nack):
        sensor.write(1.7, b"\x12\x34")
    assert ask(1.8, "3780", 6) == words(0x0123, 0xABCD).hex()
    sensor.write(1.9, b"\x30\xa2")
    with pytest.raises(Nack):
        sensor.write(1.901, b"\xf3\x2d")
    assert ask(2.0, "f32d") == words(0x8010).hex()


def test_sht3x_faults() -> None:
    sensor = sht3x()
    sensor.bad_checksums = True
    sensor.write(1.0, b"\x24\x00")
    assert sensor.read(1.1, 6).hex() == "6147df8ccc79"
    sensor.silent = True
    with pytest.raises(Nack):
        sensor.write(2.0, b"\x24\x00")
    sensor.silent = False
    sensor.hanging = True
    with pytest.raises(BusHang):
        sensor.write(3.0, b"\x24\x00")


def test_beam_pair_tells_the_direction_by_the_first_beam() -> None:
    passages = [Passage(10.0, "in", 0.06, 0.3), Passage(20.0, "out", 0.05, 0.2)]
    pair = BeamPair("pair", traffic=lambda since, until: [p for p in passages if since <= p.at < until])
    at = [(round(moment, 2), pin, level) for moment, pin, level in pair.edges(0, 30)]
    assert at[:4] == [(10.0, 4, 0), (10.06, 5, 0), (10.3, 4, 1), (10.36, 5, 1)]
    assert at[4:] == [(20.0, 5, 0), (20.05, 4, 0), (20.2, 5, 1), (20.25, 4, 1)]
    assert pair.levels(10.1) == {4: 0, 5: 0}
    assert pair.levels(10.33) == {4: 1, 5: 0}
    assert pair.levels(11) == {4: 1, 5: 1}
    # a moment in the middle of a passage gives the rest of it
    assert [edge[1:] for edge in pair.edges(10.1, 15)] == [(4, 1), (5, 1)]
    pair.silent = True
    assert pair.edges(0, 30) == []


AIR_NODE = """
import asyncio, time
from machine import I2C, UART, Pin
uart = UART(1, 9600, tx=17, rx=16)
async def main():
    reader = asyncio.StreamReader(uart)
    for _ in range(3):
        frame = await reader.readexactly(10)
        print(repr(frame))
    uart.write(bytes.fromhex('aab402010100000000000000000000ffff02ab'))
    await asyncio.sleep_ms(200)
    print(repr(uart.read()), uart.read(), uart.any())
    uart.write(bytes.fromhex('aab404000000000000000000000000ffff02ab'))
    print(repr(await reader.readexactly(10)))
asyncio.run(main())
i2c = I2C(0, scl=Pin(22), sda=Pin(21))
print(i2c.scan())
try: i2c.readfrom(0x44, 6)
except OSError as error: print(error)
i2c.writeto(0x44, b'\\x24\\x00')
time.sleep_ms(16)
print(repr(i2c.readfrom(0x44, 6)))
try: i2c.writeto(0x45, b'\\x24\\x00')
except OSError as error: print(error)
"""


def fixed_air() -> tuple[SensorSpec, ...]:
    return air_sensors(air=lambda at: (123.6, 261.8), climate=lambda at: (21.5, 55.0))


@pytest.mark.parametrize("speed", [1.0, 60.0])
async def test_a_board_reads_the_sheets_bytes(start, speed: float) -> None:
    bench = await start(speed=speed, sensors=fixed_air())
    bench.board.sensors["sds011"].warm_up_s = 0.0
    lines = (await bench.run(AIR_NODE)).splitlines()
    report = bytes.fromhex("aac0d4043a0aa1601dab")
    assert [ast.literal_eval(line) for line in lines[:3]] == [report] * 3
    assert lines[3] == f"{bytes.fromhex('aac502010100a16005ab')!r} None 0"
    assert ast.literal_eval(lines[4]) == report
    assert lines[5:7] == ["[68]", "[Errno 19] ENODEV"]
    assert ast.literal_eval(lines[7]) == bytes.fromhex("61478a8ccc2c")
    assert lines[8] == "[Errno 19] ENODEV"
    assert {served.sensor for served in bench.board.served} == {"sds011", "sht3x"}


async def test_a_hanging_bus_is_a_timeout_and_a_silent_sensor_nobody(start) -> None:
    bench = await start(sensors=fixed_air())
    source = "from machine import I2C, Pin\nI2C(0, scl=Pin(22), sda=Pin(21)).writeto(0x44, b'')"
    bench.board.sensors["sht3x"].hanging = True
    assert "ETIMEDOUT" in await bench.mpremote("exec", source, fails=1)
    bench.board.sensors["sht3x"].hanging = False
    bench.board.sensors["sht3x"].silent = True
    assert "ENODEV" in await bench.mpremote("exec", source, fails=1)


async def test_wrong_pins_or_speed_leave_the_line_dead(start) -> None:
    bench = await start(speed=60.0, sensors=fixed_air())
    source = """
import time
from machine import I2C, UART, Pin
def heard(*arguments, **options):
    uart = UART(*arguments, **options); time.sleep(3); return uart.any() > 0
print(heard(1, 9600, tx=17, rx=16), heard(1, 9600, tx=16, rx=17))
print(heard(1, 115200, tx=17, rx=16), heard(2, 9600))
print(I2C(0, scl=Pin(22), sda=Pin(21)).scan(), I2C(0, scl=Pin(21), sda=Pin(22)).scan(), I2C(1).scan())
"""
    assert await bench.run(source) == "True False\nFalse False\n[68] [] []\n"


async def test_a_fault_set_while_the_board_sleeps_is_noticed(start) -> None:
    bench = await start(speed=60.0, sensors=fixed_air())
    sensor = bench.board.sensors["sds011"]
    sensor.silent = True
    source = """
import asyncio
from machine import UART
uart = UART(1, 9600, tx=17, rx=16)
async def main():
    print('waiting')
    print(len(await asyncio.StreamReader(uart).readexactly(10)))
asyncio.run(main())
"""
    await bench.install("main.py", source)
    bench.board.type(b"\x04")
    await bench.board.console_shows("waiting")
    sensor.silent = False
    await bench.board.console_shows("waiting\r\n10\r\n")


async def test_unread_bytes_beyond_the_buffer_are_lost(start) -> None:
    bench = await start(speed=60.0, sensors=fixed_air())
    source = "import time, machine\nu = machine.UART(1, 9600, tx=17, rx=16)\ntime.sleep(60)\nprint(u.any())"
    assert await bench.run(source) == "256\n"


async def test_a_passage_by_hand_reaches_a_sleeping_board(start) -> None:
    bench = await start(speed=1.0, sensors=(SensorSpec.beam_pair(lambda since, until: []),))
    source = """
import asyncio
from machine import Pin
order = []
done = asyncio.ThreadSafeFlag()
def broken(pin):
    order.append(repr(pin))
    if len(order) == 2: done.set()
for number in (4, 5): Pin(number).irq(broken, Pin.IRQ_FALLING)
print('watching')
async def main(): await done.wait(); print(order)
asyncio.run(main())
"""
    await bench.install("main.py", source)
    bench.board.type(b"\x04")
    await bench.board.console_shows("watching")
    bench.board.pass_by("beam_pair", "out")
    await bench.board.console_shows("['Pin(5)', 'Pin(4)']")
    async with asyncio.timeout(DEADLINE_S):
        while not bench.board.passages:  # until the beams are seen again
            await asyncio.sleep(0.02)
    assert [passage.direction for passage in bench.board.passages] == ["out"]
