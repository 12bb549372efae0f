"""The stream of changes: what it sends, when it wakes, and that it ends at once when told to."""

import asyncio
import json

from patience import DEADLINE_S

from peilmerk_gateway.web import events
from peilmerk_gateway.web.events import Pulse, View, difference

VIEW = View("nl", 1)


class Shown:
    """Fragments that a test changes; counts how often it was asked."""

    def __init__(self):
        self.current = {"a": "1", "b": "1"}
        self.asked = self.stamped = 0

    async def stamp(self):
        self.stamped += 1
        return tuple(self.current.items())

    async def versions(self, view):
        assert view == VIEW
        self.asked += 1
        return dict(self.current)


def data(event):
    lines = event.decode().split("\n")
    assert lines[0] == "event: fragments"
    assert lines[2:] == ["", ""]
    return json.loads(lines[1].removeprefix("data: "))


async def soon(awaitable):
    return await asyncio.wait_for(awaitable, DEADLINE_S)


def test_difference_names_what_changed_and_what_is_gone():
    event = difference({"a": "1", "b": "1", "c": "1"}, {"a": "1", "b": "2", "d": "1"})
    assert event == b'event: fragments\ndata: {"changed":{"b":"2","d":"1"},"gone":["c"]}\n\n'


async def test_first_everything_then_only_what_changed():
    shown = Shown()
    pulse = Pulse(shown.stamp, shown.versions, beat=0.01)
    stream = pulse.stream(VIEW)
    assert await soon(anext(stream)) == b"retry: 3000\n\n"
    assert data(await soon(anext(stream))) == {"changed": {"a": "1", "b": "1"}, "gone": []}
    waiting = asyncio.create_task(anext(stream))
    shown.current = {"a": "1", "b": "2"}
    assert data(await soon(waiting)) == {"changed": {"b": "2"}, "gone": []}
    waiting = asyncio.create_task(anext(stream))
    shown.current = {"b": "2"}
    assert data(await soon(waiting)) == {"changed": {}, "gone": ["a"]}
    await stream.aclose()
    assert pulse.listeners == 0


async def test_a_quiet_stream_shows_that_it_lives():
    shown = Shown()
    pulse = Pulse(shown.stamp, shown.versions, beat=0.01, heartbeat=0.05)
    stream = pulse.stream(VIEW)
    sent = [await soon(anext(stream)) for _ in range(4)]
    assert sent[2:] == [b": still here\n\n"] * 2
    await stream.aclose()


async def test_closing_ends_every_stream_and_lets_none_in():
    shown = Shown()
    pulse = Pulse(shown.stamp, shown.versions, beat=60, heartbeat=60)

    streams = [pulse.stream(VIEW) for _ in range(3)]
    for stream in streams:
        await soon(anext(stream))
        await soon(anext(stream))
    waiting = [asyncio.create_task(anext(stream, b"ended")) for stream in streams]
    await asyncio.sleep(0)
    pulse.close()
    assert await soon(asyncio.gather(*waiting)) == [b"ended"] * 3
    assert pulse.listeners == 0
    assert pulse.full


async def test_nobody_listening_costs_nothing():
    shown = Shown()
    pulse = Pulse(shown.stamp, shown.versions, beat=0.01)
    stream = pulse.stream(VIEW)
    await soon(anext(stream))
    await soon(anext(stream))
    await stream.aclose()
    await soon(pulse._watch)
    before = shown.stamped
    await asyncio.sleep(0.05)
    assert shown.stamped == before


async def test_many_listeners_cost_one_stamp_a_beat():
    shown = Shown()
    pulse = Pulse(shown.stamp, shown.versions, beat=60, heartbeat=60)
    streams = [pulse.stream(VIEW) for _ in range(20)]
    for stream in streams:
        await soon(anext(stream))
        await soon(anext(stream))
    assert shown.stamped == 1
    for stream in streams:
        await stream.aclose()


async def test_a_store_that_is_away_does_not_end_the_stream():
    shown = Shown()
    away = True

    async def versions(view):
        if away:
            raise OSError("away")
        return await shown.versions(view)

    async def stamp():
        if away:
            raise OSError("away")
        return await shown.stamp()

    pulse = Pulse(stamp, versions, beat=0.01)
    stream = pulse.stream(VIEW)
    await soon(anext(stream))
    waiting = asyncio.create_task(anext(stream))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    away = False
    assert data(await soon(waiting))["changed"] == {"a": "1", "b": "1"}
    await stream.aclose()


async def test_a_change_while_fragments_are_made_is_not_lost():
    shown = Shown()
    changing = asyncio.Event()

    async def versions(view):
        answer = dict(shown.current)
        if not changing.is_set():
            changing.set()
            await asyncio.sleep(0.05)
        return answer

    pulse = Pulse(shown.stamp, versions, beat=0.01, heartbeat=60)
    stream = pulse.stream(VIEW)
    await soon(anext(stream))
    waiting = asyncio.create_task(anext(stream))
    await soon(changing.wait())
    shown.current = {"a": "2", "b": "1"}
    assert data(await soon(waiting))["changed"] == {"a": "1", "b": "1"}
    assert data(await soon(anext(stream)))["changed"] == {"a": "2"}
    await stream.aclose()


def test_there_is_a_limit_to_open_pages(monkeypatch):
    monkeypatch.setattr(events, "MOST_LISTENERS", 2)
    shown = Shown()
    pulse = Pulse(shown.stamp, shown.versions)
    pulse.listeners = 1
    assert not pulse.full
    pulse.listeners = 2
    assert pulse.full
