"""kill -9 of a publisher, at any point: afterwards every observation is on the platform exactly once.

The publisher is a process of its own (`publisher_process`), the platform a real one, the counting is done by
somebody else's client.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import reader
import street
from conftest import settled, until
from patience import DEADLINE_S
from publisher_process import SINK
from stores import KINDS, StorePlace
from wiretap import Line, Wiretap

from peilmerk_bench.platform import SensorThingsServer
from peilmerk_gateway.store import Store
from peilmerk_gateway.store_place import Database

Process = asyncio.subprocess.Process


async def _start(place: StorePlace, url: str) -> Process:
    where = [str(place.where)]
    if isinstance(place.where, Database):
        where = [place.where.url, str(place.where.password_file)]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).parent / "publisher_process.py"),
        url,
        *where,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
    )
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), DEADLINE_S) == b"ready\n"
    return process


def _strike(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()


async def _kill(process: Process) -> None:
    _strike(process)
    await process.wait()


async def _finish(store: Store, place: StorePlace, url: str) -> None:
    """Let a publisher work in peace until nothing is left, and end it in good order."""
    process = await _start(place, url)
    try:
        await until(lambda: settled(store))
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), DEADLINE_S) == 0
    finally:
        await _kill(process)


async def _assert_exactly_once(platform: SensorThingsServer, store: Store, windows: range) -> None:
    figures, often = await asyncio.to_thread(reader.observations, platform.url)
    assert figures == street.expected(windows)
    assert [place for place, times in often.items() if times != 1] == []
    sink = (await store.figures()).sinks[SINK]
    assert (sink.published, sink.waiting, sink.sending, sink.rejected) == (len(figures), 0, 0, 0)
    assert len(reader.names(platform.url, "things")) == 2
    assert len(reader.names(platform.url, "datastreams")) == 5


@pytest.mark.parametrize("place", KINDS, indirect=True)
async def test_killed_at_random_points(platform: SensorThingsServer, store: Store, place: StorePlace) -> None:
    """Eight kills while 600 observations go out in batches of 40; the points are drawn anew in every run."""
    windows = range(120)
    await street.fill(store, windows)
    chance = random.Random()
    interrupted = 0
    async with Wiretap(platform.url) as wire:
        for _ in range(8):
            process = await _start(place, wire.url)
            at_request = len(wire.requests) + chance.randint(1, 6)

            def soon_after(
                _method: str, _path: str, process: Process = process, at_request: int = at_request
            ) -> Line:
                if len(wire.requests) == at_request:
                    asyncio.get_running_loop().call_later(chance.uniform(0, 0.03), _strike, process)
                return Line.PASS

            async def over(process: Process = process) -> bool:
                return process.returncode is not None or await settled(store)

            wire.on_request = soon_after
            await until(over)
            await _kill(process)
            interrupted += not await settled(store)
        wire.on_request = lambda method, path: Line.PASS
        await _finish(store, place, wire.url)
    assert interrupted >= 3, "the kills came too late to interrupt anything"
    await _assert_exactly_once(platform, store, windows)


@pytest.mark.parametrize(
    ("what", "nth"),
    [
        ("/Things", 2),
        ("/ObservedProperties", 3),
        ("/Datastreams", 1),
        # This platform refuses the first one, an interval; the second carries one row, the others many.
        ("/CreateObservations", 2),
        ("/CreateObservations", 4),
    ],
)
async def test_killed_between_the_platform_s_yes_and_our_note_of_it(
    platform: SensorThingsServer, store: Store, place: StorePlace, what: str, nth: int
) -> None:
    """The platform has carried out the n-th request of a kind; the publisher dies before it hears of it."""
    windows = range(20)
    await street.fill(store, windows)
    async with Wiretap(platform.url) as wire:
        process = await _start(place, wire.url)
        wire.on_request, wire.before_answer = _kill_at(what, nth, process)
        await asyncio.wait_for(process.wait(), DEADLINE_S)
        assert process.returncode == -signal.SIGKILL
        wire.on_request = lambda method, path: Line.PASS
        wire.before_answer = lambda method, path: None
        if what == "/CreateObservations":
            # What makes it hard: the platform has rows that our store does not know of.
            figures, _ = await asyncio.to_thread(reader.observations, platform.url)
            assert len(figures) > (await store.figures()).sinks[SINK].published
        await _finish(store, place, wire.url)
    await _assert_exactly_once(platform, store, windows)


async def test_platform_killed_while_it_is_written_to(
    platform: SensorThingsServer, store: Store, place: StorePlace
) -> None:
    """kill -9 of the platform instead, three times in the middle of requests."""
    windows = range(120)
    await street.fill(store, windows)
    async with Wiretap(platform.url) as wire:
        process = await _start(place, wire.url)
        try:
            for n in (1, 4, 7):
                seen = Counter(path for _, path in wire.requests)["/v1.1/CreateObservations"]

                async def another(n: int = n, seen: int = seen) -> bool:
                    posts = Counter(path for _, path in wire.requests)["/v1.1/CreateObservations"]
                    return posts > max(seen, n) or await settled(store)

                await until(another)
                await platform.kill()
                await platform.start()
            await until(lambda: settled(store))
        finally:
            await _kill(process)
    await _assert_exactly_once(platform, store, windows)


def _kill_at(
    what: str, nth: int, process: Process
) -> tuple[Callable[[str, str], Line], Callable[[str, str], None]]:
    seen = 0
    struck = False

    def on_request(method: str, path: str) -> Line:
        nonlocal seen, struck
        if method == "POST" and path.endswith(what):
            seen += 1
            struck = seen == nth
        return Line.NO_ANSWER if struck else Line.PASS

    def before_answer(method: str, path: str) -> None:
        if struck and process.returncode is None:
            _strike(process)

    return on_request, before_answer
