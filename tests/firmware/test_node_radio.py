"""The whole node with a Bluetooth listener: what leaves it, and what is left of 1,000 addresses."""

import asyncio
import sys
from collections import Counter
from pathlib import Path

from test_node_on_board import START, WINDOW_S, bench  # noqa: F401

from peilmerk_bench.board import SensorSpec
from peilmerk_bench.sensors.radio import Advertiser, Air
from peilmerk_protocol import profile, quantities, report
from peilmerk_provisioning import kinds

sys.path.insert(0, str(Path(__file__).parents[1] / "counters"))
from canaries import memory, search

ENTRY = {
    "driver": "radio",
    "from": START - 3600,
    "until": START + 86_400,
    "area": "Market square, the north side, 30 m around the fountain",
    "most": 1024,
}
# The first window after the one in which the board boots.
FIRST = START - START % WINDOW_S + WINDOW_S


async def test_no_address_leaves_and_none_is_left(bench, monkeypatch):  # noqa: F811
    agreed = profile.Profile(
        1, WINDOW_S, quantities.mask((quantities.UNCLASSIFIED,)), (7, 10), (3, 10), 10, 4
    )
    monkeypatch.setitem(kinds.KINDS, "counter", {"profile": agreed, "sensors": [ENTRY]})
    devices = [Advertiser.canary(n, FIRST, FIRST + WINDOW_S, 20.0) for n in range(1000)]
    addresses = [device.address for device in devices]
    it = await bench("counter", (SensorSpec("air", lambda name: Air(name, devices=devices)),))

    def salts():
        return [handout.data for handout in it.board.entropy_log if len(handout.data) == 12]

    def window(number):
        return [r for r in it.reports() if r.window == FIRST // WINDOW_S + number]

    async def found_in(data):
        # In a thread: the chip around the board lives in this loop, and its watchdog does not wait.
        return await asyncio.to_thread(search, data, addresses, salts())

    # The search itself waits until the window is over: it would keep the chip from hearing.
    during = []
    await it.until(lambda: it.board.clock.now() > FIRST + 0.5 * WINDOW_S)
    while it.board.clock.now() < FIRST + WINDOW_S:
        during.append(memory(it.board))
        await asyncio.sleep(0.3)
    await it.until(lambda: window(0))
    left = memory(it.board)
    assert await found_in(left) == Counter()
    most = 0
    while during and most <= 300:
        most = max(most, (await found_in(during.pop()))["hashed"])
    assert most > 300, "the search has no power"
    (told,) = window(0)
    assert not told.health & report.HEALTH_SENSOR
    # Each advertises 15 times, a tenth of which is heard: 794 are expected; the noise is small beside it.
    assert 700 < told.values[quantities.UNCLASSIFIED][0] < 880
    assert len(salts()) >= 3, "a salt for each window"
    assert len(set(salts())) == len(salts())
    await it.board.power_cut()
    assert search(it.flash.read_bytes(), addresses, salts()) == Counter()
    sent = b"\0".join(subject.encode() + b"\0" + data for subject, data in it.messages)
    assert search(sent, addresses, salts()) == Counter()
    assert search(it.board.console_tail.encode(), addresses, salts()) == Counter()
