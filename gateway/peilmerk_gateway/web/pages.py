"""The page as it stands now: read from the store when something changed, otherwise as it was made before.

Reading and making HTML happen once for each change and view, however many visitors look: that bounds what
visitors can cost the gateway. Making happens in a thread, so that the stages of the gateway keep running
beside it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from peilmerk_gateway.clock import Clock, ScaledClock
from peilmerk_gateway.deployments.catalogue import Catalogue
from peilmerk_gateway.settings import Settings
from peilmerk_gateway.store import Store
from peilmerk_gateway.web import reading
from peilmerk_gateway.web.events import View
from peilmerk_gateway.web.render import Bench, Fragment, Renderer
from peilmerk_gateway.web.street import Street

# How long the same numbers may stand although time passes: silence and a new day must show, s of the
# street's time.
STEP = 900


class Pages:
    """The page in every language and part."""

    def __init__(self, store: Store, catalogue: Catalogue, clock: Clock, settings: Settings) -> None:
        self._store = store
        self._catalogue = catalogue
        self._clock = clock
        self._settings = settings
        self._renderer = Renderer()
        self._made: dict[View, tuple[Street, dict[str, Fragment]]] = {}
        self._streets: dict[int, Street] = {}
        self._stamp: object = None
        self._making = asyncio.Lock()

    async def stamp(self) -> object:
        """A value that differs when the page may look different; costs no query."""
        return self._store.changes, self._catalogue.revision, int(self._clock.now() // STEP)

    async def fragments(self, view: View) -> Mapping[str, Fragment]:
        """Every fragment of a view by name, in the order of the page."""
        return (await self._current(view))[1]

    async def versions(self, view: View) -> Mapping[str, str]:
        """The version of every fragment of a view by name."""
        return {name: fragment.version for name, fragment in (await self.fragments(view)).items()}

    async def page(self, view: View) -> str:
        """The whole page of a view as HTML."""
        street, fragments = await self._current(view)
        view = view._replace(part=street.part)
        return self._renderer.page(street, fragments, view, self._clock.now(), self._bench())

    def message(self, language: str, kind: str, status: int) -> str:
        """A page that says what went wrong; `kind` is "missing" or "failed"."""
        return self._renderer.message(language, kind, status)

    async def _current(self, view: View) -> tuple[Street, dict[str, Fragment]]:
        view = view._replace(part=min(max(1, view.part), reading.parts(self._catalogue)))
        async with self._making:
            # Taken before reading: what is written while reading makes the stamp old, and is read the
            # next time.
            stamp = await self.stamp()
            if stamp != self._stamp:
                self._made.clear()
                self._streets.clear()
                self._stamp = stamp
            if view not in self._made:
                if view.part not in self._streets:
                    self._streets[view.part] = await reading.read(
                        self._store, self._catalogue, self._settings.sinks, self._clock.now(), view.part
                    )
                street = self._streets[view.part]
                made = await asyncio.to_thread(self._renderer.fragments, street, view.language)
                self._made[view] = street, made
            return self._made[view]

    def _bench(self) -> Bench | None:
        if isinstance(self._clock, ScaledClock):
            return Bench(self._clock.now(), time.time(), self._clock.speed)
        return None
