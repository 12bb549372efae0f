"""Counts the instructions of what the node does again and again: a passage, a sample, a seal, a window."""

import json
import sys

import port

figures = {}


def main(image=""):
    port.begin()
    sys.path.insert(0, "/flash/a")
    if image:
        port.mount(image)
    # The question costs instructions too: told once, and taken off.
    begin = port.fuel()
    figures["question"] = port.fuel() - begin
    _passage()
    _frame()
    _sample()
    _draw()
    _seal()
    _window()
    print(json.dumps(figures))


def _cost(name, times, work):
    """Instructions of one `work()`, the mean of many: the first fills caches and is not counted."""
    work()
    begin = port.fuel()
    for _ in range(times):
        work()
    figures[name] = (port.fuel() - begin - figures["question"]) // times


def _passage():
    """Four edges of a beam pair, as its interrupts see them."""
    import time

    from machine import Pin
    from node import sensing

    driver = sensing.load({"driver": "beam_pair", "pins": [4, 5]})
    driver.start()
    first, second = Pin.made[4], Pin.made[5]

    def passes():
        for pin, level in ((first, 0), (second, 0), (first, 1), (second, 1)):
            pin.level = level
            pin.handler(pin)
            time.jump(time.ticks_ms() + 50)

    _cost("passage", 200, passes)


class _Line:
    """A serial line on which one frame waits whenever it is asked."""

    def __init__(self, frame):
        self._frame = frame
        self._left = 0

    def arrive(self):
        self._left = len(self._frame)

    def any(self):
        return self._left

    def readinto(self, buffer):
        buffer[:] = self._frame
        self._left = 0
        return len(buffer)


def _frame():
    """A frame of the LD2450 with three people in it, each followed by a track."""
    import time

    from node import sensing

    radar = {"driver": "ld2450", "uart": 1, "tx": 17, "rx": 16, "line": [-3000, 1500, 3000, 1500]}
    driver = sensing.load(radar)
    people = b"\x0e\x03\xb1\x86\x10\x00\x40\x01" + b"\xe8\x83\xd0\x87\x20\x80\x40\x01"
    people += b"\x64\x80\xb8\x8b\x05\x00\x40\x01"
    line = _Line(b"\xaa\xff\x03\x00" + people + b"\x55\xcc")
    driver._uart = line
    driver.start()

    def arrives():
        line.arrive()
        time.jump(time.ticks_ms() + 100)
        driver.read(time.ticks_ms())

    _cost("radar_frame", 200, arrives)


def _sample():
    """One sample of one quantity into an open window."""
    from node.window import Windows

    from peilmerk_protocol import quantities

    windows = Windows(900, (quantities.PM2_5, quantities.PM10, quantities.TEMPERATURE, quantities.HUMIDITY))
    now = 1772438400000
    windows.start(now)
    _cost("sample", 200, lambda: windows.sample(now, quantities.PM10, 123))


def _draw():
    """One draw of noise at epsilon 7/10, its random bits included; a mean, as draws differ."""
    from node.entropy import BitStream
    from node.laplace import discrete_laplace

    stream = BitStream()
    _cost("draw", 400, lambda: discrete_laplace(stream.bits, 7, 10))


def _seal():
    """A counter's report, encoded, and sealed."""
    from peilmerk_protocol import cose, report, topics

    values = {5: (41,), 6: (39,)}
    body = report.encode(1000, 1969376, 1, 0, values)
    _cost("encode", 100, lambda: report.encode(1000, 1969376, 1, 0, values))
    _cost("seal", 50, lambda: cose.seal(bytes(32), topics.REPORT, "abcdefghijklmnop", body))


def _window():
    """A window of a counter: closed, released, sealed and on flash; its noise drawn for the next one."""
    import time

    from node import app, config

    node = app.Node(config.load("/flash/"), "/flash/", "/flash/data")
    cycle = node._cycle
    node._clock.set(time.START * 1000, time.ticks_ms())
    cycle.windows.start(node._clock.unix_ms())

    def closes():
        time.jump(time.ticks_ms() + 900000)
        _finish(cycle._open())
        _finish(cycle.close())

    _cost("window", 20, closes)


def _finish(coroutine):
    """Run what never has to wait here."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise RuntimeError("waited")
