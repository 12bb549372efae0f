"""Server-sent events: tells open pages which of their fragments changed, and ends when the service ends.

However many pages are open, the store is asked for its stamp once a beat, and only while somebody
listens. A stream holds no connection to the store and no queue: it waits for the next change, compares
the versions of its own view's fragments with those it sent before, and sends the difference. The first
event of a stream lists every fragment, so that a page that was away catches up. Format: WHATWG HTML,
section 9.2 "Server-sent events".
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import NamedTuple

import structlog

log = structlog.get_logger(__name__)

BEAT = 1.0
# A comment now and then lets a dead connection be noticed on both sides.
HEARTBEAT = 15.0
RETRY_MS = 3000
MOST_LISTENERS = 256


class View(NamedTuple):
    """What one open page shows: its language and which part (from 1) of the sensors."""

    language: str
    part: int


class Pulse:
    """Watches the stamp of what is shown and wakes the streams when it changes.

    `stamp` returns any value that differs when something shown may have changed; `versions` returns the
    version of each fragment of a view by the fragment's name. Errors of either are logged and tried
    again: a page that waits stays open while the store is away.
    """

    def __init__(
        self,
        stamp: Callable[[], Awaitable[object]],
        versions: Callable[[View], Awaitable[Mapping[str, str]]],
        beat: float = BEAT,
        heartbeat: float = HEARTBEAT,
    ) -> None:
        self._stamp = stamp
        self._versions = versions
        self._beat = beat
        self._heartbeat = heartbeat
        self._changed = asyncio.Event()
        self._closing = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None
        self.listeners = 0

    @property
    def full(self) -> bool:
        """Whether no further stream is let in, because MOST_LISTENERS are open or the service is ending."""
        return self.listeners >= MOST_LISTENERS or self._closing.is_set()

    def close(self) -> None:
        """End every stream now; none is let in afterwards."""
        self._closing.set()
        self._changed.set()

    async def stream(self, view: View) -> AsyncIterator[bytes]:
        """The events of one page, until it goes away or the service ends."""
        self.listeners += 1
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._watching())
        known: Mapping[str, str] = {}
        try:
            yield f"retry: {RETRY_MS}\n\n".encode()
            while not self._closing.is_set():
                # Taken before the versions are read: a change in between is then seen at once, not lost.
                changed = self._changed
                try:
                    current = await self._versions(view)
                except Exception:
                    log.exception("web-fragments-failed")
                    current = known
                if current != known:
                    yield difference(known, current)
                    known = current
                try:
                    await asyncio.wait_for(changed.wait(), self._heartbeat)
                except TimeoutError:
                    yield b": still here\n\n"
        finally:
            self.listeners -= 1

    async def _watching(self) -> None:
        last: object = None
        while self.listeners and not self._closing.is_set():
            try:
                current = await self._stamp()
            except Exception:
                log.exception("web-stamp-failed")
                current = last
            if current != last:
                last = current
                self._changed, before = asyncio.Event(), self._changed
                before.set()
            try:
                await asyncio.wait_for(self._closing.wait(), self._beat)
            except TimeoutError:
                pass


def difference(known: Mapping[str, str], current: Mapping[str, str]) -> bytes:
    """The event that brings a page from `known` to `current`: fragments that changed, and those that are
    gone.
    """
    changed = {name: version for name, version in current.items() if known.get(name) != version}
    gone = sorted(set(known) - set(current))
    data = json.dumps({"changed": changed, "gone": gone}, separators=(",", ":"))
    return f"event: fragments\ndata: {data}\n\n".encode()
