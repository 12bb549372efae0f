"""What counts in interrupts and once a frame, on 32-bit objects with the heap locked: a number of more than
31 bits would want heap and fail. Prints what each costs in instructions.
"""

import json
import sys

import machine
import micropython


class _Clock:
    """The radio asks it for nothing but whether it may listen."""

    @staticmethod
    def board_s():
        return None


def fuel():
    import host

    return int(host.call("fuel", ""))


def cost(call, times):
    """Instructions of one call(n), which must not allocate; the mean of `times`."""
    call(0)
    micropython.heap_lock()
    try:
        for n in range(times):
            call(n)
    finally:
        micropython.heap_unlock()
    before = fuel()
    for n in range(times):
        call(n)
    return (fuel() - before) // times


def pair(entry, both_edges):
    """A passage of two inputs."""
    from node.sensing import load

    driver = load(entry)
    driver.start()
    driver.border(12345)
    pins = [machine.Pin.made[4], machine.Pin.made[5]]

    def cross(n):
        for level in (0, 1):
            for pin in pins:
                pin.level = level
                if both_edges or not level:
                    pin.handler(pin)

    return cost(cross, 20)


def radio():
    """An address that was heard, all its bits set but one byte."""
    from node.sensing import load

    driver = load({"driver": "radio", "from": 1, "until": 2, "area": "a square, on its north side"})
    for n in range(len(driver._keys)):
        driver._keys[n] = 0xFFFFFF - n * 77777
    address = bytearray(b"\xff\xfe\xfd\xff\xff\xff")
    data = (0, address, 0, -60, b"")

    def hear(n):
        address[3] = n
        driver._event(5, data)

    return cost(hear, 200)


def radar(people):
    """A frame with so many targets, all over the range of the coordinates."""
    from node.sensing import load

    entry = {"driver": "ld2450", "uart": 1, "tx": 1, "rx": 2, "line": [-8000, 8000, 8000, 0], "gate_mm": 3000}
    driver = load(entry)

    def word(value):
        return (abs(value) | (0x8000 if value >= 0 else 0)).to_bytes(2, "little")

    frames = []
    for n in range(31):
        body = b""
        for k in range(people):
            y = 7900 - 250 * n if k % 2 else 250 * n
            body += word(-7900 + 3900 * k) + word(y) + word(-140) + b"\x40\x01"
        frames.append(bytearray(b"\xaa\xff\x03\x00" + body + bytes(24 - len(body)) + b"\x55\xcc"))

    def step(n):
        driver._step(frames[n % 31], n * 100)

    return cost(step, 31)


def main():
    sys.path.insert(0, "/flash")
    sys.modules["node.uplink"] = type("uplink", (), {"clock": _Clock})
    sys.modules["node.uplink.clock"] = _Clock
    pulse = {"driver": "pulse_pair", "pins": [4, 5], "dead_ms": 0, "class": "measured", "spacing_mm": 1000}
    found = {
        "beam_pair": pair({"driver": "beam_pair", "pins": [4, 5], "dead_ms": 0}, True),
        "pulse_pair": pair(pulse, False),
        "radio": radio(),
    }
    for people in range(4):
        found["ld2450 %d" % people] = radar(people)
    print(json.dumps(found))
