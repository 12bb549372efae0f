"""What the air drivers read, on MicroPython: the data sheets' bytes, and garbage that nobody thought of."""

from __future__ import annotations

import json
import struct
import subprocess
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from on_micropython import MICROPYTHON, environment

# Answers each line of JSON [name, arguments] with a line of JSON: ["value", …] or ["fault", text].
SERVER = """
import json, sys
from node.sensing import SensorFault
from node.sensing import bme280, frames, pmsx003, sds011, sensirion, shdlc

LONGEST = {"sds011": 10, "pmsx003": 40, "shdlc": 98}
JUDGES = {"sds011": sds011.judge, "pmsx003": pmsx003.judge, "shdlc": shdlc.judge}

class Owner:
    damaged = 0

def found(name, data):
    owner = Owner()
    calls = 0
    def judge(buffer, held):
        nonlocal calls
        calls += 1
        return JUDGES[name](buffer, held)
    search = frames.Frames(owner, LONGEST[name], judge)
    frame_list = [frame.hex() for frame in [search.feed(byte) for byte in bytes.fromhex(data)] if frame]
    return frame_list, owner.damaged, calls

def weather(low, high, raw_t, raw_p, raw_h):
    c = bme280.calibration(bytes.fromhex(low), bytes.fromhex(high))
    hundredths, t_fine = bme280.temperature(c, raw_t)
    return hundredths, t_fine, bme280.pressure(c, t_fine, raw_p), bme280.humidity(c, t_fine, raw_h)

def unstuffed(data):
    content = shdlc.unstuffed(bytes.fromhex(data))
    return content and content.hex()

DO = {
    "found": found,
    "weather": weather,
    "crc8": lambda data: sensirion.crc8(bytes.fromhex(data)),
    "words": lambda data, number: sensirion.parse(bytes.fromhex(data), number),
    "tenths": sensirion.tenths,
    "stuffed": lambda data: shdlc.stuffed(bytes.fromhex(data)).hex(),
    "unstuffed": unstuffed,
    "sds011": lambda data: sds011.parse(bytes.fromhex(data)),
    "sds011 command": lambda *head: sds011.command(*head).hex(),
    "pmsx003": lambda data, at: pmsx003.parse(bytes.fromhex(data), at),
    "pmsx003 command": lambda *head: pmsx003.command(*head).hex(),
}
while True:
    line = sys.stdin.readline()
    if not line:
        break
    name, arguments = json.loads(line)
    try:
        answer = ["value", DO[name](*arguments)]
    except SensorFault as fault:
        answer = ["fault", str(fault)]
    print(json.dumps(answer))
"""


