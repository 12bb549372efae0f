"""The simulators of an air node's sensors against the data sheets' own bytes and rules."""

from __future__ import annotations

import math
import struct

import pytest

from peilmerk_bench.sensors import pmsx003 as pms
from peilmerk_bench.sensors.bme280 import BME280, Calibration, raw_of
from peilmerk_bench.sensors.device import BusHang, Nack
from peilmerk_bench.sensors.dnms import DNMS
from peilmerk_bench.sensors.pmsx003 import PMSx003
from peilmerk_bench.sensors.scd4x import SCD4x
from peilmerk_bench.sensors.sensirion import float_words, words
from peilmerk_bench.sensors.sps30 import SPS30, SPS30Uart, stuffed, unstuffed
from peilmerk_bench.world import generated

VECTOR = "424d001c0005000800090005000800090384010400280006000200019700022b"
PASSIVE, ACTIVE = bytes.fromhex("424de100000170"), bytes.fromhex("424de100010171")
READ, SLEEP, WAKE = (bytes.fromhex(c) for c in ("424de200000171", "424de400000173", "424de400010174"))


def test_pmsx003_frames_are_the_makers() -> None:
    found = [5, 8, 9, 5, 8, 9, 0x384, 0x104, 0x28, 6, 2, 1, 0x9700]
    assert pms.data_frame(found).hex() == VECTOR
    assert [pms.command_frame(*c) for c in ((0xE1, 0), (0xE1, 1), (0xE2, 0), (0xE4, 0), (0xE4, 1))] == [
        PASSIVE,
        ACTIVE,
        READ,
        SLEEP,
        WAKE,
    ]


def pmsx003(**options) -> PMSx003:
    sensor = PMSx003("pms", air=lambda at: (5.2, 8.0, 9.4), climate=lambda at: (-5.5, 93.0), **options)
    sensor.power(0.0, True)
    return sensor


def test_pmsx003_reports_every_second_and_too_little_until_it_is_stable() -> None:
    sensor = pmsx003()
    assert len(sensor.read(40.5)) == 40 * 32
    assert [s.good for s in sensor.served] == [False] * 29 + [True] * 11
    assert sensor.served[0].values["pm10"] < 4 < sensor.served[-1].values["pm10"] == 9
    sensor.read(41.5)
    assert sensor.read(42.5)[:16].hex() == VECTOR[:32]


def test_pmsx003_passive_mode_speaks_when_asked_and_sleep_hears_only_the_waking() -> None:
    sensor = pmsx003()
    sensor.read(40.5)
    sensor.receive(40.5, PASSIVE)
    assert sensor.read(40.6).hex() == "424d0004e1000174"
    assert sensor.next_at(41.0) is None
    assert sensor.read(50.0) == b""
    sensor.receive(50.0, READ)
    assert len(sensor.read(50.2)) == 32
    sensor.receive(51.0, SLEEP)
    assert sensor.read(51.2).hex() == "424d0004e4000177"
    for order in (READ, ACTIVE, WAKE[:-1] + b"\0"):
        sensor.receive(52.0, order)
        assert sensor.read(60.0) == b""
    sensor.receive(60.0, WAKE)
    # Awake again it is active, and has to settle again.
    assert sensor.read(61.5)[:8].hex() == "424d0004e4010178"
    assert not sensor.served[-1].good


@pytest.mark.parametrize(("model", "size"), [("3003", 24), ("5003", 32), ("5003t", 32), ("5003st", 40)])
def test_pmsx003_models_differ_in_length_and_climate(model: str, size: int) -> None:
    sensor = pmsx003(model=model)
    frame = sensor.read(1.5)
    assert len(frame) == size
    assert int.from_bytes(frame[2:4], "big") == size - 4
    assert sum(frame[:-2]) == int.from_bytes(frame[-2:], "big")
    climate = {"5003t": 24, "5003st": 30}.get(model)
    if climate:
        assert struct.unpack(">hH", frame[climate : climate + 4]) == (-55, 930)


def test_sps30_serial_frames_are_the_data_sheets() -> None:
    vectors = {
        "0000020103": "7e0000020103f97e",
        "000100": "7e000100fe7e",
        "000300": "7e000300fc7e",
        "001100": "7e007d3100ee7e",
        "00d300": "7e00d3002c7e",
        "00d00103": "7e00d001032b7e",
        "005600": "7e005600a97e",
    }
    for content, frame in vectors.items():
        assert stuffed(bytes.fromhex(content)).hex() == frame
        assert unstuffed(bytes.fromhex(frame)) == bytes.fromhex(content)


def sps30_says(sensor: SPS30Uart, at: float, frame: str) -> str:
    sensor.receive(at, bytes.fromhex(frame))
    return sensor.read(at + 0.1).hex()


