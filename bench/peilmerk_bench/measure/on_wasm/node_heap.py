"""Loads the whole node, runs it for some windows, and says what the heap held."""

import gc
import json
import sys

import port

_PASSAGE_MS = 10000
figures = {}
room = 0
peak = 0
node = None


def main(windows="0", image=""):
    global room
    port.begin()
    sys.path.insert(0, "/flash/a")
    if image:
        room = port.mount(image)
    figures["port"] = port.used() - room
    _load()
    figures["modules"] = port.used() - room - figures["port"]
    _make()
    figures["live"] = port.used() - room - figures["port"]
    _work(int(windows) * 900)
    figures["after"] = port.used() - room - figures["port"]
    figures["peak"] = max(peak - room - figures["port"], figures["live"])
    _say()


def _load():
    from node.app import Node
    from node.config import load

    return Node, load


def _make():
    global node
    make, load = _load()
    node = make(load("/flash/"), "/flash/", "/flash/data")


def _between():
    """What the stretch since the last time left on the heap, garbage included, is what it needed at most."""
    global peak
    peak = max(peak, gc.mem_alloc())
    gc.collect()


async def _traffic():
    """Somebody passes every ten seconds, now in the one direction, now in the other."""
    import asyncio

    from machine import Pin

    turn = 0
    while True:
        await asyncio.sleep_ms(_PASSAGE_MS)
        first, second = (4, 5) if turn else (5, 4)
        turn ^= 1
        for number, level in ((first, 0), (second, 0), (first, 1), (second, 1)):
            pin = Pin.made.get(number)
            if pin is not None and pin.handler is not None:
                pin.level = level
                pin.handler(pin)
                await asyncio.sleep_ms(60)


def _work(seconds):
    if not seconds:
        return
    import asyncio

    async def work():
        asyncio.create_task(_traffic())
        await node.run()

    asyncio.until_ms = seconds * 1000
    asyncio.between = _between
    asyncio.run(work())


def _say():
    import socket
    import time

    figures["published"] = len(socket.published)
    figures["world_s"] = time.ticks_ms() // 1000
    print(json.dumps(figures))
