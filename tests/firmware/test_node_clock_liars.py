"""All time servers lie at once to a board: no window of it lies years ahead, and it finds back by itself.

These worlds run on today's date, and the board checks certificates by its own clock, since dates count.
"""

import time

from mqtt_broker import Broker
from test_node_link import DEVICE, WINDOW_S, World, whole

from peilmerk_protocol import report

YEARS = 10 * 365 * 86400
SPEED = 240
REFUSED = "wanted a likely time or the gateway's word"


def now(world):
    return int(world.clock.now()) // WINDOW_S


async def a_window_passes(world):
    """Wait until a window is over, whether or not the board knows; returns the index of the next one."""
    following = now(world) + 1
    await world.until(lambda: now(world) >= following)
    return following


def boots(world):
    """The reports of each boot. Within one, every window is there, in order, once."""
    found = []
    for one in world.reports():
        if one.health & report.HEALTH_REBOOT:
            found.append([])
        found[-1].append(one)
    for reports in found:
        whole(reports)
    windows = [one.window for reports in found for one in reports]
    assert windows == sorted(set(windows))
    assert windows[-1] <= now(world)
    return found


async def test_a_first_boot_among_liars_waits_for_the_gateway_and_keeps_what_it_counts(tmp_path):
    async with World(tmp_path, Broker(tmp_path, DEVICE, "secret"), start=time.time(), speed=SPEED) as world:
        world.network.dates()
        world.time_server.offset_s = YEARS
        await world.board.start()
        # What the servers say is tried, when the certificate has long ended; then what is known to be past.
        await world.shows(REFUSED, "The certificate validity has expired", ", the time is not known")
        await world.until(world.statements)
        told_in = await a_window_passes(world)
        assert world.reports() == []
        await world.tell_time()
        await world.shows("the time is known now", "link: connected")
        await world.more(3)
        first = world.reports()[0]
        assert first.window < told_in
        assert first.health & report.HEALTH_CLOCK
        # The servers go on lying, and after a power cut they are all that the board hears.
        await world.board.power_cut()
        world.mark()
        await world.board.power_on()
        await world.shows(REFUSED, ", the time is not known")
        await world.until(lambda: len(set(world.statements())) == 2)
        await world.tell_time(2)
        await world.shows("the time is known now")
        await world.more(2)
        assert len(boots(world)) == 2


async def test_lies_after_a_power_cut_are_waited_out_and_the_truth_is_taken_at_once(tmp_path):
    """Nobody but the servers tells the time: years behind, years ahead, and then as it is."""
    async with World(tmp_path, Broker(tmp_path, DEVICE, "secret"), start=time.time(), speed=SPEED) as world:
        world.network.dates()
        await world.board.start()
        await world.more(2)
        await world.board.power_cut()
        world.mark()
        world.time_server.offset_s = -YEARS
        await world.board.power_on()
        await world.shows(REFUSED)
        world.time_server.offset_s = YEARS
        await world.shows(REFUSED, REFUSED)
        told_in = await a_window_passes(world)
        await world.read()
        # What the power cut had caught in the outbox may have come, and nothing else.
        assert not any(one.health & report.HEALTH_REBOOT for one in world.reports()[1:])
        world.time_server.offset_s = 0
        await world.shows("clock: synchronised")
        await world.more(2)
        _, after = boots(world)
        assert after[0].window < told_in


async def test_a_silent_gateway_is_asked_again_and_the_servers_then_count(tmp_path):
    """The statement went out under the moment that is known to be past, and no answer came."""
    async with World(tmp_path, Broker(tmp_path, DEVICE, "secret"), start=time.time(), speed=SPEED) as world:
        world.network.dates()
        world.time_server.offset_s = -2 * YEARS
        await world.board.start()
        await world.shows(REFUSED, ", the time is not known")
        await world.until(world.statements)
        world.time_server.offset_s = 0
        await world.shows("no word of the time", "clock: synchronised")
        assert len(set(world.statements())) == 2
        await world.more(2)
        assert len(boots(world)) == 1