def test_sps30_on_a_serial_line_answers_as_the_sensor_does() -> None:
    sensor = SPS30Uart("sps30", air=lambda at: (7.0, 11.5, 17.0))
    # What a real one said when it was to wake and did not sleep.
    assert sps30_says(sensor, 1.0, "7e007d3100ee7e") == "7e007d314300ab7e"
    assert sps30_says(sensor, 2.0, "7e000300fc7e") == stuffed(b"\0\x03\x43\0").hex()
    assert sps30_says(sensor, 3.0, "7e0000020103f97e") == "7e00000000ff7e"
    assert sps30_says(sensor, 4.0, "7e0000020103f97e") == stuffed(b"\0\0\x43\0").hex()
    assert sps30_says(sensor, 40.0, "7e000300f07e") == ""
    answer = unstuffed(bytes.fromhex(sps30_says(sensor, 40.0, "7e000300fc7e")))
    assert answer is not None
    assert struct.unpack(">10f", answer[4:])[:4] == (7.0, 11.5, 14.25, 17.0)
    assert sensor.served[-1].good
    assert sps30_says(sensor, 40.5, "7e000300fc7e") == stuffed(b"\0\x03\0\0").hex()
    assert sps30_says(sensor, 41.0, "7e000100fe7e") == stuffed(b"\0\x01\0\0").hex()


def test_sps30_on_the_bus_wants_its_argument_with_the_right_crc() -> None:
    sensor = SPS30("sps30", air=lambda at: (7.0, 11.5, 17.0))
    for wrong in ("0010", "00100300ad", "00100500f6", "1234"):
        with pytest.raises(Nack):
            sensor.write(1.0, bytes.fromhex(wrong))
    sensor.write(1.0, bytes.fromhex("00100300ac"))
    sensor.write(1.5, bytes.fromhex("0202"))
    assert sensor.read(1.5, 3) == words(0)
    sensor.write(1.6, bytes.fromhex("0300"))
    with pytest.raises(Nack):
        sensor.read(1.6, 60)
    sensor.write(40.0, bytes.fromhex("0300"))
    assert sensor.read(40.0, 60)[:24] == float_words(7.0, 11.5, 14.25, 17.0)
    assert sensor.served[-1].good
    sensor.write(50.0, bytes.fromhex("5607"))
    sensor.write(55.0, bytes.fromhex("0300"))
    sensor.read(55.0, 60)
    assert not sensor.served[-1].good


def test_scd4x_is_the_data_sheets_vector() -> None:
    sensor = SCD4x("scd4x", gas=lambda at: 500.2, climate=lambda at: (25.002, 37.001))
    assert words(500, 0x6667, 0x5EB9).hex() == "01f4336667a25eb93c"
    sensor.power(0.0, True)
    with pytest.raises(Nack):
        sensor.write(0.9, b"\x21\xb1")
    sensor.write(1.1, b"\x21\xb1")
    sensor.write(6.0, b"\xe4\xb8")
    # Not ready, though the word is not 0.
    assert sensor.read(6.0, 3) == words(0x8000)
    with pytest.raises(Nack):
        sensor.write(6.0, b"\xec\x05")
    sensor.write(6.2, b"\xe4\xb8")
    assert int.from_bytes(sensor.read(6.2, 3)[:2], "big") & 0x7FF
    sensor.write(6.2, b"\xec\x05")
    assert sensor.read(6.2, 9).hex() == "01f4336667a25eb93c"
    sensor.write(6.3, b"\xe4\xb8")
    assert sensor.read(6.3, 3) == words(0x8000)


def test_scd4x_takes_settings_only_at_rest_but_the_pressure_always() -> None:
    sensor = SCD4x("scd4x")
    sensor.write(2.0, b"\x21\xb1")
    for order in ("2427" + words(12).hex(), "21ac", "3682"):
        with pytest.raises(Nack):
            sensor.write(3.0, bytes.fromhex(order))
    sensor.write(3.0, b"\xe0\x00" + words(987))
    assert sensor.told_pressure == 987
    sensor.write(4.0, b"\x3f\x86")
    with pytest.raises(Nack):
        sensor.write(4.4, b"\x24\x27" + words(12))
    sensor.write(4.6, b"\x24\x27" + words(12))
    assert sensor.altitude_m == 12


def test_bme280_has_boschs_example_inside() -> None:
    c = Calibration()
    fine = c.fine(519888)
    assert round(fine) == 128422
    assert round(c.celsius(519888), 2) == 25.08
    assert round(c.pascal(415148, fine), 2) == 100653.27
    assert raw_of(c.celsius, c.celsius(519888), 20) == 519888
    assert raw_of(lambda raw: c.pascal(raw, fine), 100653.27, 20) == 415148


def read(sensor: BME280, at: float, register: int, size: int) -> bytes:
    sensor.write(at, bytes((register,)))
    return sensor.read(at, size)