class Board:
    """MicroPython with the drivers' parsers: ask(name, *arguments) is the value or the declared fault."""

    def __init__(self, folder) -> None:
        script = folder / "server.py"
        script.write_text(SERVER)
        self.process = subprocess.Popen(
            [str(MICROPYTHON), str(script)],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def answer(self, name: str, *arguments: Any) -> tuple[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([name, arguments]) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"{name}{arguments}: something else than SensorFault was raised"
        outcome, value = json.loads(line)
        return outcome, value

    def ask(self, name: str, *arguments: Any) -> Any:
        return self.answer(name, *arguments)[1]


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    it = Board(tmp_path_factory.mktemp("parsers"))
    yield it
    it.process.kill()
    it.process.communicate()


GOOD = {
    "sds011": "aac0d4043a0aa1601dab",
    "pmsx003": "424d001c0005000800090005000800090384010400280006000200019700022b",
    "shdlc": "7e007d314300ab7e",
}
LONGEST = {"sds011": 10, "pmsx003": 40, "shdlc": 98}
TOKENS = {
    "sds011": [b"\xaa\xc0", b"\xaa\xc5", b"\xaa", b"\xab", b"\0" * 8],
    "pmsx003": [b"BM", b"BM\0\x1c", b"BM\0\x14", b"BM\0\x24", b"BM\0\x04", b"B", b"\0" * 20],
    "shdlc": [b"\x7e", b"\x7e\x7e", b"\x7d", b"\x7d\x5e", b"\0\x03\0\x28", b"\0" * 50],
}


def test_sds011_is_the_data_sheets(board) -> None:
    assert board.ask("sds011", GOOD["sds011"]) == [1236, 2618]
    commands = [board.ask("sds011 command", *c) for c in ((6, 1, 0), (6, 1, 1), (4, 0, 0), (8, 1, 0))]
    assert commands == [
        "aab406010000000000000000000000ffff05ab",
        "aab406010100000000000000000000ffff06ab",
        "aab404000000000000000000000000ffff02ab",
        "aab408010000000000000000000000ffff07ab",
    ]


def test_pmsx003_is_the_makers(board) -> None:
    # ug/m3 under atmospheric environment: the second three words.
    assert board.ask("pmsx003", GOOD["pmsx003"], 0) == [50, 80, 90]
    assert board.ask("found", "pmsx003", GOOD["pmsx003"])[0] == [GOOD["pmsx003"]]
    commands = [
        board.ask("pmsx003 command", *c) for c in ((0xE1, 0), (0xE1, 1), (0xE2, 0), (0xE4, 0), (0xE4, 1))
    ]
    assert commands == [
        "424de100000170",
        "424de100010171",
        "424de200000171",
        "424de400000173",
        "424de400010174",
    ]
    # Words 11 and 12 of a 5003T: below zero is two's complement.
    cold = bytearray.fromhex(GOOD["pmsx003"])
    cold[24:28] = b"\xff\xc9\x03\xa2"
    assert board.ask("pmsx003", cold.hex(), 11) == [50, 80, 90, -55, 930]


def test_shdlc_is_the_data_sheets(board) -> None:
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
        assert board.ask("stuffed", content) == frame
    # What an SPS30 said when it was to wake and did not sleep.
    assert board.ask("unstuffed", "7e007d314300ab7e") == "00114300"
    assert board.ask("found", "shdlc", "7e007d314300ab7e")[0] == ["7e007d314300ab7e"]


def test_sensirions_words_are_the_data_sheets(board) -> None:
    assert [board.ask("crc8", word) for word in ("beef", "0300", "0500", "0000")] == [0x92, 0xAC, 0xF6, 0x81]
    assert board.ask("words", "61478a8ccc2c", 2) == [0x6147, 0x8CCC]
    assert board.ask("words", "01f4336667a25eb93c", 3) == [500, 0x6667, 0x5EB9]
    faults = [
        board.answer("words", data, 2) for data in ("", "61478b8ccc2c", "61478a8ccc2d", "61478a8ccc2c00")
    ]
    assert faults == [
        ("fault", "found 0 bytes, wanted 6"),
        ("fault", "found CRC 8b, wanted 8a"),
        ("fault", "found CRC 2d, wanted 2c"),
        ("fault", "found 7 bytes, wanted 6"),
    ]


BOSCH = struct.pack(
    "<HhhHhhhhhhhh", 27504, 26435, -1000, 36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000
)


def test_bme280_is_boschs(board) -> None:
    high = struct.pack("<hBBBBb", 355, 0, 340 >> 4, (340 & 15) | (50 & 15) << 4, 50 >> 4, 30)
    low = (BOSCH + b"\0" + bytes((75,))).hex()
    hundredths, t_fine, pressure, humidity = board.ask("weather", low, high.hex(), 519888, 415148, 28000)
    # 100653.25 Pa
    assert (hundredths, t_fine, pressure) == (2508, 128422, 25767233)
    assert 0 < humidity < 100 * 1024
    outcome, said = board.answer("weather", "00" * 26, "00" * 7, 1, 1, 1)
    assert (outcome, said) == ("fault", "found an empty calibration")


@pytest.mark.parametrize("name", GOOD)
def test_frames_are_found_in_garbage(board, name: str) -> None:
    good, longest = GOOD[name], LONGEST[name]
    tokens = st.sampled_from(TOKENS[name]) | st.binary(max_size=6) | st.just(bytes.fromhex(good[:-4]))
    garbage = st.lists(tokens, max_size=30).map(b"".join)

    @given(garbage)
    @example(b"")
    @example(bytes.fromhex(good)[:1] * 300)
    def search(noise: bytes) -> None:
        data = noise + bytes.fromhex(good) * 3 + bytes(longest)
        frames, damaged, calls = board.ask("found", name, data.hex())
        assert frames[-3:] == [good] * 3
        # Each byte is looked at when it comes and once more when it goes.
        assert calls <= 2 * len(data)
        assert damaged <= len(noise) // 2 + 1
        for frame in frames:
            assert board.ask("found", name, frame)[0] == [frame]

    search()


@given(st.binary(max_size=80), st.integers(0, 20))
def test_words_of_garbage_are_a_fault(board, data: bytes, number: int) -> None:
    outcome, value = board.answer("words", data.hex(), number)
    assert outcome == "fault" or len(value) == number == len(data) // 3


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
@example(0x7F80, 0)
@example(0x7FC0, 0)
@example(0, 1)
@example(0x8000, 0)
def test_floats_are_read_in_tenths(board, high: int, low: int) -> None:
    number = struct.unpack(">f", struct.pack(">HH", high, low))[0]
    outcome, value = board.answer("tenths", high, low)
    if outcome == "fault":
        assert not abs(number) < 2**24
    else:
        assert abs(value - 10 * number) <= 0.5


@given(
    st.binary(min_size=26, max_size=26),
    st.binary(min_size=7, max_size=7),
    st.integers(0, 0xFFFFF),
    st.integers(0, 0xFFFFF),
    st.integers(0, 0xFFFF),
)
def test_a_garbled_calibration_is_a_fault_or_a_figure(board, low, high, raw_t, raw_p, raw_h) -> None:
    outcome, value = board.answer("weather", low.hex(), high.hex(), raw_t, raw_p, raw_h)
    assert outcome == "fault" or 0 <= value[3] <= 100 * 1024