def test_bme280_measures_once_when_told() -> None:
    sensor = BME280("bme280", weather=lambda at: (1006.5, 25.08, 55.0))
    sensor.power(0.0, True)
    assert read(sensor, 0.001, 0xF3, 1)[0] & 1
    assert read(sensor, 0.01, 0xF3, 1) == b"\0"
    assert read(sensor, 0.01, 0xD0, 1) == b"\x60"
    low = struct.pack("<HhhHhhhhhhhh", *Calibration().t, *Calibration().p)
    assert read(sensor, 0.01, 0x88, 24) == low
    assert read(sensor, 0.01, 0xA1, 1) == b"\x4b"
    # H4 and H5 share a byte.
    assert read(sensor, 0.01, 0xE1, 7).hex() == "6301001524031e"
    assert read(sensor, 0.01, 0xF7, 8).hex() == "8000008000008000"
    sensor.write(1.0, b"\xf2\x01\xf4\x25")
    assert read(sensor, 1.005, 0xF3, 1) == b"\x08"
    # Until it is done the old figures stand.
    assert read(sensor, 1.005, 0xF7, 8).hex() == "8000008000008000"
    assert read(sensor, 1.01, 0xF3, 1) == b"\0"
    data = read(sensor, 1.01, 0xF7, 8)
    assert int.from_bytes(data[3:6], "big") >> 4 == pytest.approx(519888, abs=80)
    told = sensor.served[-1].values
    assert told["pressure"] == pytest.approx(1006.5, abs=0.01)
    assert told["temperature"] == pytest.approx(25.08, abs=0.01)
    assert told["humidity"] == pytest.approx(55.0, abs=0.1)
    # The humidity's setting counts from the next write of the mode on.
    sensor.write(2.0, b"\xe0\xb6")
    sensor.write(3.0, b"\xf4\x25")
    assert read(sensor, 3.1, 0xFD, 2).hex() == "8000"


def test_dnms_closes_an_interval_with_each_question() -> None:
    sensor = DNMS("dnms", sound=lambda at: 80.0 if at < 6.0 else 50.0)
    sensor.power(0.0, True)
    sensor.write(5.0, b"\0\x03")
    sensor.write(5.0, b"\0\x04")
    assert sensor.read(5.0, 3) == words(0)
    sensor.write(15.0, b"\0\x03")
    sensor.write(15.1, b"\0\x04")
    assert sensor.read(15.1, 3) == words(1)
    sensor.write(15.1, b"\0\x05")
    mean = 10 * math.log10((10**8 * 8 + 10**5 * 72) / 80)
    assert sensor.read(15.1, 18) == float_words(mean, 50.0, 80.0)
    sensor.write(15.2, b"\0\x04")
    assert sensor.read(15.2, 3) == words(0)
    sensor.write(15.2, b"\0\x02")
    assert sensor.read(15.2, 3)[:2] == b"DN"


@pytest.mark.parametrize("make", [SPS30, SCD4x, BME280, DNMS])
def test_faults_of_the_bus(make: type) -> None:
    sensor = make("it")
    sensor.hanging = True
    with pytest.raises(BusHang):
        sensor.transfer(3.0, b"\0\x01", 0)
    sensor.hanging = False
    sensor.silent = True
    with pytest.raises(Nack):
        sensor.transfer(3.0, b"\0\x01", 0)
    sensor.silent = False
    sensor.babbling = True
    babble = sensor.transfer(3.0, b"\0\x01", 20)
    assert len(babble) == 20
    assert sensor.transfer(3.0, None, 20) != babble


def test_faults_of_the_line_and_faults_that_were_planned() -> None:
    sensor = pmsx003()
    sensor.planned = [(10.0, "babbling", True), (20.0, "babbling", False), (30.0, "wedged", True)]
    assert len(sensor.arrived(9.5)) == 9 * 32
    assert sensor.arrived(10.0) == b""
    assert len(sensor.arrived(15.0)) == pytest.approx(5 * 960, abs=1000)
    assert sensor.following(15.0) == pytest.approx(15.02)
    sensor.arrived(20.5)
    assert sensor.arrived(21.5)[:2] == b"BM"
    sensor.arrived(31.5)
    assert sensor.arrived(35.0) == b""
    sensor.switch(40.0, False)
    sensor.switch(41.0, True)
    assert len(sensor.arrived(42.5)) == 32
    sensor.stuck = True
    seen = sensor.sees(sensor.air, 50.0, "air")
    sensor.air = lambda at: (1.0, 2.0, 3.0)
    assert sensor.sees(sensor.air, 60.0, "air") == seen


def test_the_generated_world_is_a_streets_and_the_same_in_every_run() -> None:
    day = [1_772_409_600.0 + 600 * i for i in range(1008)]
    assert 985 < min(map(generated.pressure, day)) < max(map(generated.pressure, day)) < 1040
    assert 415 < min(map(generated.carbon_dioxide, day)) < max(map(generated.carbon_dioxide, day)) < 520
    assert 35 < min(map(generated.sound, day)) < max(map(generated.sound, day)) < 110
    assert generated.sound(day[7]) == generated.sound(day[7])
